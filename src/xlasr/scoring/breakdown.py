"""Where the errors are: by duration, speaker, group, speech rate or SNR, and which symbols.

A ``Part`` is the score of some utterances, so it has WER and CER with counts, worst lines and
intervals like the whole. Parts are disjoint and together they are the whole: no utterance is left
out, one whose value is not known (NaN) has a part of its own, and one without a value is an error.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xlasr.errors import DataError, UsageError
from xlasr.scoring.confidence import rate_interval
from xlasr.scoring.error_rates import Metric, Score

DURATION_EDGES_S = (1.0, 2.0, 5.0, 10.0, 20.0)
SNR_EDGES_DB = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0)
UNKNOWN = "not known"


@dataclass(frozen=True)
class Part:
    """The utterances of one bin, speaker or group.

    Attributes:
        name: "2 to 5 s", or the speaker's or group's.
        low: Smallest value of a bin; None for names, and where the bin is open.
        high: Values are below it; None likewise.
        score: Of these utterances alone.
    """

    name: str
    low: float | None
    high: float | None
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without the utterances."""
        ends = {"name": self.name, "low": self.low, "high": self.high}
        return {**ends, "n_utterances": len(self.score.utterances), **summary(self.score)}


def summary(score: Score) -> dict[str, Any]:
    """Return a score as plain JSON types, with intervals and without the utterances."""
    content = score.to_dict()
    content.pop("utterances")
    metrics: tuple[Metric, Metric] = ("wer", "cer")
    return {**content, "intervals": {m: rate_interval(score, m).to_dict() for m in metrics}}


def by_name(score: Score, names: Mapping[str, str]) -> list[Part]:
    """Score each speaker (or anything else with a name) by itself.

    Args:
        score: What ``score`` returned.
        names: Name by utterance id; may hold more ids.

    Returns:
        Parts in the order of their names.

    Raises:
        DataError: An utterance has no name.
    """
    _complete(score, names, "name")
    members: dict[str, set[str]] = defaultdict(set)
    for utterance in score.utterances:
        members[names[utterance.id]].add(utterance.id)
    return [Part(name, None, None, score.subset(members[name])) for name in sorted(members)]


def by_group(score: Score) -> list[Part]:
    """Score each of the score's own groups by itself."""
    return by_name(score, {u.id: u.group for u in score.utterances})


def by_number(
    score: Score,
    values: Mapping[str, float],
    edges: Sequence[float] | None = None,
    unit: str = "",
    n_bins: int = 5,
) -> list[Part]:
    """Score utterances in bins of a number.

    Args:
        score: What ``score`` returned.
        values: Number by utterance id; may hold more ids. NaN is "not known".
        edges: Where a bin begins, rising: (1, 2) makes "below 1", "1 to 2" and "2 and more". None
            takes quantiles, so that the bins have about the same number of utterances.
        unit: Of the values, for the bins' names.
        n_bins: Of the quantiles.

    Returns:
        Bins in rising order, those without an utterance left out; "not known" is the last.

    Raises:
        DataError: An utterance has no value.
        UsageError: ``edges`` that do not rise, or ``n_bins`` below 1.
    """
    _complete(score, values, "value")
    if n_bins < 1:
        raise UsageError(f"there must be 1 bin or more, got n_bins={n_bins}")
    numbers = np.array([values[u.id] for u in score.utterances], dtype=np.float64)
    known = numbers[~np.isnan(numbers)]
    if edges is None:
        # Quantiles of the finite values only: the difference of two infinities is not a number.
        finite = known[np.isfinite(known)]
        inner = np.quantile(finite, np.arange(1, n_bins) / n_bins) if len(finite) else np.empty(0)
        edges = sorted({float(f"{edge:.3g}") for edge in inner})
    elif list(edges) != sorted(set(edges)):
        raise UsageError(f"the edges of bins must rise, got {list(edges)}")
    at = np.where(np.isnan(numbers), -1, np.searchsorted(np.asarray(edges), numbers, side="right"))
    parts = []
    for index in [*range(len(edges) + 1), -1]:
        ids = {u.id for u, i in zip(score.utterances, at, strict=True) if i == index}
        if ids:
            low = edges[index - 1] if index > 0 else None
            high = edges[index] if 0 <= index < len(edges) else None
            name = UNKNOWN if index < 0 else _bin_name(low, high, unit)
            parts.append(Part(name, low, high, score.subset(ids)))
    return parts


def by_duration(
    score: Score, durations_s: Mapping[str, float], edges: Sequence[float] = DURATION_EDGES_S
) -> list[Part]:
    """Score utterances by their duration in seconds; arguments as for ``by_number``."""
    return by_number(score, durations_s, edges, "s")


