"""The command that proposes a recipe: plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plan(
    corpus: Annotated[Path, typer.Argument(help="corpus folder (xlasr prepare)")],
    base: Annotated[str, typer.Option(help="name, directory or hub id")] = "whisper-tiny.en",
    text: Annotated[
        list[str] | None, typer.Option(help="text file or corpus of the language; repeatable")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="corpus of a language the base must not forget")
    ] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="many languages shall share one frozen base")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all")] = None,
    measure: Annotated[bool, typer.Option(help="time a few updates on this machine")] = True,
    out: Annotated[Path | None, typer.Option(help="write the recipe to this YAML file")] = None,
) -> None:
    """Propose a recipe for a corpus, say why, and what it will cost here."""
    from rich.console import Console

    from xlasr.api import planning
    from xlasr.config import dump_recipe
    from xlasr.errors import UsageError

    if out is not None and out.exists():
        raise UsageError(f"{out} exists; name another file")
    found = planning.plan(
        corpus,
        base,
        text=text or (),
        keep=None if keep is None else str(keep),
        parts=parts,
        threads=threads,
        measure=measure,
    )
    console = Console()
    console.print(
        f"[bold]recipe {found.recipe.name}[/bold], {found.updates} updates", highlight=False
    )
    for reason in found.because:
        console.print(f"  - {reason}", highlight=False, markup=False)
    if found.cpu_s_an_update is not None:
        total = found.cpu_s_an_update * found.updates
        console.print(
            f"  - about {total / 60:.0f} CPU-minutes of training here ({found.cpu_s_an_update:.2f} "
            "CPU-seconds an update, just measured), and the looks at dev",
            highlight=False,
        )
    name = out or Path("plan.yaml")
    if out is not None:
        out.write_text(dump_recipe(found.recipe), encoding="utf-8")
    console.print(
        f"{'go on' if out else 'with --out plan.yaml, go on'} with: xlasr adapt {corpus} --base "
        f"{base} --recipe {name} --out RUN",
        highlight=False,
        markup=False,
    )
