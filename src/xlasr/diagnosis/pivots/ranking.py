"""One rank from many measures, with every measure beside it.

Each measure ranks the candidates that have it, by its value as it is shown (0.999 and 1.000 of the
letters are both 1.00; equal values share the mean of their ranks). A rank r of n becomes
(r - 1/2) / n, so that a measure which only two candidates have counts as much as one that all have.
A candidate's score is the mean over its *kinds* of evidence of the mean over the measures of that
kind: three measures of prosody weigh as much as one family tree. 0 would be first everywhere, 1
last everywhere; what is missing is left out and named. No weight was fitted to anything, and
nothing beyond the columns should be read into the order: it is a place to begin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_EQUAL = 9
"""Decimals up to which two scores are equal; beyond is rounding."""


@dataclass(frozen=True)
class Measure:
    """A column of the table.

    Args:
        key: Its name in JSON.
        kind: "phones", "family", "letters", "acoustics" or "prosody".
        title: Short name.
        what: What the number is.
        more: Whether a larger number is closer.
        digits: Decimals that are shown, and that are told apart: what looks equal is equal.
    """

    key: str
    kind: str
    title: str
    what: str
    more: bool
    digits: int


MEASURES = (
    Measure(
        "phones_shared",
        "phones",
        "phones shared",
        "what the frequencies of the phones have in common, 0 to 1",
        True,
        2,
    ),
    Measure(
        "phone_distance",
        "phones",
        "phone distance",
        "features by which a phone of the target differs from the nearest one of the pivot, 0 to 1",
        False,
        3,
    ),
    Measure(
        "ancestors", "family", "family", "groups of the family tree that both belong to", True, 0
    ),
    Measure(
        "letters",
        "letters",
        "letters",
        "share of the target's letters that the pivot's text has, 0 to 1",
        True,
        2,
    ),
    Measure(
        "spectra",
        "acoustics",
        "spectra",
        "Fréchet distance of the log-mels of speech, in dB",
        False,
        0,
    ),
    Measure(
        "rhythm",
        "prosody",
        "rhythm",
        "distance of the logarithms of durations, 0.10 is a tenth",
        False,
        2,
    ),
    Measure(
        "pitch_range", "prosody", "pitch range", "distance of the melody, in semitones", False, 1
    ),
    Measure(
        "pitch_slope",
        "prosody",
        "pitch slope",
        "distance of the slopes of the melody, in semitones a second",
        False,
        1,
    ),
)


@dataclass
class Evidence:
    """One measure of one candidate.

    Args:
        value: None where it is missing.
        source: Where it comes from, or why it is missing.
        floor: Distance between halves of one language (the mean of target's and candidate's):
            differences of this size mean nothing. None where there is none.
        rank: Among the candidates that have it, 1 is closest; equal values share a mean rank.
    """

    value: float | None
    source: str
    floor: float | None = None
    rank: float | None = None


@dataclass
class Candidate:
    """A language that could be the pivot.

    Args:
        language: BCP-47 tag.
        name: In English.
        minutes: Of speech to train on; 0 where no corpus was given.
        evidence: By ``Measure.key``.
        score: 0 (first everywhere) to 1; None without any evidence.
        place: 1 is the best; equal scores share it. Without evidence: behind all others.
        tied: Others share the place.
    """

    language: str
    name: str
    minutes: float
    evidence: dict[str, Evidence]
    score: float | None = None
    place: int = 0
    tied: bool = False


@dataclass
class PivotRanking:
    """Candidates for a target, the most promising first.

    Args:
        target: BCP-47 tag.
        name: In English.
        candidates: In order.
        measures: The columns, those that nobody has included.
        notes: What a reader should know.
    """

    target: str
    name: str
    candidates: list[Candidate]
    measures: tuple[Measure, ...] = MEASURES
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def rank(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Fill in ranks, scores and places; returns the candidates in order."""
    for measure in MEASURES:
        having = {c.language: c.evidence[measure.key].value for c in candidates}
        values = {k: v for k, v in having.items() if v is not None}
        for language, place in ranks(values, measure.more, measure.digits).items():
            (candidate,) = (c for c in candidates if c.language == language)
            candidate.evidence[measure.key].rank = place
    for candidate in candidates:
        candidate.score = _score(candidate, candidates)
    ordered = sorted(candidates, key=lambda c: (_sortable(c.score), c.language))
    for i, candidate in enumerate(ordered):
        same = [
            j for j, c in enumerate(ordered) if _sortable(c.score) == _sortable(ordered[i].score)
        ]
        candidate.place, candidate.tied = same[0] + 1, len(same) > 1
    return ordered


def ranks(
    values: Mapping[str, float], more: bool = False, digits: int = _EQUAL
) -> dict[str, float]:
    """Ranks from 1; equal values share the mean of their ranks.

    Args:
        values: By name.
        more: The largest is first.
        digits: Decimals that count.
    """
    keys = {name: round(-value if more else value, digits) for name, value in values.items()}
    ordered = sorted(keys.values())
    return {name: ordered.index(key) + (1 + ordered.count(key)) / 2 for name, key in keys.items()}


def _score(candidate: Candidate, candidates: Sequence[Candidate]) -> float | None:
    kinds: dict[str, list[float]] = {}
    for measure in MEASURES:
        place = candidate.evidence[measure.key].rank
        if place is not None:
            n = sum(c.evidence[measure.key].rank is not None for c in candidates)
            kinds.setdefault(measure.kind, []).append((place - 0.5) / n)
    if not kinds:
        return None
    return sum(sum(parts) / len(parts) for parts in kinds.values()) / len(kinds)


def _sortable(score: float | None) -> float:
    return math.inf if score is None else round(score, _EQUAL)
