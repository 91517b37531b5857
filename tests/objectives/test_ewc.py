"""Elastic weight consolidation against numbers worked out by hand, and in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from xlasr.config import ObjectiveSettings, parse_recipe
from xlasr.errors import ConfigError
from xlasr.objectives import OBJECTIVES
from xlasr.objectives.ewc import make_anchor

SETTINGS = ObjectiveSettings(kind="ewc", corpus="x")
NOTHING = torch.zeros(1)


class Plane(nn.Module):
    """y = a x + b z; the loss of a clip (x, z) is y."""

    anchor: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([3.0]))
        self.b = nn.Parameter(torch.tensor([5.0]))


def test_importances_are_mean_squares_of_each_clip() -> None:
    model = Plane()
    clips = [(1.0, 0.0), (-1.0, 2.0), (2.0, 0.0)]  # the gradients of the loss
    anchor = make_anchor(model, ["a", "b"], clips, lambda c: (model.a * c[0] + model.b * c[1])[0])
    # squares: a 1 + 1 + 4 = 6, b 4; their mean is 5. The square of the sum would give a 4, b 4
    assert anchor.importance["a"].item() == pytest.approx(6 / 5)
    assert anchor.importance["b"].item() == pytest.approx(4 / 5)
    model.anchor = anchor
    with torch.no_grad():
        model.a += 1.0
        model.b -= 2.0
    loss = OBJECTIVES["ewc"](model, NOTHING, NOTHING, [], SETTINGS)
    assert loss.item() == pytest.approx((1.2 * 1 + 0.8 * 4) / 2)
    loss.backward()
    assert model.a.grad.item() == pytest.approx(1.2)  # type: ignore[union-attr]
    assert model.b.grad.item() == pytest.approx(-1.6)  # type: ignore[union-attr]


def test_only_what_is_trained_is_held() -> None:
    model = Plane()
    model.anchor = make_anchor(model, ["a"], [1.0], lambda c: (model.a * c + model.b)[0])
    assert set(model.anchor.start) == {"a"}
    with torch.no_grad():
        model.b += 7.0
    assert OBJECTIVES["ewc"](model, NOTHING, NOTHING, [], SETTINGS).item() == 0.0


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    def stage(name: str, objectives: list[Any], part: str = "full") -> dict[str, Any]:
        return {"name": name, "train": {"part": part}, "objectives": objectives,
                "stop": {"updates": 1}}  # fmt: skip

    ce, ewc = {"kind": "cross_entropy"}, {"kind": "ewc", "corpus": "c"}
    plan = {
        "name": "x",
        "family": "seq2seq",
        "stages": [
            stage("one", [ewc]),
            stage("two", [ce, {"kind": "ewc"}]),
            stage("three", [ce, ewc], "lora"),
            stage("four", [ce, ewc]),
        ],
    }
    with pytest.raises(ConfigError) as caught:
        parse_recipe(plan, "x")
    assert "stage 'one': ewc alone teaches nothing" in str(caught.value)
    assert "stage 'two': ewc needs `corpus`" in str(caught.value)
    assert "stage 'three': ewc with train.part 'lora'" in str(caught.value)
    assert "four" not in str(caught.value)
