"""Results on the terminal: base and adapted side by side, and what a run cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xlasr.reporting.comparison import Comparison, Side
from xlasr.reporting.formatting import duration, p_value, per_cent, short, span, stage_name, whole
from xlasr.scoring import Op

_STYLES = {"hit": "", "substitution": "yellow", "deletion": "red strike", "insertion": "cyan"}


def score_table(rows: Sequence[Comparison], title: str | None = None) -> Table:
    """Return a table of base above adapted: rates, intervals and counts; it fits 80 columns.

    Args:
        rows: Of ``compare``.
        title: Above the table.
    """
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("measure")  # the one that may wrap: a count that is cut short is a wrong count
    table.add_column("model", no_wrap=True)
    for heading in ("rate", "95 % interval", "S", "D", "I", "N"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row.base is not None:
            _add(table, row, "base", row.base)
        _add(table, row, "adapted", row.adapted)
    return table


def _add(table: Table, row: Comparison, name: str, side: Side) -> None:
    counts = side.counts
    table.add_row(
        row.name if name == "base" or row.base is None else "",
        name,
        Text(per_cent(counts.rate), style="bold" if name == "adapted" else ""),
        span(side.interval.ends),
        whole(counts.substitutions),
        whole(counts.deletions),
        whole(counts.insertions),
        whole(counts.reference),
    )


def verdict(row: Comparison) -> str:
    """Return what the paired test says: "73.0 % fewer errors (72 to 75), p < 0.001"."""
    test, reduction = row.paired, row.reduction
    if test is None or reduction is None:
        return ""
    if test.difference == 0:
        return f"the same, {p_value(test.p_value)}"
    if reduction.value != reduction.value:
        change = f"{per_cent(abs(test.difference))} {'fewer' if test.difference < 0 else 'more'}"
        return f"{change} (absolute), {p_value(test.p_value)}"
    ends = reduction.ends
    if reduction.value < 0:
        ends = (-ends[1], -ends[0])
    word = "fewer" if reduction.value > 0 else "more"
    share = per_cent(abs(reduction.value))
    interval = "" if ends[0] != ends[0] else f" ({span(ends)})"
    return f"{share} {word} errors{interval}, {p_value(test.p_value)}"


def marked(ops: list[Op], space: str = " ") -> Text:
    """Return an alignment as one coloured line that also reads without colours.

    A substitution is ``[heard|said]``, a deletion ``[-missing]``, an insertion ``[+too much]``.
    """
    text = Text("   ")
    for op in ops:
        shown = {
            "hit": op.ref,
            "substitution": f"[{op.hyp}|{op.ref}]",
            "deletion": f"[-{op.ref}]",
            "insertion": f"[+{op.hyp}]",
        }[op.kind]
        text.append(shown, style=_STYLES[op.kind])
        text.append(space)
    return text


def show_run(console: Console, folder: Path, facts: Mapping[str, Any]) -> None:
    """Print a finished run: its stages, what was trained, what guards did, what it cost.

    Args:
        console: Where to.
        folder: Of the run.
        facts: Its ``run.json``.
    """
    table = Table(
        title=Text(f"run {folder}", style="bold"),
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("stage", no_wrap=True)
    for heading in ("updates", "audio", "trained", "of", "best at", "dev CER"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("guards")
    for stage in facts.get("stages", []):
        guards = ", ".join(f"{name} x{count}" for name, count in stage.get("guards", {}).items())
        cer = stage.get("dev_cer")
        table.add_row(
            Text(stage_name(stage)),
            whole(stage.get("updates", 0)),
            duration(stage.get("audio_s", 0.0)),
            short(stage.get("trainable_parameters", 0)),
            short(stage.get("parameters", 0)),
            whole(stage.get("best_update", 0)),
            "" if cer is None else per_cent(cer),
            Text(guards or "none"),
        )
    console.print(table)
    if cost := facts.get("cost"):
        console.print(
            f"cost: {duration(cost.get('wall_s', 0.0))} ({duration(cost.get('cpu_s', 0.0))} "
            f"of CPU time), at most {whole(cost.get('peak_memory_mb', 0))} MB of memory",
            highlight=False,
        )
