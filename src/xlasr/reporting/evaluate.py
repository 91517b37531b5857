"""Score a model on a split beside its unadapted base."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlasr.data import cache_dir
from xlasr.data.corpus import Split
from xlasr.decoding.recognise import DecodeOptions, Recognised, recognise
from xlasr.errors import DataError
from xlasr.files import write_text
from xlasr.models.hub import Base
from xlasr.models.run import SpeechModel, from_base, load_model
from xlasr.scoring.bootstrap import PairedResult, paired
from xlasr.scoring.error_rates import Score, score


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
        return {
            **scores,
            "paired": None if self.paired is None else self.paired.to_dict(),
            "loops": self.loops,
            "empty": self.empty,
            "events": self.events,
        }


def transcribe_split(
    model: SpeechModel,
    split: Split,
    options: DecodeOptions,
    progress: Callable[[float], None] | None = None,
) -> list[Recognised]:
    """Transcripts of every utterance of a split, in its order.

    Raises:
        DataError: The split is empty, or holds a clip longer than the model takes.
    """
    if not len(split):
        raise DataError(f"split {split.name!r} has no utterance; nothing to score")
    longest = float(split.durations_s.max())
    allowed = model.encoder.max_samples / 16_000
    if longest > allowed:
        at = int(split.durations_s.argmax())
        raise DataError(
            f"utterance {split[at].id} has {longest:.1f} s; this model takes {allowed:.0f} s at a "
            "time. Cut it, or use `xlasr transcribe`, which cuts by voice activity"
        )

    def load(index: int) -> Any:
        return split[index].load()

    return recognise(model, load, split.durations_s.tolist(), options, progress)


def base_transcripts(
    base: Base,
    split: Split,
    language: str,
    progress: Callable[[float], None] | None = None,
) -> list[Recognised] | None:
    """Transcripts by the base, kept in the cache; None where it has neither decoder nor head.

    A bare Whisper is given its own 30 s; a finished run decodes at the context it was trained for.

    Args:
        base: As found.
        split: To transcribe.
        language: For the prompt of a multilingual base.
        progress: Called with seconds of audio.
    """
    if base.adapted is None and "seq2seq" not in base.families:
        return None
    how = f"greedy, {base.adapted}" if base.adapted else "greedy at 30 s"
    key = json.dumps([base.sha256, split.sha256, language, how, 1])
    path = cache_dir() / "base-transcripts" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    if path.exists():
        rows = json.loads(path.read_text(encoding="utf-8"))
        if progress:
            progress(float(split.durations_s.sum()))
        return [Recognised(**row) for row in rows]
    if base.adapted:
        model = load_model(base.folder)
    else:
        model = from_base(base, "seq2seq", context=None, language=language).eval()
    # weights that were never tuned for short context break at it (docs/architecture.md)
    found = transcribe_split(model, split, DecodeOptions(batch_s=240.0), progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps([vars(r) for r in found], ensure_ascii=False))
    return found


def score_split(split: Split, found: Sequence[Recognised], normaliser: str) -> Score:
    """Score transcripts in the split's order, by utterance id."""
    utterances = list(split)
    return score(
        {u.id: u.text for u in utterances},
        {u.id: r.text for u, r in zip(utterances, found, strict=True)},
        {u.id: u.group for u in utterances},
        normaliser=normaliser,
    )


def evaluate_model(
    model: SpeechModel,
    base: Base | None,
    split: Split,
    options: DecodeOptions,
    *,
    language: str,
    progress: Callable[[str, float], None] | None = None,
) -> Evaluation:
    """Score a model and its base on a split.

    Args:
        model: Adapted, in evaluation mode.
        base: Its base; None leaves the comparison out.
        split: Usually ``test``.
        options: How the adapted model decodes; chosen on dev.
        language: BCP-47.
        progress: Called with what is being decoded and seconds of audio.
    """

    def tell(what: str) -> Callable[[float], None] | None:
        return None if progress is None else lambda seconds: progress(what, seconds)

    found = transcribe_split(model, split, options, tell("adapted"))
    plain = None if base is None else base_transcripts(base, split, language, tell("base"))
    adapted = score_split(split, found, "headline")
    unadapted = None if plain is None else score_split(split, plain, "headline")
    events = []
    if unadapted is not None and adapted.cer >= unadapted.cer:
        events.append(
            {
                "guard": "worse_than_base",
                "update": -1,
                "message": f"the adapted model has CER {100 * adapted.cer:.1f} %, its base "
                f"{100 * unadapted.cer:.1f} %",
                "action": "do not use it; look at the learning curves, train longer or lower "
                "optim.lr",
            }
        )
    return Evaluation(
        split=split.name,
        adapted=adapted,
        adapted_raw=score_split(split, found, "raw"),
        base=unadapted,
        base_raw=None if plain is None else score_split(split, plain, "raw"),
        paired=None if unadapted is None else paired(unadapted, adapted, "cer"),
        loops=sum(r.looped for r in found),
        empty=sum(not r.text for r in found),
        events=events,
    )


def write_hypotheses(path: Path, split: Split, evaluation: Evaluation) -> None:
    """Write id, reference and hypotheses as TSV, for any other scorer."""
    base = (
        {}
        if evaluation.base_raw is None
        else {u.id: u.hypothesis for u in evaluation.base_raw.utterances}
    )
    lines = ["id\treference\tadapted\tbase"]
    for utterance in evaluation.adapted_raw.utterances:
        row = [
            utterance.id,
            utterance.reference,
            utterance.hypothesis,
            base.get(utterance.id, ""),
        ]
        lines.append("\t".join(field.replace("\t", " ") for field in row))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
