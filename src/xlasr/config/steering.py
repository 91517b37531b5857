"""When a stage ends, how often dev is looked at, and which weights are the best."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from xlasr.config.base import Settings


class StopSettings(Settings):
    """The budget, in updates or epochs: never in minutes, so that a run can be repeated."""

    updates: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    patience: int | None = Field(
        None,
        ge=1,
        description="stop after this many evaluations without better weights (evaluate.best)",
    )

    @model_validator(mode="after")
    def _one_budget(self) -> StopSettings:
        if (self.updates is None) == (self.epochs is None):
            raise ValueError("give exactly one of `updates` and `epochs`")
        return self


class EvaluateSettings(Settings):
    """How often dev is looked at, and what the best weights are chosen by."""

    every: int = Field(100, ge=1, description="updates")
    seconds: float = Field(
        240.0, gt=0, description="dev audio decoded each time (a fixed sample); of each language"
    )
    best: Literal["cer", "loss"] = Field(
        "cer",
        description="lowest dev CER (dev loss, where nothing can be decoded), or lowest dev loss: "
        "of a stage that hands on its encoder, whose own output says little about it",
    )
