"""The loop guard: its rule, and that watching token by token finds what a look back finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlasr.decoding.hypothesis import LOOP_MAX_N, LoopGuard, find_loop, loop_copies


@pytest.mark.parametrize("n", range(1, LOOP_MAX_N + 1))
def test_a_planted_loop_is_cut_behind_its_first_copy(n: int) -> None:
    gram = list(range(100, 100 + n))
    before = [1, 2, 3]
    copies = loop_copies(n)
    assert find_loop(before + gram * copies + [4, 5]) == len(before) + n
    assert find_loop(before + gram * (copies - 1) + [4, 5]) is None
    assert n * copies >= 12
    assert copies >= 4


def test_what_people_say_is_no_loop() -> None:
    no, comma, stop = 7, 8, 9
    assert find_loop([no, comma] * 5 + [no, stop]) is None  # "no, no, no, no, no, no."
    assert find_loop([no] * 11) is None
    assert find_loop([]) is None


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(1, 8), st.integers(0, 20))
def test_guard_and_look_back_agree(prefix: list[int], n: int, copies: int) -> None:
    tokens = prefix + [3 + i % 3 for i in range(n)] * copies
    guard = LoopGuard(1)
    stopped = next((i for i, t in enumerate(tokens) if guard.push(np.array([t]))[0]), None)
    cut = find_loop(tokens)
    assert (stopped is None) == (cut is None)
    if stopped is not None:
        assert find_loop(tokens[: stopped + 1]) == cut
        assert find_loop(tokens[:stopped]) is None


def test_selected_rows_keep_their_history() -> None:
    guard = LoopGuard(2)
    for i in range(11):
        guard.push(np.array([5, i]))
    moved = guard.select(np.array([1, 0, 0]))
    assert moved.push(np.array([5, 5, 6])).tolist() == [False, True, False]
