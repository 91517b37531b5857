"""YIN on planted tones and against Praat; the melody of a planted glide."""

from __future__ import annotations

import numpy as np
import parselmouth
import pytest
from numpy.typing import NDArray

from xlasr.features.pitch import HOP, SAMPLE_RATE, contour, pitch


def tone(hertz: NDArray[np.float64] | float, seconds: float = 0.5) -> NDArray[np.float32]:
    """A buzz of ten harmonics; ``hertz`` may move."""
    n = round(seconds * SAMPLE_RATE)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz, n)) / SAMPLE_RATE
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 11))).astype(np.float32)


@pytest.mark.parametrize("hertz", [70.0, 123.4, 220.0, 333.3, 440.0])
def test_a_tone(hertz: float) -> None:
    found = pitch(tone(hertz))
    assert len(found) == (len(tone(hertz)) - 759) // HOP + 1
    np.testing.assert_allclose(found, hertz, rtol=2e-3)
    np.testing.assert_allclose(pitch(1e-3 * tone(hertz)), hertz, rtol=2e-3)  # loudness is nothing


def test_what_is_not_voiced() -> None:
    rng = np.random.default_rng(0)
    assert np.isnan(pitch(rng.standard_normal(16_000).astype(np.float32))).mean() > 0.98
    assert np.isnan(pitch(np.zeros(16_000, dtype=np.float32))).all()
    assert len(pitch(tone(200.0, 0.04))) == 0
    murmur = np.concatenate([tone(200.0), 0.01 * tone(100.0)])  # 40 dB below
    found = pitch(murmur)
    assert np.isnan(found[-40:]).all() and not np.isnan(found[:40]).any()


def test_a_long_clip_is_the_same_in_blocks() -> None:
    t = np.arange(25 * SAMPLE_RATE) / SAMPLE_RATE
    melody = tone(150 + 50 * np.sin(t), 25)  # 2,500 frames: more than one block
    found = pitch(melody)
    centre = (np.arange(len(found)) * HOP + 300) / SAMPLE_RATE
    np.testing.assert_allclose(found, 150 + 50 * np.sin(centre), rtol=0.01)


def test_a_glide() -> None:
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    rising = 150 * 2 ** (6 * t / 12)  # six semitones a second
    semitones, slopes = contour(pitch(tone(rising, 1.0)))
    assert slopes == pytest.approx([6.0], abs=0.1)
    assert np.ptp(semitones) == pytest.approx(6 * 0.94, abs=0.15)
    assert np.median(semitones) == pytest.approx(0, abs=1e-3)
    higher, _ = contour(pitch(tone(1.5 * rising, 1.0)))  # another voice, the same melody
    assert np.abs(np.quantile(higher, [0.1, 0.9]) - np.quantile(semitones, [0.1, 0.9])).max() < 0.1


def test_a_leap_parts_a_stretch() -> None:
    hertz = np.concatenate([np.full(30, 100.0), np.full(30, 200.0), [np.nan] * 5, np.full(9, 100)])
    semitones, slopes = contour(hertz)
    assert len(slopes) == 2  # nine frames are too few
    assert slopes == pytest.approx([0, 0], abs=1e-9)
    assert len(semitones) == 69
    assert [len(part) for part in contour(np.full(4, np.nan))] == [0, 0]


@pytest.mark.real
def test_it_agrees_with_praat(english_clips: list[NDArray[np.float32]]) -> None:
    ratios = []
    for clip in english_clips[:8]:
        praat = parselmouth.Sound(clip.astype(np.float64), SAMPLE_RATE).to_pitch(0.01, 65, 450)
        for i, ours in enumerate(pitch(clip)):
            theirs = praat.get_value_at_time((i * HOP + 380) / SAMPLE_RATE)
            if not np.isnan(ours) and not np.isnan(theirs):
                ratios.append(12 * abs(np.log2(ours / theirs)))
    assert len(ratios) > 500
    assert np.median(ratios) < 0.3
    assert np.mean(np.array(ratios) > 1) < 0.05
