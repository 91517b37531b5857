"""The command that examines a corpus: check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xlasr.errors import UsageError


def check(
    corpus: Annotated[Path, typer.Argument(help="corpus folder (xlasr prepare)")],
    base: Annotated[
        str | None, typer.Option(help="the base to adapt: can it hold letters and clips?")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="the recipe to adapt it with")] = None,
    pieces: Annotated[
        int | None, typer.Option(min=1, help="size of a SentencePiece vocabulary to check")
    ] = None,
    audio: Annotated[bool, typer.Option(help="listen to every clip, once")] = True,
    fix: Annotated[Path | None, typer.Option(help="new corpus with the safe repairs")] = None,
    suspects: Annotated[
        bool, typer.Option("--suspects", help="rank transcripts that do not fit the sound")
    ] = False,
    run: Annotated[Path | None, typer.Option(help="finished CTC run for --suspects")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="sides to rank; default: all of them")
    ] = None,
    lines: Annotated[int, typer.Option(min=0, help="suspects to show")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="everything as JSON")] = False,
) -> None:
    """Look for what spoils a training, before it begins. Exit code 1 if something forbids it."""
    from rich.console import Console

    from xlasr.diagnosis import check as examine
    from xlasr.reporting.diagnosis import show_diagnosis, show_repair

    if suspects != (run is not None):
        raise UsageError("--suspects takes a finished CTC run, and --run is for it: give both")
    if split and not suspects:
        raise UsageError("--split is for --suspects; the checks look at every side")
    if fix is not None:
        from xlasr.data.writing import check_target

        check_target(fix.absolute(), overwrite=False)  # before minutes of listening
    console = Console()
    diagnosis = examine(
        corpus,
        base=base,
        recipe=recipe,
        pieces=pieces,
        audio=audio,
        run=run,
        suspect_splits=split or (),
        progress=True,
    )
    facts = diagnosis.to_dict()
    if not as_json:
        show_diagnosis(console, diagnosis, lines)
    code = diagnosis.exit_code
    if fix is not None:
        repaired = diagnosis.repair(fix)
        left = examine(fix, base=base, recipe=recipe, pieces=pieces, audio=audio, progress=True)
        code = left.exit_code
        facts["repair"] = {
            "corpus": str(repaired.corpus.path),
            "counts": repaired.counts,
            "changes": str(repaired.file),
            "left": left.to_dict(),
        }
        if not as_json:
            show_repair(console, repaired, left)
    if as_json:
        import json

        print(json.dumps(facts, ensure_ascii=False, allow_nan=False))
    raise typer.Exit(code)
