"""Every check finds its planted defect, names the record, and is silent about a sound corpus."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from tests.diagnosis import patients
from tests.diagnosis.patients import Splits, examine, healthy, resound, rewrite, spoken, written

from xlasr.data.language import identifier, known_as
from xlasr.diagnosis import Thresholds
from xlasr.diagnosis.doctor import CHECKS

Plant = Callable[[Splits, Path], None]


def text_of(splits: Splits, name: str) -> str:
    return next(u.text for side in splits.values() for u in side if u.id == name)


def retext(name: str, change: Callable[[str], str]) -> Plant:
    return lambda splits, _: rewrite(splits, name, text=change(text_of(splits, name)))


def sound(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    return lambda splits, path: resound(splits, name, change(patients.voice(4.0, 77)), path)


def silent_edges(samples: np.ndarray) -> np.ndarray:
    quiet = patients.voice(12.0, 5, level=0.0, noise=3e-5)
    return np.concatenate([quiet, samples])


def same_text(splits: Splits, folder: Path) -> None:
    rewrite(splits, "test-3", text=text_of(splits, "train-7").upper().rstrip("."))


def same_audio(splits: Splits, folder: Path) -> None:
    source = next(u for u in splits["train"] if u.id == "train-7")
    rewrite(splits, "dev-2", audio=source.audio, duration_s=source.duration_s)


def contradiction(splits: Splits, folder: Path) -> None:
    source = next(u for u in splits["train"] if u.id == "train-7")
    rewrite(splits, "train-9", audio=source.audio, duration_s=source.duration_s)


def copied(splits: Splits, folder: Path) -> None:
    contradiction(splits, folder)
    rewrite(splits, "train-9", text=text_of(splits, "train-7"))


def lost(splits: Splits, folder: Path) -> None:
    splits["train"].append(spoken(folder, "lost", "Kde je ten soubor", "train", 3))


def impossible(splits: Splits, folder: Path) -> None:
    resound(splits, "train-5", patients.voice(0.5, 5), folder)


def long_clip(splits: Splits, folder: Path) -> None:
    text = " ".join([text_of(splits, "train-5")] * 11)
    splits["train"].append(spoken(folder, "long", text, "train", 5))


def short_clip(splits: Splits, folder: Path) -> None:
    splits["train"].append(
        spoken(folder, "short", "Ano", "train", 5, samples=patients.voice(0.22, 5))
    )


def add(words: str, name: str = "train-3") -> Plant:
    return retext(name, lambda text: f"{text} {words}")


def move(**changes: str) -> Plant:
    return lambda splits, _: rewrite(splits, "test-1", **changes)


def hiss(samples: np.ndarray) -> np.ndarray:
    return samples + 0.05 * np.random.default_rng(1).standard_normal(len(samples))


NO_LETTER = "letters that train does not have"
FOUND = [
    # finding, severity and whether --fix removes it, record, defect
    ("not NFC", "warning fix", "train-3", retext("train-3", lambda t: normalize("NFD", t))),
    ("invisible characters", "warning fix", "train-3", add("kapi\u200btán")),
    ("white space", "note fix", "train-3", add("\u00a0 kapitán")),
    ("damaged letters", "blocking", "train-3", add("žralok".encode().decode("latin-1"))),
    ("damaged letters", "blocking", "train-3", add("lo\ufffd")),
    ("look-alike letters", "blocking fix", "train-3", add("kap\u0430")),
    ("words in another script", "note", "test-3", add("водка", "test-3")),
    (NO_LETTER, "blocking", "test-3", add("водка водка", "test-3")),
    (NO_LETTER, "note", "test-3", add("roku 7", "test-3")),
    ("two scripts in a word", "note", "train-3", add("plav\u0436ba")),
    ("rare letters", "note", "train-3", add("quark")),
    ("figures", "warning", "train-3", add("roku 1998")),
    ("abbreviations and signs", "note", "train-3", add("např. dnes")),
    ("abbreviations and signs", "note", "train-3", add("UFO")),
    ("abbreviations and signs", "note", "train-3", add("pět %")),
    ("notes among the words", "warning", "train-3", add("[smích]")),
    ("empty text", "blocking fix", "train-3", retext("train-3", lambda t: "...")),
    ("silent clips", "blocking fix", "train-4", sound("train-4", lambda x: 0 * x)),
    ("clipped audio", "note", "train-4", sound("train-4", lambda x: (8 * x).clip(-0.8, 0.8))),
    ("very quiet", "note", "train-4", sound("train-4", lambda x: 0.02 * x)),
    ("noisy audio", "note", "train-4", sound("train-4", hiss)),
    ("silence at the edges", "note", "train-4", sound("train-4", silent_edges)),
    ("too little text", "warning", "train-4", sound("train-4", lambda x: np.tile(x, 5))),
    ("too much text", "warning", "train-4", sound("train-4", lambda x: x[: len(x) // 4])),
    ("unreadable audio", "blocking fix", "lost", lost),
    ("same text on two sides", "blocking fix", "test-3", same_text),
    ("same audio on two sides", "blocking fix", "dev-2", same_audio),
    ("same audio, two transcripts", "warning", "train-9", contradiction),
    ("same audio twice", "note", "train-9", copied),
    ("more text than sound", "blocking fix", "train-5", impossible),
    ("too long", "warning", "long", long_clip),
    ("too short", "warning", "short", short_clip),
    ("same speaker on two sides", "warning", "test-1", move(speaker="train-1")),
    ("same group on two sides", "warning", "test-1", move(group="train-1")),
]


def test_a_healthy_corpus_is_healthy(tmp_path: Path, splits: Splits) -> None:
    found = examine(written(tmp_path / "corpus", splits))
    assert found.findings == []
    assert found.exit_code == 0
    assert len(found.passed) + len(found.skipped) == len(CHECKS) - 1  # no vocabulary was asked


@pytest.mark.parametrize(("name", "severity", "record", "plant"), FOUND)
def test_a_planted_defect_is_found(
    tmp_path: Path, splits: Splits, name: str, severity: str, record: str, plant: Plant
) -> None:
    plant(splits, tmp_path)
    corpus = written(tmp_path / "corpus", splits)
    if record == "lost":
        (tmp_path / "audio/lost.wav").unlink()
    diagnosis = examine(corpus)
    finding = diagnosis.named(name)
    assert finding is not None, [f.name for f in diagnosis.findings]
    assert [r.id for r in finding.records] == [record]
    assert finding.severity + " fix" * finding.fixable == severity
    assert finding.message and finding.advice
    if name == "silence at the edges":  # which is no slow speech
        assert diagnosis.named("too little text") is None
    assert diagnosis.exit_code == (any(f.severity == "blocking" for f in diagnosis.findings))


def test_one_slip_in_many_lines_is_no_reason_to_stop(tmp_path: Path) -> None:
    splits = healthy(tmp_path, n_train=90)
    rewrite(splits, "train-3", text=text_of(splits, "train-3") + " kap\u0430")
    found = examine(written(tmp_path / "corpus", splits), audio=False)
    slips = found.named("look-alike letters")
    assert slips is not None and slips.severity == "warning" and found.exit_code == 0
    assert found.named("rare letters") is None  # the same letter once is enough


def test_an_orthography_of_two_scripts_is_no_slip(tmp_path: Path, splits: Splits) -> None:
    """Greek beta as a letter of a Latin alphabet, and Latin letters inside Japanese words."""
    for name in ("train-3", "train-4", "train-5", "train-6", "train-7"):
        rewrite(splits, name, text=text_of(splits, name) + " βala Tシャツ")
    rewrite(splits, "train-8", text=text_of(splits, "train-8") + " Tシャツ")
    found = examine(written(tmp_path / "corpus", splits), audio=False)
    assert found.named("look-alike letters") is None
    two = found.named("two scripts in a word")
    assert two is not None and two.severity == "note" and len(two.records) == 5


def test_czech_capitals_are_not_damage(tmp_path: Path, splits: Splits) -> None:
    """Words whose cp1252 bytes happen to be UTF-8 of some rare sign."""
    rewrite(splits, "train-3", text=text_of(splits, "train-3") + " NEJSPÍŠ Úžas")
    assert (
        examine(written(tmp_path / "corpus", splits), audio=False).named("damaged letters") is None
    )


@pytest.mark.parametrize("missing", ["train", "dev", "test"])
def test_missing_sides(tmp_path: Path, splits: Splits, missing: str) -> None:
    del splits[missing]
    found = examine(written(tmp_path / "corpus", splits), audio=False).named(f"no {missing}")
    assert found is not None
    assert found.severity == ("warning" if missing == "test" else "blocking")


def test_small_sides_are_told(tmp_path: Path, splits: Splits) -> None:
    found = examine(written(tmp_path / "c", splits), audio=False, thresholds=Thresholds())
    assert [f.name for f in found.findings] == ["little to train on", "small test"]
    assert "test has 0.5 minutes in 5 groups" in found.findings[1].message


@pytest.mark.parametrize(
    ("language", "name", "severity"),
    [("nl", "another language", "warning"), ("hsb", "language not known", "note"), ("cs", "", "")],
)
def test_language(tmp_path: Path, splits: Splits, language: str, name: str, severity: str) -> None:
    found = examine(written(tmp_path / "c", splits, language), audio=False).findings
    assert [(f.name, f.severity) for f in found] == ([(name, severity)] if name else [])
    if language == "nl":
        assert "'cs'" in found[0].message


def test_language_codes() -> None:
    labels = {"no", "zh", "tl", "sr", "cs"}
    codes = {"nb": "no", "cmn": "zh", "fil": "tl", "sr-Latn": "sr", "cs-CZ": "cs", "hsb": ""}
    assert {tag: known_as(tag, labels) for tag in codes} == codes


def test_without_the_language_package(
    tmp_path: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    found = examine(written(tmp_path / "c", splits), audio=False)
    assert any("pip install 'xlasr[check]'" in line for line in found.skipped)
    assert found.findings == []


def test_without_audio_nothing_is_read(tmp_path: Path) -> None:
    splits = healthy(tmp_path, n_train=30)
    corpus = written(tmp_path / "corpus", splits)
    for path in (tmp_path / "audio").iterdir():
        path.unlink()
    found = examine(corpus, audio=False)
    assert {line.split(": ")[1] for line in found.skipped if "audio" in line} == {
        "the audio was not looked at (--no-audio)"
    }
    assert examine(corpus).blocking[0].name == "unreadable audio"


def test_the_vocabulary_must_fit_the_text(tmp_path: Path, splits: Splits) -> None:
    corpus = written(tmp_path / "c", splits)
    sizes = {}
    for n in (20, 45, 5000):
        sizes[n] = examine(corpus, audio=False, pieces=n).findings
    assert sizes[45] == []
    for n in (20, 5000):
        assert [(f.name, f.severity) for f in sizes[n]] == [("vocabulary does not fit", "blocking")]
    most = re.search(r"at most (\d+)", sizes[5000][0].advice)
    assert most is not None and "at least " in sizes[20][0].advice
    found = examine(corpus, audio=False, pieces=int(most[1])).findings
    assert [(f.name, f.severity) for f in found] == [("vocabulary too large", "warning")]


def test_limits_can_be_moved(tmp_path: Path, splits: Splits) -> None:
    strict = replace(patients.SMALL, shortest_s=1000.0)
    found = examine(written(tmp_path / "c", splits), audio=False, thresholds=strict)
    assert "shorter than 1000 s" in found.findings[0].message
    assert found.to_dict()["thresholds"]["shortest_s"] == 1000.0
