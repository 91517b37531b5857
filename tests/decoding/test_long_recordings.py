"""A recording of several minutes through ``transcribe_file``: times over several flushes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests import tiny

from xlasr.data.annotations import TimedText
from xlasr.data.audio import decode, write_wav
from xlasr.decoding import transcribe as module
from xlasr.decoding.recognise import DecodeOptions, recognise
from xlasr.decoding.transcribe import AT_ONCE_S, transcribe_file
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import SpeechModel, from_base
from xlasr.models.tokenizer import CharTokenizer

pytestmark = [pytest.mark.real, pytest.mark.slow]

RATE = 16_000
PAUSE_S = 0.8
GREEDY = DecodeOptions()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    """Random, but it says something else for every sound."""
    base = tiny.whisper_dir(tmp_path_factory.mktemp("bases") / "whisper")
    return from_base(
        find_base(str(base)), "ctc", context=Context(8, 8), language="cs",
        alphabet=CharTokenizer(list("abcdefgh")),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def pieces(english_clips: list[tiny.Clip]) -> list[tiny.Clip]:
    """Real prompts between pauses; together well over two flushes of speech."""
    pause = np.zeros(round(PAUSE_S * RATE), dtype=np.float32)
    clips: list[NDArray[np.float32]] = []
    for clip in itertools.cycle(english_clips):
        if sum(len(c) for c in clips) > 2.3 * AT_ONCE_S * RATE:
            return [np.concatenate([pause, clip, pause]) for clip in clips]
        clips.append(clip)
    raise AssertionError("there are no clips")


@pytest.fixture(scope="module")
def found(model: SpeechModel, recording: Path) -> tuple[list[TimedText], list[float]]:
    """What is transcribed, and where progress was told."""
    told: list[float] = []
    return list(transcribe_file(model, recording, GREEDY, progress=told.append)), told


@pytest.fixture(scope="module")
def recording(pieces: list[tiny.Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.wav"
    write_wav(path, np.concatenate(pieces))
    return path


def test_times_and_texts_of_several_minutes(
    model: SpeechModel, recording: Path, found: tuple[list[TimedText], list[float]]
) -> None:
    segments, flushes = found
    samples = decode(recording)
    length_s = len(samples) / RATE
    assert length_s > 300
    assert len(flushes) >= 2
    assert flushes == sorted(flushes)
    # in order, without overlap, inside the file
    edges = [time for s in segments for time in (s.start_s, s.end_s)]
    assert edges == sorted(edges)
    assert edges[0] >= 0 and edges[-1] <= length_s
    assert all(s.start_s < s.end_s for s in segments)
    assert edges[-1] > flushes[-1]  # what came after the last full flush is not lost
    # the text of a segment is that of the samples at its times
    clips = [samples[round(s.start_s * RATE) : round(s.end_s * RATE)] for s in segments]
    again = recognise(model, clips, [len(c) / RATE for c in clips], GREEDY)
    assert [s.text for s in segments] == [r.text for r in again]
    assert len({s.text for s in segments}) > 20


def test_speech_is_where_it_is_in_the_pieces(
    model: SpeechModel,
    pieces: list[tiny.Clip],
    found: tuple[list[TimedText], list[float]],
    tmp_path: Path,
) -> None:
    alone: list[float] = []
    at = 0.0
    for piece in pieces:
        write_wav(tmp_path / "piece.wav", piece)
        for s in transcribe_file(model, tmp_path / "piece.wav", GREEDY):
            alone += [at + s.start_s, at + s.end_s]
        at += len(piece) / RATE
    together = [time for s in found[0] for time in (s.start_s, s.end_s)]
    assert len(together) == len(alone)
    # frames of 32 ms begin elsewhere, and the detector remembers what came before
    far = np.abs(np.array(together) - np.array(alone))
    assert np.median(far) < 0.05
    assert far.max() < 0.4, far


def test_the_size_of_a_flush_changes_nothing(
    model: SpeechModel,
    recording: Path,
    found: tuple[list[TimedText], list[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for at_once_s in (20.0, 1e9):
        monkeypatch.setattr(module, "AT_ONCE_S", at_once_s)
        other = list(transcribe_file(model, recording, GREEDY))
        assert [(s.start_s, s.end_s, s.text) for s in other] == [
            (s.start_s, s.end_s, s.text) for s in found[0]
        ]
