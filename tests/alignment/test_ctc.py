"""Forced alignment against every alignment there is, planted times, and inputs that cannot be."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xlasr.alignment import viterbi
from xlasr.alignment.ctc import align_ctc, align_lattice, frames_needed
from xlasr.alignment.viterbi import Lattice, Viterbi
from xlasr.errors import DataError


def random_log_probs(n_frames: int, n_vocab: int, seed: int) -> NDArray[np.float64]:
    logits = 2 * np.random.default_rng(seed).standard_normal((n_frames, n_vocab))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def collapse(path: tuple[int, ...], blank: int) -> list[int]:
    return [k for k, _ in itertools.groupby(path) if k != blank]


def best_by_enumeration(log_probs: NDArray[np.float64], symbols: list[int], blank: int) -> float:
    """The best of all V ** T paths that collapse to the text: Graves 2006, equation 3."""
    n_frames, n_vocab = log_probs.shape
    best = -np.inf
    for path in itertools.product(range(n_vocab), repeat=n_frames):
        if collapse(path, blank) == symbols:
            best = max(best, sum(log_probs[t, k] for t, k in enumerate(path)))
    return float(best)


def plain_viterbi(log_probs: NDArray[np.float64], symbols: list[int], blank: int) -> float:
    """The textbook recursion, state by state, with the whole table kept."""
    extended = [blank]
    for s in symbols:
        extended += [s, blank]
    table = np.full((len(log_probs), len(extended)), -np.inf)
    table[0, :2] = log_probs[0, extended[:2]]
    for t in range(1, len(log_probs)):
        for s, label in enumerate(extended):
            best = table[t - 1, s]
            if s:
                best = max(best, table[t - 1, s - 1])
            if s > 1 and label != blank and label != extended[s - 2]:
                best = max(best, table[t - 1, s - 2])
            table[t, s] = best + log_probs[t, label]
    return float(table[-1, -2:].max())


def path_of(states: NDArray[np.int64], symbols: list[int], blank: int) -> tuple[int, ...]:
    return tuple(symbols[s // 2] if s % 2 else blank for s in states.tolist())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 6),
    st.lists(st.integers(1, 2), min_size=1, max_size=4),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_equals_the_best_of_all_paths(
    n_frames: int, symbols: list[int], seed: int, last_is_blank: bool
) -> None:
    blank = 2 if last_is_blank else 0
    symbols = [s - 1 for s in symbols] if last_is_blank else symbols
    log_probs = random_log_probs(n_frames, 3, seed)
    if frames_needed(np.array(symbols)) > n_frames:
        with pytest.raises(DataError, match="cannot be said"):
            align_ctc(log_probs, symbols, blank=blank)
        return
    found = align_ctc(log_probs, symbols, blank=blank)
    assert found.log_prob == pytest.approx(best_by_enumeration(log_probs, symbols, blank))
    path = path_of(found.states, symbols, blank)
    assert collapse(path, blank) == symbols
    for i, symbol in enumerate(symbols):
        frames = range(found.starts[i], found.ends[i])
        assert all(path[t] == symbol for t in frames)
        assert found.scores[i] == pytest.approx(np.mean([log_probs[t, symbol] for t in frames]))
    assert (found.starts[1:] >= found.ends[:-1]).all()


def planted(spans: list[tuple[int, int, int]], n_frames: int, n_vocab: int) -> NDArray[np.float64]:
    probs = np.full((n_frames, n_vocab), 0.01)
    probs[:, 0] = 0.9
    for symbol, start, end in spans:
        probs[start:end, 0], probs[start:end, symbol] = 0.05, 0.85
    return np.log(probs / probs.sum(axis=1, keepdims=True))


def test_planted_times_with_repeats_come_back() -> None:
    spans = [(1, 3, 5), (2, 5, 6), (2, 8, 11), (2, 12, 13), (3, 20, 24)]
    found = align_ctc(planted(spans, 30, 5), [symbol for symbol, _, _ in spans])
    assert list(zip(found.starts.tolist(), found.ends.tolist(), strict=True)) == [
        span[1:] for span in spans
    ]
    assert np.exp(found.scores) == pytest.approx(0.85 / 0.93)


def test_equal_neighbours_need_a_blank_between() -> None:
    log_probs = np.log(np.array([[0.01, 0.99]] * 3))
    found = align_ctc(log_probs, [1, 1])
    assert found.starts.tolist() == [0, 2]
    with pytest.raises(DataError, match=r"2 symbols cannot be said in 2 frames.*need 3"):
        align_ctc(log_probs[:2], [1, 1])


@pytest.mark.parametrize(
    ("log_probs", "symbols", "message"),
    [
        (np.log(np.full((9, 3), 1 / 3)), [], "no text to align"),
        (np.log(np.full((9, 3), 1 / 3)), [1, 3], "ids from 0 to 2"),
        (np.log(np.full((9, 3), 1 / 3)), [1, 0], "without the blank 0"),
        (np.log(np.full(9, 1 / 3)), [1], "shape"),
        (np.full((9, 3), np.nan), [1], "NaN"),
        (np.full((9, 3), 1 / 3), [1], "above 0"),
    ],
)
def test_what_cannot_be_aligned_is_named(
    log_probs: NDArray[np.float64], symbols: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        align_ctc(log_probs, symbols)


def test_an_impossible_symbol_is_still_placed() -> None:
    log_probs = np.log(np.full((6, 3), 1 / 3))
    log_probs[:, 2] = -np.inf
    found = align_ctc(log_probs, [1, 2, 1])
    assert found.scores[1] == viterbi.LOWEST
    assert found.starts[0] < found.starts[1] < found.starts[2]


@pytest.mark.parametrize("exact", [0, 1 << 30])
@pytest.mark.parametrize("budget_mb", [256.0, 0.001])
def test_checkpoints_give_the_best_path_of_the_whole_lattice(
    monkeypatch: pytest.MonkeyPatch, exact: int, budget_mb: float
) -> None:
    """Many blocks, a text that lies far off the diagonal, float32 and float64."""
    monkeypatch.setattr(viterbi, "_EXACT", exact)
    rng = np.random.default_rng(1)
    symbols = rng.integers(1, 5, 120).tolist()
    log_probs = random_log_probs(1000, 5, 7)
    log_probs[150:800, 0] = -0.01  # all of the text is at both ends
    search = Viterbi(Lattice(log_probs, np.array(symbols)), budget_mb)
    assert search.step < 1000 or budget_mb < 1
    search.step = 37
    states = search.path()
    path = path_of(states, symbols, 0)
    assert collapse(path, 0) == symbols
    score = log_probs[np.arange(1000), list(path)].sum()
    assert score == pytest.approx(
        plain_viterbi(log_probs, symbols, 0), abs=1e-2 if not exact else 1e-9
    )


def brute_force_with_skips(lattice: Lattice, units: list[list[int]]) -> float:
    """Every choice of units to keep; what is kept is aligned by the plain recursion."""
    assert lattice.skip_costs is not None
    assert lattice.garbage is not None
    best = -np.inf
    for kept in itertools.product([False, True], repeat=len(units)):
        cost = sum(float(c) for c, keep in zip(lattice.skip_costs, kept, strict=True) if not keep)
        cost += lattice.skip_open * sum(not keep for keep, _ in itertools.groupby(kept))
        symbols: list[int] = []
        breaks = [0]
        for unit, keep in zip(units, kept, strict=True):
            if keep:
                symbols += unit
                breaks.append(len(symbols))
        # a break between kept units is one blank; a skip between them needs one of its frames
        table = np.full((len(lattice.log_probs), 2 * len(symbols) + 1), -np.inf)
        for t, row in enumerate(lattice.log_probs):
            for s in range(table.shape[1]):
                label = symbols[s // 2] if s % 2 else 0
                emission = row[label]
                if s % 2 == 0 and s // 2 in breaks:
                    emission = lattice.garbage[t]
                if t == 0:
                    before = 0.0 if s < 2 else -np.inf
                else:
                    before = table[t - 1, s]
                    if s:
                        before = max(before, table[t - 1, s - 1])
                    if s > 1 and s % 2 and symbols[s // 2] != symbols[s // 2 - 1]:
                        direct = s // 2 not in breaks or _adjacent(kept, s // 2, units)
                        before = max(before, table[t - 1, s - 2]) if direct else before
                table[t, s] = before + emission
        ends = [table[-1, -1]]
        if symbols and kept[-1]:
            ends.append(table[-1, -2])
        best = max(best, max(ends) - cost)
    return float(best)


def _adjacent(kept: tuple[bool, ...], at: int, units: list[list[int]]) -> bool:
    """Whether the kept units that meet before symbol ``at`` are neighbours in the whole text."""
    numbers = [i for i, keep in enumerate(kept) if keep]
    total = 0
    for here, after in itertools.pairwise(numbers):
        total += len(units[here])
        if total == at:
            return after == here + 1
    return False


@pytest.mark.parametrize("skip_open", [0.0, 1.5])
@pytest.mark.parametrize("seed", range(12))
def test_units_are_left_out_where_that_is_cheaper(seed: int, skip_open: float) -> None:
    rng = np.random.default_rng(seed)
    units = [rng.integers(1, 4, rng.integers(1, 4)).tolist() for _ in range(4)]
    log_probs = random_log_probs(14, 4, seed)
    symbols = np.array([s for unit in units for s in unit])
    breaks = np.cumsum([0, *(len(u) for u in units)])
    garbage = np.maximum(log_probs[:, 0], log_probs.max(axis=1) - 1.0)
    costs = rng.uniform(0.5, 4.0, len(units))
    lattice = Lattice(log_probs, symbols, 0, breaks, garbage, costs, skip_open)
    search = Viterbi(lattice)
    search.step = 4
    whole = align_lattice(lattice)
    assert search.path().tolist() == whole.states.tolist()
    skipped = whole.starts[breaks[:-1]] < 0
    runs = sum(left_out for left_out, _ in itertools.groupby(skipped))
    score = whole.log_prob - costs[skipped].sum() - skip_open * runs
    assert score == pytest.approx(brute_force_with_skips(lattice, units))


def test_a_skip_over_many_units_is_found_again_on_the_way_back() -> None:
    """The text of 40 units, sound of the first and the last only: the path jumps 240 symbols."""
    rng = np.random.default_rng(3)
    units = [rng.integers(1, 9, 6).tolist() for _ in range(42)]
    spans = []
    for at, unit in ((10, units[0]), (70, units[-1])):
        spans += [(s, at + 4 * i, at + 4 * i + 2) for i, s in enumerate(unit)]
    log_probs = planted(spans, 120, 9)
    symbols = np.array([s for unit in units for s in unit])
    breaks = np.arange(43) * 6
    garbage = np.maximum(log_probs[:, 0], log_probs.max(axis=1) - 1)
    lattice = Lattice(log_probs, symbols, 0, breaks, garbage, np.full(42, 6.0))
    found = align_lattice(lattice)
    assert [i for i in range(42) if found.starts[6 * i] >= 0] == [0, 41]
    assert found.starts[-6:].tolist() == [70 + 4 * i for i in range(6)]


@pytest.mark.slow
def test_memory_of_a_long_input_is_bounded() -> None:
    """60,000 frames (20 minutes) and 12,000 symbols: 1.4 GB of backpointers would be needed."""
    n_frames, n_symbols = 60_000, 12_000
    rng = np.random.default_rng(0)
    symbols = rng.integers(1, 30, n_symbols)
    log_probs = np.full((n_frames, 30), -6.0, dtype=np.float16)
    log_probs[:, 0] = -0.1
    at = np.sort(rng.choice(n_frames // 2, n_symbols, replace=False)) * 2
    log_probs[at, symbols], log_probs[at, 0] = -0.1, -4.0
    tracemalloc.start()
    try:
        found = align_ctc(log_probs, symbols)
        peak_mb = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert np.array_equal(found.starts, at)
    assert peak_mb < 60


def test_a_letter_that_is_not_heard_stays_with_its_word() -> None:
    """In silence all places are equal but for a breath of noise far away; a bonus decides."""
    log_probs = planted([(2, 50, 52), (3, 54, 56)], 70, 5)
    log_probs[5, 1] += 0.5  # "1" was not heard; here it is a little less unlikely
    symbols = np.array([1, 2, 3])
    assert align_lattice(Lattice(log_probs, symbols)).starts[0] == 5
    bonus = np.array([0.05, 0.0, 0.0, 0.05])
    found = align_lattice(Lattice(log_probs, symbols, bonus=bonus))
    assert 45 <= found.starts[0] < found.starts[1] <= 51
    assert found.log_prob < align_lattice(Lattice(log_probs, symbols)).log_prob
