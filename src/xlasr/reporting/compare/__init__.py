"""Runs side by side: one table, paired tests, the usual plots. No torch.

=================  ============================================================================
file               what it does
=================  ============================================================================
rows.py            reads runs: ``run.json``, recipe, metrics, one evaluation each
folds.py           runs on the folds of a corpus, pooled as one row
table.py           groups of seeds, the reference, reductions; cells for print, CSV
notes.py           what must be known to read it
plot.py            a plot with the numbers behind it: PNG, SVG, CSV, SVG for the page
figures.py         error against minutes and parameters, learning curves
letters.py         confusion maps, error against word rarity
page.py            ``compare.html`` and its folder
terminal.py        what ``xlasr compare`` prints
=================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xlasr.errors import UsageError
from xlasr.reporting.compare.folds import pool_folds
from xlasr.reporting.compare.page import write_comparison
from xlasr.reporting.compare.rows import RunRow, read_rows
from xlasr.reporting.compare.table import Group, Result, RunComparison, compare_rows

__all__ = ["Group", "Result", "RunComparison", "RunRow", "compare"]


def compare(
    runs: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    split: str = "test",
    name: str = "",
    against: str | Path | None = None,
    folds: bool = False,
) -> RunComparison:
    """Compare finished, evaluated runs that were scored on the same speech.

    Args:
        runs: Run folders, or ``RUN:NAME`` for ``RUN/evaluations/NAME.json``.
        out: Folder for ``compare.html``, ``compare.csv`` and ``figures/``; None writes nothing.
        split: Evaluation that is read where none is named.
        name: Of the evaluation, for all runs that do not name one.
        against: Reference of reductions and paired tests, one of ``runs`` or another run, which
            then stands first. None: reductions over the unadapted base where all runs share one,
            or else over the first run; paired tests against the first run.
        folds: Runs of one method on the folds of a corpus are pooled as one row.

    Returns:
        Rows, groups of seeds, intervals, reductions and tests.

    Raises:
        UsageError: No runs, one given twice, no folds where ``folds`` says so, or ``out`` holds
            something else.
        RunError: A folder is no run, not finished, not evaluated, or damaged.
        DataError: The runs were scored on different speech or by different rules.
    """
    given = [str(run) for run in runs]
    if against is not None and str(against) not in given:
        given.insert(0, str(against))
    if not given:
        raise UsageError("give at least one run: xlasr compare RUN RUN --out FOLDER")
    rows = read_rows(given, split, name, folds=folds)
    reference = None if against is None else rows[given.index(str(against))]
    if folds:
        rows, label = pool_folds(rows), reference.label if reference else ""
        reference = next((row for row in rows if label in row.folds), None)
    found = compare_rows(rows, reference)
    return found if out is None else write_comparison(found, out)
