"""Commands that measure: evaluate, score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xlasr.cli.options import (
    Beam,
    Int8,
    LengthBonus,
    LmOrder,
    LmText,
    LmWeight,
    OneAFrame,
    RunFolder,
    Threads,
    decode_settings,
    fields,
)


def evaluate(
    run: RunFolder,
    corpus: Annotated[Path | None, typer.Argument(help="default: the run's own")] = None,
    split: Annotated[str, typer.Option(help="of the corpus")] = "test",
    name: Annotated[
        str,
        typer.Option(
            help="of the evaluation, for RUN:NAME in compare; default: the split, and behind it"
            " what is not the run's own corpus or its recipe's decoding (test-beam5)",
            show_default=False,
        ),
    ] = "",
    base: Annotated[bool, typer.Option(help="score the unadapted base too")] = True,
    beam: Beam = None,
    lm_order: LmOrder = None,
    lm_weight: LmWeight = None,
    lm_text: LmText = None,
    length_bonus: LengthBonus = None,
    one_a_frame: OneAFrame = None,
    int8: Int8 = False,
    conditions: Annotated[
        list[str] | None,
        typer.Option("--condition", help="noise:10, gsm, opus:6 or usual (these three): score too"),
    ] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="corpus of a language that should be kept")
    ] = None,
    terms: Annotated[Path | None, typer.Option(help="terms to look at, one in a line")] = None,
    rare_below: Annotated[int, typer.Option(min=1, help="rarer training words are rare")] = 5,
    licence: Annotated[
        str | None, typer.Option(help="of the weights, for the model card; default: the speech's")
    ] = None,
    threads: Threads = None,
    lines: Annotated[int, typer.Option(min=0, help="worst and best lines to show")] = 5,
) -> None:
    """Score base and adapted model side by side; writes a report and the run's model card."""
    from rich.console import Console

    from xlasr import api
    from xlasr.features.conditions import USUAL
    from xlasr.reporting.terminal import show_evaluation

    console = Console()
    opened = api.open_run(run, int8=int8)
    recipe = opened.recipe.decode
    decode = decode_settings(recipe, beam, lm_order, lm_weight, lm_text, length_bonus, one_a_frame)
    result = api.evaluate(
        opened,
        corpus,
        split=split,
        name=name,
        with_base=base,
        decode=decode,
        conditions=[n for c in conditions or [] for n in (USUAL if c == "usual" else (c,))],
        also=also or (),
        terms=terms,
        rare_below=rare_below,
        licence=licence,
        threads=threads,
        console=console,
    )
    show_evaluation(console, result, lines=lines)
    if int8:
        console.print(str(api.int8_cost(opened, corpus, split)), highlight=False, soft_wrap=True)
    console.print(f"report: {result.report}", highlight=False, soft_wrap=True)


def score(
    reference: Annotated[Path, typer.Argument(help="TSV, CSV or JSONL: id, text, perhaps group")],
    hypothesis: Annotated[Path, typer.Argument(help="the same ids, from any recogniser")],
    as_json: Annotated[bool, typer.Option("--json", help="everything as JSON")] = False,
    normaliser: Annotated[
        str | None, typer.Option(help="headline, raw or unspaced; default: by the script")
    ] = None,
    terms: Annotated[Path | None, typer.Option(help="terms to look at, one in a line")] = None,
    train: Annotated[
        Path | None, typer.Option(help="training text: rare and common words apart")
    ] = None,
    rare_below: Annotated[int, typer.Option(min=1, help="rarer words of --train are rare")] = 5,
    against: Annotated[Path | None, typer.Option(help="another system's hypotheses: WERR")] = None,
    costs: Annotated[
        str,
        typer.Option(
            help="levenshtein, the fewest errors, as jiwer; or sclite, which counts as NIST's "
            "sclite (a few errors more in 10,000 words), and is slow"
        ),
    ] = "levenshtein",
    ref_column: Annotated[
        list[str] | None, typer.Option(help="field=column: id, text or group (group= is none)")
    ] = None,
    hyp_column: Annotated[list[str] | None, typer.Option(help="the same, of hypotheses")] = None,
    lines: Annotated[int, typer.Option(min=0, help="worst and best lines to show")] = 5,
) -> None:
    """Score two files of transcripts by utterance id, from any recogniser."""
    from xlasr.scoring.scorecard import score_files

    card = score_files(
        reference,
        hypothesis,
        normaliser=normaliser,
        terms=terms,
        training=train,
        rare_below=rare_below,
        against=against,
        costs=costs,  # type: ignore[arg-type]  # a wrong one is refused there
        reference_columns=fields("--ref-column", ref_column),
        hypothesis_columns=fields("--hyp-column", hyp_column),
    )
    if as_json:
        import json

        print(json.dumps(card.to_dict(), ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    from xlasr.reporting.scorecard import show_scorecard

    show_scorecard(Console(), card, lines)
