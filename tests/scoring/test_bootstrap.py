"""Intervals against a closed form and scipy; the paired test on planted differences."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from xlasr.errors import DataError, UsageError
from xlasr.scoring import Score, interval, paired, rate_interval, score
from xlasr.scoring.bootstrap import LEAST_GROUPS

N_GROUPS = 40


def planted(rate_at: dict[int, float], seed: int, loss: float) -> Score:
    """Score of 40 scenes of 12 one-word lines; ``loss`` of the words of hard scenes are wrong."""
    rng = np.random.default_rng(seed)
    references, hypotheses, groups = {}, {}, {}
    for scene in range(N_GROUPS):
        for line in range(12):
            key = f"{scene}-{line}"
            references[key] = "slovo"
            wrong = rng.random() < min(1.0, rate_at[scene] * loss)
            hypotheses[key] = "jinak" if wrong else "slovo"
            groups[key] = f"scene{scene}"
    return score(references, hypotheses, groups)


HARD = {scene: 0.2 + 0.6 * (scene % 5) / 4 for scene in range(N_GROUPS)}  # scenes differ a lot


@pytest.mark.parametrize(("size", "wrong"), [(16, 3), (30, 15), (60, 55)])
def test_the_interval_is_the_binomial_s_where_the_draws_are_binomial(size: int, wrong: int) -> None:
    # One reference symbol a group, `wrong` of them missed: the number of errors in a draw is
    # Binomial(size, wrong / size), and its percentiles are known without drawing.
    counts = [(1, 1)] * wrong + [(0, 1)] * (size - wrong)
    exact = scipy.stats.binom.ppf([0.025, 0.975], size, wrong / size) / size
    low, high = interval(counts, n=40_000, seed=1)
    # The share of draws below a lattice point is itself drawn: at most one point beside it.
    assert abs(low - exact[0]) <= 1 / size + 1e-12
    assert abs(high - exact[1]) <= 1 / size + 1e-12
    wide = interval(counts, n=40_000, seed=1, level=0.99)
    assert wide[0] <= low < wrong / size < high <= wide[1]
    assert wide != (low, high)


def test_the_interval_of_a_ratio_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    reference = rng.integers(20, 400, size=25)
    errors = rng.binomial(reference, rng.uniform(0.1, 0.6, size=25))
    theirs = scipy.stats.bootstrap(
        (errors, reference),
        lambda e, r, axis: e.sum(axis=axis) / r.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(5),
    ).confidence_interval
    ours = interval(np.stack([errors, reference], axis=1), n=20_000, seed=4)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.03 * (theirs.high - theirs.low))


def test_the_seed_decides_and_one_group_says_nothing() -> None:
    counts = [(3, 10), (5, 11), (2, 30), (9, 12)]
    assert interval(counts, seed=7) == interval(counts, seed=7)
    assert all(math.isnan(end) for end in interval([(3, 10)]))
    assert interval([(0, 0), (0, 0)]) == (0.0, 0.0)
    assert interval([(1, 0), (1, 0)]) == (math.inf, math.inf)
    with pytest.raises(UsageError, match="shape"):
        interval([1, 2, 3])
    with pytest.raises(UsageError, match=r"0\.95"):
        interval(counts, level=95)
    with pytest.raises(UsageError, match="n=0"):
        interval(counts, n=0)


def test_many_groups_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.stack([np.arange(50) % 7, np.full(50, 20)], axis=1)
    whole = interval(counts, n=300)
    monkeypatch.setattr("xlasr.scoring.bootstrap._BLOCK", 170)
    assert interval(counts, n=300) == whole


def test_a_planted_difference_is_found_though_the_intervals_overlap() -> None:
    base, adapted = planted(HARD, 1, 1.0), planted(HARD, 2, 0.8)
    result = paired(base, adapted, "wer")
    assert result.difference == pytest.approx(adapted.wer - base.wer)
    assert result.p_value < 0.05
    assert result.significant
    # Unpaired, the scenes' own differences hide it.
    assert rate_interval(base, "wer").low < rate_interval(adapted, "wer").high
    swapped = paired(adapted, base, "wer")
    assert swapped.difference == -result.difference
    assert swapped.p_value == result.p_value


def test_p_is_two_sided_never_zero_and_one_for_equal_systems() -> None:
    base, perfect = planted(HARD, 1, 1.0), planted(HARD, 1, 0.0)
    found = paired(base, perfect, "wer", n=999)
    assert found.p_value == pytest.approx(2 / 1000)
    same = paired(base, base, "cer")
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert not same.significant


def test_p_is_flat_where_nothing_is_planted() -> None:
    found = [
        paired(planted(HARD, 2 * i, 1.0), planted(HARD, 2 * i + 1, 1.0), "wer", n=400).p_value
        for i in range(30)
    ]
    assert sum(p < 0.05 for p in found) <= 6  # 1.5 expected; P(more than 6) is 0.001
    assert 0.25 < float(np.mean(found)) < 0.75


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=2, max_size=20),
    st.integers(0, 5),
)
def test_the_interval_lies_between_the_best_and_the_worst_group(
    counts: list[tuple[int, int]], seed: int
) -> None:
    low, high = interval(counts, n=200, seed=seed)
    rates = [errors / reference for errors, reference in counts]
    assert min(rates) - 1e-12 <= low <= high <= max(rates) + 1e-12


def test_only_the_same_utterances_compare() -> None:
    base = planted(HARD, 1, 1.0)
    fewer = score({"0-0": "slovo"}, {"0-0": "slovo"}, {"0-0": "scene0"})
    with pytest.raises(DataError, match=r"479 differ: '0-1'"):
        paired(base, fewer)
    raw = score({"a": "A."}, {"a": "a"}, normaliser="raw")
    with pytest.raises(DataError, match="same split and normaliser"):
        paired(score({"a": "A."}, {"a": "a"}), raw)


@pytest.mark.parametrize("n_groups", [2, 3, 4, 5])
def test_few_groups_that_agree_prove_nothing(n_groups: int) -> None:
    """Every group is better: of so few there is no interval, and no p that would belie that."""
    names = [f"g{i}" for i in range(n_groups)]
    reference = dict.fromkeys(names, "a b c d")
    worse, better = (dict.fromkeys(names, text) for text in ("x y z w", "a b c x"))
    groups = {name: name for name in names}
    result = paired(score(reference, worse, groups), score(reference, better, groups), "wer")
    assert result.difference == -0.75
    assert math.isnan(result.p_value) == (n_groups < LEAST_GROUPS)
    assert result.significant == (n_groups >= LEAST_GROUPS)


def test_undefined_values_become_null() -> None:
    one = score({"a": "x", "b": "y"}, {"a": "x", "b": "z"}, {"a": "g", "b": "g"})
    result = paired(one, one)
    assert math.isnan(result.p_value)
    assert not result.significant
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["p_value"] is None and content["base"] == 0.5
