"""Commands that show what there is: bases, recipes, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bases() -> None:
    """List the bases xlasr fetches by itself, and what else it opens."""
    from rich.console import Console
    from rich.table import Table

    from xlasr.models.catalogue import bases as built_in

    table = Table("base", "languages", "parameters", "download", "licence", "what it is")
    for base in built_in():
        size = f"{base.n_parameters / 1e6:.1f} M"
        table.add_row(
            base.name, base.languages, size, f"{base.download_mb} MB", base.licence, base.note
        )
    console = Console()
    console.print(table)
    console.print(
        "Also: any Whisper (families ctc, seq2seq) and any Wav2Vec2, XLS-R, MMS, HuBERT, WavLM or "
        "w2v-BERT (ctc), any SeamlessM4T v1 or v2 (seq2seq), by hub id or by a directory that "
        "save_pretrained wrote.",
        highlight=False,
    )


def recipes() -> None:
    """List the recipes that come with xlasr, and what they cost."""
    from rich.console import Console
    from rich.table import Table

    from xlasr.config import recipes as coming_along

    table = Table("recipe", "family", "stages", "budget", "what it costs", "what it does")
    for recipe in coming_along():
        stages = " -> ".join(stage.name for stage in recipe.stages)
        budget = " + ".join(
            f"{s.stop.updates} updates" if s.stop.updates else f"{s.stop.epochs:g} epochs"
            for s in recipe.stages
        )
        table.add_row(
            recipe.name, recipe.family, stages, budget, recipe.cost or "-", recipe.description
        )
    Console().print(table)


def demo(
    folder: Annotated[Path, typer.Option(help="where corpus and run go")] = Path("demo"),
) -> None:
    """Real Czech speech in, a measured recogniser and a report out."""
    from xlasr.demo import run_demo

    run_demo(folder)
