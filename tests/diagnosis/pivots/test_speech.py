"""Spectra, rhythm and melody of planted sound; halves of one corpus as the noise floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.alignment.spoken import fake_model, say

from xlasr.data.audio import write_wav
from xlasr.data.corpus import Utterance
from xlasr.diagnosis.pivots import speech
from xlasr.diagnosis.pivots.speech import Clip, Sound

RATE = 16_000


def beats(hertz: float, seconds: float = 2.0, pitch_hz: float = 150.0) -> NDArray[np.float32]:
    """A buzz that grows loud and quiet so many times a second."""
    t = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * k * pitch_hz * t) / k for k in range(1, 11))
    return (0.05 * (0.05 + np.sin(np.pi * hertz * t) ** 2) * buzz).astype(np.float32)


def clip(group: str = "g", **values: NDArray[np.float64]) -> Clip:
    empty = {"steps_s": np.zeros(0), "semitones": np.zeros(0), "slopes": np.zeros(0)}
    scatter = values.pop("scatter", np.zeros((2, 2)))
    return Clip(group, 10, scatter, **(empty | values))


@pytest.mark.parametrize("hertz", [2.5, 4.0, 6.0])
def test_syllables(hertz: float) -> None:
    found = speech.syllables(beats(hertz))
    assert len(found) == pytest.approx(2 * hertz - 1, abs=1)
    np.testing.assert_allclose(found, 1 / hertz, atol=0.011)


def test_a_pause_is_no_syllable() -> None:
    paused = np.concatenate([beats(5, 1), np.zeros(RATE, dtype=np.float32), beats(5, 1)])
    found = speech.syllables(paused)
    np.testing.assert_allclose(found, 0.2, atol=0.011)
    assert len(found) == 8
    assert len(speech.syllables(np.zeros(100, dtype=np.float32))) == 0


def test_a_ripple_is_no_syllable() -> None:
    t = np.arange(2 * RATE) / RATE
    for decibels, n in ((1.0, 0), (6.0, 9)):  # from crest to trough, five times a second
        ripple = 10 ** (decibels / 40 * np.cos(2 * np.pi * 5 * t))
        found = speech.syllables((0.1 * ripple * np.sin(2 * np.pi * 1000 * t)).astype(np.float32))
        assert abs(len(found) - n) <= (1 if n else 0)


def test_a_shoulder_is_no_syllable() -> None:
    # loudness in dB at these times: a syllable falls by 8, and rises by 1 or by 5 on the way down
    t = np.arange(RATE) / RATE
    for rise, n in ((1.0, 0), (5.0, 1)):
        level = np.interp(t, [0, 0.3, 0.5, 0.6, 0.9, 1], [-20, 0, -8, -8 + rise, -20, -24])
        sound = 0.1 * 10 ** (level / 20) * np.sin(2 * np.pi * 1000 * t)
        for played in (sound, sound[::-1]):  # backwards it rises by 8 with a dip on the way
            assert len(speech.syllables(played.astype(np.float32))) == n


def test_letters_are_timed_by_alignment() -> None:
    timer = speech.letter_timer(fake_model())
    # a letter of this voice is 3 frames of 20 ms and 20 ms of silence
    np.testing.assert_allclose(timer(say("ryba plave"), "Ryba plave!"), 0.08)
    assert len(timer(say("ryba plave"), "Ryba plave!")) == 3 + 4  # none over the space
    np.testing.assert_allclose(timer(say("ryba", frames=5), "ryba"), 0.12)
    assert len(timer(say("a"), "text that is far too long for it")) == 0


def test_spectral_distance_by_hand() -> None:
    # Fréchet of centred Gaussians with diagonal covariances: sum of (sd - sd)^2
    one = Sound(clips=[clip(scatter=10 * np.diag([9.0, 4.0]))])
    two = Sound(clips=[clip(scatter=10 * np.diag([1.0, 16.0]))])
    assert speech.spectral_distance(one, two) == pytest.approx(np.sqrt((3 - 1) ** 2 + (2 - 4) ** 2))
    assert speech.spectral_distance(one, one) == pytest.approx(0, abs=1e-4)
    pooled = Sound(clips=[*one.clips, *two.clips])  # covariance diag(5, 10)
    expected = np.sqrt((3 - 5**0.5) ** 2 + (2 - 10**0.5) ** 2)
    assert speech.spectral_distance(one, pooled) == pytest.approx(expected)
    assert np.isnan(speech.spectral_distance(one, Sound()))


def test_the_constant_colour_falls_out() -> None:
    rng = np.random.default_rng(0)
    sound = 0.1 * rng.standard_normal(2 * RATE).astype(np.float32)
    n, scatter = speech.spectra(sound)
    again, louder = speech.spectra(4 * sound)
    assert n == again == 200
    np.testing.assert_allclose(louder, scatter, rtol=1e-3, atol=1e-2 * np.abs(scatter).max())
    quiet = np.concatenate([sound, 1e-4 * sound])  # 80 dB below: no speech
    assert speech.spectra(quiet)[0] == pytest.approx(200, abs=3)
    assert speech.spectra(np.zeros(RATE, dtype=np.float32))[1].max() == pytest.approx(0)


def test_distances_of_distributions() -> None:
    one = Sound(clips=[clip(steps_s=np.full(5, 0.1), semitones=np.array([-1.0, 0, 1]))])
    two = Sound(clips=[clip(steps_s=np.full(9, 0.2), semitones=np.array([-3.0, 0, 3]))])
    assert speech.rhythm_distance(one, two) == pytest.approx(np.log(2))
    # percentile by percentile, a melody three times as wide: 2 |x|, which is 1/2 on average
    assert speech.range_distance(one, two) == pytest.approx(1.0, abs=0.02)
    assert speech.range_distance(one, one) == 0
    assert np.isnan(speech.slope_distance(one, two))


def test_halves_share_no_group() -> None:
    sound = Sound("letters", [clip(f"g{i % 5}") for i in range(20)])
    halves = sound.halves()
    assert halves is not None and [len(half.clips) for half in halves] == [12, 8]
    groups = [{c.group for c in half.clips} for half in halves]
    assert not groups[0] & groups[1] and groups[0] | groups[1] == {f"g{i}" for i in range(5)}
    assert halves[0].rhythm == "letters"
    assert Sound(clips=[clip(), clip()]).halves() is None


def test_listening(tmp_path: Path) -> None:
    utterances = []
    for i, hertz in enumerate((4.0, 5.0)):
        path = tmp_path / f"{i}.wav"
        write_wav(path, beats(hertz))
        utterances.append(Utterance(f"u{i}", path, 0.0, 2.0, "a", "cs", None, f"g{i}"))
    done: list[int] = []
    sound = speech.listen(utterances, progress=done.append)
    assert done == [1, 1] and [c.group for c in sound.clips] == ["g0", "g1"]
    assert np.median(sound.clips[0].steps_s) == pytest.approx(0.25, abs=0.011)
    assert np.abs(sound.clips[0].semitones).max() < 0.1  # one tone has no melody
    assert sound.clips[0].n_frames > 150
