"""``xlasr transcribe``: every format, recordings that fail, words with times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.home import Command, assert_told
from tests.training import small

from xlasr.data.annotations import FORMATS, TimedText
from xlasr.data.audio import decode
from xlasr.errors import AudioError


@pytest.mark.parametrize("format", list(FORMATS))
def test_transcripts_in_every_format(
    xlasr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    # nobody takes tones for speech: what is heard is given, and how it is written is looked at
    heard = TimedText(0.1, 0.3, "áb & <c>", confidence=0.25)
    monkeypatch.setattr("xlasr.api.opened.transcribe_file", lambda *_, **__: iter([heard]))
    files = ["tones-audio/tones-dev-0.wav", "tones-audio/tones-dev-2.wav"]
    result = xlasr(f"transcribe ctc-run {' '.join(files)} --format {format} --out {tmp_path}")
    assert result.returncode == 0, result
    told = f"{format} has no place for: confidence (2 utterances)"
    assert (told in result.stderr) == (format in ("srt", "vtt"))
    written = sorted(tmp_path.iterdir())
    assert [p.stem for p in written] == ["tones-dev-0", "tones-dev-2"]
    text = written[0].read_text("utf-8")
    assert "áb " in text
    confident = {"eaf": ">0.250<", "textgrid": '"0.250"', "csv": ",0.2500", "txt": "áb"}
    assert confident.get(format, "0.25" if format not in ("srt", "vtt") else "-->") in text
    if format == "textgrid":
        length_s = len(decode(Path(files[0]))) / 16_000
        assert f"xmax = {length_s:.3f}" in text
    if format == "labelstudio":
        assert "predictions" in text
    if format in ("csv", "nemo", "labelstudio", "txt"):
        together = xlasr(f"transcribe ctc-run {' '.join(files)} --format {format}").stdout
        assert together.count("áb") == 2
        assert together.count("start_s") == (format == "csv")  # one table


def test_what_was_heard_before_a_recording_fails_is_written(
    xlasr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(model: Any, path: Path, *_: Any, **__: Any) -> Iterator[TimedText]:
        if path.stem == "tones-dev-0":
            yield TimedText(0.1, 0.3, "áb")
            yield TimedText(1.1, 1.3, "cd")
        raise AudioError(f"{path}: damaged")

    monkeypatch.setattr("xlasr.api.opened.transcribe_file", failing)
    files = "tones-audio/tones-dev-0.wav tones-audio/tones-dev-2.wav"
    for format in ("txt", "textgrid"):
        result = xlasr(f"transcribe ctc-run {files} --format {format} --out {tmp_path}")
        assert_told(
            result,
            1,
            "error: tones-audio/tones-dev-0.wav: damaged",
            "1 of 2 recordings were not transcribed: tones-audio/tones-dev-2.wav",
            "only in part, and what there is was written: tones-audio/tones-dev-0.wav (until 1.3",
        )
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "tones-dev-0.TextGrid",
        "tones-dev-0.txt",
    ]
    assert (tmp_path / "tones-dev-0.txt").read_text("utf-8") == "áb\ncd\n"


def test_an_aligner_gives_the_words_of_another_family_their_times(
    xlasr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Whisper would write is given; its words are found by a real CTC run."""
    samples = small.tones("abc fed")

    def told(model: Any, path: Path, *_: Any, words: Any, **__: Any) -> Iterator[TimedText]:
        assert model.family == "seq2seq"
        yield TimedText(0, len(samples) / 16_000, "Abc fed! 7", words(samples, "Abc fed! 7"))

    monkeypatch.setattr("xlasr.api.opened.transcribe_file", told)
    call = "transcribe seq2seq-run tones-audio/tones-dev-0.wav --format json --words"
    result = xlasr(f"{call} --aligner ctc-run")
    assert result.returncode == 0, result
    assert "tones-dev-0.wav: 1 of 3 words have no times" in result.stderr
    words = json.loads(result.stdout)["segments"][0]["words"]
    assert [w["word"] for w in words] == ["Abc", "fed!"]
    assert 0 <= words[0]["start"] < words[0]["end"] <= words[1]["start"] < words[1]["end"]
    assert all(0 < w["confidence"] <= 1 for w in words)
    plain = xlasr(f"{call.replace('json', 'txt')} --aligner ctc-run")
    assert "txt has no place for: words (1 utterances)" in plain.stderr
