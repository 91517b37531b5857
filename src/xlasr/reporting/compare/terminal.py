"""A comparison on the terminal: what ``xlasr compare`` prints, in 80 columns."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xlasr.reporting.compare.table import RunComparison, cost_cells, more_cells, rate_cells
from xlasr.reporting.formatting import per_cent, whole
from xlasr.reporting.tables import verdict


def show_comparison(console: Console, found: RunComparison) -> None:
    """Print errors, what they cost, how they were decoded, and the paired tests.

    Args:
        console: Where to.
        found: Of ``compare``.
    """
    first_result = found.results[0]
    first = first_result.row
    groups = len(first.score.per_group("cer")[0])
    rates = ("wer", "cer") if found.metric == "wer" else ("cer",)
    _say(
        console,
        f"{first.split}{f' of {len(first.folds)} folds' if first.folds else ''}:"
        f" {whole(len(first.score.utterances))} utterances, {whole(groups)} groups;"
        f" {found.reduction_name} over {found.reference}",
    )
    console.print(_rates(found, rates))
    if more := list(first_result.more):
        _say(console, "\nJapanese in two other ways, not to be mixed with the CER above")
        table = _table([heading for name in more for heading in (name, "95 %")])
        for result in found.results:
            both = (cell for pair in more_cells(result) for cell in pair)
            table.add_row(Text(result.row.label), *both)
        console.print(table)
    _say(console, "\nwhat it cost")
    table = _table(("trained", "on disk", "minutes", "training", "CPU", "memory"))
    for result in found.results:
        cost = cost_cells(result.row)
        names = ("trained", "disk", "minutes", "training", "cpu", "memory")
        table.add_row(Text(result.row.label), *(cost[name] for name in names))
    console.print(table)
    _say(console, "\nhow it is used")
    # what no run has measured takes no room from what all have
    costs = [cost_cells(result.row) for result in found.results]
    extra = {"rtf": "real-time factor", "forgetting": "forgetting (CER)", "guards": "guards"}
    extra = {key: name for key, name in extra.items() if any(cost[key] for cost in costs)}
    table = _table((), left=("method", "decoding", *extra.values()))
    for result, cost in zip(found.results, costs, strict=True):
        cells = (result.row.recipe, cost["decoding"], *(cost[key] for key in extra))
        table.add_row(*map(Text, (result.row.label, *cells)))
    console.print(table)
    if any(result.versus for result in found.results):
        _say(console, f"\nagainst {found.reference_run}, paired")
    for result in found.results:
        for row in result.versus:
            if row.metric in rates:
                told = Text.assemble((f"{result.row.label} ", "bold"), f"{row.name} {verdict(row)}")
                console.print(told, highlight=False)
    for note in found.notes:
        console.print(Text.assemble(("note: ", "bold"), note), highlight=False)


def _rates(found: RunComparison, rates: tuple[str, ...]) -> Table:
    headings = [h for name in (*(r.upper() for r in rates), found.reduction_name)
                for h in (name, "95 %")]  # fmt: skip
    table = _table(headings)
    for group in found.groups:
        for row in group.rows:
            cells = rate_cells(next(r for r in found.results if r.row is row))
            shown = [cells[n] for r in (*rates, "reduction") for n in (r, f"{r}_span")]
            table.add_row(Text(row.label), *shown)
        if len(group.rows) > 1:
            means = {"wer": per_cent(group.mean("wer")), "cer": per_cent(group.mean("cer"))}
            table.add_row(
                Text(f"mean of {len(group.rows)} seeds", style="italic"),
                *(cell for r in rates for cell in (Text(means[r], style="italic"), "")),
                "",
                "",
            )
    return table


def _table(right: Iterable[str], left: Iterable[str] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False)
    table.add_column("run", overflow="fold")  # may be broken, but every letter stays
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in left:
        table.add_column(heading, overflow="fold")
    return table


def _say(console: Console, text: str) -> None:
    console.print(Text(text, style="bold"))
