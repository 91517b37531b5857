"""Base against adapted, measure by measure: what tables on every medium show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xlasr.scoring import Counts, PairedResult, RateInterval, Score, paired, rate_interval, werr
from xlasr.scoring.error_rates import Metric
from xlasr.scoring.japanese import BY_READINGS, BY_WORDS
from xlasr.scoring.normalisers import is_unspaced

NAMES = {
    "headline": "",
    "raw": ", as written",
    BY_WORDS: ", MeCab words",
    BY_READINGS: ", equal by reading",
}
"""What a table says behind WER or CER, by normaliser; of all others the name."""
Pair = tuple[Metric, Score | None, Score]
"""A metric, the base's score and the adapted model's."""


def metrics_of(score: Score) -> tuple[Metric, ...]:
    """Return what says something about a text: WER does not in scripts without spaces."""
    unspaced = score.normaliser == "unspaced"
    return ("cer",) if unspaced or is_unspaced(u.reference for u in score.utterances) else _BOTH


_BOTH: tuple[Metric, Metric] = ("cer", "wer")


@dataclass(frozen=True)
class Side:
    """One system under one measure.

    Attributes:
        counts: Corpus counts.
        interval: The rate with its 95 % interval, ratios, and what must be known to read it.
    """

    counts: Counts
    interval: RateInterval


@dataclass(frozen=True)
class Comparison:
    """One measure: a metric under a normaliser.

    Attributes:
        metric: "wer" or "cer".
        normaliser: Name of the rule both texts went through.
        base: The base's side; None without a base.
        adapted: The adapted model's side.
        paired: Test of the difference; None without a base.
        reduction: Share of the base's errors that are gone, with its interval; None without a base.
    """

    metric: Metric
    normaliser: str
    base: Side | None
    adapted: Side
    paired: PairedResult | None
    reduction: RateInterval | None

    @property
    def name(self) -> str:
        """Name for print: "CER", or "CER, as written" for the raw text."""
        return self.metric.upper() + NAMES.get(self.normaliser, f", {self.normaliser}")


def compare(
    base: Score | None,
    adapted: Score,
    base_raw: Score | None = None,
    adapted_raw: Score | None = None,
    more: Sequence[Pair] = (),
    speakers: int | None = None,
) -> list[Comparison]:
    """Return CER and WER of the headline scores, then ``more``, then those of the raw texts.

    Scripts without spaces have no words, and so no rows of WER but those in ``more``.

    Args:
        base: Headline score of the base; None without one.
        adapted: Of the adapted model.
        base_raw: The base's, of the text as written.
        adapted_raw: The adapted model's; None leaves these rows out.
        more: Other scores, each a row of its own.
        speakers: How many different speakers were scored; None or 0 is not known.

    Raises:
        DataError: Base and adapted were not scored on the same utterances.
    """
    metrics = metrics_of(adapted)
    pairs: list[Pair] = [(metric, base, adapted) for metric in metrics]
    pairs += more
    if adapted_raw is not None:
        pairs += [(metric, base_raw, adapted_raw) for metric in metrics]
    return [
        Comparison(
            metric,
            after.normaliser,
            None if before is None else _side(before, metric, speakers),
            _side(after, metric, speakers),
            None if before is None else paired(before, after, metric),
            None if before is None else werr(before, after, metric),
        )
        for metric, before, after in pairs
    ]


def notes(rows: Sequence[Comparison]) -> list[str]:
    """Return what a person must know to read the adapted model's intervals, each note once."""
    return list(
        dict.fromkeys(row.adapted.interval.note for row in rows if row.adapted.interval.note)
    )


def _side(score: Score, metric: Metric, speakers: int | None) -> Side:
    return Side(score.counts(metric), rate_interval(score, metric, speakers=speakers))
