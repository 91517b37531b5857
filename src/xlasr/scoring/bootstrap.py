"""The bootstrap over groups: draws, percentiles of a rate, and the paired test of two systems.

Utterances of one scene, speaker or recording go wrong together, so whole groups are drawn with
replacement, as many as there are, and the rate of each draw is (sum of errors) / (sum of reference
symbols). Intervals are percentiles of the draws, the common practice; with 20 groups they hold the
true rate in 90 to 93 % of the cases and not in 95, so what xlasr reports are the intervals of
``confidence.py``; the percentiles stay as their peer (``benchmarks/interval_coverage.py``).

Source: M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance
evaluation", ICASSP 2004; the +1 in p: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their
Application", 1997, section 4.2.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xlasr.errors import DataError, UsageError
from xlasr.scoring.error_rates import Metric, Score

N_RESAMPLES = 2000
LEAST_GROUPS = 4
"""Below so many a draw too often holds one group only, and there is no interval and no test: two
groups that agree by chance would give p < 0.001."""
_BLOCK = 4_000_000
"""Draws held at a time (32 MB of indices), so that memory does not grow with the corpus."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairedResult:
    """How an adapted model compares with its base on the same utterances.

    All rates are ratios. Negative differences are improvements. A p that is not defined (fewer
    than ``LEAST_GROUPS``) is NaN. How sure the reduction is, is ``confidence.werr``.

    Attributes:
        metric: "wer" or "cer".
        base: Rate of the base.
        adapted: Rate of the adapted model.
        difference: ``adapted - base``.
        p_value: Two-sided: how often draws of the groups put the difference on the other side of 0.
        n_groups: Groups that were resampled.
        n_resamples: Number of draws; the smallest possible p is ``2 / (n_resamples + 1)``.
        level: 0.95 calls p below 0.05 significant.
    """

    metric: Metric
    base: float
    adapted: float
    difference: float
    p_value: float
    n_groups: int
    n_resamples: int
    level: float

    @property
    def significant(self) -> bool:
        """Whether p is below ``1 - level``; False where p is not defined."""
        return self.p_value < 1 - self.level

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; what is not finite is null."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


def interval(
    counts: npt.ArrayLike,
    *,
    n: int = N_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of a rate, by resampling groups.

    Args:
        counts: (n_groups, 2): errors and reference symbols of each group, as
            ``Score.per_group(metric)[1]``.
        n: Number of draws.
        seed: Of the draws.
        level: 0.95 gives the 2.5 % and the 97.5 % point.

    Returns:
        Low and high, as ratios. NaN both where there are fewer than two groups: one group says
        nothing about another.

    Raises:
        UsageError: ``counts`` of another shape, ``n`` below 1 or ``level`` outside of (0, 1).
    """
    table = table_of(counts, n, level)
    if len(table) < 2:
        return math.nan, math.nan
    sums = redraw(table, n, seed)
    return _ends(_rates(sums[:, 0], sums[:, 1]), level)


def paired(
    base: Score,
    adapted: Score,
    metric: Metric = "cer",
    *,
    n: int = N_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> PairedResult:
    """Test the difference of two scores of the same utterances.

    Each draw takes the same groups from both sides, so what is hard for both cancels. The two-sided
    p is ``2 * min(share of draws with difference <= 0, share with difference >= 0)``, each share
    counted as (k + 1) / (n + 1) so that p is never 0.

    Args:
        base: Score of the unadapted base (or of any reference system).
        adapted: Score of the system under test.
        metric: "wer" or "cer".
        n: Number of draws.
        seed: Of the draws.
        level: 0.95 calls p below 0.05 significant.

    Raises:
        DataError: The two were not scored on the same utterances, groups and references.
        UsageError: ``n`` below 1 or ``level`` outside of (0, 1).
    """
    comparable(base, adapted, metric)
    names, left = base.per_group(metric)
    _, right = adapted.per_group(metric)
    table = table_of(np.concatenate([left, right[:, :1]], axis=1), n, level, columns=3)
    before, after = base.counts(metric).rate, adapted.counts(metric).rate
    p_value = math.nan
    if len(table) >= LEAST_GROUPS:
        sums = redraw(table, n, seed)
        # Errors over the same references: comparing whole numbers needs no tolerance.
        gain = sums[:, 2] - sums[:, 0]
        shares = ((gain <= 0).sum() + 1) / (n + 1), ((gain >= 0).sum() + 1) / (n + 1)
        p_value = min(1.0, 2.0 * float(min(shares)))
    return PairedResult(
        metric=metric,
        base=before,
        adapted=after,
        difference=after - before if before != after else 0.0,
        p_value=p_value,
        n_groups=len(names),
        n_resamples=n,
        level=level,
    )


def table_of(
    counts: npt.ArrayLike, n: int, level: float, columns: int = 2
) -> npt.NDArray[np.int64]:
    """Check counts by group, the number of draws and the level; return the counts as an array.

    Raises:
        UsageError: ``counts`` are not (n_groups, columns), ``n`` is below 1 or ``level`` not
            between 0 and 1.
    """
    table = np.asarray(counts, dtype=np.int64)
    if table.ndim != 2 or table.shape[1] != columns:
        raise UsageError(f"counts must have the shape (n_groups, {columns}), found {table.shape}")
    if n < 1:
        raise UsageError(f"the bootstrap needs at least 1 draw, got n={n}")
    if not 0 < level < 1:
        raise UsageError(f"a level lies between 0 and 1 (0.95), got {level}")
    return table


def redraw(table: npt.NDArray[np.int64], n: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw groups with replacement: (n_groups, k) -> sums of each draw (n, k)."""
    rng = np.random.default_rng(seed)
    size = len(table)
    block = max(1, _BLOCK // size)
    parts = []
    for begin in range(0, n, block):
        drawn = rng.integers(0, size, size=(min(block, n - begin), size))
        # One column after the other: a (draws, groups, k) array would be k times as large.
        parts.append(np.stack([column[drawn].sum(axis=1) for column in table.T], axis=1))
    return np.concatenate(parts)


def _rates(errors: npt.NDArray[np.int64], reference: npt.NDArray[np.int64]) -> FloatArray:
    """Rates with the rule of ``Counts.rate`` for empty references."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = errors / reference
    return np.where((errors == 0) & (reference == 0), 0.0, rates)


def _ends(values: FloatArray, level: float) -> tuple[float, float]:
    # inverted_cdf returns values that were drawn: exact on lattices, and safe beside infinities.
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail], method="inverted_cdf")
    return float(low), float(high)


def comparable(base: Score, adapted: Score, metric: Metric) -> None:
    """Check that two scores are of the same utterances, groups and references.

    Raises:
        DataError: They are not; the utterances that differ are named.
    """
    left = {u.id: (u.group, u.reference) for u in base.utterances}
    right = {u.id: (u.group, u.reference) for u in adapted.utterances}
    if left == right:
        return
    differing = sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))
    raise DataError(
        f"a paired test of {metric} needs the same utterances, groups and references on both"
        f" sides; {len(differing)} differ: {', '.join(repr(k) for k in differing[:5])}"
        f"{' ...' if len(differing) > 5 else ''}. Score both with the same split and normaliser."
    )
