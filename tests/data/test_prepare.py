"""From folders and tables, good and bad, to a corpus; nothing is lost without a word."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from xlasr.data import audio
from xlasr.data.clips import safe_name
from xlasr.data.corpus import SOURCE, Corpus
from xlasr.data.prepare import prepare
from xlasr.data.text import normalise
from xlasr.errors import DataError, UnknownName, UsageError

RNG = np.random.default_rng(0)


def sound(path: Path, seconds: float = 0.5, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, RNG.uniform(-0.3, 0.3, round(rate * seconds)), rate)
    return path


def said(path: Path, text: str, encoding: str = "utf-8") -> None:
    sound(path)
    path.with_suffix(".txt").write_text(text, encoding)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def quarantined(corpus: Corpus) -> dict[str, tuple[str, str]]:
    lines = (corpus.path / "quarantine.jsonl").read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return {entry["record"]: (entry["reason"], entry["detail"]) for entry in entries}


def read_notes(corpus: Corpus) -> list[dict[str, str]]:
    lines = (corpus.path / "notes.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def texts(corpus: Corpus) -> dict[str, list[str]]:
    return {name: [u.text for u in corpus.split(name)] for name in corpus.splits}


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Thirty good recordings in several formats, and one of each kind of trouble."""
    folder = tmp_path / "in"
    for i in range(30):
        suffix = ["wav", "flac", "ogg"][i % 3]
        said(folder / f"day{i % 2}" / f"rec {i}.{suffix}", f" Věta  číslo {i}.\n")
    said(folder / "bom.wav", "\ufeffSe značkou.")
    sound(folder / "no text.wav")
    (folder / "no audio.txt").write_text("nic")
    said(folder / "old.wav", "Žluťoučký kůň", "cp1250")
    said(folder / "wide.wav", "Široké znaky", "utf-16")
    said(folder / "empty.wav", " ... ")
    said(folder / "twice.wav", "dvakrát")
    sound(folder / "twice.flac")
    (folder / "fake.mp3").write_text("<html>")
    (folder / "fake.txt").write_text("stránka")
    said(folder / "torn.wav", "utržené")
    (folder / "torn.wav").write_bytes((folder / "torn.wav").read_bytes()[:5000])
    said(folder / "mute.wav", "ticho")
    audio.write_wav(folder / "mute.wav", np.zeros(16_000))
    said(folder / ".hidden" / "x.wav", "skryté")
    return folder


