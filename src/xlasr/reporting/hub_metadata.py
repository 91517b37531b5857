"""What a model card says to the Hugging Face Hub: its metadata, from a run and its evaluations.

Scores are in per cent, as speech models on the Hub give them. What is not known is left out.

Source: https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlasr.reporting.comparison import metrics_of
from xlasr.scoring import Score
from xlasr.scoring.error_rates import Metric

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

HUB_BASES = {"whisper-tiny.en": "openai/whisper-tiny.en"}
"""Built-in bases by their names on the Hub."""
LICENCES = {
    "Apache-2.0": "apache-2.0",
    "CC0-1.0": "cc0-1.0",
    "CC-BY-3.0": "cc-by-3.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-3.0": "cc-by-sa-3.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "GPL-2.0-only": "gpl-2.0",
    "GPL-2.0-or-later": "gpl-2.0",
    "GPL-3.0-only": "gpl-3.0",
    "GPL-3.0-or-later": "gpl-3.0",
    "MIT": "mit",
}
"""SPDX expressions by the Hub's identifiers."""
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Scored:
    """One evaluation of the run.

    Attributes:
        corpus: Name of the folder.
        split: That was scored.
        decode: How, in words.
        score: Headline score of the adapted model.
        base: The base's; None without one.
        content: All that the evaluation says.
    """

    corpus: str
    split: str
    decode: str
    score: Score
    base: Score | None
    content: Mapping[str, Any]


def metadata(
    folder: Path,
    facts: Mapping[str, Any],
    card: Mapping[str, Any],
    scored: Sequence[Scored],
    licence: str | None,
) -> ModelCardData:
    """Return the metadata.

    Args:
        folder: Of the run; its name is the model's.
        facts: ``run.json``.
        card: Of the corpus it was trained on.
        scored: Its evaluations, the main one first.
        licence: Of the weights, an SPDX expression or a name; None is not stated.
    """
    from huggingface_hub import ModelCardData

    language = str(facts["language"])
    name = str(facts["base"]["name"])
    # A path of this machine is no name on the Hub.
    base = HUB_BASES.get(name) or (name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None)
    source = str(card.get("source") or "")
    dataset = source if _NAME.fullmatch(source) else slug(Path(facts["corpus"]["path"]).name)
    tags = ["automatic-speech-recognition", "xlasr", slug(facts.get("recipe", ""))]
    tags.append(slug(facts["base"].get("model_type", "")))
    extra: dict[str, Any] = {"base_model_relation": "finetune"} if base else {}
    if licence and licence not in LICENCES:
        extra |= {"license_name": licence}
    return ModelCardData(
        language=slug(language.split("-")[0]),
        license=None if licence is None else LICENCES.get(licence, "other"),
        base_model=base,
        datasets=[dataset],
        pipeline_tag="automatic-speech-recognition",
        library_name="xlasr",
        tags=list(dict.fromkeys(tag for tag in tags if tag)),
        metrics=list(words_first(scored[0].score)),
        model_name=slug(folder.absolute().name),
        eval_results=[result for entry in scored for result in _results(entry)],
        **extra,
    )


def _results(entry: Scored) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="automatic-speech-recognition",
            task_name="Automatic Speech Recognition",
            dataset_type=slug(entry.corpus),
            dataset_name=slug(entry.corpus),
            dataset_split=slug(entry.split),
            metric_type=metric,
            metric_name=f"{entry.split.capitalize()} {metric.upper()} in per cent ({entry.decode})",
            metric_value=round(100 * entry.score.counts(metric).rate, 2),
        )
        for metric in words_first(entry.score)
        if entry.score.counts(metric).reference
    ]


def slug(text: object) -> str:
    """A name for the metadata: letters, digits, dots and dashes."""
    return re.sub(r"[^\w.-]+", "-", str(text)).strip("-")[:96] or "unnamed"


def words_first(score: Score) -> tuple[Metric, ...]:
    """Return what is worth saying: WER and CER, or CER alone in scripts without spaces."""
    return metrics_of(score)[::-1]
