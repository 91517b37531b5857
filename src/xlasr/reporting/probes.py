"""A probe on the terminal: what ``xlasr probe`` prints."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xlasr.diagnosis.probes import ProbeResult
from xlasr.reporting.formatting import number, per_cent, span


def show_probe(console: Console, result: ProbeResult) -> None:
    """Print the errors by language, the layers' weights, and what to keep in mind.

    Args:
        console: Where to.
        result: Of ``diagnosis.probes.probe``.
    """
    drawn = " (weights drawn anew)" if result.random else ""
    table = Table(
        title=f"{result.task}: {result.base}{drawn}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("test clips of")
    headings = [result.measure, "95 %", "clips", "groups", "classes"]
    headings += [] if result.rows[0].usual is None else ["most frequent"]
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in result.rows:
        cells = [per_cent(row.error.value), span(row.error.ends), str(row.n_clips)]
        cells += [str(row.error.n_groups), str(row.n_classes)]
        cells += [] if row.usual is None else [per_cent(row.usual)]
        table.add_row(row.language or "all", *cells)
    console.print(table, highlight=False)
    weights = " ".join(number(weight, 2) for weight in result.layers)
    _say(console, f"weights of the layers, bottom first: {weights}")
    train, dev, chosen = (
        " + ".join(map(str, numbers)) for numbers in (result.n_train, result.n_dev, result.chosen)
    )
    _say(
        console,
        f"trained on {train} clips; of {result.settings.updates} updates dev ({dev} clips) chose "
        f"{chosen}; seed {result.settings.seed}",
    )
    if result.condition is not None:
        _say(console, f"all clips went through: {result.condition}")
    if result.rows[0].usual is not None:
        _say(console, "most frequent: the error of always saying the most frequent training label")
    told: dict[str, list[str]] = {}
    for row in result.rows:
        for note in filter(None, row.error.note.split("; ")):
            told.setdefault(note, []).append(row.language or "all")
    for note in [*result.notes, *(f"{', '.join(rows)}: {note}" for note, rows in told.items())]:
        console.print(Text.assemble(("note: ", "bold"), note))


def _say(console: Console, line: str) -> None:
    console.print(Text(line, style="dim"))
