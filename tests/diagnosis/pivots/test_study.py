"""The arithmetic of ``benchmarks/pivot_study.py``."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from benchmarks.pivot_study import combined, null_of, spearman, table
from scipy import stats

import xlasr


def test_spearman_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = rng.integers(0, 5, 6).tolist(), rng.normal(size=6).tolist()
        if len(set(one)) > 1:
            assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))


def test_exact_p() -> None:
    assert combined([([1, 2, 3, 4, 5], [10, 20, 30, 40, 50])]) == pytest.approx((1, 1 / 120))
    assert combined([([1, 2, 3, 4, 5], [50, 40, 30, 20, 10])]) == pytest.approx((-1, 1))
    assert sum(null_of([1, 2, 3, 4], [4, 3, 2, 1]).values()) == pytest.approx(1)
    one, other = [1, 1, 2, 3, 4], [0.1, 0.3, 0.2, 0.5, 0.4]  # ties: by counting all orders
    rho = stats.spearmanr(one, other).statistic
    orders = [stats.spearmanr(one, o).statistic for o in itertools.permutations(other)]
    expected = np.mean(np.array(orders) >= rho - 1e-9)
    assert combined([(one, other)]) == pytest.approx((rho, expected))


def test_targets_are_permuted_by_themselves() -> None:
    perfect = ([1, 2, 3], [1, 2, 3])
    assert combined([perfect, perfect]) == pytest.approx((1, 1 / 36))
    assert combined([perfect, ([1, 1, 1], [1, 2, 3])]) == pytest.approx((1, 1 / 6))
    assert all(math.isnan(value) for value in combined([([1, 1], [1, 2])]))
    # both by counting: the mean of two rhos over 6 x 6 orders
    other = ([1, 2, 3], [2, 1, 3])
    rhos = [stats.spearmanr([1, 2, 3], o).statistic for o in itertools.permutations([1, 2, 3])]
    expected = np.mean([a + b >= 1.5 - 1e-9 for a, b in itertools.product(rhos, rhos)])
    assert combined([perfect, other]) == pytest.approx((0.75, expected))


def test_a_closer_pivot_should_have_fewer_errors() -> None:
    ranking = xlasr.pivots("sk", candidates=["cs", "pl", "hu"]).to_dict()
    found = table({"sk": ranking}, {"sk": {"cs": 0.4, "pl": 0.5, "hu": 0.9}})
    assert found["score"]["rho"] == 1 and found["score"]["p"] == pytest.approx(1 / 6, abs=1e-3)
    assert found["ancestors"]["rho"] == 1  # more is closer
    assert found["phone_distance"]["rho"] == 1  # less is closer
    assert found["letters"] == {"rho": None, "p": None, "targets": {}}
