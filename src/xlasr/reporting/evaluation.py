"""What a split says about a model: the typed result of ``evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xlasr.scoring.bootstrap import PairedResult
from xlasr.scoring.breakdown import Part
from xlasr.scoring.error_rates import Score
from xlasr.scoring.scorecard import Scorecard

AGREED = 0.05
"""A paired p below this says that two models differ."""


@dataclass
class UnderCondition:
    """The same split through another channel (``features/conditions.py``).

    Args:
        name: Such as "gsm" or "noise:10".
        adapted: Headline score of the adapted model.
        base: Of the unadapted base; None where it has no decoder.
    """

    name: str
    adapted: Score
    base: Score | None


@dataclass
class Kept:
    """What adaptation did to a language or domain that the model should keep.

    Args:
        corpus: Folder.
        language: BCP-47.
        split: That was scored.
        adapted: Headline score of the adapted model.
        base: Of the unadapted base; None where it has no decoder.
        paired: Test of the difference in CER; None without a base.
    """

    corpus: str
    language: str
    split: str
    adapted: Score
    base: Score | None
    paired: PairedResult | None

    @property
    def verdict(self) -> str:
        """``kept``, ``worse``, ``better``, or ``not known`` where the base cannot be scored."""
        if self.paired is None or self.paired.p_value != self.paired.p_value:
            return "not known"
        if self.paired.p_value >= AGREED:
            return "kept"
        return "worse" if self.paired.difference > 0 else "better"


@dataclass(frozen=True)
class Speed:
    """What decoding cost: the model's alone, without the language model's making.

    Args:
        audio_s: Seconds that were transcribed.
        wall_s: Seconds it took.
        cpu_s: Seconds of processor time, all threads.
    """

    audio_s: float
    wall_s: float
    cpu_s: float

    @property
    def real_time_factor(self) -> float:
        """Processing time over duration: below 1 is faster than speech."""
        return self.wall_s / self.audio_s


@dataclass
class Evaluation:
    """What a split says about a model and its base.

    Args:
        split: Name of the split.
        adapted: Headline score (case and punctuation stripped).
        adapted_raw: The same hypotheses, as written.
        base: Headline score of the unadapted base; None where it has no decoder.
        base_raw: The same, as written.
        paired: Test of the difference in CER, by groups; None without a base.
        loops: Hypotheses of the adapted model that the loop guard cut.
        empty: Hypotheses of the adapted model without text.
        events: What a person should know, as guard events.
        card: The adapted model's scorecard: rare words, numbers and names, kinds of errors.
        parts: Score by what: "duration", "speech rate", "SNR", "speaker"; with one speaker, none.
        conditions: The split through other channels.
        also: Languages and domains that should be kept.
        speed: Of the adapted model's decoding.
    """

    split: str
    adapted: Score
    adapted_raw: Score
    base: Score | None
    base_raw: Score | None
    paired: PairedResult | None
    loops: int
    empty: int
    events: list[dict[str, Any]]
    card: Scorecard | None = None
    parts: Mapping[str, list[Part]] = field(default_factory=dict)
    conditions: list[UnderCondition] = field(default_factory=list)
    also: list[Kept] = field(default_factory=list)
    speed: Speed | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON."""
        scores = {
            name: None if found is None else found.to_dict()
            for name, found in (
                ("adapted", self.adapted),
                ("adapted_raw", self.adapted_raw),
                ("base", self.base),
                ("base_raw", self.base_raw),
            )
        }
        card = None if self.card is None else self.card.to_dict()
        if card is not None:
            del card["score"], card["raw"]  # stand above
        return {
            **scores,
            "paired": None if self.paired is None else self.paired.to_dict(),
            "loops": self.loops,
            "empty": self.empty,
            "events": self.events,
            "scorecard": card,
            "parts": {
                what: [part.to_dict() for part in found] for what, found in self.parts.items()
            },
            "conditions": [
                {"name": c.name, "adapted": _rates(c.adapted), "base": _rates(c.base)}
                for c in self.conditions
            ],
            "also": [
                {
                    "corpus": kept.corpus,
                    "language": kept.language,
                    "split": kept.split,
                    "adapted_cer": kept.adapted.cer,
                    "base_cer": None if kept.base is None else kept.base.cer,
                    "adapted": _rates(kept.adapted),
                    "base": _rates(kept.base),
                    "paired": None if kept.paired is None else kept.paired.to_dict(),
                    "verdict": kept.verdict,
                }
                for kept in self.also
            ],
            "speed": None if self.speed is None else vars(self.speed),
        }


def _rates(score: Score | None) -> dict[str, Any] | None:
    """Counts and rates without the utterances."""
    if score is None:
        return None
    content = score.to_dict()
    del content["utterances"]
    return content
