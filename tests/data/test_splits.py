"""The side of a group never changes, and depends on nothing but the group."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
