"""The command that puts runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="finished, evaluated runs; RUN:NAME takes RUN/evaluations/NAME.json",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="folder for compare.html, compare.csv and figures/")
    ] = None,
    split: Annotated[str, typer.Option(help="evaluation to read")] = "test",
    name: Annotated[
        str, typer.Option(help="its name, where it is not the split's", show_default=False)
    ] = "",
    against: Annotated[
        str | None, typer.Option(help="reference run; default: the base, and the first run")
    ] = None,
    folds: Annotated[
        bool,
        typer.Option("--folds", help="pool runs of one method on the folds of a corpus"),
    ] = False,
) -> None:
    """Put runs side by side: errors, cost, paired tests, and the usual plots."""
    from rich.console import Console

    from xlasr.reporting import compare as comparison
    from xlasr.reporting.compare.page import PAGE
    from xlasr.reporting.compare.terminal import show_comparison

    console = Console()
    found = comparison.compare(runs, out=out, split=split, name=name, against=against, folds=folds)
    show_comparison(console, found)
    if out is not None:
        console.print(f"page: {out / PAGE}", highlight=False, soft_wrap=True)
