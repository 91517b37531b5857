"""The bootstrap-t against scipy, against a closed form and against what it must not promise."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats

from xlasr.errors import DataError, UsageError
from xlasr.scoring import score
from xlasr.scoring.bootstrap import interval
from xlasr.scoring.confidence import MANY_GROUPS, RateInterval, rate_interval, ratio_interval, werr

RNG = np.random.default_rng(3)
WORDS = RNG.integers(20, 400, size=25)
ERRORS = RNG.binomial(WORDS, RNG.uniform(0.1, 0.6, size=25))
TABLE = np.stack([ERRORS, WORDS], axis=1)


def test_it_is_the_symmetric_bootstrap_t_computed_another_way() -> None:
    # Draw by draw in plain loops, with the jackknife-free formula written out.
    def ratio(rows: np.ndarray) -> tuple[float, float]:
        e, n = rows[:, 0].astype(float), rows[:, 1].astype(float)
        value = e.sum() / n.sum()
        variance = len(e) / (len(e) - 1) * ((e - value * n) ** 2).sum() / n.sum() ** 2
        return value, math.sqrt(variance)

    value, error = ratio(TABLE)
    rng = np.random.default_rng(11)
    t = []
    for _ in range(6000):
        drawn, its_error = ratio(TABLE[rng.integers(0, 25, 25)])
        t.append(abs(drawn - value) / its_error)
    reach = float(np.quantile(t, 0.95)) * error
    found = ratio_interval(TABLE, n=6000, seed=5)
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx((value - reach, value + reach), abs=0.004)
    assert (found.method, found.n_groups, found.level, found.note) == ("bootstrap-t", 25, 0.95, "")


def test_with_normal_data_it_is_student_s_t() -> None:
    # Groups of one size and normal errors: the rate is a mean, and |t| follows Student's t.
    rng = np.random.default_rng(0)
    for groups in (12, 40):
        reaches, theirs = [], []
        for seed in range(60):
            errors = np.round(rng.normal(5000, 300, groups)).astype(int)
            counts = np.stack([errors, np.full(groups, 10_000)], axis=1)
            found = ratio_interval(counts, n=800, seed=seed)
            spread = errors.std(ddof=1) / 10_000 / math.sqrt(groups)
            reaches.append((found.high - found.low) / 2)
            theirs.append(spread * scipy.stats.t.ppf(0.975, groups - 1))
        assert np.median(reaches) == pytest.approx(np.median(theirs), rel=0.08)


def test_coverage_is_better_than_that_of_percentiles() -> None:
    # A small version of benchmarks/interval_coverage.py: 10 scenes, true rate 0.3.
    rng = np.random.default_rng(1)
    ours = theirs = 0
    for seed in range(300):
        words = np.round(rng.lognormal(5.5, 0.6, 10)).astype(int)
        errors = rng.binomial(words, rng.beta(0.3 * 19, 0.7 * 19, 10))
        table = np.stack([errors, words], axis=1)
        found = ratio_interval(table, n=300, seed=seed)
        low, high = interval(table, n=300, seed=seed)
        ours += found.low <= 0.3 <= found.high
        theirs += low <= 0.3 <= high
    assert ours / 300 > 0.92  # 0.95 expected, standard error 0.013
    assert theirs < ours


def test_few_groups_are_warned_of_and_one_says_nothing() -> None:
    few = ratio_interval(TABLE[:19])
    assert few.method == "bootstrap-t"
    assert few.note.startswith("only 19 groups")
    assert ratio_interval(TABLE[:20]).note == ""
    for groups, told in (
        (1, "one group only"),
        (2, "2 groups are too few"),
        (3, "4 are the least"),
    ):
        none = ratio_interval(TABLE[:groups])
        assert (none.method, math.isnan(none.low), math.isnan(none.high)) == ("none", True, True)
        assert told in none.note and none.value > 0
    assert "one utterance" in ratio_interval(TABLE[:1], unit="utterances").note
    four = ratio_interval(TABLE[:4])
    assert 0 <= four.low < four.value < four.high < math.inf


def test_the_edges_of_what_is_defined() -> None:
    perfect = ratio_interval([(0, 10)] * 30)
    assert (perfect.value, perfect.low, perfect.high) == (0.0, 0.0, 0.0)
    assert "a width of 0" in perfect.note
    same = ratio_interval([(3, 11), (30, 110), (21, 77), (15, 55)] * 6)  # not exact in binary
    assert (same.low, same.high) == (same.value, same.value)
    assert "a width of 0" in same.note
    nothing = ratio_interval([(0, 0)] * 5)
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 0.0)
    infinite = ratio_interval([(2, 0)] * 5)
    assert (infinite.value, infinite.method) == (math.inf, "none")
    assert "only 0 errors" in perfect.note and "only" not in same.note
    rare = ratio_interval([(0, 10)] * 38 + [(5, 10), (2, 10)])  # many draws without one error
    assert rare.low == 0.0 and rare.value < rare.high < 0.2
    assert "only 7 errors" in rare.note
    with pytest.raises(UsageError, match="shape"):
        ratio_interval([1, 2])
    with pytest.raises(UsageError, match="level"):
        ratio_interval(TABLE, level=95)
    content = json.loads(json.dumps(infinite.to_dict(), allow_nan=False))
    assert content["value"] is None and content["n_groups"] == 5


def test_many_groups_are_not_drawn_and_agree_with_the_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    words = rng.integers(3, 20, MANY_GROUPS)
    table = np.stack([rng.binomial(words, 0.2), words], axis=1)
    quick = ratio_interval(table, unit="utterances")
    assert quick.method == "normal"
    monkeypatch.setattr("xlasr.scoring.confidence.MANY_GROUPS", MANY_GROUPS + 1)
    drawn = ratio_interval(table, n=1000)
    assert drawn.method == "bootstrap-t"
    assert (quick.low, quick.high) == pytest.approx((drawn.low, drawn.high), abs=5e-4)


def test_groups_or_utterances_and_the_note_says_which() -> None:
    keys = [f"{scene}-{line}" for scene in range(25) for line in range(8)]
    references = dict.fromkeys(keys, "slovo")
    hypotheses = {key: "slovo" if int(key.split("-")[0]) % 3 else "jinak" for key in keys}
    by_scene = score(references, hypotheses, {key: key.split("-")[0] for key in keys})
    found = rate_interval(by_scene, "wer")
    assert (found.n_groups, found.note) == (25, "")
    by_line = rate_interval(score(references, hypotheses), "wer")
    assert by_line.n_groups == 200
    assert "over utterances, not groups" in by_line.note
    assert by_line.high - by_line.low < 0.5 * (found.high - found.low)


def systems(base_wrong: int, adapted_wrong: int) -> tuple[RateInterval, RateInterval]:
    """WERR and CERR of two systems on 30 scenes of 20 words each; hard scenes are hard for both."""
    rng = np.random.default_rng(7)
    texts: list[dict[str, str]] = [{}, {}, {}]
    for scene in range(30):
        hard = 1 + scene % 5
        for side, share in enumerate((0, base_wrong, adapted_wrong)):
            wrong = rng.random(20) < hard * share / 100
            texts[side][str(scene)] = " ".join("jinak" if w else "slovo" for w in wrong)
    groups = {str(scene): f"scene{scene}" for scene in range(30)}
    base, adapted = (score(texts[0], t, groups) for t in texts[1:])
    return werr(base, adapted), werr(base, adapted, "cer")


def test_werr_is_the_relative_reduction_with_a_paired_interval() -> None:
    found, characters = systems(15, 9)
    assert found.low < found.value < found.high < 1
    assert found.low < 0.4 < found.high  # planted: 9 of 15 errors stay
    assert characters.value == pytest.approx(found.value)  # each wrong word is 5 characters
    worse, _ = systems(9, 15)
    assert worse.value < 0 and worse.low < -2 / 3 < worse.high
    perfect, _ = systems(15, 0)
    assert (perfect.value, perfect.low, perfect.high) == (1.0, 1.0, 1.0)


def test_werr_of_equal_systems_is_exactly_nothing_and_needs_a_base_with_errors() -> None:
    keys = [str(i) for i in range(30)]
    references = dict.fromkeys(keys, "a b c d")
    hypotheses = {key: "a b c x" if int(key) % 2 else "a b c d" for key in keys}
    same = score(references, hypotheses, {key: f"g{key}" for key in keys})
    found = werr(same, same)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    right = score(references, references, {key: f"g{key}" for key in keys})
    none = werr(right, same)
    assert math.isnan(none.value) and "makes no error" in none.note
    with pytest.raises(DataError, match="same utterances, groups and references"):
        werr(same, score(references, hypotheses))
