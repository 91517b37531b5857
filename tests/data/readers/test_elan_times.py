"""ELAN annotations without times of their own: placed as ELAN does, or listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pympi.Elan import Eaf
from tests.data.readers.annotated import read, sound
from tests.data.readers.test_elan import save


def words(tmp_path: Path, *, constraint: str = "Time_Subdivision") -> Eaf:
    """Sentences from 1 to 2 s and from 3 to 4 s, cut into three and two words."""
    sound(tmp_path / "w.wav")
    file = Eaf()
    file.remove_tier("default")
    file.add_linguistic_type("words", constraints=constraint)
    file.add_tier("sentence")
    file.add_tier("word", ling="words", parent="sentence")
    for key, begin, end in [("a1", 1000, 2000), ("a2", 3000, 4000)]:
        slots = [file.generate_ts_id(time) for time in (begin, end)]
        file.tiers["sentence"][0][key] = (*slots, key, None)
        file.annotations[key] = "sentence"
    return file


def subdivide(file: Eaf, slots: list[str], texts: str) -> None:
    """Add a chain of aligned annotations through ``slots``; new ones have no time."""
    for slot in slots:
        file.timeslots.setdefault(slot, None)
    for begin, end, text in zip(slots, slots[1:], texts, strict=False):
        file.tiers["word"][0][f"w{text}"] = (begin, end, text, None)
        file.annotations[f"w{text}"] = "word"


def test_missing_time_slots_are_placed_evenly_as_elan_does(tmp_path: Path) -> None:
    file = words(tmp_path)
    (b1, e1, *_), (b2, e2, *_) = (file.tiers["sentence"][0][f"a{n}"] for n in (1, 2))
    subdivide(file, [b1, "ts101", "ts102", e1], "abc")
    subdivide(file, [b2, "ts103", e2], "de")
    save(file, tmp_path / "w.eaf")
    result = read("elan", tmp_path, tiers=["word"])
    assert result.spans == [
        (1.0, 1.333, "a"), (1.333, 1.666, "b"), (1.666, 2.0, "c"),
        (3.0, 3.5, "d"), (3.5, 4.0, "e"),
    ]  # fmt: skip
    assert all(record.custom["times"] == "interpolated" for record in result.records)
    assert "5 annotations have no times of their own and were placed evenly" in result.said


def test_a_time_in_the_middle_of_a_chain_is_kept(tmp_path: Path) -> None:
    file = words(tmp_path)
    begin, end, *_ = file.tiers["sentence"][0]["a1"]
    file.timeslots["ts102"] = 1900
    subdivide(file, [begin, "ts101", "ts102", end], "abc")
    save(file, tmp_path / "w.eaf")
    result = read("elan", tmp_path, tiers=["word"])
    assert result.spans == [(1.0, 1.45, "a"), (1.45, 1.9, "b"), (1.9, 2.0, "c")]
    assert [r.custom.get("times") for r in result.records] == ["interpolated"] * 2 + [None]


def test_words_of_words_are_placed_below_what_was_placed(tmp_path: Path) -> None:
    file = words(tmp_path)
    begin, end, *_ = file.tiers["sentence"][0]["a1"]
    subdivide(file, [begin, "ts101", end], "ab")
    file.add_tier("syllable", ling="words", parent="word")
    file.timeslots["ts201"] = None
    file.tiers["syllable"][0].update(
        {"s1": ("ts101", "ts201", "b1", None), "s2": ("ts201", end, "b2", None)}
    )
    path = save(file, tmp_path / "w.eaf")
    # The child stands before its parents in the file.
    text = path.read_text("utf-8")
    found = re.findall(r"<TIER .*?</TIER>", text, re.DOTALL)
    assert "syllable" in found[-1]
    for old, new in zip(found, found[::-1], strict=True):
        text = text.replace(old, f"#{new[1:]}", 1)
    path.write_text(text.replace("#TIER", "<TIER"), "utf-8")
    result = read("elan", tmp_path, tiers=["syllable"])
    assert result.spans == [(1.5, 1.75, "b1"), (1.75, 2.0, "b2")]
    assert all(record.custom["times"] == "interpolated" for record in result.records)


def test_what_cannot_be_placed_is_listed(tmp_path: Path) -> None:
    file = words(tmp_path)
    begin, end, *_ = file.tiers["sentence"][0]["a1"]
    subdivide(file, [begin, "ts101", "ts102"], "ab")  # leads nowhere
    after, *_ = file.tiers["sentence"][0]["a2"]
    subdivide(file, [after, "ts201", "ts202", "ts201"], "gcd")  # goes round
    subdivide(file, [end, "ts301"], "e")
    subdivide(file, [begin, end], "f")
    save(file, tmp_path / "w.eaf")
    text = (
        (tmp_path / "w.eaf")
        .read_text("utf-8")
        .replace('TIME_SLOT_ID="ts301"', 'TIME_SLOT_ID="ts309"')
    )
    (tmp_path / "w.eaf").write_text(text, "utf-8")
    result = read("elan", tmp_path, tiers=["word"])
    assert result.spans == [(1.0, 2.0, "f")]
    assert result.reasons == [
        *((f"w annotation w{name}", "no times") for name in "abgcd"),
        ("w annotation we", "bad annotation"),
    ]
    details = [entry.detail for entry in result.quarantine]
    assert "w.eaf: tier 'word', annotation wa: time slot 'ts101' has no time" in details[0]
    assert "time slot 'ts301' is not there" in details[5]


def test_several_annotations_of_one_parent_share_its_time(tmp_path: Path) -> None:
    file = words(tmp_path, constraint="Symbolic_Subdivision")
    file.tiers["word"][1].update({
        "r2": ("a1", "zwei", "r1", None), "r1": ("a1", "eins", None, None),
        "r3": ("a2", "allein", None, None), "r4": ("a9", "verwaist", None, None),
    })  # fmt: skip
    save(file, tmp_path / "w.eaf")
    result = read("elan", tmp_path, tiers=["word"])
    assert sorted(result.spans) == [(1.0, 1.5, "eins"), (1.5, 2.0, "zwei"), (3.0, 4.0, "allein")]
    assert {r.text: r.custom.get("times") for r in result.records} == {
        "eins": "interpolated", "zwei": "interpolated", "allein": None,
    }  # fmt: skip
    assert result.reasons == [("w annotation r4", "no times")]


@pytest.mark.parametrize(
    ("constraint", "previous"), [("Symbolic_Association", "r1"), ("Symbolic_Subdivision", None)]
)
def test_siblings_without_an_order_and_reference_chains(
    tmp_path: Path, constraint: str, previous: str | None
) -> None:
    """An association has one child at most; several of a subdivision need an order."""
    file = words(tmp_path, constraint=constraint)
    file.tiers["word"][1].update({
        "r1": ("a1", "x", None, None), "r2": ("a1", "y", previous, None),
        "r3": ("a2", "z", None, None),
    })  # fmt: skip
    file.add_tier("gloss", ling="words", parent="word")
    file.tiers["gloss"][1].update({"g3": ("r3", "Z", None, None), "g1": ("r1", "X", None, None)})
    save(file, tmp_path / "w.eaf")
    result = read("elan", tmp_path, tiers=["word", "gloss"])
    assert result.spans == [(3.0, 4.0, "z"), (3.0, 4.0, "Z")]
    assert [record for record, reason in result.reasons if reason == "no times"] == [
        "w annotation r1", "w annotation r2", "w annotation g1",
    ]  # fmt: skip
