"""Command line: one command per verb, in pipeline order; each calls one public function."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from xlasr.cli_align import align
from xlasr.errors import AudioError, DataError, Interrupted, UsageError, XlasrError

if TYPE_CHECKING:
    from xlasr.config import DecodeSettings


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

RunFolder = Annotated[Path, typer.Argument(help="a finished run", show_default=False)]
Beam = Annotated[int | None, typer.Option(min=1, help="beam width; choose it on dev")]
LmOrder = Annotated[int | None, typer.Option(min=0, help="n-gram order; 0 is no language model")]
LmWeight = Annotated[float | None, typer.Option(min=0, help="weight of the language model")]
LmText = Annotated[list[str] | None, typer.Option(help="text file for the language model")]


@app.command()
def prepare(
    source: Annotated[
        str, typer.Argument(help="folder, CSV/TSV, transcript, or a source such as fillets-cs")
    ],
    corpus: Annotated[Path | None, typer.Argument(help="folder to make")] = None,
    language: Annotated[str | None, typer.Option(help="BCP-47 tag, such as cs")] = None,
    reader: Annotated[str | None, typer.Option(help="layout; default: guessed")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="field=column, such as text=sentence")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="of a table; default: found out")] = None,
    encoding: Annotated[str, typer.Option(help="of text files")] = "utf-8",
    tier: Annotated[list[str] | None, typer.Option(help="tier (or field) to read")] = None,
    tier_type: Annotated[str | None, typer.Option(help="linguistic type of tiers (ELAN)")] = None,
    tier_index: Annotated[int | None, typer.Option(min=0, help="number of a tier, from 0")] = None,
    participant: Annotated[str | None, typer.Option(help="whose tiers to read (ELAN)")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="tier-or-speaker=channel")] = None,
    media: Annotated[Path | None, typer.Option(help="folder of transcripts' recordings")] = None,
    group_by: Annotated[
        str | None, typer.Option(help="speaker, folder, recording or a column: never split")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="for the card")] = None,
    copy_audio: Annotated[bool, typer.Option(help="16 kHz copies, or references")] = True,
    overwrite: Annotated[bool, typer.Option(help="replace a corpus that is there")] = False,
    preview: Annotated[bool, typer.Option(help="only show what would be made")] = False,
) -> None:
    """Make a corpus with splits and a card from recordings and transcripts."""
    from xlasr.data.prepare import prepare as run
    from xlasr.data.preview import show_preview

    how: dict[str, Any] = {"language": language, "reader": reader, "group_by": group_by}
    how |= {"columns": _fields("--column", column), "delimiter": delimiter, "encoding": encoding}
    how |= {"tiers": tier or (), "tier_type": tier_type, "tier_index": tier_index, "media": media}
    how |= {"participant": participant, "channels": _channels(channel), "copy_audio": copy_audio}
    if preview:
        show_preview(source, **how)
    elif corpus is None:
        raise UsageError("Missing argument 'corpus': the folder to make (or --preview)")
    else:
        run(source, corpus, **how, licence=licence, overwrite=overwrite)


@app.command()
def adapt(
    context: typer.Context,
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
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**32 - 1, help="of weights, order, dropout and augmentation"),
    ] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all")] = None,
    resume: Annotated[Path | None, typer.Option(help="go on with this run")] = None,
    tensorboard: Annotated[bool, typer.Option(help="also write TensorBoard events")] = False,
) -> None:
    """Adapt a base model to a corpus with a recipe. Ctrl-C saves; --resume goes on exactly."""
    from rich.console import Console

    from xlasr import api

    if resume is not None:
        names = {"base": "base", "recipe": "recipe", "out": "out", "overrides": "set"}
        names |= {"seed": "seed", "threads": "threads"}
        given = [f"--{o}" for name, o in names.items() if _was_given(context, name)]
        if given:
            raise UsageError(
                f"--resume goes on with what {resume} was begun with; leave out {', '.join(given)},"
                " or start a new run"
            )
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
    except KeyboardInterrupt:  # before the first stage or after the last
        begun = resume or out
        if begun is None or not (begun / "run.json").exists():
            raise
        raise Interrupted(f"stopped. Go on with: xlasr adapt --resume {begun}") from None
    from xlasr.reporting.tables import show_run

    show_run(console, run.folder, run.facts)


@app.command()
def evaluate(
    run: RunFolder,
    corpus: Annotated[Path | None, typer.Argument(help="default: the run's own")] = None,
    split: Annotated[str, typer.Option(help="of the corpus")] = "test",
    base: Annotated[bool, typer.Option(help="score the unadapted base too")] = True,
    beam: Beam = None,
    lm_order: LmOrder = None,
    lm_weight: LmWeight = None,
    lm_text: LmText = None,
    lines: Annotated[int, typer.Option(min=0, help="worst and best lines to show")] = 5,
) -> None:
    """Score base and adapted model side by side; writes report.html into the run."""
    from rich.console import Console

    from xlasr import api
    from xlasr.reporting.tables import show_evaluation

    console = Console()
    opened = api.open_run(run)
    decode = _decode(opened.recipe.decode, beam, lm_order, lm_weight, lm_text)
    result = api.evaluate(
        opened, corpus, split=split, with_base=base, decode=decode, console=console
    )
    show_evaluation(console, result, lines=lines)
    console.print(f"report: {opened.folder / 'report.html'}", highlight=False)


@app.command()
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
        reference_columns=_fields("--ref-column", ref_column),
        hypothesis_columns=_fields("--hyp-column", hyp_column),
    )
    if as_json:
        import json

        print(json.dumps(card.to_dict(), ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    from xlasr.reporting.scorecard import show_scorecard

    show_scorecard(Console(), card, lines)


@app.command()
def transcribe(
    run: RunFolder,
    audio: Annotated[list[Path], typer.Argument(help="recordings of any length and format")],
    format: Annotated[str, typer.Option(help="txt, json, srt or vtt")] = "txt",
    out: Annotated[Path | None, typer.Option(help="folder; default: standard output")] = None,
    beam: Beam = None,
    lm_order: LmOrder = None,
    lm_weight: LmWeight = None,
    lm_text: LmText = None,
) -> None:
    """Transcribe recordings; long ones are cut by voice activity and get times."""
    from xlasr import api
    from xlasr.decoding.formats import FORMATS

    write = FORMATS[format]
    opened = api.open_run(run)
    targets: dict[Path, Path] = {}
    if out is not None:
        for path in audio:
            target = out / f"{path.stem}.{format}"
            if target in targets:
                raise UsageError(
                    f"{targets[target]} and {path} would both be written to {target}. Transcribe "
                    "them one by one, into different folders"
                )
            targets[target] = path
        out.mkdir(parents=True, exist_ok=True)
    decode = _decode(opened.recipe.decode, beam, lm_order, lm_weight, lm_text)
    failed: list[str] = []
    for path in audio:
        try:
            text = write(opened.transcribe(path, decode=decode))
        except AudioError as error:
            print(f"error: {error}", file=sys.stderr)
            failed.append(str(path))
            continue
        if out is None:
            sys.stdout.write(text)
        else:
            (out / f"{path.stem}.{format}").write_text(text, encoding="utf-8")
    if failed:
        raise DataError(
            f"{len(failed)} of {len(audio)} recordings were not transcribed: {', '.join(failed)}"
        )


app.command()(align)


@app.command()
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="folder to make")],
    format: Annotated[str, typer.Option(help="ct2 or transformers")] = "ct2",
) -> None:
    """Export a finished run for another runtime (CTranslate2, faster-whisper, transformers)."""
    from xlasr import api

    print(api.export(run, out, format=format))


@app.command()
def bases() -> None:
    """List the bases xlasr fetches by itself, and what else it opens."""
    from rich.console import Console
    from rich.table import Table

    from xlasr.models.catalogue import BUILT_IN

    table = Table("base", "languages", "parameters", "download", "licence", "what it is")
    for base in BUILT_IN.values():
        size = f"{base.n_parameters / 1e6:.1f} M"
        table.add_row(
            base.name, base.languages, size, f"{base.download_mb} MB", base.licence, base.note
        )
    console = Console()
    console.print(table)
    console.print(
        "Also: any Whisper (families ctc, seq2seq) and any Wav2Vec2, XLS-R, MMS, HuBERT, WavLM or "
        "w2v-BERT (ctc), by hub id or by a directory that save_pretrained wrote.",
        highlight=False,
    )


@app.command()
def recipes() -> None:
    """List the recipes that come with xlasr, and what they cost."""
    from rich.console import Console
    from rich.table import Table

    from xlasr.config import load_recipe, recipe_files

    table = Table("recipe", "family", "stages", "budget", "what it does")
    for name in recipe_files():
        recipe = load_recipe(name)
        stages = " -> ".join(stage.name for stage in recipe.stages)
        budget = " + ".join(
            f"{s.stop.updates} updates" if s.stop.updates else f"{s.stop.epochs:g} epochs"
            for s in recipe.stages
        )
        table.add_row(name, recipe.family, stages, budget, recipe.description)
    Console().print(table)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="where corpus and run go")] = Path("demo"),
) -> None:
    """Real Czech speech in, a measured recogniser and a report out."""
    from xlasr.demo import run_demo

    run_demo(folder)


def _decode(
    settings: DecodeSettings,
    beam: int | None,
    lm_order: int | None,
    lm_weight: float | None,
    lm_text: list[str] | None,
) -> DecodeSettings:
    """The recipe's decoding with the options that were given."""
    given = {"beam": beam, "lm_order": lm_order, "lm_weight": lm_weight, "lm_text": lm_text}
    decode = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
    if not decode.lm_order and (lm_weight is not None or lm_text):
        raise UsageError(
            "--lm-weight and --lm-text are for a language model and there is none; add --lm-order 4"
        )
    return decode


def _fields(option: str, pairs: list[str] | None) -> dict[str, str]:
    """``field=column`` options as a dictionary."""
    found = dict(pair.partition("=")[::2] for pair in pairs or [] if "=" in pair)
    if wrong := [pair for pair in pairs or [] if "=" not in pair]:
        raise UsageError(f"{option} takes field=column; found {wrong[0]!r}")
    return found


def _channels(pairs: list[str] | None) -> dict[str, int]:
    """``tier-or-speaker=channel`` options as a dictionary."""
    found = {}
    for name, equals, number in (pair.rpartition("=") for pair in pairs or []):
        if not equals or not number.isdecimal():
            raise UsageError(f"--channel takes NAME=NUMBER; found {name + equals + number!r}")
        found[name] = int(number)
    return found


def _was_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line (and is not its default)."""
    return getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"


def main() -> None:
    """Entry point: errors become one clear message; ``--debug`` shows the traceback too."""
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


if __name__ == "__main__":
    main()
