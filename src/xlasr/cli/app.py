"""The program ``xlasr``: its commands in pipeline order, and errors as one clear message."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from xlasr.cli import compare, corpora, doctor, lists, planning, runs, scores
from xlasr.errors import Interrupted, XlasrError


class _Commands(TyperGroup):
    """The commands; Ctrl-C where none of them says how to go on."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            again = "stopped; nothing half-made was left. Give the same command to begin again"
            raise Interrupted(again) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Adapt pretrained speech models to a language they do not know, and measure it honestly."
    "\n\nprepare -> adapt -> evaluate -> transcribe. Any command takes --debug for a traceback.",
)

for _command in (
    corpora.prepare,
    corpora.render_faces,
    doctor.check,
    doctor.probe,
    corpora.align,
    corpora.export_corpus,
    planning.pivots,
    planning.plan,
    runs.adapt,
    scores.evaluate,
    scores.score,
    compare.compare,
    runs.transcribe,
    corpora.label,
    runs.export,
    lists.bases,
    lists.recipes,
    lists.demo,
):
    app.command()(_command)


def main() -> None:
    """Entry point: errors become one clear message; ``--debug`` shows the traceback too."""
    # Read when torch loads: threads that wait should sleep. Spinning, the default, makes two
    # threads three times as slow as one where other work holds a core (docs/RESULTS.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except (XlasrError, OSError) as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, Interrupted):
            print(error, file=sys.stderr)
        elif isinstance(error, XlasrError):
            print(f"error: {error}", file=sys.stderr)
        else:  # a full disk, a folder that may not be written
            print(f"error: {error} (--debug shows where)", file=sys.stderr)
        raise SystemExit(getattr(error, "exit_code", 1)) from None
