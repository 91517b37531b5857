"""Inventories counted by hand, and phones of real text by espeak-ng."""

from __future__ import annotations

from collections import Counter

import pytest

from xlasr.data.synthesis import phones, spoken_as
from xlasr.diagnosis.pivots.phones import NUMBERS, covered, distance, overlap, segments
from xlasr.errors import DataError


def differing(one: str, other: str) -> float:
    """Distance of two phones by a target that has only one and a pivot that has only the other."""
    return distance({one: 1}, {other: 1})


def test_overlap_by_hand() -> None:
    target = {"a": 5, "r": 3, "ř": 2}  # of 10
    pivot = {"a": 4, "r": 2, "x": 14}  # of 20
    assert overlap(target, pivot) == pytest.approx(min(0.5, 0.2) + min(0.3, 0.1))
    assert overlap(target, target) == pytest.approx(1)
    assert overlap(target, {"x": 1}) == 0
    assert covered(target, pivot) == pytest.approx(0.8)
    assert covered(pivot, target) == pytest.approx(0.3)


def test_features_of_phones() -> None:
    n = 24  # features of PanPhon's table
    assert len(segments("a")[0]) == n
    assert differing("p", "p") == 0
    assert differing("p", "b") == pytest.approx(1 / n)  # voice alone
    assert differing("a", "aː") == pytest.approx(1 / n)
    assert differing("a", "ã") == pytest.approx(1 / n)  # composed or not
    assert segments("ã") == segments("a\u0303")
    assert segments("tʃ") == segments("t\u0361ʃ") and len(segments("tʃ")) == 1
    assert len(segments("aɪ")) == 2
    assert segments("ç") != segments("c")
    assert segments("g") == segments("ɡ")
    assert segments("☃") == ()


def test_distance_by_hand() -> None:
    # of four phones of the target two are there, one is a voice away and one a length
    target = {"a": 2, "b": 1, "iː": 1}
    pivot = {"a": 10, "p": 10, "i": 10}
    assert distance(target, pivot) == pytest.approx((0 + 0 + 1 / 24 + 1 / 24) / 4)
    # a phone of loan words is none to learn from
    assert distance({"b": 1}, {"p": 9999, "b": 1}) == pytest.approx(1 / 24)
    assert distance({"☃": 1}, pivot) != distance({"☃": 1}, pivot)  # nan: nothing is known of it


def test_phones_of_text() -> None:
    assert phones(["Žižka je tu."], "cs") == Counter("ʒ i ʃ k a j e t u".split())
    found = phones(["het weekend"], "nl")  # read by English rules
    assert found == Counter("h ə t".split())
    assert sum(phones([NUMBERS], "de").values()) > 500
    assert phones(["ano", "ano"], "cs")["n"] == 2
    assert phones([], "cs") == Counter()
    assert phones(["¡Hola! ¿Qué?"], "es") == phones(["hola", "qué"], "es")


def test_voices() -> None:
    assert spoken_as("pt-BR") == "pt-br"
    assert spoken_as("cs-CZ") == "cs"
    assert spoken_as("zh-Hant") == "cmn"
    assert spoken_as("qaa") is None
    with pytest.raises(DataError, match="no voice for 'qaa'"):
        phones(["a"], "qaa")
