"""One rank from many, counted by hand; ties and what is missing."""

from __future__ import annotations

from itertools import pairwise

import pytest

from xlasr.diagnosis.pivots.ranking import MEASURES, Candidate, Evidence, rank, ranks


def candidate(tag: str, **values: float) -> Candidate:
    evidence = {m.key: Evidence(values.get(m.key), "planted") for m in MEASURES}
    return Candidate(tag, tag.upper(), 0.0, evidence)


def test_ranks() -> None:
    assert ranks({"a": 0.1, "b": 0.3, "c": 0.2}) == {"a": 1, "c": 2, "b": 3}
    assert ranks({"a": 0.1, "b": 0.3, "c": 0.2}, more=True) == {"b": 1, "c": 2, "a": 3}
    assert ranks({"a": 1, "b": 2, "c": 2, "d": 3}) == {"a": 1, "b": 2.5, "c": 2.5, "d": 4}
    assert ranks({"a": 0.999, "b": 1.0, "c": 0.98}, True, 2) == {"a": 1.5, "b": 1.5, "c": 3}
    assert ranks({"a": 0.1 + 0.2, "b": 0.3}) == {"a": 1.5, "b": 1.5}
    assert ranks({}) == {}


def test_kinds_weigh_the_same() -> None:
    one = candidate("aa", ancestors=5, rhythm=0.3, pitch_range=3.0, pitch_slope=30.0)
    two = candidate("bb", ancestors=2, rhythm=0.1, pitch_range=1.0, pitch_slope=10.0)
    ordered = rank([two, one])
    assert [c.score for c in ordered] == [0.5, 0.5]  # once first, once last; prosody is one
    assert [(c.language, c.place, c.tied) for c in ordered] == [("aa", 1, True), ("bb", 1, True)]
    third = candidate("cc", ancestors=1, rhythm=0.2, pitch_range=2.0, pitch_slope=20.0)
    ordered = rank([one, two, third])
    # (1/2 + 5/2) / 3 / 2, (3/2 + 1/2) / 3 / 2, (5/2 + 3/2) / 3 / 2
    assert {c.language: c.score for c in ordered} == pytest.approx(
        {"bb": 2 / 6, "aa": 3 / 6, "cc": 4 / 6}
    )
    assert [(c.language, c.place, c.tied) for c in ordered] == [
        ("bb", 1, False), ("aa", 2, False), ("cc", 3, False),
    ]  # fmt: skip


def test_what_is_missing_neither_helps_nor_harms() -> None:
    full = candidate("aa", ancestors=5, letters=0.9)
    part = candidate("bb", ancestors=2)
    none = candidate("cc")
    ordered = rank([none, part, full])
    assert [c.language for c in ordered] == ["aa", "bb", "cc"]
    assert ordered[0].score == pytest.approx((0.25 + 0.5) / 2)  # alone in its letters: the middle
    assert ordered[1].score == pytest.approx(0.75)
    assert ordered[2].score is None and ordered[2].place == 3
    assert ordered[2].evidence["ancestors"].rank is None


def test_the_measures_have_names_of_their_own() -> None:
    assert len({m.key for m in MEASURES}) == len({m.title for m in MEASURES}) == len(MEASURES)
    kinds = [m.kind for m in MEASURES]
    assert len(set(kinds)) == 1 + sum(a != b for a, b in pairwise(kinds))  # side by side
