"""``report.html``: everything about one evaluation in one file that needs nothing else.

The page has no script and loads nothing; every text of a corpus, a command or a recipe is escaped.
Numbers are formatted here, the template only places them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlasr.reporting import formatting, plots
from xlasr.reporting import lines as selection
from xlasr.reporting.comparison import Comparison, Pair, compare, metrics_of, notes
from xlasr.reporting.sections import Section, of_evaluation
from xlasr.reporting.tables import verdict
from xlasr.scoring import Score

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from xlasr.reporting.evaluation import Evaluation

SHOWN_LINES = 12
"""Lines in each of the three samples."""
SHOWN_EVENTS = 40


@dataclass
class ReportData:
    """What a report is made of, as plain parts.

    Attributes:
        title: Heading of the page.
        command: The command that made the run, as typed.
        adapted: Headline score of the adapted model.
        base: Headline score of the unadapted base, on the same utterances; None leaves it out.
        adapted_raw: Score of the text as written; None leaves it out.
        base_raw: The base's, likewise.
        split: Name of the split that was scored.
        card: The corpus card (``card.json``).
        recipe_yaml: The recipe with every field.
        metrics: Rows of ``metrics.jsonl``: stage, update, audio_s, loss, train_loss, dev_loss,
            dev_cer, dev_wer, lr; any may be missing.
        events: Guard events: guard, update, message, action, and stage where there are several.
        summary: ``run.json``: base, language, seed, environment (versions, command, commit), stages
            (stage, updates, audio_s, trainable_parameters, parameters, ...), cost.
        decode: Settings the adapted model decoded with, for print.
        more: Other scores beside the headline, such as those of Japanese.
        speakers: How many different speakers were scored; None or 0 is not known.
        notes: What must be known to read it, beside the notes of the intervals.
        sections: Tables below the headline: rare words, parts, channels, languages to keep.
    """

    title: str
    command: str
    adapted: Score
    base: Score | None = None
    adapted_raw: Score | None = None
    base_raw: Score | None = None
    split: str = "test"
    card: Mapping[str, Any] = field(default_factory=dict)
    recipe_yaml: str = ""
    metrics: Sequence[Mapping[str, Any]] = ()
    events: Sequence[Mapping[str, Any]] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    decode: Mapping[str, Any] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    more: Sequence[Pair] = ()
    speakers: int | None = None
    notes: Sequence[str] = ()


def write_report(path: str | Path, data: ReportData) -> Path:
    """Write the page; an old one is replaced only when the new one is complete.

    Args:
        path: Of the HTML file.
        data: What it shows.

    Returns:
        ``path``.

    Raises:
        DataError: Base and adapted were not scored on the same utterances.
    """
    target = Path(path)
    page = render(data)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return target


def report_of_run(
    path: str | Path,
    *,
    facts: Mapping[str, Any],
    recipe: str,
    metrics: Sequence[Mapping[str, Any]],
    card: Mapping[str, Any],
    evaluation: Evaluation,
    decode: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report of a run's evaluation; arguments as the run keeps them.

    Args:
        path: Of the HTML file.
        facts: ``run.json``.
        recipe: The recipe as YAML.
        metrics: Rows of ``metrics.jsonl``.
        card: The corpus card.
        evaluation: Of ``evaluate_model``.
        decode: Decoding settings of the adapted model.

    Raises:
        DataError: As ``write_report``.
    """
    stages = facts.get("stages", [])
    events = [
        {**event, "stage": stage.get("stage", "")}
        for stage in stages
        for event in stage.get("events", [])
    ]
    base = facts.get("base", {}).get("name", "base")
    language = facts.get("language", card.get("language", ""))
    return write_report(
        path,
        ReportData(
            title=f"{base} → {language}" if language else str(base),
            command=facts.get("environment", {}).get("command", ""),
            adapted=evaluation.adapted,
            base=evaluation.base,
            adapted_raw=evaluation.adapted_raw,
            base_raw=evaluation.base_raw,
            split=evaluation.split,
            card=card,
            recipe_yaml=recipe,
            metrics=metrics,
            events=[*events, *({**event, "stage": "evaluate"} for event in evaluation.events)],
            summary=facts,
            decode=decode or {},
            sections=of_evaluation(evaluation),
            more=evaluation.more,
            speakers=evaluation.speakers,
            notes=evaluation.notes,
        ),
    )


