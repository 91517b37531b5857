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
from xlasr.scoring.confidence import (
    MANY_GROUPS,
    ONE_VOICE,
    RateInterval,
    difference,
    rate_interval,
    ratio_interval,
    werr,
)

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


def test_with_few_errors_it_is_the_bootstrap_t_of_the_logarithm() -> None:
    # Draw by draw in plain loops: |log of the ratio| over the logarithm's own standard error.
    table = np.array([(1, 9), (0, 12), (3, 8), (0, 7), (2, 11)] * 3)

    def log_ratio(rows: np.ndarray) -> tuple[float, float]:
        e, n = rows[:, 0].astype(float), rows[:, 1].astype(float)
        value = e.sum() / n.sum()
        return math.log(value), math.sqrt(((e - value * n) ** 2).sum()) / e.sum()

    value, error = log_ratio(table)
    rng = np.random.default_rng(4)
    t = []
    for _ in range(6000):
        drawn = table[rng.integers(0, 15, 15)]
        if drawn[:, 0].any():
            its_value, its_error = log_ratio(drawn)
            t.append(abs(its_value - value) / its_error)
    reach = float(np.quantile(t, 0.95)) * error
    found = ratio_interval(table, n=6000)
    assert found.value == pytest.approx(math.exp(value))
    expected = math.exp(value - reach), math.exp(value + reach)
    assert (found.low, found.high) == pytest.approx(expected, rel=0.03)
    assert "only 18 errors" in found.note


def test_few_errors_in_20_groups_hold_the_truth() -> None:
    # The hardest cell of benchmarks/interval_coverage.py: 82 % on the scale of the rate itself.
    rng = np.random.default_rng([2, 5])
    inside = []
    for seed in range(250):
        words = np.maximum(1, np.round(rng.lognormal(np.log(8), 0.5, 20))).astype(int)
        errors = rng.binomial(words, rng.beta(0.03 * 9, 0.97 * 9, 20))
        if errors.any():
            found = ratio_interval(np.stack([errors, words], axis=1), n=300, seed=seed)
            inside.append(found.low <= 0.03 <= found.high)
    assert np.mean(inside) > 0.93  # 0.977 in the benchmark, standard error 0.01


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
    assert 0.0 < rare.low < rare.value < rare.high < 0.2
    assert "only 7 errors" in rare.note
    four = ratio_interval([(1, 10), (1, 10), (1, 11), (2, 500)])  # it would reach 100 times itself
    assert four.method == "none" and "5 errors in 4 groups are too few" in four.note
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


def test_a_difference_of_two_systems_is_student_s_t_of_the_groups_differences() -> None:
    # 30 groups of 50 words: the difference is a mean of paired differences.
    rng = np.random.default_rng(5)
    said = {f"{g}": " ".join(["slovo"] * 50) for g in range(30)}
    heard = []
    for extra in (0, 4):
        heard.append(
            {
                key: " ".join(["jinak"] * int(n) + ["slovo"] * (50 - int(n)))
                for key, n in zip(said, rng.binomial(20, 0.4, 30) + extra, strict=True)
            }
        )
    groups = {key: f"g{key}" for key in said}
    base, adapted = (score(said, texts, groups) for texts in heard)
    found = difference(base, adapted, "wer")
    each = (adapted.per_group("wer")[1][:, 0] - base.per_group("wer")[1][:, 0]) / 50
    reach = scipy.stats.t.ppf(0.975, 29) * each.std(ddof=1) / math.sqrt(30)
    assert found.value == pytest.approx(each.mean())
    assert found.low == pytest.approx(each.mean() - reach, abs=0.1 * reach)
    assert found.high == pytest.approx(each.mean() + reach, abs=0.1 * reach)
    back = difference(adapted, base, "wer")
    assert back.value == -found.value and back.low < back.high < 0  # not cut at 0
    assert back.high == pytest.approx(-found.low, abs=0.1 * reach)
    same = difference(base, base, "wer")
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    with pytest.raises(DataError, match="same utterances"):
        difference(base, score(said, heard[1]))


def test_one_voice_is_not_a_speaker_bootstrap() -> None:
    keys = [f"{block}-{line}" for block in range(25) for line in range(4)]
    said = dict.fromkeys(keys, "slovo")
    wrong = {key: "slovo" if int(key.split("-")[0]) % 3 else "jinak" for key in keys}
    blocks = score(said, wrong, {key: key.split("-")[0] for key in keys})
    assert rate_interval(blocks, "wer", speakers=1).note == ONE_VOICE
    for many in (None, 0, 2):
        assert rate_interval(blocks, "wer", speakers=many).note == ""
    few = score(said, wrong, {key: str(int(key.split("-")[0]) % 7) for key in keys})
    assert rate_interval(few, "wer", speakers=1).note.endswith(f"rough; {ONE_VOICE}")
    alone = score(said, wrong, dict.fromkeys(keys, "one"))
    assert ONE_VOICE not in rate_interval(alone, "wer", speakers=1).note  # there is no interval
