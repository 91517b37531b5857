"""Objectives that need no transcript: their names, their settings, and what goes with them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from xlasr.config.base import Settings, dicts

WITH_VIDEO = frozenset({"masked_autoencoder", "contrastive"})
"""Kinds of objectives that learn from sound and pictures together."""
WITHOUT_TEXT = frozenset({"masked_contrastive"}) | WITH_VIDEO
"""Kinds of objectives that learn from no text; a stage of only these needs no transcripts."""


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


class AutoencoderSettings(Settings):
    """Masked autoencoding of sound and pictures (arXiv 2403.19822, section 3.1)."""

    mask_ratio: float = Field(
        0.6, gt=0, lt=1, description="share of the patches of each clip, drawn without replacement"
    )
    video_weight: float = Field(
        1.0,
        ge=0,
        description="of the error of the pictures; that of the sound has 1; at 0 no picture is "
        "looked at, and sound is reconstructed from sound alone",
    )
    normalise: bool = Field(
        False,
        description="each patch is reconstructed with mean 0 and variance 1 (MAE, arXiv "
        "2111.06377, section 3)",
    )


class PairSettings(Settings):
    """Telling which pictures belong to which sound (arXiv 2403.19822, section 3.1)."""

    temperature: float = Field(0.07, gt=0, description="of the similarities; 0.07 is CLIP's first")
    standardise: bool = Field(
        True,
        description="both sides get mean 0 and variance 1 over the batch first; without it what "
        "all clips share hides what differs, and on real speech nothing is learnt",
    )
    normalise: bool = Field(
        True, description="similarity is the cosine; else the product of what is projected"
    )
    same_length: bool = Field(
        True,
        description="all clips of a batch are cut to the shortest, or their length alone would "
        "tell which belong together",
    )
    window_s: float | None = Field(
        None,
        gt=0,
        description="means are over windows of so many seconds, whole tubelets; what a clip has "
        "in all of them is taken away, and all windows of all clips are told apart by the rest. "
        "Without it means are over whole clips, as in the paper",
    )

    @model_validator(mode="after")
    def _windows_are_those_of_all(self) -> PairSettings:
        if self.window_s is not None and not self.same_length:
            raise ValueError("window_s needs same_length: all clips have the same windows")
        if self.window_s is not None and not self.standardise:
            raise ValueError("window_s needs standardise: windows are told apart by what moves")
        return self


class CropSettings(Settings):
    """Random resized crop and flip of all pictures of a clip together, and a stretch of its time.

    Source: Szegedy et al. 2014 (arXiv 1409.4842), section 6.
    """

    scale: tuple[float, float] = Field(
        (0.6, 1.0), description="least and most of the area of a picture that is kept"
    )
    ratio: tuple[float, float] = Field((0.75, 4 / 3), description="least and most width / height")
    flip: float = Field(0.5, ge=0, le=1, description="probability of left becoming right")
    seconds: float | None = Field(
        None,
        gt=0,
        description="no more of a clip than this is looked at, in training from anywhere in it: "
        "more clips in a batch; without it the first seconds that the base takes (10)",
    )

    @model_validator(mode="after")
    def _ascending(self) -> CropSettings:
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"scale is {self.scale}; two shares, the smaller first, are needed")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio is {self.ratio}; two ratios, the smaller first, are needed")
        return self


def video_misfits(name: str, stage: dict[str, Any]) -> list[str]:
    """What does not go together with pictures, or needs them."""
    others = [o.get("kind") for o in dicts(stage.get("objectives"))]
    augment = next(iter(dicts([stage.get("augment")])), {})
    if not WITH_VIDEO.intersection(others):
        alone = f"stage {name!r}: augment.crop is for pictures, and no objective looks at any"
        return [alone] if augment.get("crop") is not None else []
    problems = []
    if not WITH_VIDEO.issuperset(others):
        problems.append(
            f"stage {name!r}: {' and '.join(sorted(WITH_VIDEO.intersection(others)))} learn from "
            "the first seconds of clips; other objectives belong in a stage of their own"
        )
    if augment.get("speed", [1.0]) not in ([1.0], [1]):
        problems.append(f"stage {name!r}: augment.speed would part the sound from its pictures")
    if augment.get("spec") is not None:
        problems.append(
            f"stage {name!r}: augment.spec masks what {', '.join(map(str, others))} should see"
        )
    if "contrastive" in others and stage.get("batch_clips") == 1:
        problems.append(
            f"stage {name!r}: contrastive tells the clips of a batch from each other, and "
            "batch_clips: 1 leaves nothing to be told from; say 2 or more, or leave it out"
        )
    return problems


def unlabelled_misfits(name: str, kind: str, stage: dict[str, Any], family: Any) -> list[str]:
    """What a stage that learns from sound alone cannot have."""
    problems = []
    if family == "seq2seq":
        problems.append(f"stage {name!r}: {kind} needs the family 'ctc'")
    others = [o.get("kind") for o in dicts(stage.get("objectives"))]
    modes = [o.get("mode", "keep") for o in dicts([stage.get("output")])]
    if WITHOUT_TEXT.issuperset(others) and modes not in ([], ["keep"]):
        problems.append(
            f"stage {name!r}: output.mode {modes[0]!r} is made of transcripts, and nothing of this "
            "stage needs any; say it in the stage that does"
        )
    return problems
