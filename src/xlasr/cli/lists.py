"""Commands that show what there is: bases, recipes, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table


def bases() -> None:
    """List the bases xlasr fetches by itself, and what else it opens."""
    from rich.console import Console

    from xlasr.models.catalogue import bases as built_in

    table = _table("base", "languages", "parameters", "download", "licence", "what it is")
    for base in built_in():
        size = f"{base.n_parameters / 1e6:.1f} M"
        table.add_row(
            base.name, base.languages, size, f"{base.download_mb} MB", base.licence, base.note
        )
    console = Console()
    console.print(table)
    console.print(
        "Also: any Whisper (families ctc, seq2seq, transducer) and any Wav2Vec2, XLS-R, MMS, "
        "HuBERT, WavLM or w2v-BERT (ctc, transducer), any SeamlessM4T v1 or v2 (seq2seq), by hub "
        "id or by a directory that save_pretrained wrote.",
        highlight=False,
    )


def recipes() -> None:
    """List the recipes that come with xlasr, and what they cost."""
    from rich.console import Console

    from xlasr.config import recipes as coming_along

    table = _table("recipe", "family", "stages", "budget", "what it costs", "what it does")
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


def _table(*headings: str) -> Table:
    """A table that fits a narrow terminal; the names in it are whole, for they are typed again."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number == 0, overflow="fold")
    return table


def demo(
    folder: Annotated[Path, typer.Option(help="where corpus and run go")] = Path("demo"),
) -> None:
    """Real Czech speech in, a measured recogniser and a report out."""
    from xlasr.demo import run_demo

    run_demo(folder)
