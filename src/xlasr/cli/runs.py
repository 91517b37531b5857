"""Commands that make and use runs: adapt, transcribe, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from xlasr.cli.options import Beam, LmOrder, LmText, LmWeight, RunFolder, decode_settings, was_given
from xlasr.errors import AudioError, DataError, Interrupted, UsageError


def adapt(
    context: typer.Context,
    corpus: Annotated[Path | None, typer.Argument(help="corpus folder (xlasr prepare)")] = None,
    base: Annotated[
        str, typer.Option(help="built-in name, directory or hub id")
    ] = "whisper-tiny.en",
    recipe: Annotated[str, typer.Option(help="name (xlasr recipes) or a YAML file")] = "ctc",
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
        given = [f"--{o}" for name, o in names.items() if was_given(context, name)]
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


def transcribe(
    run: RunFolder,
    audio: Annotated[list[Path], typer.Argument(help="recordings of any length and format")],
    format: Annotated[
        str,
        typer.Option(help="txt, json, srt, vtt, eaf, textgrid, csv, nemo or labelstudio"),
    ] = "txt",
    out: Annotated[Path | None, typer.Option(help="folder; default: standard output")] = None,
    beam: Beam = None,
    lm_order: LmOrder = None,
    lm_weight: LmWeight = None,
    lm_text: LmText = None,
) -> None:
    """Transcribe recordings; long ones are cut by voice activity and get times."""
    from xlasr import api
    from xlasr.data.annotations import FORMATS, AnnotatedRecording, render
    from xlasr.data.audio import measure

    chosen = FORMATS[format]
    opened = api.open_run(run)
    targets: dict[Path, Path] = {}
    if out is not None:
        for path in audio:
            target = out / f"{path.stem}{chosen.suffix}"
            if target in targets:
                raise UsageError(
                    f"{targets[target]} and {path} would both be written to {target}. Transcribe "
                    "them one by one, into different folders"
                )
            targets[target] = path
        out.mkdir(parents=True, exist_ok=True)
    elif len(audio) > 1 and not chosen.several:
        raise UsageError(
            f"{len(audio)} recordings would be one stream of {format}, which no program reads."
            " Give --out FOLDER, a file for each"
        )
    decode = decode_settings(opened.recipe.decode, beam, lm_order, lm_weight, lm_text)
    failed: list[str] = []
    done: list[AnnotatedRecording] = []
    for path in audio:
        try:
            segments = list(opened.transcribe(path, decode=decode))
            duration_s = None
            if chosen.needs_duration:
                sample_rate, n_samples = measure(path)
                duration_s = n_samples / sample_rate
        except AudioError as error:
            print(f"error: {error}", file=sys.stderr)
            failed.append(str(path))
            continue
        recording = AnnotatedRecording(path, segments, duration_s, by_machine=True)
        if out is not None:
            target = out / f"{path.stem}{chosen.suffix}"
            target.write_text(render(format, [recording], out), encoding="utf-8", newline="")
        elif chosen.joins:
            sys.stdout.write(render(format, [recording]))
        else:
            done.append(recording)
    if done:
        sys.stdout.write(render(format, done))
    if failed:
        raise DataError(
            f"{len(failed)} of {len(audio)} recordings were not transcribed: {', '.join(failed)}"
        )


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="folder to make")],
    format: Annotated[str, typer.Option(help="ct2 or transformers")] = "ct2",
) -> None:
    """Export a finished run for another runtime (CTranslate2, faster-whisper, transformers)."""
    from xlasr import api

    print(api.export(run, out, format=format))
