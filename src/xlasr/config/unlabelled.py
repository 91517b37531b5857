"""Objectives that need no transcript: their names, and their settings."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from xlasr.config.base import Settings, dicts

WITHOUT_TEXT = frozenset({"masked_contrastive"})
"""Kinds of objectives that learn from sound alone; a stage of only these needs no transcripts."""


class ContrastiveSettings(Settings):
    """Masked quantised targets (wav2vec 2.0, arXiv 2006.11477): the defaults are of section 4.2.

    How many codes there are (320 in each of 2 groups) and how wide they are is the base's own
    ``config.json``: they are weights.
    """

    mask_prob: float = Field(
        0.065, gt=0, le=1, description="share of positions at which a mask begins (section 3.1)"
    )
    mask_length: int = Field(10, ge=1, description="positions of 20 ms in one mask; masks overlap")
    min_masks: int = Field(2, ge=1, description="masks in a clip, however short it is")
    negatives: int = Field(
        100, ge=1, description="other masked positions of the same clip that are the wrong answers"
    )
    temperature: float = Field(0.1, gt=0, description="of the cosine similarities (equation 3)")
    diversity: float = Field(
        0.1, ge=0, description="weight of the diversity loss: all codes should be used (equation 4)"
    )
    gumbel_start: float = Field(2.0, gt=0, description="temperature of the quantiser, at update 0")
    gumbel_end: float = Field(0.5, gt=0, description="and at the least (0.1 for large models)")
    gumbel_decay: float = Field(
        0.999995, gt=0, le=1, description="factor on it at every update of the stage"
    )


def unlabelled_misfits(name: str, stage: dict[str, Any], family: Any) -> list[str]:
    """What a stage that learns from sound alone cannot have."""
    problems = []
    if family == "seq2seq":
        problems.append(f"stage {name!r}: masked_contrastive needs the family 'ctc'")
    others = [o.get("kind") for o in dicts(stage.get("objectives"))]
    modes = [o.get("mode", "keep") for o in dicts([stage.get("output")])]
    if WITHOUT_TEXT.issuperset(others) and modes not in ([], ["keep"]):
        problems.append(
            f"stage {name!r}: output.mode {modes[0]!r} is made of transcripts, and nothing of this "
            "stage needs any; say it in the stage that does"
        )
    return problems
