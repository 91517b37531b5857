"""An aligned recording as files that other tools open, as a corpus, and from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.alignment.spoken import fake_model
from tests.alignment.test_segment import lines, recording
from typer.testing import CliRunner

from xlasr.alignment.output import annotated
from xlasr.alignment.recording import LEFT_OUT, cut_recording, read_transcript, write_recording
from xlasr.alignment.segment import Aligned, Matching, Segmentation
from xlasr.alignment.words import Word
from xlasr.data.annotations import render
from xlasr.data.audio import write_wav
from xlasr.data.corpus import Corpus
from xlasr.errors import AudioError, DataError, UnknownName, UsageError

FOUND = Segmentation(
    [
        Aligned(
            'Řekl: "ano" & <ne>',
            1,
            0.2504,
            1.75,
            -0.123,
            -0.5,
            [
                Word("Řekl:", 0.26, 0.7, 0.91),
                Word('"ano"', 0.7, 1.2, 0.5),
                Word("x", 1.3, 1.3, 0.1),
            ],
        ),
        Aligned("Tady.", 3, 1.75, 3.0, -0.2, -0.2, [Word("Tady.", 1.8, 2.9, 0.8)]),
    ],
    [],
    4.0,
)


def test_an_alignment_is_written_with_confidence_and_words(tmp_path: Path) -> None:
    elan = pytest.importorskip("pympi.Elan")
    path = tmp_path / "a.eaf"
    recording = annotated(FOUND, "/x/a b.wav", words=True)
    path.write_text(render("eaf", [recording]), encoding="utf-8")
    eaf = elan.Eaf(str(path))
    found = {n: sorted(eaf.get_annotation_data_for_tier(n)) for n in eaf.get_tier_names()}
    assert [row[:3] for row in found["text"]] == [
        (250, 1750, 'Řekl: "ano" & <ne>'),
        (1750, 3000, "Tady."),
    ]
    assert [row[2] for row in found["confidence"]] == ["0.884", "0.819"]  # exp(-0.123), exp(-0.2)
    assert found["words"][2][:3] == (1300, 1301, "x")
    assert [row[2] for row in found["word confidence"]] == "0.910 0.500 0.100 0.800".split()


def test_scores_and_lines_go_along_where_there_is_room() -> None:
    with_words = annotated(FOUND, "a.wav", words=True)
    rows = list(csv.DictReader(render("csv", [with_words]).splitlines()))
    assert [row["kind"] for row in rows].count("word") == 4
    assert rows[0]["text"] == 'Řekl: "ano" & <ne>'
    assert (rows[0]["start_s"], rows[0]["end_s"], rows[0]["score"]) == ("0.250", "1.750", "-0.123")
    assert (rows[4]["worst"], rows[4]["line"]) == ("-0.2", "3")
    plain = annotated(FOUND, "a.wav")
    assert len(list(csv.DictReader(render("csv", [plain]).splitlines()))) == 2
    parsed = json.loads(render("json", [with_words]))
    assert parsed["segments"][1]["words"] == [
        {"start": 1.8, "end": 2.9, "word": "Tady.", "confidence": 0.8}
    ]
    assert "xmax = 4.000" in render("textgrid", [plain])


@pytest.fixture
def long(tmp_path: Path) -> tuple[Path, list[str], list[tuple[float, float]]]:
    spoken = lines(60, 4)
    samples, spans = recording(spoken)
    path = tmp_path / "sermon one.wav"
    write_wav(path, samples)
    return path, spoken, spans


def test_a_corpus_refers_to_the_recording_and_lists_what_is_left_out(
    long: tuple[Path, list[str], list[tuple[float, float]]], tmp_path: Path
) -> None:
    path, spoken, spans = long
    written = [*spoken[:7], "nobody says this at all", *spoken[7:]]
    before = path.read_bytes()
    found = cut_recording(fake_model(), path, "\n".join(written), Matching(unit="line"))
    corpus = write_recording(tmp_path / "corpus", path, found, language="cs", licence="CC0-1.0")
    utterances = {u.text: u for name in corpus.splits for u in corpus.split(name)}
    assert set(utterances) == set(spoken)
    assert corpus.card.licence == "CC0-1.0"
    assert len(corpus.splits) == 3
    for text, (start, end) in zip(spoken, spans, strict=True):
        u = utterances[text]
        assert u.audio == path
        assert abs(u.start_s - start) < 0.15
        assert abs(u.start_s + u.duration_s - end) < 0.15
        assert -0.1 < u.custom["alignment_worst"] <= u.custom["alignment_score"] < 0
        assert written[u.custom["line"] - 1] == text
        assert len(u.load()) == round(u.duration_s * 16_000)
    rows = [json.loads(row) for row in (corpus.path / LEFT_OUT).read_text("utf-8").splitlines()]
    assert [(row["what"], row["text"], row["line"]) for row in rows] == [
        ("text", "nobody says this at all", 8)
    ]
    assert path.read_bytes() == before
    assert not (corpus.path / "audio").exists()
    with pytest.raises(UsageError, match="a corpus is there already"):
        write_recording(tmp_path / "corpus", path, found, language="cs")


def test_a_transcript_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("žluťoučký".encode("cp1250"))
    with pytest.raises(DataError, match="cp1250"):
        read_transcript(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_transcript(tmp_path / "none.txt")
    path.write_bytes("\ufeffžlutý".encode())
    assert read_transcript(path) == "žlutý"


def test_the_command_cuts_and_says_what_it_left_out(
    long: tuple[Path, list[str], list[tuple[float, float]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from xlasr import api
    from xlasr.cli import app

    class FakeRun:
        model: Any = fake_model()
        facts: Any = {"language": "cs"}  # noqa: RUF012

    monkeypatch.setattr(api, "open_run", lambda folder: FakeRun())
    monkeypatch.setattr("xlasr.api.exporting.open_run", lambda folder: FakeRun())
    path, spoken, _ = long
    text = tmp_path / "t.txt"
    text.write_text("\n".join([*spoken, "tohle nikdo nezna"]), encoding="utf-16")
    call = ["align", "run", str(path), str(text), "--encoding", "utf-16"]
    done = CliRunner().invoke(app, [*call, "--format", "csv", "--max-seconds", "9"])
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert " ".join(row["text"] for row in rows).split() == " ".join(spoken).split()
    assert 5 < max(float(row["end_s"]) - float(row["start_s"]) for row in rows) <= 9
    assert "left out: line 61" in done.stderr
    too_long = CliRunner().invoke(app, [*call, "--format", "csv", "--max-hours", "0.02"])
    assert "allow more (--max-hours)" in str(too_long.exception)
    call += ["--unit", "line"]
    done = CliRunner().invoke(app, [*call, "--format", "csv"])
    assert done.exit_code == 0, done.output
    assert len(list(csv.DictReader(done.stdout.splitlines()))) == 60
    assert "left out: line 61" in done.stderr
    assert "60 utterances" in done.stderr
    assert "has no place" not in done.stderr
    done = CliRunner().invoke(app, [*call, "--format", "srt", "--words"])
    assert "srt has no place for: confidence, words, score" in done.stderr
    done = CliRunner().invoke(app, [*call, "--out", str(tmp_path / "c")])
    assert done.exit_code == 0, done.output
    corpus = Corpus.open(tmp_path / "c")
    assert sum(len(corpus.split(name)) for name in corpus.splits) == 60
    for wrong in ([], ["--format", "csv", "--out", "x"], ["--words", "--out", "x"]):
        assert isinstance(CliRunner().invoke(app, [*call, *wrong]).exception, UsageError)
    wrong_format = CliRunner().invoke(app, [*call, "--format", "doc"]).exception
    assert isinstance(wrong_format, UnknownName)


def test_api_align_reads_a_path_and_takes_a_string(
    long: tuple[Path, list[str], list[tuple[float, float]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import xlasr

    class FakeRun:
        model: Any = fake_model()

    monkeypatch.setattr("xlasr.api.exporting.open_run", lambda folder: FakeRun())
    path, spoken, _ = long
    text = tmp_path / "t.txt"
    text.write_text(" ".join(f"{line}." for line in spoken), encoding="utf-8")
    found = xlasr.align("run", path, text)
    assert [u.text for u in found.utterances] == [f"{line}." for line in spoken]
    same = xlasr.align("run", path, "\n".join(spoken), unit="line")
    starts = [[u.start_s for u in cut.utterances] for cut in (same, found)]
    assert np.allclose(*starts, atol=0.03)
    assert (
        max(u.end_s - u.start_s for u in xlasr.align("run", path, text, longest_s=2).utterances)
        <= 2
    )
    with pytest.raises(AudioError, match="--max-hours"):
        xlasr.align("run", path, text, max_hours=0.02)
