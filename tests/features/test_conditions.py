"""Conditions: the same length and words, another channel; measured on what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xlasr.errors import UnknownName, UsageError
from xlasr.features import conditions
from xlasr.features.conditions import USUAL, open_condition


def speechlike(seconds: float = 2.0) -> np.ndarray:
    """A buzz that glides around 120 Hz, with harmonics up to 7 kHz, loud and soft in turn."""
    t = np.arange(round(16_000 * seconds)) / 16_000
    phase = 2 * np.pi * (120 * t + 4 * np.sin(2 * np.pi * t))  # no period looks like the next
    voice = sum(np.sin(k * phase) / k for k in range(1, 48))
    return (0.2 * voice * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))).astype(np.float32)


def band(samples: np.ndarray, low: float, high: float) -> float:
    """Energy between two frequencies in Hz."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    at = np.fft.rfftfreq(len(samples), 1 / 16_000)
    return float(power[(at >= low) & (at < high)].sum())


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("n_samples", [1, 799, 16_000, 31_999])
def test_the_length_stays_and_the_same_seed_gives_the_same_clip(name: str, n_samples: int) -> None:
    clip = speechlike()[:n_samples]
    before = clip.copy()
    found = open_condition(name)(clip, 3)
    assert found.dtype == np.float32 and found.shape == (n_samples,)
    assert np.array_equal(found, open_condition(name)(clip, 3))
    assert np.array_equal(clip, before)


def test_noise_has_the_ratio_and_differs_between_clips() -> None:
    clip = speechlike()
    noisy = open_condition("noise:10")(clip, 0)
    ratio = 10 * np.log10(np.mean(clip**2) / np.mean((noisy - clip) ** 2))
    assert ratio == pytest.approx(10, abs=0.01)
    assert not np.array_equal(noisy, open_condition("noise:10")(clip, 1))


def test_a_telephone_has_no_highs_and_keeps_the_voice_in_place() -> None:
    clip = speechlike()
    heard = open_condition("gsm")(clip, 0)
    assert band(heard, 4200, 8000) < 0.01 * band(clip, 4200, 8000)
    assert band(heard, 200, 3000) > 0.5 * band(clip, 200, 3000)
    # what is said is still there and where it was: words keep their times
    lags = range(-200, 201)
    middle = clip[4000:28_000]
    best = max(lags, key=lambda lag: float(np.dot(middle, heard[4000 + lag : 28_000 + lag])))
    assert abs(best) <= 32
    assert float(np.corrcoef(middle, heard[4000 + best : 28_000 + best])[0, 1]) > 0.8


def test_opus_takes_the_bit_rate_it_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes = {}
    clip = speechlike(10.0)
    real = conditions.decode
    for name in ("opus:6", "opus:24"):

        def look(path: Path, name: str = name) -> np.ndarray:
            sizes[name] = path.stat().st_size
            return real(path)

        monkeypatch.setattr(conditions, "decode", look)
        heard = open_condition(name)(clip, 0)
        assert np.corrcoef(np.abs(clip), np.abs(heard))[0, 1] > 0.3
    # 6 kbit/s are 7.5 kB in 10 s; the container adds its pages
    assert 7_500 <= sizes["opus:6"] < 9_500
    assert 30_000 <= sizes["opus:24"] < 33_500


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("noise", "noise:10"),
        ("noise:loud", "'loud' is no number"),
        ("noise:nan", "from -20 to 60 dB"),
        ("opus:2", "from 6 to 510"),
        ("gsm:13", "takes no number"),
    ],
)
def test_a_wrong_number_is_named(name: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        open_condition(name)


def test_an_unknown_condition_is_named() -> None:
    with pytest.raises(UnknownName, match=r"unknown condition 'gms'.*'gsm'"):
        open_condition("gms")