def test_a_folder_with_every_kind_of_trouble(
    tmp_path: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = hashes(recordings)
    corpus = prepare(recordings, tmp_path / "corpus", language="ces", licence="CC-BY-4.0")
    assert hashes(recordings) == before
    reasons = {record: reason for record, (reason, _) in quarantined(corpus).items()}
    assert reasons == {
        "no text": "missing text",
        "no audio": "missing audio",
        "old": "bad encoding",
        "wide": "bad encoding",
        "empty": "empty text",
        "twice.wav": "duplicate id",
        "fake": "bad audio",
        "torn": "bad audio",
        "mute": "silent audio",
    }
    details = {record: detail for record, (_, detail) in quarantined(corpus).items()}
    assert "old.txt" in details["old"] and "--encoding cp1252" in details["old"]
    assert "--encoding utf-16" in details["wide"]
    assert "a text file, not audio" in details["fake"]
    assert "truncated" in details["torn"]
    assert corpus.card.quarantined["bad audio"] == 2
    # Everything else is there, tidied, as a 16 kHz copy that equals a decode of the source.
    everything = [u for name in corpus.splits for u in corpus.split(name)]
    assert len(everything) == 32
    assert {u.text for u in everything} >= {"Věta číslo 7.", "Se značkou.", "dvakrát"}
    for utterance in everything:
        (source,) = (
            (p for p in recordings.glob(f"{utterance.id}.*") if p.suffix != ".txt")
            if (utterance.id != "twice")
            else [recordings / "twice.flac"]
        )
        info = sf.info(utterance.audio)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        np.testing.assert_allclose(utterance.load(), audio.decode(source), atol=2e-5)
        assert utterance.duration_s == info.frames / 16_000
    card = corpus.card
    assert (card.language, card.licence, card.group_rule) == ("cs", "CC-BY-4.0", "recording")
    # The person saw it: each damaged file by name, the counts, the splits.
    shown = " ".join(capsys.readouterr().err.split())
    assert "9 records cannot be used" in shown and "fake" in shown and "2 bad audio" in shown
    assert "licence: CC-BY-4.0" in shown


def test_names_and_texts_that_no_file_can_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Latin-1 in a file name, half a surrogate pair in a text: listed, in letters one can print."""
    folder = tmp_path / "in"
    for name in ("a", "b", "káva"):
        said(folder / f"{name}.wav", f"věta {name}")
    for old, new in (("káva.wav", b"caf\xe9.wav"), ("káva.txt", b"caf\xe9.txt")):
        os.rename(folder / old, os.fsencode(folder) + b"/" + new)
    shutil.copy(folder / "a.wav", os.fsencode(folder) + b"/th\xe9.wav")
    corpus = prepare(folder, tmp_path / "corpus", language="cs")
    assert {text for side in texts(corpus).values() for text in side} == {"věta a", "věta b"}
    found = quarantined(corpus)
    assert found["caf\\xe9"][0] == "bad encoding"
    assert f"its file name is not UTF-8: {folder}/caf\\xe9.wav. Rename it" in found["caf\\xe9"][1]
    assert found["th\\xe9"][0] == "missing text"
    assert "caf\\xe9" in capsys.readouterr().err
    rows = [
        {"audio_filepath": "a.wav", "text": "ano"},
        {"audio_filepath": "b.wav", "text": "half \ud800"},
    ]
    exports = [
        {"id": n, "audio": row["audio_filepath"], "text": row["text"], "lead_time": 1}
        for n, row in enumerate(rows)
    ]
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "x.json").write_text(json.dumps(exports))
    for name, reason in (("x.jsonl", "bad row"), ("x.json", "bad encoding")):
        corpus = prepare(folder / name, tmp_path / f"out {name}", language="cs", progress=False)
        assert texts(corpus) == {"train": ["ano"]}
        ((told, detail),) = quarantined(corpus).values()
        assert told == reason and ("half \\ud800" in detail or "surrogate" in detail)


def test_a_source_whose_own_name_is_not_utf8(tmp_path: Path) -> None:
    said(tmp_path / "in/a.wav", "ano")
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    (tmp_path / "in").rename(folder)
    with pytest.raises(UsageError, match=r"caf\\xe9: the path is not UTF-8.*Rename"):
        prepare(folder, tmp_path / "corpus", language="cs", progress=False)


def test_the_same_source_gives_the_same_corpus(tmp_path: Path, recordings: Path) -> None:
    one = prepare(recordings, tmp_path / "a", language="cs", progress=False, workers=1)
    two = prepare(recordings, tmp_path / "b", language="cs", progress=False, workers=4)
    assert one.sha256 == two.sha256


def test_references_instead_of_copies(tmp_path: Path, recordings: Path) -> None:
    copies = prepare(recordings, tmp_path / "a", language="cs", progress=False)
    refer = prepare(recordings, tmp_path / "b", language="cs", progress=False, copy_audio=False)
    assert not (refer.path / "audio").exists()
    for mine, other in zip(refer.split("train"), copies.split("train"), strict=True):
        assert mine.audio.is_relative_to(recordings)
        assert mine.custom == other.custom
        np.testing.assert_allclose(mine.load(), other.load(), atol=2e-5)


def test_the_encoding_can_be_given(tmp_path: Path) -> None:
    for i in range(3):
        said(tmp_path / "in" / f"{i}.wav", f"Žluťoučký kůň {i}", "cp1250")
    corpus = prepare(
        tmp_path / "in", tmp_path / "c", language="cs", encoding="cp1250", progress=False
    )
    assert texts(corpus)["train"][0].startswith("Žluťoučký kůň")
    with pytest.raises(UsageError, match="unknown encoding 'utf8-x'"):
        prepare(tmp_path / "in", tmp_path / "d", language="cs", encoding="utf8-x")


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path) -> None:
    sound(tmp_path / "in" / "a.wav")
    with pytest.raises(DataError, match=r"(?s)not one usable.*1 missing text.*no a\.txt") as caught:
        prepare(tmp_path / "in", tmp_path / "corpus", language="cs", progress=False)
    saved = tmp_path / "corpus.quarantine.jsonl"
    assert str(saved) in str(caught.value) and saved.is_file()
    assert not (tmp_path / "corpus").exists()
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="no audio file in it"):
        prepare(tmp_path / "nothing", tmp_path / "corpus", language="cs")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, UsageError, "which language"),
        ({"language": "czech"}, UsageError, "BCP-47"),
        ({"language": "cs", "reader": "folders"}, UnknownName, "Did you mean 'folder'"),
        ({"language": "cs", "ratios": {"train": 0}}, UsageError, "train=8 dev=1 test=1"),
        ({"language": "cs", "group_by": "village"}, UsageError, "cannot group by 'village'"),
        ({"language": "cs", "source": "fillets-cz"}, UsageError, "Did you mean 'fillets-cs'"),
        ({"language": "nl", "source": "fillets-cs"}, UsageError, "is in 'cs', not in 'nl'"),
        ({"language": "cs", "out": "in"}, UsageError, "is no corpus"),
    ],
)
def test_wrong_calls(
    tmp_path: Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    said(tmp_path / "in" / "a.wav", "ano")
    call: dict[str, object] = {"source": tmp_path / "in", "out": "corpus", **arguments}
    call["out"] = tmp_path / str(call["out"])
    with pytest.raises(error, match=message):
        prepare(**call, progress=False)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == ["a.txt", "a.wav"]


def test_a_corpus_in_the_folder_is_not_read_again(tmp_path: Path) -> None:
    for i in range(4):
        said(tmp_path / f"{i}.wav", f"věta {i}")
    first = prepare(tmp_path, tmp_path / "corpus", language="cs", progress=False)
    again = prepare(tmp_path, tmp_path / "corpus", language="cs", progress=False, overwrite=True)
    assert again.sha256 == first.sha256 and len(quarantined(again)) == 0


# --- segments of long recordings ------------------------------------------------------------


@pytest.mark.parametrize("copy_audio", [True, False])
def test_segments_are_cut_exactly(tmp_path: Path, copy_audio: bool) -> None:
    (tmp_path / "in").mkdir()
    long = RNG.uniform(-0.5, 0.5, (22_050 * 20, 2))
    sf.write(tmp_path / "in" / "long.flac", long, 22_050)
    spans = [(0.0, 1.5), (3.25, 4.0), (3.5, 9.75), (18.0, 20.0), (12.0, 12.5)]
    wrong = [("19.5", "25"), ("7", "7"), ("x", "8"), ("90", "91"), ("-1", "2")]
    lines = ["audio;start;end;text;channel"]
    times = [(str(a), str(b)) for a, b in spans] + wrong
    lines += [f'long.flac;{a};{b};"Díl {i}; celý";1' for i, (a, b) in enumerate(times)]
    (tmp_path / "in" / "t.csv").write_text("\n".join(lines), "utf-8")
    corpus = prepare(
        tmp_path / "in", tmp_path / "c", language="cs", progress=False, copy_audio=copy_audio
    )
    whole = audio.decode(tmp_path / "in" / "long.flac", channel=1)
    got = {u.text: u for u in corpus.split("train")}
    assert sorted(got) == [f"Díl {i}; celý" for i in range(5)]
    for i, (start, end) in enumerate(spans):
        utterance = got[f"Díl {i}; celý"]
        expected = whole[round(start * 16_000) : round(end * 16_000)]
        assert utterance.duration_s == pytest.approx(end - start, abs=1e-6)
        np.testing.assert_allclose(utterance.load(), expected, atol=3e-5)
        if copy_audio:
            assert utterance.custom[SOURCE] == str(tmp_path / "in" / "long.flac")
            place = (utterance.custom["source_start_s"], utterance.custom["source_channel"])
            assert place == (start, 1)
        else:
            assert SOURCE not in utterance.custom
    assert (
        sorted(reason for reason, _ in quarantined(corpus).values())
        == ["bad row"] * 3 + ["out of range"] * 2
    )


def test_where_a_clip_was_cut_out_moves_with_the_corpus(tmp_path: Path) -> None:
    """The path is relative to the corpus; a column of the same name keeps its content."""
    sound(tmp_path / "here/in/a.wav", 3.0)
    lines = ["audio,start,end,text,source", "a.wav,0,1,první,rádio", "a.wav,1.5,3,druhá,"]
    (tmp_path / "here/in/t.csv").write_text("\n".join(lines), "utf-8")
    with zipfile.ZipFile(tmp_path / "here/in.zip", "w") as archive:
        for name in ("a.wav", "t.csv"):
            archive.write(tmp_path / "here/in" / name, f"day 1/{name}")
    folder = tmp_path / "here/in"
    corpus = prepare(folder, tmp_path / "here/c", language="cs", progress=False)
    packed = prepare(f"{folder}.zip", tmp_path / "here/d", language="cs", progress=False)
    assert str(tmp_path) not in (corpus.path / "train.jsonl").read_text("utf-8")
    (tmp_path / "here").rename(tmp_path / "there")
    first, second = Corpus.open(tmp_path / "there/c").split("train")
    assert first.custom[SOURCE] == second.custom[SOURCE] == str(tmp_path / "there/in/a.wav")
    assert (first.custom["custom_source"], first.custom["source_start_s"]) == ("rádio", 0.0)
    assert second.custom["source_start_s"] == 1.5 and "source_channel" not in second.custom
    inside = Corpus.open(tmp_path / "there/d").split("train")[0].custom[SOURCE]
    assert inside == str(tmp_path / "there/in.zip/day 1/a.wav")
    assert packed.card.source.endswith("in.zip")


def test_file_names_are_portable_and_different() -> None:
    ids = ["a", "A", "a/b", "a_b", "a b", "č", "ž", "../x", "CON", "x" * 300, "x" * 301, ".", "a."]
    names = [safe_name(record) for record in ids]
    assert len({name.lower() for name in names}) == len(ids)
    assert all(len(name) < 100 and name.isascii() and "/" not in name for name in names)
    assert not any(name.startswith((".", "-")) and "-" not in name for name in names)
    assert safe_name("cellar.pra-m-zpatky") == "cellar.pra-m-zpatky"


def test_texts_are_compared_as_they_are_scored(tmp_path: Path) -> None:
    """What "the same text" means is the headline normaliser, whose version is on the card."""
    assert normalise("Ano.") == normalise("ANO!")
    said(tmp_path / "in" / "a.wav", "Ano.")
    corpus = prepare(tmp_path / "in", tmp_path / "c", language="cs", progress=False)
    assert corpus.card.normaliser == "headline v1"
    assert corpus.card.created_by.startswith("xlasr ")
