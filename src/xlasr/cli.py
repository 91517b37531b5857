"""Command line: one command per verb, in pipeline order; each calls one public function."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Adapt pretrained speech models to a language they do not know, and measure it honestly.",
)


@app.command()
def adapt(
    corpus: Annotated[Path | None, typer.Argument(help="corpus folder (xlasr prepare)")] = None,
    base: Annotated[
        str, typer.Option(help="built-in name, directory or hub id")
    ] = "whisper-tiny.en",
    recipe: Annotated[
        str, typer.Option(help="name (xlasr recipes) or a YAML file")
    ] = "whisper-full",
    out: Annotated[Path | None, typer.Option(help="new run folder")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="stage.field=value; may be repeated")
    ] = None,
    seed: Annotated[int, typer.Option(help="of weights, order, dropout and augmentation")] = 0,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all")] = None,
    resume: Annotated[Path | None, typer.Option(help="go on with this run")] = None,
    tensorboard: Annotated[bool, typer.Option(help="also write TensorBoard events")] = False,
) -> None:
    """Adapt a base model to a corpus with a recipe."""
    from rich.console import Console

    from xlasr import api
    from xlasr.errors import Interrupted

    console = Console()
    try:
        run = api.adapt(
            corpus,
            base=base,
            recipe=recipe,
            out=out,
            overrides=overrides or [],
            seed=seed,
            threads=threads,
            resume=resume,
            tensorboard=tensorboard,
            console=console,
        )
    except Interrupted:
        console.print(f"saved. Go on with: xlasr adapt --resume {resume or out}")
        raise SystemExit(130) from None
    last = run.summaries[-1]
    console.print(f"done: dev CER {100 * last['dev_cer']:.1f} %, model in {run.folder / 'model'}")


@app.command()
def recipes() -> None:
    """List the recipes that come with xlasr."""
    from rich.console import Console
    from rich.table import Table

    from xlasr.config import load_recipe, recipe_files

    table = Table("recipe", "family", "stages", "what it does")
    for name in recipe_files():
        recipe = load_recipe(name)
        stages = " -> ".join(stage.name for stage in recipe.stages)
        table.add_row(name, recipe.family, stages, recipe.description)
    Console().print(table)


def main() -> None:
    """Entry point: errors become one clear message; ``--debug`` shows the traceback."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except Exception as error:
        from xlasr.errors import XlasrError

        if debug or not isinstance(error, XlasrError):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
