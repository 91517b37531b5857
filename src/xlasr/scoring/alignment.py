"""Minimum-cost alignment of two sequences, and its counts.

Two sets of costs are known, because two programs define what people call WER:

``levenshtein``
    Every substitution, deletion and insertion costs 1: the fewest errors. Equal to jiwer.
``sclite``
    A substitution costs 4, a deletion or insertion 3, as in NIST's sclite. It prefers hits, so the
    total can be higher by a few errors in ten thousand words. Ties are broken as sclite breaks
    them (diagonal before insertion before deletion), so the counts are equal to its counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import Levenshtein

Kind = Literal["hit", "substitution", "deletion", "insertion"]
Costs = Literal["levenshtein", "sclite"]
COSTS: tuple[Costs, ...] = ("levenshtein", "sclite")

_KINDS: dict[str, Kind] = {
    "equal": "hit",
    "replace": "substitution",
    "delete": "deletion",
    "insert": "insertion",
}
_SCLITE_SUBSTITUTION = 4
_SCLITE_GAP = 3


@dataclass(frozen=True, slots=True)
class Op:
    """One column of an alignment.

    Attributes:
        kind: "hit", "substitution", "deletion" or "insertion".
        ref: The reference's symbol; "" for an insertion.
        hyp: The hypothesis' symbol; "" for a deletion.
    """

    kind: Kind
    ref: str
    hyp: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What an alignment counts; addable, so that a corpus is the sum of its utterances.

    Attributes:
        hits: Symbols that agree (H).
        substitutions: Symbols taken for another (S).
        deletions: Reference symbols that are missing (D).
        insertions: Hypothesis symbols that are too much (I).
    """

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """S + D + I."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference(self) -> int:
        """N = H + S + D, the symbols of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors per reference symbol, a ratio (0.25, not 25).

        An empty reference has no rate by division: it is 0.0 where the hypothesis is empty too and
        infinite where it is not. In a sum its insertions count in full and N grows by nothing.
        """
        if self.reference:
            return self.errors / self.reference
        return float("inf") if self.errors else 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def align(ref: Sequence[str], hyp: Sequence[str], costs: Costs = "levenshtein") -> list[Op]:
    """Align a hypothesis with its reference.

    Args:
        ref: Symbols of the reference: a list of words, or a string for its characters.
        hyp: Symbols of the hypothesis, likewise.
        costs: "levenshtein" (fewest errors) or "sclite"; see the module's docstring.

    Returns:
        One ``Op`` per column, from left to right.
    """
    if costs == "sclite":
        return _align_sclite(ref, hyp)
    left, right = _numbered(ref, hyp)
    ops = []
    for code in Levenshtein.opcodes(left, right):
        kind = _KINDS[code.tag]
        for step in range(max(code.src_end - code.src_start, code.dest_end - code.dest_start)):
            ops.append(
                Op(
                    kind,
                    "" if kind == "insertion" else ref[code.src_start + step],
                    "" if kind == "deletion" else hyp[code.dest_start + step],
                )
            )
    return ops


def count(ref: Sequence[str], hyp: Sequence[str], costs: Costs = "levenshtein") -> Counts:
    """Count hits and errors of an alignment; arguments as for ``align``."""
    if costs == "sclite":
        return _tally([op.kind for op in _align_sclite(ref, hyp)])
    left, right = _numbered(ref, hyp)
    found = {"replace": 0, "delete": 0, "insert": 0}
    for edit in Levenshtein.editops(left, right):
        found[edit.tag] += 1
    hits = len(ref) - found["replace"] - found["delete"]
    return Counts(hits, found["replace"], found["delete"], found["insert"])


def _tally(kinds: list[Kind]) -> Counts:
    return Counts(*(kinds.count(kind) for kind in _KINDS.values()))


def _numbered(
    ref: Sequence[str], hyp: Sequence[str]
) -> tuple[str, str] | tuple[Sequence[int], Sequence[int]]:
    """Replace words by numbers: rapidfuzz compares hashes, and these cannot collide."""
    if isinstance(ref, str) and isinstance(hyp, str):
        return ref, hyp  # characters are numbers already
    numbers: dict[str, int] = {}
    left = [numbers.setdefault(symbol, len(numbers)) for symbol in ref]
    right = [numbers.setdefault(symbol, len(numbers)) for symbol in hyp]
    return left, right


def _align_sclite(ref: Sequence[str], hyp: Sequence[str]) -> list[Op]:
    """Align with sclite's costs and sclite's order among equals: O(len(ref) * len(hyp)).

    Source: SCTK 2.4.10, sclite, checked against the program by tests/scoring/test_sclite.py.
    """
    width = len(hyp) + 1
    row = [_SCLITE_GAP * j for j in range(width)]
    steps = ["I" * width]
    for symbol in ref:
        new = [row[0] + _SCLITE_GAP]
        came = ["D"]
        for j in range(1, width):
            same = symbol == hyp[j - 1]
            best, step = row[j - 1] + (0 if same else _SCLITE_SUBSTITUTION), "S"
            if new[j - 1] + _SCLITE_GAP < best:
                best, step = new[j - 1] + _SCLITE_GAP, "I"
            if row[j] + _SCLITE_GAP < best:
                best, step = row[j] + _SCLITE_GAP, "D"
            new.append(best)
            came.append(step)
        row = new
        steps.append("".join(came))
    ops: list[Op] = []
    i, j = len(ref), len(hyp)
    while i or j:
        step = steps[i][j]
        if step == "S":
            i, j = i - 1, j - 1
            kind: Kind = "hit" if ref[i] == hyp[j] else "substitution"
            ops.append(Op(kind, ref[i], hyp[j]))
        elif step == "I":
            j -= 1
            ops.append(Op("insertion", "", hyp[j]))
        else:
            i -= 1
            ops.append(Op("deletion", ref[i], ""))
    return ops[::-1]
