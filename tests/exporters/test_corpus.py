"""A corpus goes out as files and comes back through the readers: same texts, times and speakers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from xlasr.cli import app
from xlasr.data import Corpus, Utterance, prepare, write_corpus
from xlasr.data.annotations import FORMATS
from xlasr.data.audio import write_wav
from xlasr.data.card import Card
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import READERS, RawRecord, ReadOptions
from xlasr.errors import CorpusError, DataError, UnknownName, UsageError
from xlasr.exporters.corpus import CORPUS_FORMATS, export_corpus, file_names

READER = {"eaf": "elan", "textgrid": "praat", "srt": "subtitles", "vtt": "subtitles"}
READER |= {"csv": "table", "nemo": "nemo", "labelstudio": "labelstudio", "kaldi": "kaldi"}
TEXTS = ['Řekl: "ano" & ne.', "=1+1, \\ 'a'", "<ano>!", "{3} --> 4", "žába", "a b"]

Found = set[tuple[str, int, int, str]]


def sound(path: Path, seconds: float = 10.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    write_wav(path, 0.1 * rng.standard_normal(int(seconds * 16_000)).astype(np.float32))
    return path


@pytest.fixture
def long(tmp_path: Path) -> Corpus:
    """Two recordings of one name in two folders, cut; a talk of two speakers on two splits."""
    one = sound(tmp_path / "home/day 1/talk.wav")
    two = sound(tmp_path / "home/day 2/talk.wav", 4.0)
    parts = [(one, 0.25), (one, 2.00025), (one, 4.5), (one, 6.0), (two, 0.0), (two, 1.5)]
    utterances = [
        Utterance(
            f"u{n}", audio, start, 1.2501875, text, "cs", "Eva" if n % 2 else "Jan", "g", -1,
            {"alignment_score": -0.25, "line": n},
        )
        for n, ((audio, start), text) in enumerate(zip(parts, TEXTS, strict=True))
    ]  # fmt: skip
    splits = {"train": utterances[:3], "dev": utterances[3:4], "test": utterances[4:]}
    return write_corpus(tmp_path / "corpus", splits, Card(language="cs", source="x"))


def wanted(corpus: Corpus, splits: Sequence[str], format: str) -> Found:
    found = set()
    for name in splits:
        for u in corpus.split(name):
            text = u.text.replace("-->", "->").replace("<ano>", "< ano>")
            end_s = u.start_s + u.duration_s
            found.add(
                (
                    str(u.audio),
                    int(u.start_s * 1000 + 0.5),
                    int(end_s * 1000 + 0.5),
                    " ".join((text if format == "srt" else u.text).split()),
                )
            )
    return found


def read(folder: Path, format: str, **how: Any) -> tuple[Found, list[RawRecord]]:
    options = ReadOptions("cs", say=lambda line: None, **how)
    records = list(READERS[READER[format]](folder, options, Quarantine()))
    found = set()
    for r in records:
        assert r.duration_s is not None
        end_s = r.start_s + r.duration_s
        text = " ".join(r.text.split())
        found.add((str(r.audio.resolve()), round(r.start_s * 1000), round(end_s * 1000), text))
    return found, records


def choice(format: str, media: Path) -> dict[str, Any]:
    """What a person has to say: which tiers, and where formats without links have their sound."""
    if format == "eaf":
        return {"tier_type": "transcription"}
    if format == "textgrid":
        return {"tiers": ["text@Jan", "text@Eva"], "media": media}
    return {"media": media} if format in ("srt", "vtt") else {}


@pytest.mark.parametrize("splits", [(), ("test",), ("dev", "train")])
@pytest.mark.parametrize("format", CORPUS_FORMATS)
def test_what_goes_out_comes_back(
    long: Corpus, tmp_path: Path, format: str, splits: Sequence[str]
) -> None:
    done = export_corpus(long.path, tmp_path / "out", format=format, splits=splits)
    names = list(splits) or long.splits
    assert done.utterances == {name: len(long.split(name)) for name in names}
    assert sorted(p for p in done.folder.rglob("*") if p.is_file()) == sorted(
        done.folder / p for p in done.files
    )
    found, records = read(tmp_path / "out", format, **choice(format, tmp_path / "home"))
    assert found == wanted(long, names, format)
    keeps = {"speaker"} if format == "kaldi" else FORMATS[format].keeps
    if format == "labelstudio":
        assert {r.custom["label"] for r in records} <= {"Jan", "Eva"}
    elif format == "textgrid":
        assert {r.custom["tier"] for r in records} <= {"text@Jan", "text@Eva"}
    elif "speaker" in keeps:
        by_text = {u.text: u.speaker for name in names for u in long.split(name)}
        assert all(r.speaker == by_text[r.text] for r in records)
    if format in ("csv", "nemo"):
        assert {float(r.custom["confidence"]) for r in records} == {0.7788}  # exp(-0.25)
        assert {str(r.custom["line"]) for r in records} == {
            str(u.custom["line"]) for name in names for u in long.split(name)
        }
        assert {r.id for r in records} == {u.id for name in names for u in long.split(name)}
    if format == "csv" or (format in ("nemo", "kaldi") and "train" in names):
        sides = {u.text: name for name in names for u in long.split(name)}
        assert all(r.split == sides[r.text] for r in records)


def test_one_file_a_recording_where_times_are_known(long: Corpus, tmp_path: Path) -> None:
    done = export_corpus(long, tmp_path / "a/b/out", format="eaf")
    assert [p.as_posix() for p in done.files] == ["day 1/talk.eaf", "day 2/talk.eaf"]
    assert done.recordings == 2
    assert done.not_kept == {
        "id": 6, "group": 6, "split": 6, "alignment_score": 6, "line": 6,
    }  # fmt: skip
    xml = (tmp_path / "a/b/out/day 1/talk.eaf").read_text("utf-8")
    assert 'RELATIVE_MEDIA_URL="../../../../home/day 1/talk.wav"' in xml
    export_corpus(long, tmp_path / "grids", format="textgrid")
    assert "xmax = 10.000" in (tmp_path / "grids/day 1/talk.TextGrid").read_text("utf-8")


def test_one_file_a_clip_where_the_corpus_has_copies(tmp_path: Path) -> None:
    for name in "abc":
        sound(tmp_path / f"src/{name}.wav", 1.0)
        (tmp_path / f"src/{name}.txt").write_text(f"text {name}")
    corpus = prepare(tmp_path / "src", tmp_path / "corpus", language="cs", progress=False)
    done = export_corpus(corpus, tmp_path / "out", format="eaf")
    assert sorted(p.name for p in done.files) == ["a.eaf", "b.eaf", "c.eaf"]
    again = prepare(tmp_path / "out", tmp_path / "again", language="cs", progress=False)
    texts = [
        {(u.text, u.custom["samples_sha256"]) for s in c.splits for u in c.split(s)}
        for c in (corpus, again)
    ]
    assert texts[0] == texts[1]  # the very same sound
    assert len(texts[0]) == 3


def test_copied_clips_go_back_to_their_places(tmp_path: Path) -> None:
    talk = sound(tmp_path / "home/talk.wav", 8.0)
    rows = [(0.5, 1.75, "jedna"), (2.0, 3.25, "dvě"), (4.125, 6.0, "tři")]
    table = "audio,start,end,text\n" + "".join(f"talk.wav,{a},{b},{t}\n" for a, b, t in rows)
    (tmp_path / "home/talk.csv").write_text(table)
    made = prepare(tmp_path / "home/talk.csv", tmp_path / "c", language="cs", progress=False)
    assert all(u.audio.is_relative_to(made.path) for s in made.splits for u in made.split(s))
    done = export_corpus(made, tmp_path / "out", format="eaf")
    assert [p.name for p in done.files] == ["talk.eaf"] and done.recordings == 1
    assert not any(name.startswith("source") for name in done.not_kept)
    _, records = read(tmp_path / "out", "eaf")
    places = {(r.start_s, round(r.start_s + (r.duration_s or 0), 3), r.text) for r in records}
    assert places == set(rows)
    assert all(r.audio.resolve() == talk for r in records)
    export_corpus(made, tmp_path / "grid", format="textgrid")
    assert "xmax = 8.000" in (tmp_path / "grid/talk.TextGrid").read_text("utf-8")
    talk.unlink()  # then the copies are all there is
    assert export_corpus(made, tmp_path / "clips", format="eaf").recordings == 3


def test_channels_of_one_recording(tmp_path: Path) -> None:
    audio = sound(tmp_path / "s/a.wav")
    both = [
        Utterance(f"u{c}", audio, 1.0, 1.0, f"text {c}", "cs", None, "g", c, {"id": "x"})
        for c in (0, 1)
    ]
    corpus = write_corpus(tmp_path / "c", {"train": both}, Card(language="cs", source="x"))
    export_corpus(corpus, tmp_path / "csv", format="csv")
    _, records = read(tmp_path / "csv", "csv")
    assert {(r.channel, r.id, r.custom["custom_id"]) for r in records} == {
        (0, "u0", "x"),
        (1, "u1", "x"),
    }
    export_corpus(corpus, tmp_path / "tasks", format="labelstudio")
    _, records = read(tmp_path / "tasks", "labelstudio")
    assert {(r.channel, r.text) for r in records} == {(0, "text 0"), (1, "text 1")}
    done = export_corpus(corpus, tmp_path / "eaf", format="eaf")
    assert done.not_kept["channel"] == 1
    _, records = read(tmp_path / "eaf", "eaf", tiers=["text", "text 2"])
    assert {r.text for r in records} == {"text 0", "text 1"}
    with pytest.raises(DataError, match="channel 1 of"):
        export_corpus(corpus, tmp_path / "kaldi", format="kaldi")
    assert not (tmp_path / "kaldi").exists()


def test_kaldi_sorts_by_bytes_and_begins_keys_with_speakers(long: Corpus, tmp_path: Path) -> None:
    export_corpus(long, tmp_path / "k", format="kaldi", splits=["test", "train"])
    lines = {p.name: p.read_text("utf-8").splitlines() for p in (tmp_path / "k/train").iterdir()}
    assert lines["utt2spk"] == ["Eva-u1 Eva", "Jan-u0 Jan", "Jan-u2 Jan"]
    assert lines["spk2utt"] == ["Eva Eva-u1", "Jan Jan-u0 Jan-u2"]
    assert lines["segments"][0] == "Eva-u1 talk 2.000 3.250"
    assert lines["wav.scp"] == [f"talk {tmp_path}/home/day 1/talk.wav"]
    assert lines["text"][1] == f"Jan-u0 {TEXTS[0]}"


def test_a_confidence_on_another_scale_stays_an_extra_field(long: Corpus, tmp_path: Path) -> None:
    u = replace(long.split("train")[0], custom={"confidence": 87, "tags": ["a", {"b": None}]})
    v = replace(long.split("train")[1], custom={"confidence": 0.5})
    corpus = write_corpus(tmp_path / "c2", {"train": [u, v]}, Card(language="cs", source="x"))
    export_corpus(corpus, tmp_path / "out", format="nemo")
    rows = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    assert [row.get("confidence") for row in rows] == [None, 0.5]
    assert rows[0]["custom_confidence"] == 87
    assert rows[0]["tags"] == ["a", {"b": None}]


def test_names_of_recordings_that_differ_in_their_suffix() -> None:
    media = [Path("/x/a.wav"), Path("/x/a.mp3"), Path("/x/b.cs.wav"), Path("/x/y/a.wav")]
    assert [p.as_posix() for p in file_names(media, ".eaf")] == [
        "a.wav.eaf", "a.mp3.eaf", "b.cs.eaf", "y/a.eaf",
    ]  # fmt: skip
    assert file_names(media[:1], ".srt") == [Path("a.srt")]


def test_wrong_calls_leave_nothing(long: Corpus, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "out"
    with pytest.raises(UnknownName, match="Did you mean 'textgrid'"):
        export_corpus(long, out, format="textgrd")
    with pytest.raises(UnknownName, match="Did you mean 'test'"):
        export_corpus(long, out, splits=["train", "tst"])
    with pytest.raises(UsageError, match="the folder is not empty"):
        export_corpus(long, tmp_path / "full")
    with pytest.raises(UsageError, match="a file or link is there"):
        export_corpus(long, tmp_path / "full/x")
    with pytest.raises(UsageError, match="in the corpus itself"):
        export_corpus(long, long.path / "out")
    with pytest.raises(CorpusError, match="not a corpus"):
        export_corpus(tmp_path / "full", out)
    assert sorted(tmp_path.rglob("*")) == before
    assert export_corpus(long, tmp_path / "empty").files


def test_two_recordings_never_share_a_file(
    long: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xlasr.exporters.corpus as module

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(module, "file_names", lambda media, suffix: [Path("a.eaf")] * len(media))
    with pytest.raises(DataError, match="two recordings would be written to it"):
        export_corpus(long, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_stop_in_the_middle_leaves_nothing(
    long: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xlasr.exporters.corpus as module

    def stop(*_: Any) -> str:
        raise KeyboardInterrupt

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(module, "render", stop)
    with pytest.raises(KeyboardInterrupt):
        export_corpus(long, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_says_what_it_wrote_and_what_it_could_not(long: Corpus, tmp_path: Path) -> None:
    call = ["export-corpus", str(long.path), "--out", str(tmp_path / "out"), "--format", "srt"]
    done = CliRunner().invoke(app, [*call, "--split", "test"])
    assert done.exit_code == 0, done.output
    assert "1 file of 1 recording with 2 utterances (2 of test)" in done.stdout
    assert "srt has no place for: speaker, confidence, id, group" in done.stderr
    assert "(2 utterances)" in done.stderr
    assert len(list((tmp_path / "out").rglob("*.srt"))) == 1


def test_the_verb_is_a_function_of_the_package(long: Corpus, tmp_path: Path) -> None:
    import xlasr

    assert xlasr.export_corpus(long, tmp_path / "o", format="csv").files == [Path("corpus.csv")]
