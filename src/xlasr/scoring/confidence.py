"""95 % intervals that hold what they promise with few groups: the symmetric bootstrap-t.

``bootstrap.interval`` takes percentiles of the redrawn rates. That is the common practice and too
narrow where groups are few: over 20 groups it holds the true rate in 90 % of the cases and not in
95 (``benchmarks/interval_coverage.py``). Here the error of each draw is divided by that draw's own
standard error, and the size of these ratios, not a normal table, says how wide the interval is.

* The standard error of a rate (sum of errors) / (sum of symbols) is that of a ratio estimator:
  the root of the sum over groups of (errors - rate * symbols)^2, over all symbols.
* The interval is ``value +- q * standard error`` with q the 95 % point of ``|t|`` over the draws,
  cut at 0 for a rate. Draws without any spread (the same group again and again) have no t and are
  left out.
* With fewer than ``FEW_ERRORS`` errors the same is done to the logarithm of the rate, and the ends
  are ``value * exp(+-q * standard error / value)``: a rate found too low has too small a standard
  error, and 4.8 errors on the average in 20 groups had the truth inside in 82 % only.
* Below ``FEW_GROUPS`` groups it carries a warning, below ``LEAST_GROUPS`` there is none. From
  ``MANY_GROUPS`` on nothing is drawn: q is the normal distribution's, as the draws would find.
* In the simulations it holds the truth in 93 to 98 % from 20 groups on, and WERR's too; only where
  the two systems make a handful of errors in 20 groups WERR's holds it in 89 %.

Source: P. Hall, "On symmetric bootstrap confidence intervals", J. R. Statist. Soc. B 50, 1988;
B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993, sections 12.5 and 12.6 (that
it is better on a scale of stable variance); the ratio estimator: W. Cochran, "Sampling Techniques",
1977, section 6.4.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xlasr.scoring.bootstrap import LEAST_GROUPS, N_RESAMPLES, comparable, redraw, table_of
from xlasr.scoring.error_rates import Metric, Score

FEW_GROUPS = 20
"""Below so many groups an interval carries a warning."""
FEW_ERRORS = 20
"""Below so many errors in all, an interval is made on a log scale, and carries a warning."""
ONE_VOICE = "one speaker only: the interval says nothing about other speakers"
"""What an interval over scenes or recordings of one voice is worth."""
MANY_GROUPS = 5000
"""From so many on the draws would only confirm the normal distribution."""
WIDEST = 100.0
"""An interval on the log scale that reaches so many times its value says nothing, and is none."""
_FLAT = 1e-12
"""A sum of squares this small beside its parts is zero and a rounding error."""

Method = Literal["bootstrap-t", "normal", "none"]
Unit = Literal["groups", "utterances"]
Moments = tuple[npt.NDArray[np.int64], ...]


@dataclass(frozen=True)
class RateInterval:
    """A rate, or a relative reduction, and how sure it is.

    Attributes:
        value: The rate or the reduction itself, a ratio.
        low: Lower end; NaN where there is no interval.
        high: Upper end; NaN likewise.
        method: "bootstrap-t", "normal" (from ``MANY_GROUPS`` groups) or "none".
        n_groups: Groups that were resampled.
        level: 0.95 is a 95 % interval.
        note: What a person must know to read it; "" where there is nothing.
    """

    value: float
    low: float
    high: float
    method: Method
    n_groups: int
    level: float
    note: str = ""

    @property
    def ends(self) -> tuple[float, float]:
        """Lower and upper end."""
        return self.low, self.high

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; what is not finite is null."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


def rate_interval(
    score: Score,
    metric: Metric,
    *,
    speakers: int | None = None,
    n: int = N_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> RateInterval:
    """Return WER or CER with its interval over the score's groups.

    Where every utterance is its own group the note says that the interval is over utterances:
    those of one speaker or recording go wrong together, and then it is too narrow. Where the groups
    are scenes or recordings of one speaker it says that other voices are not in it.

    Args:
        score: What ``score`` returned.
        metric: "wer" or "cer".
        speakers: How many different speakers it has; None or 0 is not known.
        n: Number of draws.
        seed: Of the draws.
        level: Of the interval.

    Raises:
        UsageError: ``n`` below 1 or ``level`` outside of (0, 1).
    """
    counts = score.per_group(metric)[1]
    found = ratio_interval(counts, unit=_unit(score), n=n, seed=seed, level=level)
    if speakers != 1 or found.method == "none":
        return found
    return replace(found, note="; ".join(filter(None, (found.note, ONE_VOICE))))


def difference(
    base: Score,
    adapted: Score,
    metric: Metric = "cer",
    *,
    n: int = N_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> RateInterval:
    """Return ``adapted - base``, a difference of rates, with its interval, paired by groups.

    Args:
        base: Score of the base or of the other system.
        adapted: Score of the system that is looked at.
        metric: "wer" or "cer".
        n: Number of draws.
        seed: Of the draws.
        level: Of the interval.

    Returns:
        Positive values are more errors; 0.01 is one point.

    Raises:
        DataError: The two were not scored on the same utterances, groups and references.
        UsageError: ``n`` below 1 or ``level`` outside of (0, 1).
    """
    comparable(base, adapted, metric)
    before, after = base.per_group(metric)[1], adapted.per_group(metric)[1]
    change = np.stack([after[:, 0] - before[:, 0], before[:, 1]], axis=1)
    return _interval(change, _unit(base), n, seed, level, signed=True)


def _unit(score: Score) -> Unit:
    return "utterances" if all(u.group == u.id for u in score.utterances) else "groups"


def werr(
    base: Score,
    adapted: Score,
    metric: Metric = "wer",
    *,
    n: int = N_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> RateInterval:
    """Return the relative error rate reduction between two systems, paired by groups.

    WERR is ``(base - adapted) / base``, 0.1 being 10 % fewer errors. Both were scored on the same
    references, so it is 1 - (errors of adapted) / (errors of base), and each draw takes the same
    groups from both: what is hard for both cancels.

    Args:
        base: Score of the base or of the other system.
        adapted: Score of the system that is to be better.
        metric: "wer" or "cer" (then it is a CERR).
        n: Number of draws.
        seed: Of the draws.
        level: Of the interval.

    Returns:
        Positive values are improvements, at most 1. NaN where the base makes no error.

    Raises:
        DataError: The two were not scored on the same utterances, groups and references.
        UsageError: ``n`` below 1 or ``level`` outside of (0, 1).
    """
    comparable(base, adapted, metric)
    before, after = base.per_group(metric)[1][:, 0], adapted.per_group(metric)[1][:, 0]
    if not before.sum():
        note = "the base makes no error: there is nothing to reduce"
        return RateInterval(math.nan, math.nan, math.nan, "none", len(before), level, note)
    found = ratio_interval(
        np.stack([after, before], axis=1), unit=_unit(base), n=n, seed=seed, level=level
    )
    ends = (1.0 - found.high, 1.0 - found.low)
    return RateInterval(
        1.0 - found.value, *ends, found.method, found.n_groups, found.level, found.note
    )


def ratio_interval(
    counts: npt.ArrayLike,
    *,
    unit: Unit = "groups",
    n: int = N_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> RateInterval:
    """Return (sum of the first column) / (sum of the second) and its interval over the rows.

    Args:
        counts: (n_groups, 2): errors and reference symbols of each group.
        unit: What a row is, for the note.
        n: Number of draws.
        seed: Of the draws.
        level: Of the interval.

    Raises:
        UsageError: ``counts`` of another shape, ``n`` below 1 or ``level`` outside of (0, 1).
    """
    return _interval(counts, unit, n, seed, level)


def _interval(
    counts: npt.ArrayLike, unit: Unit, n: int, seed: int, level: float, *, signed: bool = False
) -> RateInterval:
    """As ``ratio_interval``; ``signed`` is for differences, which may lie on both sides of 0."""
    table = table_of(counts, n, level)
    groups, fewest = len(table), math.inf if signed else int(table.sum(axis=0).min())
    moments = np.column_stack(
        [table, table[:, 0] ** 2, table[:, 0] * table[:, 1], table[:, 1] ** 2]
    )
    value, error = (float(part[0]) for part in _ratio(moments.sum(axis=0, keepdims=True)))
    by_log = fewest < FEW_ERRORS and value > 0
    reason = _why_none(value, groups, unit)
    reach = 0.0
    if not reason:
        if groups < MANY_GROUPS:
            q = _t_quantile(redraw(moments, n, seed), value, level, by_log)
        else:
            q = statistics.NormalDist().inv_cdf((1 + level) / 2)
        reach = q * error
        if by_log and reach > math.log(WIDEST) * value:
            reason = f"no interval: {fewest} errors in {groups} {unit} are too few"
    if reason:
        return RateInterval(value, math.nan, math.nan, "none", groups, level, reason)
    if by_log:
        factor = math.exp(reach / value)
        ends = value / factor, value * factor
    else:
        ends = value - reach if signed else max(0.0, value - reach), value + reach
    method: Method = "bootstrap-t" if groups < MANY_GROUPS else "normal"
    note = _note(groups, fewest, unit, error)
    return RateInterval(value, *ends, method, groups, level, note)


def _ratio(
    sums: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Ratio and its standard error from the sums of e, n, e*e, e*n and n*n, each row by itself.

    The factor n_groups / (n_groups - 1) is left out: it is the same in the data and in each draw.
    """
    e, n, ee, en, nn = sums.astype(np.float64).T
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where((e == 0) & (n == 0), 0.0, e / n)
        square = ee - 2 * ratio * en + ratio**2 * nn
        size = ee + ratio**2 * nn
        square = np.where(square > _FLAT * size, square, 0.0)
        return ratio, np.where(n > 0, np.sqrt(square) / n, 0.0)


