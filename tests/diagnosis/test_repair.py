"""--fix: a new corpus that passes a second look; the source keeps every byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from unicodedata import normalize

import pytest
from tests.diagnosis.patients import (
    SMALL,
    Splits,
    examine,
    resound,
    rewrite,
    spoken,
    voice,
    written,
)

from xlasr.data.card import Card
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.quarantine import Quarantine
from xlasr.data.writing import staging, write_corpus, write_manifests
from xlasr.diagnosis import check
from xlasr.diagnosis.material import Material
from xlasr.diagnosis.repair import repair_text
from xlasr.errors import UsageError

CYRILLIC_A = "\u0430"


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ill(splits: Splits, folder: Path) -> Corpus:
    """Everything that --fix repairs, at once."""
    text = {u.id: u.text for side in splits.values() for u in side}
    rewrite(splits, "train-1", text=normalize("NFD", text["train-1"]))
    rewrite(splits, "train-2", text=f"kapi\u200btán\u00ad {text['train-2']}")
    rewrite(splits, "train-3", text=f"kapitán \u00a0{text['train-3']}")
    rewrite(splits, "train-4", text=f"m{CYRILLIC_A}l{CYRILLIC_A}, водка {text['train-4']}")
    rewrite(splits, "train-5", text="...")
    resound(splits, "train-6", voice(0.5, 6), folder)
    resound(splits, "train-7", 0 * voice(3.0, 6), folder)
    splits["train"].append(spoken(folder, "lost", "Kde je ten soubor", "train", 3))
    # the same text only when the look-alike is repaired
    rewrite(splits, "dev-1", text=f"MALÁ LODA. {text['train-8']}")
    rewrite(splits, "train-8", text=f"malá lod{CYRILLIC_A} {text['train-8']}")
    rewrite(splits, "dev-2", text=text["test-2"])
    source = next(u for u in splits["train"] if u.id == "train-9")
    rewrite(splits, "test-3", audio=source.audio, duration_s=source.duration_s)
    quarantine = Quarantine()
    quarantine.add("old", "missing text", "was never transcribed")
    quarantine.note("late", "repeated text", "also in train")
    corpus = write_corpus(folder / "ill", splits, Card("cs", source="test"), quarantine=quarantine)
    (folder / "audio/lost.wav").unlink()
    return corpus


def test_all_repairs_at_once(tmp_path: Path, splits: Splits) -> None:
    before = {name: len(side) for name, side in splits.items()}
    corpus = ill(splits, tmp_path)
    kept = bytes_of(tmp_path)
    first = examine(corpus)
    assert first.exit_code == 1
    done = first.repair(tmp_path / "well")
    assert {k: v for k, v in bytes_of(tmp_path).items() if not k.startswith("well/")} == kept

    assert done.counts == {
        "NFC": 1,
        "invisible characters taken out": 1,
        "white space": 1,
        "look-alike letters": 2,
        "left out: empty text": 1,
        "left out: too much text": 1,
        "left out: silent audio": 1,
        "left out: bad audio": 1,
        "left out of dev: text also in train": 1,
        "left out of dev: text also in test": 1,
        "left out of test: audio also in train": 1,
    }
    changes = [json.loads(line) for line in done.file.read_text("utf-8").splitlines()]
    assert len(changes) == sum(done.counts.values())
    assert {c["id"] for c in changes if c["kind"].startswith("left out")} == {
        "train-5", "train-6", "train-7", "lost", "dev-1", "dev-2", "test-3",
    }  # fmt: skip
    well = done.corpus
    texts = {u.id: u.text for name in well.splits for u in well.split(name)}
    assert texts["train-4"].startswith("mala, водка ")  # a whole foreign word is not touched
    assert texts["train-2"].startswith("kapitán ")
    sizes = {name: len(well.split(name)) for name in well.splits}
    assert sizes == {"train": before["train"] - 3, "dev": before["dev"] - 2, "test": 7}
    notes = (well.path / "notes.jsonl").read_text("utf-8")
    assert notes == (corpus.path / "notes.jsonl").read_text("utf-8") != ""
    lines = (well.path / "quarantine.jsonl").read_text("utf-8").splitlines()
    listed = [json.loads(line) for line in lines]
    assert [e["record"] for e in listed] == ["old", "train-5", "train-6", "train-7", "lost"]
    assert well.card.dropped == {
        "dev: text also in train": 1,
        "dev: text also in test": 1,
        "test: audio also in train": 1,
    }

    second = examine(well)
    assert second.exit_code == 0
    assert not [f.name for f in second.findings if f.fixable]
    again = second.repair(tmp_path / "again")
    assert again.counts == {}
    assert again.corpus.sha256 == well.sha256


def test_audio_inside_the_corpus_goes_along(tmp_path: Path, splits: Splits) -> None:
    with staging(tmp_path / "corpus", overwrite=False) as folder:
        inside = {
            side: [
                spoken(folder, u.id, u.text, side, seed=i + 100 * len(side))
                for i, u in enumerate(utterances[:6])
            ]
            for side, utterances in splits.items()
        }
        rewrite(inside, "train-1", text="...")
        write_manifests(folder, inside, Card("cs"), Quarantine())
    done = examine(Corpus.open(tmp_path / "corpus")).repair(tmp_path / "new")
    names = {path.name for path in (tmp_path / "new/audio").iterdir()}
    assert len(names) == 17 and "train-1.wav" not in names
    (tmp_path / "new").rename(tmp_path / "moved")
    for path in (tmp_path / "corpus/audio").iterdir():
        path.unlink()
    moved = Corpus.open(tmp_path / "moved")
    assert examine(moved).named("unreadable audio") is None
    assert done.counts == {"left out: empty text": 1}


def test_where_a_repair_may_be_written(tmp_path: Path, splits: Splits) -> None:
    corpus = written(tmp_path / "corpus", splits)
    found = examine(corpus, audio=False)
    for target, told in (
        (corpus.path, "lies inside"),
        (corpus.path / "new", "lies inside"),
        (tmp_path, "no corpus"),
    ):
        with pytest.raises(UsageError, match=told):
            found.repair(target)
    assert not (corpus.path / "new").exists()


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("p\u0430n", "pan"),
        ("P\u0410N", "PAN"),
        ("n\u0435b\u0435.\u0421věť", "nebe.Cvěť"),
        ("свет.Počkej", "свет.Počkej"),  # two words, each in one script
        ("\u0430", "\u0430"),  # a whole word: perhaps it is Russian
        ("plav\u0436ba", "plav\u0436ba"),  # looks like nothing in Latin
        ("می\u200cخواهم", "می\u200cخواهم"),  # the joiner is Persian spelling
        ("pa\u200cn \ufeff", "pan"),
        ("Tシャツ", "Tシャツ"),
    ],
)
def test_single_words(text: str, repaired: str, tmp_path: Path) -> None:
    line = "a" * 40 + "e" * 40 + "A" * 40 + "C" * 40
    one = Utterance("a", tmp_path / "a.wav", 0.0, 9.0, f"{line}", "cs", None, "a")
    from xlasr.data.audio import write_wav

    write_wav(one.audio, voice(9.0, 1))
    material = Material(write_corpus(tmp_path / "c", {"train": [one]}, Card("cs")), SMALL)
    steps = [after for _, after in repair_text(material, text)]
    assert ([text, *steps])[-1] == repaired


def test_without_the_audio_only_texts_are_repaired(tmp_path: Path, splits: Splits) -> None:
    corpus = ill(splits, tmp_path)
    (tmp_path / "audio").mkdir(exist_ok=True)
    from xlasr.data.audio import write_wav

    write_wav(tmp_path / "audio/lost.wav", voice(2.0, 3))
    done = check(corpus.path, audio=False, thresholds=SMALL).repair(tmp_path / "well")
    assert "left out: silent audio" not in done.counts
    assert "left out of test: audio also in train" not in done.counts
    assert done.counts["left out: empty text"] == 1
