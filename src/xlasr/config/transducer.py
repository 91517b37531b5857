"""Settings of the transducer: sizes, and which of its losses."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from xlasr.config.base import Settings


class TransducerSettings(Settings):
    """Predictor and joiner of the family `transducer`; see ``models.transducer``."""

    predictor_layers: int = Field(1, ge=1, description="LSTM layers; 3 in the large models")
    predictor_dim: int = Field(256, ge=1, description="their width; 512 in the large models")
    joiner_dim: int = Field(256, ge=1, description="width in which the two sides are added")
    modified: bool = Field(False, description="at most one symbol a frame")


class TransducerLossSettings(Settings):
    """Which cells of the lattice the loss looks at; see ``objectives.transducer``."""

    kind: Literal["exact", "fused", "pruned", "restricted"] = Field(
        "pruned",
        description="exact: all logits at once; fused: the same number, never all logits at once; "
        "pruned: a window that a simpler joiner finds (arXiv 2206.13236); restricted: a window "
        "around a reference alignment (arXiv 2011.03072)",
    )
    range: int = Field(5, ge=2, description="pruned: rows of the window")
    simple_scale: float = Field(0.5, gt=0, description="pruned: weight of the simple joiner")
    lm_scale: float = Field(0.25, ge=0, lt=1, description="pruned: smooths the simple joiner")
    am_scale: float = Field(0.0, ge=0, lt=1, description="pruned: smooths it the other way")
    start_scale: float = Field(
        0.1,
        ge=0,
        le=1,
        description="pruned: weight of the real joiner while the simple one is poor: its windows "
        "are guesses",
    )
    start_until: float = Field(
        0.5, gt=0, description="pruned: poor is a simple loss above this, in nats a frame"
    )
    aligner: str | None = Field(
        None, description="restricted: a finished CTC run of the same language"
    )
    left_ms: float = Field(
        300.0, ge=0, description="restricted: a symbol may be written so long before its end"
    )
    right_ms: float = Field(300.0, ge=0, description="restricted: ... or so long behind it")


def transducer_misfits(name: str, objective: dict[str, Any], sizes: Any) -> list[str]:
    """What an objective `transducer` contradicts; reads an unchecked tree."""
    loss = objective.get("transducer")
    if not isinstance(loss, dict):
        return []
    if objective.get("kind") not in (None, "transducer"):
        return [f"stage {name!r}: transducer is for the objective 'transducer' only"]
    if (loss.get("kind") == "restricted") != bool(loss.get("aligner")):
        return [
            f"stage {name!r}: transducer.kind restricted and transducer.aligner (a finished CTC "
            "run) belong together"
        ]
    if loss.get("kind") == "restricted" and isinstance(sizes, dict) and sizes.get("modified"):
        return [
            f"stage {name!r}: transducer.kind restricted needs the regular topology: where symbols "
            "stand close, one a frame may not fit into the window"
        ]
    scales = [loss.get(key, default) for key, default in (("lm_scale", 0.25), ("am_scale", 0.0))]
    if all(isinstance(s, int | float) for s in scales) and sum(scales) > 1:
        return [f"stage {name!r}: transducer.lm_scale and am_scale are shares of one"]
    return []