def _t_quantile(
    sums: npt.NDArray[np.int64], value: float, level: float, by_log: bool = False
) -> float:
    ratio, error = _ratio(sums)
    has_spread = error > 0
    if not has_spread.any():
        return 0.0
    ratio, error = ratio[has_spread], error[has_spread]
    # a draw without an error has no spread either, so there is no logarithm of 0
    change = np.log(ratio / value) * ratio if by_log else ratio - value
    return float(np.quantile(np.abs(change) / error, level, method="inverted_cdf"))


def _why_none(value: float, groups: int, unit: Unit) -> str:
    if groups == 1:
        one = "group" if unit == "groups" else "utterance"
        return (
            f"no interval: one {one} only (one speaker, scene or recording), and that says nothing"
            " about another"
        )
    if groups < LEAST_GROUPS:
        return f"no interval: {groups} {unit} are too few, {LEAST_GROUPS} are the least"
    if not math.isfinite(value):
        return "no interval: there are errors and nothing they could be a share of"
    return ""


def _note(groups: int, fewest: float, unit: Unit, error: float) -> str:
    notes = []
    if groups < FEW_GROUPS:
        notes.append(f"only {groups} {unit}: by bootstrap-t, and rough")
    if fewest < FEW_ERRORS:
        notes.append(f"only {fewest} errors: rough")
    if not error:
        notes.append(f"all {unit} have the same rate, so a width of 0 says little")
    if unit == "utterances":
        notes.append("over utterances, not groups: too narrow where speakers or recordings repeat")
    return "; ".join(notes)
