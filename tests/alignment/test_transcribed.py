"""Whole files: the words of what was transcribed, and what is left of a damaged file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray
from tests.alignment.spoken import fake_model, say, silence

from xlasr.alignment.words import word_timer
from xlasr.data import audio, voice
from xlasr.data.annotations import TimedText
from xlasr.data.audio import Limits, decode, write_wav
from xlasr.data.corpus import Utterance
from xlasr.decoding.recognise import DecodeOptions
from xlasr.decoding.transcribe import transcribe_file
from xlasr.errors import AudioError


class Loud:
    """Takes every sound for speech; Silero's detector does not take tones for it."""

    def __call__(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = (np.abs(frames).mean(axis=1) > 0.01).astype(np.float32)
        return found


@pytest.fixture(autouse=True)
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "SileroVAD", Loud)


def spoken(said: dict[float, str], seconds: float) -> NDArray[np.float32]:
    """Phrases at given seconds; multiples of 0.16 s, where frames of detector and model meet."""
    samples = silence(seconds)
    for start_s, text in said.items():
        letters = say(text)
        samples[round(start_s * 16_000) :][: len(letters)] = letters
    return samples


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_wav(tmp_path / "a.wav", spoken({2.08: "ahoj rybo", 5.12: "kde jsi"}, 8))
    return tmp_path / "a.wav"


def heard(path: Path, **options: object) -> list[TimedText]:
    return list(transcribe_file(fake_model(), path, DecodeOptions(), **options))  # type: ignore[arg-type]


def test_words_have_times_in_the_recording(path: Path) -> None:
    found = heard(path, words=word_timer(fake_model()))
    assert [s.text for s in found] == ["ahoj rybo", "kde jsi"]
    words = [w for s in found for w in s.words]
    assert [w.text for w in words] == ["ahoj", "rybo", "kde", "jsi"]
    # a letter is 80 ms; the space takes as long as one
    expected = [(2.08, 2.4), (2.48, 2.8), (5.12, 5.36), (5.44, 5.68)]
    for word, (start, end) in zip(words, expected, strict=True):
        assert word.start_s == pytest.approx(start, abs=0.06)
        assert word.end_s == pytest.approx(end, abs=0.09)
        assert word.confidence is not None
        assert 0.9 < word.confidence <= 1
    assert all(s.start_s <= s.words[0].start_s and s.words[-1].end_s <= s.end_s for s in found)
    assert all(s.words == [] for s in heard(path))


def test_text_that_cannot_be_that_of_the_sound_has_no_words() -> None:
    timed = word_timer(fake_model())
    samples = say("ahoj")
    assert [w.text for w in timed(samples, "Ahoj!")] == ["Ahoj!"]
    assert timed(samples, "ahoj " * 30) == []
    assert timed(samples, "1984") == []


def test_what_comes_before_the_damage_is_given(tmp_path: Path) -> None:
    """What is decoded at once (4 MiB, here 65.5 s) is checked at once; the rest goes unheard."""
    samples = spoken({2.08: "ahoj rybo", 63.2: "plave tady kapitan jed", 80.0: "kde jsi"}, 90)
    samples[70 * 16_000] = np.nan
    sf.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    given = []
    with pytest.raises(AudioError, match="NaN"):
        for segment in transcribe_file(fake_model(), tmp_path / "a.wav", DecodeOptions()):
            given.append((segment.start_s, segment.text))
    assert [text for _, text in given] == ["ahoj rybo", "plave tady kapitan jed"]
    assert given[1][0] == pytest.approx(63.0, abs=0.01)


def test_a_file_that_was_never_one_gives_nothing_but_the_error(tmp_path: Path) -> None:
    (tmp_path / "page.wav").write_text("<html>")
    with pytest.raises(AudioError, match="a text file"):
        heard(tmp_path / "page.wav")


def test_the_limit_is_counted_and_there_is_none_by_default(path: Path) -> None:
    assert len(heard(path)) == 2
    assert transcribe_file.__kwdefaults__["limits"].max_seconds == float("inf")
    with pytest.raises(AudioError, match="too long"):
        heard(path, limits=Limits(max_seconds=4))


def test_a_clip_behind_the_limit_of_whole_files_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compressed file is decoded from its start; a corpus may refer to its fifth hour."""
    path = tmp_path / "a.mp3"
    sf.write(path, np.concatenate([say("ahoj")] * 40), 16_000, format="MP3")
    monkeypatch.setitem(decode.__kwdefaults__, "limits", Limits(max_seconds=5))
    with pytest.raises(AudioError, match="too long"):
        audio.decode(path, start_s=9, duration_s=1)
    assert len(Utterance("a", path, 9.0, 1.0, "ahoj", "cs", None, "g").load()) == 16_000
