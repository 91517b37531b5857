"""The commands that propose: pivots (which language), plan (which recipe)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pivots(
    target: Annotated[str, typer.Option(help="BCP-47 tag of the language to recognise")],
    corpus: Annotated[
        list[Path] | None,
        typer.Option(help="corpus of a candidate, or of the target; repeatable"),
    ] = None,
    candidates: Annotated[
        str | None, typer.Option(help="tags, such as es,fr,pl; default: those of the corpora")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="finished CTC run that times letters; default: syllables")
    ] = None,
    audio: Annotated[bool, typer.Option(help="compare the sound of the corpora too")] = True,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="speech of each language to listen to")
    ] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="everything as JSON")] = False,
) -> None:
    """Rank languages to train on for a TARGET with no transcribed speech, or little.

    A recogniser of a close language can be used as it is (zero-shot), or be a
    better base than a far one: train on the pivot, then go on from its run with
    the little there is (xlasr adapt --base RUN).

    The rank is the mean over five kinds of evidence, and each is shown: phones
    and letters that both have, the family tree, how the recordings sound, and
    how they move (rhythm, melody). It is a place to begin, and no promise.

    Without corpora: xlasr pivots --target sk --candidates cs,pl,hu

    With them, more can be compared:
    xlasr pivots --target nl --corpus NL --corpus EN --corpus ES
    """
    from rich.console import Console

    from xlasr.diagnosis.pivots import pivots as ranking_of

    ranking = ranking_of(
        target,
        corpus or (),
        candidates=None if candidates is None else _tags(candidates),
        run=run,
        audio=audio,
        minutes=minutes,
        progress=True,
    )
    if as_json:
        import json

        print(json.dumps(ranking.to_dict(), ensure_ascii=False, allow_nan=False))
        return
    from xlasr.reporting.pivots import show_pivots

    console = Console()
    show_pivots(console, ranking)
    first = ranking.candidates[0]
    if first.score is not None and first.minutes:
        console.print(
            f"try the first two or three: xlasr adapt CORPUS_OF_{first.language} --recipe ctc "
            f"--out RUN, then xlasr evaluate RUN CORPUS_OF_{ranking.target} --split dev --beam 1 "
            "--lm-order 0 (the recipe's language model knows only the pivot's words)",
            highlight=False,
            markup=False,
        )


def _tags(given: str) -> list[str]:
    return [tag.strip() for tag in given.split(",") if tag.strip()]


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
    related: Annotated[
        list[Path] | None,
        typer.Option(help="corpus of another language; the nearest is learnt first; repeatable"),
    ] = None,
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
        related=related or (),
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
