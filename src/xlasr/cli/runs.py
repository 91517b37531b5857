"""Commands that make and use runs: adapt, transcribe, export."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xlasr.cli.corpora import print_not_kept
from xlasr.cli.options import (
    Beam,
    Int8,
    LengthBonus,
    LmOrder,
    LmText,
    LmWeight,
    MaxHours,
    OneAFrame,
    RunFolder,
    Threads,
    decode_settings,
    was_given,
)
from xlasr.errors import AudioError, DataError, Interrupted, UsageError

if TYPE_CHECKING:
    from xlasr.data.annotations import TimedText


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
    threads: Threads = None,
    resume: Annotated[Path | None, typer.Option(help="go on with this run")] = None,
    tensorboard: Annotated[bool, typer.Option(help="also write TensorBoard events")] = False,
    convert_bin: Annotated[
        bool,
        typer.Option("--convert-bin", help="trust a base that has only pytorch_model.bin"),
    ] = False,
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
            convert_bin=convert_bin,
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
    context: typer.Context,
    run: RunFolder,
    audio: Annotated[
        list[Path], typer.Argument(help="recordings of any length and format; - with --stream")
    ],
    format: Annotated[
        str,
        typer.Option(help="txt, json, srt, vtt, eaf, textgrid, csv, nemo or labelstudio"),
    ] = "txt",
    out: Annotated[Path | None, typer.Option(help="folder; default: standard output")] = None,
    language: Annotated[
        str | None,
        typer.Option(help="of the recordings, where the run has heads of several languages"),
    ] = None,
    words: Annotated[bool, typer.Option("--words", help="word times and confidences too")] = False,
    aligner: Annotated[
        Path | None,
        typer.Option(help="finished CTC run that finds them; default: this run, if it is one"),
    ] = None,
    max_hours: MaxHours = None,
    beam: Beam = None,
    lm_order: LmOrder = None,
    lm_weight: LmWeight = None,
    lm_text: LmText = None,
    length_bonus: LengthBonus = None,
    one_a_frame: OneAFrame = None,
    int8: Int8 = False,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="write texts while ONE recording or - (a pipe) is heard"),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="a JSON line for each text, with word times (--stream)")
    ] = False,
    pace: Annotated[
        bool, typer.Option("--pace", help="hear a file as slowly as it was spoken (--stream)")
    ] = False,
    block_ms: Annotated[
        int, typer.Option(min=1, help="audio that is read at a time (--stream)")
    ] = 160,
    pause_s: Annotated[
        float, typer.Option(min=0.01, help="silence that ends a text (--stream)")
    ] = 1.2,
    longest_s: Annotated[
        float, typer.Option(min=1.0, help="after which a text is ended anyway (--stream)")
    ] = 20.0,
) -> None:
    """Transcribe recordings; long ones are cut by voice activity and get times.

    With --stream, texts come while one recording is heard, from a run on a base that streams; - is
    standard input, raw 16-bit mono samples at 16 kHz or a WAV:

    ffmpeg -loglevel error -i FILE -f s16le -ac 1 -ar 16000 - | xlasr transcribe --stream RUN -

    arecord -q -f S16_LE -r 16000 -c 1 | xlasr transcribe --stream RUN -

    On a terminal partial texts overwrite one line; elsewhere only final ones are written, and both
    with --json. Ctrl-C ends the stream and writes its last text.
    """
    from xlasr import api
    from xlasr.data.annotations import FORMATS, AnnotatedRecording, not_kept, render
    from xlasr.data.audio import Limits, measure

    chosen = FORMATS[format]
    _check_stream(context, stream)
    opened = api.open_run(run, int8=int8)
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
    elif len(audio) > 1 and not chosen.several:
        raise UsageError(
            f"{len(audio)} recordings would be one stream of {format}, which no program reads."
            " Give --out FOLDER, a file for each"
        )
    recipe = opened.recipe.decode
    decode = decode_settings(recipe, beam, lm_order, lm_weight, lm_text, length_bonus, one_a_frame)
    if stream:
        from xlasr.cli import streaming
        from xlasr.decoding.streaming import EndPoints

        streaming.stream(
            opened,
            audio,
            language=language,
            decode=decode,
            end_points=EndPoints(pause_s=pause_s, longest_s=longest_s),
            block_ms=block_ms,
            as_json=as_json,
            pace=pace,
            max_hours=max_hours,
        )
        return
    by = None if aligner is None else api.open_run(aligner)
    heard = [  # nothing is decoded yet, but what cannot be asked for is told
        opened.transcribe(
            path, language=language, decode=decode, words=words, aligner=by, max_hours=max_hours
        )
        for path in audio
    ]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    partly: list[str] = []
    lost: Counter[str] = Counter()
    done: list[AnnotatedRecording] = []
    for path, found in zip(audio, heard, strict=True):
        segments, error = _until_it_fails(found)
        duration_s = None
        if error is None:
            if chosen.needs_duration:
                sample_rate, n_samples = measure(path, limits=Limits.of_hours(max_hours))
                duration_s = n_samples / sample_rate
        else:
            print(f"error: {error}", file=sys.stderr)
            if not segments:
                failed.append(str(path))
                continue
            partly.append(f"{path} (until {segments[-1].end_s:.1f} s)")
        lost.update(not_kept(format, segments))
        if words:
            _print_untimed(path, segments)
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
    if format != "txt" or words:  # nobody expects more than the text in plain text
        print_not_kept(format, lost)
    problems = []
    if failed:
        problems.append(
            f"{len(failed)} of {len(audio)} recordings were not transcribed: {', '.join(failed)}"
        )
    if partly:
        problems.append(
            f"{len(partly)} of {len(audio)} recordings were transcribed only in part, and what"
            f" there is was written: {', '.join(partly)}"
        )
    if problems:
        raise DataError("; ".join(problems))


def _check_stream(context: typer.Context, stream: bool) -> None:
    """Refuse options that are for streams where there is none, and the other way round."""
    live = ("as_json", "pace", "block_ms", "pause_s", "longest_s")
    names = {"as_json": "json"}
    other = ("format", "out", "words", "aligner") if stream else live
    if given := [n for n in other if was_given(context, n)]:
        told = ", ".join(f"--{names.get(n, n).replace('_', '-')}" for n in given)
        raise UsageError(
            f"{told} is not for --stream, which writes lines of text, or with --json texts and the "
            "times of their words, to standard output"
            if stream
            else f"{told} is for --stream only"
        )


def _until_it_fails(found: Iterator[TimedText]) -> tuple[list[TimedText], AudioError | None]:
    """Return all segments; or those before the recording fails, and the error."""
    segments: list[TimedText] = []
    try:
        for segment in found:
            segments.append(segment)
    except AudioError as error:
        return segments, error
    return segments, None


def _print_untimed(path: Path, segments: list[TimedText]) -> None:
    """Say how many words have no times."""
    total = sum(len(segment.text.split()) for segment in segments)
    timed = sum(len(word.text.split()) for segment in segments for word in segment.words)
    if timed < total:
        print(
            f"{path}: {total - timed} of {total} words have no times: the aligner knows none of"
            " their letters, or their segment holds more letters than it has room for",
            file=sys.stderr,
        )


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="folder to make")],
    format: Annotated[str, typer.Option(help="ct2 or transformers")] = "ct2",
) -> None:
    """Export a finished run for another runtime (CTranslate2, faster-whisper, transformers)."""
    from xlasr import api

    print(api.export(run, out, format=format))
