"""A split whose texts are translations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests import tiny

from xlasr.data import Card, Corpus, Utterance, write_corpus
from xlasr.data.audio import write_wav
from xlasr.data.translation import missing, translated, translation_of
from xlasr.errors import DataError

TOLD = ["One.", "", None, " -- ", 7, "Zwei\u0308  three"]


def corpus(folder: Path) -> Corpus:
    write_wav(folder / "a.wav", tiny.clip(0.5))
    plain = Utterance("0", folder / "a.wav", 0.0, 0.5, "ahoj", "cs", None, "g")
    lines = [
        replace(plain, id=str(i), duration_s=0.1 + i / 20, text=f"ahoj {i}",
                custom={} if told is None else {"translation_en": told})
        for i, told in enumerate(TOLD)
    ]  # fmt: skip
    return write_corpus(folder / "c", {"train": lines}, Card(language="cs"))


def test_only_lines_with_a_translation_are_there(tmp_path: Path) -> None:
    split = corpus(tmp_path).split("train")
    found = translated(split, "en")
    wanted = [("0", "One."), ("5", "Zwe\u00ef three")]
    assert [(u.id, u.text) for u in found] == wanted
    assert [(found[i].id, found[i].text) for i in range(len(found))] == wanted
    assert found.durations_s.tolist() == pytest.approx([0.1, 0.35])
    assert missing(found) == {"no translation into en": 4}
    assert found[1].language == "cs" and len(found.n_symbols) == 2
    assert [translation_of(u, "en") is None for u in split] == [
        False,
        True,
        True,
        True,
        True,
        False,
    ]
    assert translated(split, None) is split and missing(split) == {}


def test_a_language_that_nobody_translated_into(tmp_path: Path) -> None:
    split = corpus(tmp_path).split("train")
    with pytest.raises(
        DataError, match=r"'train' has a translation into 'nl'; found: translation_en"
    ):
        translated(split, "nl")