def template_environment() -> Environment:
    """Return the environment of all pages: everything is escaped, numbers have their filters."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("xlasr.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=formatting.per_cent,
        span=formatting.span,
        whole=formatting.whole,
        short=formatting.short,
        duration=formatting.duration,
        stage_name=formatting.stage_name,
    )
    return environment


def render(data: ReportData) -> str:
    """Return the page as text."""
    from markupsafe import Markup

    environment = template_environment()
    raw = data.base_raw, data.adapted_raw
    rows = compare(data.base, data.adapted, *raw, data.more, data.speakers)
    headline = rows[: len(metrics_of(data.adapted))]
    metric = selection.alignment_metric(data.adapted)
    samples = [
        ("A fair sample", "chosen by a hash of the id, sorted from good to bad", _sample(data)),
        ("Worst lines", "by character error rate", data.adapted.worst(SHOWN_LINES)),
        (
            "Best lines",
            "by character error rate, the longest first",
            data.adapted.best(SHOWN_LINES),
        ),
    ]
    # Drawn by plots.py; what it draws of the corpus (names of groups) matplotlib has escaped.
    drawings: list[Markup] = [Markup(svg) for svg in plots.learning_curves(data.metrics)]  # noqa: S704
    groups = [plots.group_plot(data.base, data.adapted, row.metric) for row in headline]
    by_group = [Markup(svg) for svg in groups if svg]  # noqa: S704
    return environment.get_template("report.html.j2").render(
        data=data,
        sentence=sentence(data, rows[0]),
        rows=rows,
        cards=[_bars(row) for row in headline],
        verdict=verdict,
        drawings=drawings,
        by_group=by_group,
        samples=[
            (title, how, selection.lines(chosen, data.base, metric))
            for title, how, chosen in samples
            if chosen
        ],
        by_character=metric == "cer",
        guards=_counted(data.events),
        events=list(data.events)[:SHOWN_EVENTS],
        stages=data.summary.get("stages", []),
        groups=len(data.adapted.per_group("cer")[0]),
        notes=[*data.notes, *notes(rows)],
        spaceless=len(headline) == 1,
        decode=", ".join(
            f"{key} {value}" for key, value in data.decode.items() if value not in (None, [], "")
        ),
    )


def sentence(data: ReportData, row: Comparison) -> str:
    """Return the result in one sentence, as plain text."""
    card, summary = data.card, data.summary
    base = summary.get("base", {}).get("name", "the base")
    stages = [float(stage.get("train_minutes") or 0.0) for stage in summary.get("stages", [])]
    # A run may be scored on another corpus, whose card says nothing about its training.
    minutes = max(stages, default=0.0) or float(
        card.get("splits", {}).get("train", {}).get("minutes", 0.0)
    )
    heard = f" to {formatting.number(minutes, 0)} minutes of speech" if minutes else ""
    groups = len(data.adapted.per_group(row.metric)[0])
    name = "character" if row.metric == "cer" else "word"
    interval = formatting.span(row.adapted.interval.ends)
    known = "it was trained on" if data.split == "train" else "it was not trained on"
    text = (
        f"{base}, adapted{heard}, has a {name} error rate of"
        f" {formatting.per_cent(row.adapted.counts.rate)}"
        f"{'' if interval == 'n/a' else f' (95{formatting.NBSP}% interval {interval})'} on"
        f" {formatting.whole(len(data.adapted.utterances))} utterances of {data.split}, from"
        f" {groups} group{'s' if groups != 1 else ''} {known}"
    )
    if row.base is None or row.paired is None:
        return text + "."
    return (
        f"{text}; the unadapted base has {formatting.per_cent(row.base.counts.rate)}."
        f" That is {verdict(row)}."
    )


def _sample(data: ReportData) -> list[Any]:
    return selection.sample(data.adapted, SHOWN_LINES)


def _bars(row: Comparison) -> dict[str, Any]:
    """Bars of base and adapted under one measure, in per cent of the card's width."""
    sides = [("adapted", row.adapted), *([("base", row.base)] if row.base else [])]
    tops = [x for _, s in sides for x in (s.counts.rate, *s.interval.ends) if x < float("inf")]
    scale = max([0.01, *(x for x in tops if x == x)])
    bars = []
    for name, side in sides:
        low, high = (min(100.0, 100 * end / scale) for end in side.interval.ends)
        bars.append(
            {
                "name": name,
                "side": side,
                "width": min(100.0, 100 * side.counts.rate / scale),
                "low": low if low == low else None,
                "high": high,
            }
        )
    return {"row": row, "bars": bars}


def _counted(events: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for event in events:
        name = str(event.get("guard", "event"))
        found[name] = found.get(name, 0) + 1
    return found
