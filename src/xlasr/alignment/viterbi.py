"""The best path through a CTC lattice: exact, in O(frames x symbols) time and bounded memory.

Symbols 0 .. L-1 have blanks 0 .. L around them; state ``2 j`` is blank ``j`` (before symbol ``j``)
and state ``2 j + 1`` is symbol ``j``. All states advance together, one frame at a time.

Memory. Backpointers of an hour (180,000 frames x 60,000 symbols) would take 20 GB, so none are kept
on the way forward: only the scores of all states, every K-th frame. Going back, a block of K frames
is computed again with backpointers (one byte each), and only for the states it can have come
through: without skips a path moves at most one symbol a frame, so K symbols are enough. Whether the
guess was wide enough is known for sure: the score that the block ends with is the one of the way
forward to the last bit, or the guess is widened. There is no beam and no band around the diagonal:
the result is always the best path of the whole lattice.

Source: Graves et al. 2006 (CTC, section 4.1: the blank-extended sequence); checkpoints as in
Grice, Hughey & Speck 1997. ctc-segmentation (Kürzinger et al. 2020) keeps a window of the lattice
around the diagonal instead, which loses the path where text or audio is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

LOWEST = -1e4
"""Log-probabilities below this one, minus infinity too, count as this one."""
_EXACT = 1 << 25
"""Lattices of at most so many cells are computed in float64, larger ones in float32 (scores are
taken relative to the best state at every checkpoint, so that they stay small)."""


@dataclass(frozen=True)
class Lattice:
    """What is aligned.

    Args:
        log_probs: (T, V) natural log-probabilities, any float type.
        symbols: (L,) int64 ids without blanks.
        blank: Id of the blank.
        breaks: (n + 1,) int64: blanks at which units begin and end, from 0 to L; None = no units.
        garbage: (T,) what a frame costs at a break instead of its blank (natural log); None = the
            blank alone.
        skip_costs: (n,) cost of leaving out each unit (natural log, positive); None = no unit may
            be left out.
        skip_open: Cost of each run of units that are left out, beside theirs.
        bonus: (L + 1,) added to every frame in each blank (natural log), so that pauses are where
            pauses belong: a letter that was not heard would else stand anywhere in a pause. None
            = nothing. It is no part of any score that is reported.
    """

    log_probs: Floats
    symbols: Ints
    blank: int = 0
    breaks: Ints | None = None
    garbage: Floats | None = None
    skip_costs: Floats | None = None
    skip_open: float = 0.0
    bonus: Floats | None = None


@dataclass
class _Scores:
    """Best log-probability of ending in each state of a window of symbols ``low`` .. ``high - 1``.

    ``blanks`` (W + 1,), ``symbols`` (W,).
    """

    blanks: Floats
    symbols: Floats


class _Window:
    """Advances the states of symbols ``low`` .. ``high - 1`` frame by frame."""

    def __init__(self, lattice: Lattice, low: int, high: int, kind: type[Any]) -> None:
        self.lattice, self.low, self.high = lattice, low, high
        self.ids = lattice.symbols[low:high]
        # a symbol may follow the one before it without a blank only if they differ
        self.direct = np.zeros(high - low, dtype=kind)
        self.direct[1:][self.ids[1:] == self.ids[:-1]] = -np.inf
        self.direct[:1] = -np.inf
        bonus = lattice.bonus
        self.bonus = None if bonus is None else bonus[low : high + 1].astype(kind)
        self.breaks: Ints | None = None
        if lattice.breaks is not None:
            first, last = np.searchsorted(lattice.breaks, [low, high + 1])
            self.breaks = lattice.breaks[first:last] - low
            if lattice.skip_costs is not None:
                costs = np.concatenate([[0.0], np.cumsum(lattice.skip_costs, dtype=np.float64)])
                self.costs = costs[first:last]
        self.emission = np.empty(high - low, dtype=kind)
        self.spare = np.empty(high - low, dtype=kind)

    def skip(self, blanks: Floats) -> Ints | None:
        """Leave out units, in place; the break that each break was reached from."""
        if self.breaks is None or self.lattice.skip_costs is None or not len(self.breaks):
            return None
        here = blanks[self.breaks].astype(np.float64)
        best = np.maximum.accumulate(here + self.costs)
        reached = best - self.costs - self.lattice.skip_open
        # what is lost in adding and subtracting a cost must not look like a skip
        gains = reached > here + 1e-6 * np.maximum(1.0, np.abs(np.nan_to_num(here, neginf=0.0)))
        own = np.arange(len(here))
        sources = np.maximum.accumulate(np.where(here + self.costs == best, own, 0))
        blanks[self.breaks[gains]] = reached[gains]
        return np.where(gains, sources, own)

    def advance(
        self,
        before: _Scores,
        after: _Scores,
        row: Floats,
        garbage: float | None,
        back: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
    ) -> Ints | None:
        """One frame: ``row`` (V,) onto ``before``, into ``after``; fills backpointers."""
        blanks, symbols = before.blanks, before.symbols
        np.maximum(symbols, blanks[:-1], out=after.symbols)
        if back is not None:
            np.greater(blanks[:-1], symbols, out=back[1].view(np.bool_))
        if len(symbols) > 1:
            jumped = self.spare[1:]
            np.add(symbols[:-1], self.direct[1:], out=jumped)
            if back is not None:
                back[1][1:][jumped > after.symbols[1:]] = 2
            np.maximum(after.symbols[1:], jumped, out=after.symbols[1:])
        np.take(row, self.ids, out=self.emission, mode="clip")
        after.symbols += self.emission
        after.blanks[0] = blanks[0]
        np.maximum(blanks[1:], symbols, out=after.blanks[1:])
        if back is not None:
            back[0][0] = 0
            np.greater(symbols, blanks[1:], out=back[0][1:].view(np.bool_))
        blank = row[self.lattice.blank]
        if garbage is not None and self.breaks is not None and len(self.breaks):
            at_breaks = after.blanks[self.breaks] + after.blanks.dtype.type(garbage)
            after.blanks += blank
            after.blanks[self.breaks] = at_breaks
        else:
            after.blanks += blank
        if self.bonus is not None:
            after.blanks += self.bonus
        return self.skip(after.blanks)


class Viterbi:
    """The best path of a lattice.

    Args:
        lattice: What is aligned; it must be possible (``ctc.check_possible``).
        budget_mb: Memory for the scores kept on the way forward, in MB.
    """

    def __init__(self, lattice: Lattice, budget_mb: float = 256.0) -> None:
        self.lattice = lattice
        self.n_frames, self.n_symbols = len(lattice.log_probs), len(lattice.symbols)
        exact = self.n_frames * (self.n_symbols + 1) <= _EXACT
        self.kind: type[Any] = np.float64 if exact else np.float32
        kept = (2 * self.n_symbols + 1) * np.dtype(self.kind).itemsize  # bytes of a checkpoint
        fits = int(np.ceil(self.n_frames * kept / (budget_mb * 2**20)))
        self.step = max(32, int(np.ceil(np.sqrt(self.n_frames))), fits)

    def path(self) -> Ints:
        """(T,) int64: the state of each frame."""
        whole = _Window(self.lattice, 0, self.n_symbols, self.kind)
        scores = self._empty(self.n_symbols)
        scores.blanks[0] = 0.0
        whole.skip(scores.blanks)
        kept: list[_Scores] = []
        offsets: list[float] = []
        starts = range(0, self.n_frames, self.step)
        for start in starts:
            kept.append(_Scores(scores.blanks.copy(), scores.symbols.copy()))
            scores = self._forward(whole, scores, start)
            best = max(scores.blanks.max(), scores.symbols.max(initial=-np.inf))
            offsets.append(float(best))
            scores.blanks -= best
            scores.symbols -= best
        n = self.n_symbols
        state = 2 * n
        if n and scores.symbols[-1] > scores.blanks[-1]:
            state = 2 * n - 1
        end_score = scores.blanks[-1] if state == 2 * n else scores.symbols[-1]
        states = np.empty(self.n_frames, dtype=np.int64)
        for start, offset in zip(starts[::-1], offsets[::-1], strict=True):
            before = kept.pop()
            state = self._trace(before, start, offset, state, end_score, states)
            half = state // 2
            end_score = before.symbols[half] if state % 2 else before.blanks[half]
        return states

    def _empty(self, width: int) -> _Scores:
        return _Scores(
            np.full(width + 1, -np.inf, dtype=self.kind), np.full(width, -np.inf, dtype=self.kind)
        )

    def _rows(self, start: int) -> tuple[Floats, list[float | None]]:
        """Emissions and garbage of the block that begins at frame ``start``."""
        stop = min(self.n_frames, start + self.step)
        rows = np.maximum(self.lattice.log_probs[start:stop].astype(self.kind), LOWEST)
        if self.lattice.garbage is None:
            return rows, [None] * len(rows)
        garbage = np.maximum(self.lattice.garbage[start:stop].astype(self.kind), LOWEST)
        return rows, garbage.tolist()

    def _forward(self, window: _Window, scores: _Scores, start: int) -> _Scores:
        other = self._empty(window.high - window.low)
        for row, garbage in zip(*self._rows(start), strict=True):
            window.advance(scores, other, row, garbage)
            scores, other = other, scores
        return scores

    def _trace(
        self,
        before: _Scores,
        start: int,
        offset: float,
        state: int,
        end_score: Any,
        states: Ints,
    ) -> int:
        """Go back through a block from its last ``state``; the state in front of the block."""
        rows, garbage = self._rows(start)
        high = (state + 1) // 2
        width = len(rows) + 2
        while True:
            low = max(0, high - width)
            window = _Window(self.lattice, low, high, self.kind)
            scores = _Scores(before.blanks[low : high + 1].copy(), before.symbols[low:high].copy())
            other = self._empty(high - low)
            into_blank = np.zeros((len(rows), high - low + 1), dtype=np.uint8)
            into_symbol = np.zeros((len(rows), high - low), dtype=np.uint8)
            skips: list[Ints | None] = []
            for t, row in enumerate(rows):
                back = (into_blank[t], into_symbol[t])
                skips.append(window.advance(scores, other, row, garbage[t], back))
                scores, other = other, scores
            found = scores.symbols[-1] if state % 2 else scores.blanks[-1]
            if low == 0 or found - self.kind(offset) == end_score:
                break
            width *= 4  # a skip came from further below
        at = state - 2 * low
        for t in range(len(rows) - 1, -1, -1):
            jumps = skips[t]
            if jumps is not None and at % 2 == 0 and window.breaks is not None:
                number = int(np.searchsorted(window.breaks, at // 2))
                if number < len(window.breaks) and window.breaks[number] == at // 2:
                    at = 2 * int(window.breaks[jumps[number]])
            states[start + t] = at + 2 * low
            if at % 2:
                at -= int(into_symbol[t, at // 2])
            else:
                at -= int(into_blank[t, at // 2])
        return at + 2 * low
