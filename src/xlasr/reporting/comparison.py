"""Base against adapted, measure by measure: what tables on every medium show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xlasr.scoring import Counts, PairedResult, RateInterval, Score, paired, rate_interval, werr
from xlasr.scoring.error_rates import Metric


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
        plain = {"headline": "", "raw": ", as written"}
        return self.metric.upper() + plain.get(self.normaliser, f", {self.normaliser}")


def compare(
    base: Score | None,
    adapted: Score,
    base_raw: Score | None = None,
    adapted_raw: Score | None = None,
) -> list[Comparison]:
    """Return CER and WER of the headline scores, then of the raw ones where they are given.

    Raises:
        DataError: Base and adapted were not scored on the same utterances.
    """
    rows = []
    metrics: tuple[Metric, Metric] = ("cer", "wer")
    for before, after in ((base, adapted), (base_raw, adapted_raw)):
        if after is None:
            continue
        for metric in metrics:
            rows.append(
                Comparison(
                    metric,
                    after.normaliser,
                    None if before is None else _side(before, metric),
                    _side(after, metric),
                    None if before is None else paired(before, after, metric),
                    None if before is None else werr(before, after, metric),
                )
            )
    return rows


def notes(rows: Sequence[Comparison]) -> list[str]:
    """Return what a person must know to read the adapted model's intervals, each note once."""
    return list(
        dict.fromkeys(row.adapted.interval.note for row in rows if row.adapted.interval.note)
    )


def _side(score: Score, metric: Metric) -> Side:
    return Side(score.counts(metric), rate_interval(score, metric))
