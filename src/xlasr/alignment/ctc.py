"""CTC forced alignment: when was each symbol of a known text said, and how sure is the model?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlasr.alignment.viterbi import LOWEST, Lattice, Viterbi
from xlasr.errors import DataError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Alignment:
    """Where each of L symbols stands in T frames; all arrays (L,).

    A symbol that was left out together with its unit has start and end -1 and score minus
    infinity.

    Args:
        starts: First frame of each symbol, int64.
        ends: Frame behind its last one, int64.
        scores: Mean log-probability (natural) of a symbol over its frames, float64.
        states: (T,) int64 path: ``2 j + 1`` is symbol ``j``, ``2 j`` the blank before it.
        frame_scores: (T,) float64 log-probability of the path in each frame.
    """

    starts: Ints
    ends: Ints
    scores: NDArray[np.float64]
    states: Ints
    frame_scores: NDArray[np.float64]

    @property
    def log_prob(self) -> float:
        """Natural log-probability of the whole path."""
        return float(self.frame_scores.sum())


def frames_needed(symbols: Ints) -> int:
    """Fewest frames that can hold ``symbols``: one each, and a blank between equal neighbours."""
    return len(symbols) + int((symbols[1:] == symbols[:-1]).sum())


def check_lattice(log_probs: Floats, symbols: Ints, blank: int, *, whole: bool = True) -> None:
    """Refuse what cannot be aligned.

    Args:
        log_probs: (T, V) natural log-probabilities.
        symbols: (L,) ids.
        blank: Id of the blank.
        whole: All symbols must fit into the frames (not where units may be left out).

    Raises:
        DataError: Too few frames, no symbols, ids outside the vocabulary, NaN, a wrong shape.
    """
    if log_probs.ndim != 2 or not 0 <= blank < log_probs.shape[1]:
        raise DataError(
            f"an alignment needs log-probabilities (T, V) with the blank among V; found shape "
            f"{log_probs.shape} and blank {blank}"
        )
    n_frames, n_vocab = log_probs.shape
    if not len(symbols):
        raise DataError("there is no text to align: not one symbol that the model knows")
    if symbols.min() < 0 or symbols.max() >= n_vocab or (symbols == blank).any():
        raise DataError(
            f"symbols must be ids from 0 to {n_vocab - 1} without the blank {blank}; found "
            f"{symbols.min()} to {symbols.max()}"
        )
    needed = frames_needed(symbols)
    if whole and needed > n_frames:
        raise DataError(
            f"{len(symbols)} symbols cannot be said in {n_frames} frames: with a blank between "
            f"equal neighbours they need {needed}. The text does not belong to this audio, or the "
            "audio was cut off"
        )
    step = max(1, (1 << 22) // n_vocab)  # no second copy of an hour
    for start in range(0, n_frames, step):
        block = log_probs[start : start + step]
        if np.isnan(block).any() or (block > 0.01).any():
            raise DataError(
                "the log-probabilities hold NaN or values above 0: they are no log-probabilities, "
                "or the model is broken"
            )


def align_ctc(log_probs: Floats, symbols: NDArray[Any] | list[int], *, blank: int = 0) -> Alignment:
    """Find the best alignment of a whole text.

    Exact for any length: O(T L) time; memory as in ``viterbi``.

    Args:
        log_probs: (T, V) natural log-probabilities.
        symbols: (L,) ids of the text, without blanks.
        blank: Id of the blank.

    Raises:
        DataError: The alignment is impossible (more symbols and repeats than frames), or an
            argument is wrong.

    Source: Graves et al. 2006, sections 3.2 and 4.1.
    """
    ids = np.asarray(symbols, dtype=np.int64).reshape(-1)
    check_lattice(log_probs, ids, blank)
    return align_lattice(Lattice(log_probs, ids, blank))


def align_lattice(lattice: Lattice) -> Alignment:
    """Find the best path of a lattice that was checked; units may be left out of it."""
    states = Viterbi(lattice).path()
    n = len(lattice.symbols)
    frames = np.flatnonzero(states % 2)
    which = states[frames] // 2
    columns = np.full(len(states), lattice.blank, dtype=np.int64)
    columns[frames] = lattice.symbols[which]
    chosen = lattice.log_probs[np.arange(len(states)), columns].astype(np.float64)
    if lattice.garbage is not None and lattice.breaks is not None:
        at_break = (states % 2 == 0) & np.isin(states // 2, lattice.breaks)
        chosen[at_break] = lattice.garbage[at_break]
    chosen = np.maximum(chosen, LOWEST)
    starts = np.full(n, -1, dtype=np.int64)
    ends = np.full(n, -1, dtype=np.int64)
    starts[which[::-1]] = frames[::-1]  # the last one written is the first frame
    ends[which] = frames + 1
    counts = np.bincount(which, minlength=n)
    sums = np.bincount(which, weights=chosen[frames], minlength=n)
    scores = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
    return Alignment(starts, ends, scores, states, chosen)