def by_snr(
    score: Score, snr_db: Mapping[str, float], edges: Sequence[float] = SNR_EDGES_DB
) -> list[Part]:
    """Score utterances by their signal-to-noise ratio in dB; arguments as for ``by_number``."""
    return by_number(score, snr_db, edges, "dB")


def by_speech_rate(
    score: Score,
    durations_s: Mapping[str, float],
    edges: Sequence[float] | None = None,
) -> list[Part]:
    """Score utterances by how fast they are spoken.

    The speech rate is reference characters, as CER counts them, per second of the utterance; its
    silence counts. Edges are quantiles unless they are given.

    Raises:
        DataError: An utterance has no duration, or one that is not above 0.
        UsageError: ``edges`` that do not rise.
    """
    _complete(score, durations_s, "duration")
    rates = {}
    for utterance in score.utterances:
        seconds = durations_s[utterance.id]
        if seconds <= 0:
            raise DataError(
                f"utterance {utterance.id!r} has a duration of {seconds} s; it must be above 0"
            )
        rates[utterance.id] = utterance.characters.reference / seconds
    return by_number(score, rates, edges, "symbols/s")


@dataclass(frozen=True)
class Confusion:
    """Which symbol was taken for which.

    Attributes:
        metric: "wer" for words, "cer" for characters.
        symbols: Rows and columns; the last is "", nothing.
        matrix: (n, n) counts: reference symbol by hypothesis symbol. The diagonal holds hits, the
            last column deletions, the last row insertions.
    """

    metric: Metric
    symbols: tuple[str, ...]
    matrix: npt.NDArray[np.int64]

    def pairs(self, n: int | None = None) -> list[tuple[str, str, int]]:
        """Return (reference, hypothesis, count) of all errors, the commonest first.

        An empty reference is an insertion, an empty hypothesis a deletion.
        """
        off = self.matrix.copy()
        np.fill_diagonal(off, 0)
        rows, columns = off.nonzero()
        found = [
            (self.symbols[i], self.symbols[j], int(off[i, j]))
            for i, j in zip(rows, columns, strict=True)
        ]
        return sorted(found, key=lambda pair: (-pair[2], pair))[:n]

    def top(self, n: int) -> Confusion:
        """Return the part of the ``n`` symbols with the most errors, and nothing, for a plot."""
        wrong = self.matrix.sum(axis=0) + self.matrix.sum(axis=1) - 2 * self.matrix.diagonal()
        order = sorted(range(len(self.symbols) - 1), key=lambda i: (-wrong[i], self.symbols[i]))
        kept = [*sorted(order[:n]), len(self.symbols) - 1]
        names = tuple(self.symbols[i] for i in kept)
        return Confusion(self.metric, names, self.matrix[np.ix_(kept, kept)])


def confusion(score: Score) -> Confusion:
    """Return the confusion matrix of the characters of all alignments.

    Where several alignments have the fewest errors, the counted one decides what was taken for
    what.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for utterance in score.utterances:
        counts.update((op.ref, op.hyp) for op in utterance.align("cer", score.costs))
    names = [*sorted({symbol for pair in counts for symbol in pair} - {""}), ""]
    at = {name: i for i, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), dtype=np.int64)
    for (ref, hyp), count in counts.items():
        matrix[at[ref], at[hyp]] = count
    return Confusion("cer", tuple(names), matrix)


def substitutions(
    score: Score, metric: Metric = "wer", n: int | None = None
) -> list[tuple[str, str, int]]:
    """Return (reference, hypothesis, count) of the substitutions, the commonest first.

    Args:
        score: What ``score`` returned.
        metric: "wer" for words, "cer" for characters.
        n: At most so many; None is all. All of them sum to the S of the corpus.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for utterance in score.utterances:
        if utterance.counts(metric).substitutions:
            ops = utterance.align(metric, score.costs)
            counts.update((op.ref, op.hyp) for op in ops if op.kind == "substitution")
    found = [(ref, hyp, count) for (ref, hyp), count in counts.items()]
    return sorted(found, key=lambda pair: (-pair[2], pair))[:n]


def _complete(score: Score, values: Mapping[str, Any], what: str) -> None:
    missing = [u.id for u in score.utterances if u.id not in values]
    if missing:
        shown = ", ".join(map(repr, missing[:5])) + (" ..." if len(missing) > 5 else "")
        raise DataError(
            f"{len(missing)} of {len(score.utterances)} utterances have no {what}: {shown}. Give"
            " one for every id" + (", NaN where it is not known." if what == "value" else ".")
        )


def _bin_name(low: float | None, high: float | None, unit: str) -> str:
    space = f" {unit}" if unit else ""
    if low is None:
        return "all" if high is None else f"below {high:g}{space}"
    return f"{low:g}{space} and more" if high is None else f"{low:g} to {high:g}{space}"
