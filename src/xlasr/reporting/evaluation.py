"""What a split says about a model: the typed result of ``evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from xlasr.reporting.comparison import Comparison, Pair, compare
from xlasr.reporting.formatting import number
from xlasr.scoring.bootstrap import PairedResult
from xlasr.scoring.breakdown import Part, summary
from xlasr.scoring.confidence import RateInterval, difference
from xlasr.scoring.error_rates import Score
from xlasr.scoring.japanese import JapaneseScore
from xlasr.scoring.scorecard import Scorecard

AGREED = 0.05
"""A paired p below this says that two models differ."""
KEPT_BELOW = 1.5
"""A language is kept where the error is, at 95 %, below so many times the base's."""


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
        speakers: How many different speakers there are; None or 0 is not known.
    """

    corpus: str
    language: str
    split: str
    adapted: Score
    base: Score | None
    paired: PairedResult | None
    speakers: int | None = None

    @cached_property
    def change(self) -> RateInterval | None:
        """Difference in CER (positive: more errors) and its interval; None without a base."""
        return None if self.base is None else difference(self.base, self.adapted, "cer")

    @property
    def verdict(self) -> str:
        """In words, what happened to it.

        ``worse`` or ``better`` where the paired test and the difference's interval say so (of few
        groups the test alone says it too often); ``kept`` where the error is below ``KEPT_BELOW``
        times the base's at the upper end of the interval; otherwise ``no difference found`` and how
        large one could be; ``not known`` without a base or an interval.
        """
        if self.paired is None or self.change is None:
            return "not known"
        if self.change.method == "none":
            return "not known (too few groups)"
        low, high = self.change.ends
        if self.paired.p_value < AGREED and (low > 0 or high < 0):
            return "worse" if low > 0 else "better"
        if self.paired.base + high < KEPT_BELOW * self.paired.base:
            return "kept"
        points = 100 * max(-low, high)
        return f"no difference found (within ± {number(points)} points)"


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
        speakers: How many different speakers the split has; None or 0 is not known.
        base_japanese: The base's Japanese scores; the adapted model's stand on its card.
        card: The adapted model's scorecard: rare words, numbers and names, kinds of errors.
        parts: Score by what: "duration", "speech rate", "SNR", "speaker"; with one speaker, none.
        conditions: The split through other channels.
        also: Languages and domains that should be kept.
        speed: Of the adapted model's decoding.
        name: Of its file in ``RUN/evaluations``; "" was not written.
        report: The page that shows it; None was not written.
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
    speakers: int | None = None
    base_japanese: JapaneseScore | None = None
    card: Scorecard | None = None
    parts: Mapping[str, list[Part]] = field(default_factory=dict)
    conditions: list[UnderCondition] = field(default_factory=list)
    also: list[Kept] = field(default_factory=list)
    speed: Speed | None = None
    name: str = ""
    report: Path | None = None

    @property
    def more(self) -> list[Pair]:
        """Japanese scores beside the headline: WER over MeCab's words, CER over readings."""
        mine, base = (self.card.japanese if self.card else None), self.base_japanese
        if mine is None:
            return []
        return [
            ("wer", None if base is None else base.words, mine.words),
            ("cer", None if base is None else base.readings, mine.readings),
        ]

    @property
    def rows(self) -> list[Comparison]:
        """Base against adapted, measure by measure."""
        raw = self.base_raw, self.adapted_raw
        return compare(self.base, self.adapted, *raw, self.more, self.speakers)

    @property
    def notes(self) -> list[str]:
        """What must be known to read it, beside the notes of the intervals."""
        if self.card is None:
            return []
        found = list(self.card.notes)
        if self.card.japanese is not None:
            found.append(f"words and readings by {self.card.japanese.dictionary}")
        return found

    @property
    def guards(self) -> dict[str, int]:
        """How often each guard had something to say."""
        names = [str(event["guard"]) for event in self.events]
        return {name: names.count(name) for name in dict.fromkeys(names)}

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
            "guards": self.guards,
            "speakers": self.speakers,
            "japanese": {
                name: None
                if found is None
                else {
                    "dictionary": found.dictionary,
                    "words": found.words.to_dict(),
                    "readings": found.readings.to_dict(),
                }
                for name, found in (
                    ("adapted", self.card.japanese if self.card else None),
                    ("base", self.base_japanese),
                )
            },
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
                    "change": None if kept.change is None else kept.change.to_dict(),
                    "verdict": kept.verdict,
                }
                for kept in self.also
            ],
            "speed": None if self.speed is None else vars(self.speed),
        }


def _rates(score: Score | None) -> dict[str, Any] | None:
    return None if score is None else summary(score)
