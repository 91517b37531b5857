"""The side of a group never changes, and depends on nothing but the group."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlasr.data.arrange import choose_sides
from xlasr.data.readers.base import RawRecord
from xlasr.data.splits import SPLITS, assign, check_ratios, position, side_of, split_name
from xlasr.errors import UsageError

# Written down once: if one of these moves, every published number has lost its split.
GOLDEN = {
    "airplane": "test",
    "barrel": "dev",
    "bathyscaph": "train",
    "cellar": "test",
    "city": "test",
    "fdto": "test",
    "gods": "train",
    "windoze": "train",
    "vm-goodbye": "train",
    "digits/1": "dev",
    "žluťoučký kůň": "dev",
}


def test_published_sides_stay() -> None:
    assert {group: side_of(group) for group in GOLDEN} == GOLDEN
    # printf 'xlasr-split-6\ncellar' | sha256sum
    assert position("cellar") == 0x1E1955B8BE3758 / 2**56


@given(st.text(max_size=20), st.floats(0.1, 5), st.floats(0, 5), st.floats(0, 5))
def test_ratios_are_relative(group: str, train: float, dev: float, test: float) -> None:
    ratios = {"train": train, "dev": dev, "test": test}
    doubled = {side: 4 * share for side, share in ratios.items()}
    assert side_of(group, ratios=ratios) == side_of(group, ratios=doubled)
    assert side_of(group, ratios=ratios) in [side for side in SPLITS if ratios[side] > 0]


def test_shares_come_out_as_asked() -> None:
    counts = Counter(side_of(f"group {i}") for i in range(20_000))
    shares = {side: counts[side] / 20_000 for side in SPLITS}
    assert shares == pytest.approx({"train": 0.66, "dev": 0.11, "test": 0.23}, abs=0.015)


@pytest.mark.parametrize(
    "ratios",
    [
        {"train": 0.0, "dev": 1.0},
        {"train": 1.0, "dev": -0.1},
        {"train": float("nan")},
        {"train": float("inf")},
        {"train": 0.8, "valid": 0.2},
    ],
)
def test_ratios_that_do_not_work(ratios: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="train=8 dev=1 test=1"):
        check_ratios(ratios)


@given(st.sets(st.text(max_size=8), max_size=30))
def test_no_side_is_empty_where_there_are_enough_groups(groups: set[str]) -> None:
    sides, rule = assign(groups)
    assert set(sides) == groups
    wanted = {0: set(), 1: {"train"}, 2: {"train", "test"}}.get(len(groups), set(SPLITS))
    assert set(sides.values()) >= wanted
    hashed = {group: side_of(group) for group in groups}
    if set(hashed.values()) == set(SPLITS):
        assert sides == hashed and "rank" not in rule
    elif groups:
        assert "dealt by rank" in rule


def test_no_dev_is_made_where_none_is_wanted() -> None:
    sides, _ = assign({f"g{i}" for i in range(9)}, ratios={"train": 1, "test": 1})
    assert set(sides.values()) == {"train", "test"}


def test_names_of_sides() -> None:
    assert [split_name(w) for w in ("Train", " validation ", "eval", "other")] == [
        "train",
        "dev",
        "test",
        None,
    ]


@pytest.mark.parametrize("n_folds", [2, 4])
def test_folds_test_on_other_groups_and_the_first_is_the_split_itself(n_folds: int) -> None:
    groups = {f"scene{i}" for i in range(300)}
    found = [assign(groups, fold=f"{k}/{n_folds}") for k in range(1, n_folds + 1)]
    assert found[0][0] == assign(groups)[0]
    tested = [group for sides, _ in found for group in groups if sides[group] == "test"]
    assert len(tested) == len(set(tested)) > 0.2 * n_folds * len(groups)
    assert "fold 2/" in found[1][1] and "fold" not in assign(groups)[1]


def test_a_handful_of_groups_has_folds_too() -> None:
    groups = {f"recording{i}" for i in range(4)}
    tested = [
        {g for g, side in assign(groups, fold=f"{k}/4")[0].items() if side == "test"}
        for k in range(1, 5)
    ]
    assert all(tested) and len(set.union(*tested)) > 1


def test_a_source_with_its_own_sides_has_no_folds() -> None:
    records = [RawRecord(str(i), Path("a.wav"), "x", split="train") for i in range(3)]
    assert choose_sides(records, ["a", "b", "c"], None)[0] == ["train"] * 3
    with pytest.raises(UsageError, match=r"3 of 3 records.*leave out --fold"):
        choose_sides(records, ["a", "b", "c"], None, "2/4")


@pytest.mark.parametrize("fold", ["0/4", "5/4", "2", "a/b", "-1/4", "5/5"])
def test_folds_that_do_not_work(fold: str) -> None:
    with pytest.raises(UsageError, match="fold"):
        assign({"a", "b"}, fold=fold)
