"""``report.html``: one self-contained page that says what was done and how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from xlasr.reporting.evaluate import Evaluation
from xlasr.reporting.plots import learning_curves
from xlasr.scoring.bootstrap import score_interval
from xlasr.scoring.error_rates import Metric, Score, UtteranceScore

SAMPLE = 12
"""Lines shown of each kind."""


def report_of_run(
    path: Path,
    *,
    facts: dict[str, Any],
    recipe: str,
    metrics: Sequence[dict[str, Any]],
    card: dict[str, Any],
    evaluation: Evaluation,
) -> None:
    """Write the report of a finished, evaluated run.

    Args:
        path: ``report.html``.
        facts: ``run.json``.
        recipe: The recipe as YAML.
        metrics: Rows of ``metrics.jsonl``.
        card: The corpus' card.
        evaluation: Of the run on a split.
    """
    environment = Environment(
        loader=PackageLoader("xlasr.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    events = [event for stage in facts["stages"] for event in stage["events"]]
    rows = [
        score_row(name, form, score)
        for name, form, score in (
            ("base, unadapted", "headline", evaluation.base),
            ("adapted", "headline", evaluation.adapted),
            ("base, unadapted", "raw", evaluation.base_raw),
            ("adapted", "raw", evaluation.adapted_raw),
        )
        if score is not None
    ]
    adapted = evaluation.adapted
    ordered = adapted.worst(len(adapted.utterances))
    middle = len(ordered) // 2
    samples = {
        "worst": ordered[:SAMPLE],
        "median": ordered[max(0, middle - SAMPLE // 2) : middle + SAMPLE // 2],
        "best": adapted.best(SAMPLE),
    }
    page = environment.get_template("report.html.j2").render(
        facts=facts,
        recipe=recipe,
        card=card,
        evaluation=evaluation,
        scores=rows,
        curves=learning_curves(metrics),
        events=[*events, *evaluation.events],
        samples={name: [line(u) for u in chosen] for name, chosen in samples.items()},
    )
    temporary = path.with_suffix(".tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)


def score_row(name: str, form: str, score: Score) -> dict[str, Any]:
    """A line of the headline table, in per cent."""
    row: dict[str, Any] = {"name": name, "form": form, "counts": score.words}
    metrics: tuple[Metric, ...] = ("wer", "cer")
    for metric in metrics:
        low, high = score_interval(score, metric)
        row[metric] = 100 * score.counts(metric).rate
        row[f"{metric}_low"], row[f"{metric}_high"] = 100 * low, 100 * high
    return row


def line(utterance: UtteranceScore) -> dict[str, Any]:
    """One aligned line: id, rate, and the columns of the word alignment."""
    return {
        "id": utterance.id,
        "cer": 100 * utterance.cer,
        "ops": utterance.align("wer"),
    }
