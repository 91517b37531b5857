"""What an evaluation concludes: the verdict on what should be kept, and intervals of parts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xlasr.reporting.evaluation import KEPT_BELOW, Evaluation, Kept, UnderCondition
from xlasr.reporting.sections import of_evaluation
from xlasr.scoring import Score, paired, rate_interval, score
from xlasr.scoring.breakdown import by_duration
from xlasr.scoring.confidence import ONE_VOICE

from .conftest import scored


def system(rate: float, groups: int, seed: int = 0) -> Score:
    """Groups of 100 letters, each wrong with a probability that differs from group to group."""
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(7).uniform(0.5, 1.5, groups)
    said = {str(i): "a" * 100 for i in range(groups)}
    heard = {
        key: "".join("b" if wrong else "a" for wrong in rng.random(100) < rate * hard[int(key)])
        for key in said
    }
    return score(said, heard, {key: f"g{key}" for key in said})


def kept(before: Score, after: Score, speakers: int | None = None) -> Kept:
    return Kept("/x/en", "en", "test", after, before, paired(before, after), speakers)


def test_kept_is_shown_and_not_presumed() -> None:
    base = system(0.10, 60)
    assert kept(base, system(0.30, 60, 1)).verdict == "worse"
    assert kept(system(0.30, 60, 1), base).verdict == "better"
    same = kept(base, system(0.10, 60, 2))
    assert same.change is not None and same.paired is not None
    assert same.verdict == "kept" and 0.1 + same.change.high < KEPT_BELOW * 0.1
    # The same rates on five groups: nothing is found, and nothing is shown to be kept.
    few = kept(system(0.05, 5), system(0.06, 5, 4))
    assert few.change is not None and few.paired is not None
    assert few.paired.base + few.change.high > KEPT_BELOW * few.paired.base
    points = 100 * max(abs(end) for end in few.change.ends)
    assert few.verdict == f"no difference found (within ± {points:.1f} points)"


def test_of_few_groups_a_small_p_alone_says_nothing() -> None:
    # All three groups are worse: that is too few for a test and for an interval.
    three = kept(system(0.05, 3), system(0.5, 3, 1))
    assert three.paired is not None and math.isnan(three.paired.p_value)
    assert three.verdict == "not known (too few groups)"
    right = score({"1": "a", "2": "b"}, {"1": "a", "2": "b"})
    assert Kept("c", "cs", "test", right, None, None).verdict == "not known"
    said = {str(i): "a" * 100 for i in range(5)}
    wrong = [0, 1, 1, 2, 60]
    heard = {key: "b" * n + "a" * (100 - n) for key, n in zip(said, wrong, strict=True)}
    groups = {key: f"g{key}" for key in said}
    wide = kept(score(said, said, groups), score(said, heard, groups))
    assert wide.change is not None and wide.change.low < 0 < wide.change.high
    assert wide.verdict.startswith("no difference found (within ± ")


def evaluation(base: Score, adapted: Score, **more: object) -> Evaluation:
    parts = {"adapted_raw": adapted, "base_raw": base, "paired": None, "loops": 0, "empty": 0}
    return Evaluation("test", adapted, base=base, events=[], **{**parts, **more})  # type: ignore[arg-type]


def test_the_table_of_what_should_be_kept_has_the_interval_of_the_difference() -> None:
    base = system(0.10, 60)
    found = [kept(base, system(0.30, 60, 1)), kept(system(0.05, 5), system(0.06, 5, 4), 1)]
    section = of_evaluation(evaluation(base, base, also=found))[-1]
    assert section.headings[4] == "95 %" and section.headings[-1] == "verdict"
    change = found[0].change
    assert change is not None
    assert section.rows[0][4] == f"{100 * change.low:.1f} to {100 * change.high:.1f}"
    assert section.rows[0][-1] == "worse" and section.rows[1][-1] == "no difference found"
    assert f"en (en): {found[1].verdict}" in section.notes
    assert f"en (en): {ONE_VOICE}" in section.notes


def test_parts_and_channels_have_intervals_where_groups_allow() -> None:
    adapted, base = system(0.2, 30), system(0.5, 30, 3)
    short = {u.id: 1.5 if int(u.id) < 28 else 3.0 for u in adapted.utterances}
    shown = evaluation(
        base,
        adapted,
        parts={"duration": by_duration(adapted, short)},
        conditions=[UnderCondition("gsm", system(0.4, 30, 5), base)],
    )
    parts, channels = of_evaluation(shown)[-2:]
    assert parts.headings == ("duration", "WER", "95 %", "CER", "95 %", "lines", "groups")
    many, two = parts.rows
    ends = rate_interval(shown.parts["duration"][0].score, "cer").ends
    assert many[4] == f"{100 * ends[0]:.0f} to {100 * ends[1]:.0f}"
    assert two[-1] == "2" and two[2] == two[4] == ""
    assert "none below 4" in parts.notes[0]
    assert channels.rows[1][0] == "gsm" and all(" to " in row[4] for row in channels.rows)
    facts = shown.to_dict()
    assert facts["parts"]["duration"][0]["intervals"]["cer"]["low"] == ends[0]
    condition = facts["conditions"][0]["adapted"]
    assert condition["intervals"]["cer"]["n_groups"] == 30 and "utterances" not in condition


def test_guards_are_counted() -> None:
    event = {"guard": "worse_than_base", "message": "m", "action": "a"}
    found = evaluation(scored(2), scored(1))
    assert found.guards == {} and found.to_dict()["guards"] == {}
    found.events = [event, {**event, "guard": "loop"}, event]
    assert found.to_dict()["guards"] == {"worse_than_base": 2, "loop": 1}


@pytest.mark.parametrize(("better", "told"), [(True, []), (False, ["worse_than_base"])])
def test_the_guard_looks_at_which_of_the_two_is_worse(better: bool, told: list[str]) -> None:
    from xlasr.reporting.evaluate import _warnings

    base, adapted = (scored(2), scored(1)) if better else (scored(1), scored(2))
    assert (adapted.cer < base.cer) is better
    assert [event["guard"] for event in _warnings(base, adapted)] == told
    assert _warnings(None, adapted) == []
