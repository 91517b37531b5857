"""Commands that make corpora, and files of them: prepare, align, label, export-corpus."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from xlasr.cli.options import MaxHours, RunFolder, Threads, channels, fields, shares
from xlasr.errors import UsageError


def prepare(
    source: Annotated[
        str, typer.Argument(help="folder, table, transcript, archive, or a name such as fillets-cs")
    ],
    corpus: Annotated[Path | None, typer.Argument(help="folder to make")] = None,
    language: Annotated[str | None, typer.Option(help="BCP-47 tag, such as cs")] = None,
    reader: Annotated[
        str | None, typer.Option(help="layout (docs/layouts.md); default: guessed")
    ] = None,
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
    media: Annotated[
        Path | None, typer.Option(help="where the recordings are, if not beside transcripts")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(help="speaker, folder, recording, group or a column: what is never split"),
    ] = None,
    fold: Annotated[str | None, typer.Option(help="K/N: test on other groups, as 2/4")] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(
            help="side=share, for each side that is wanted; default: train=66, dev=11, test=23"
        ),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="for the card")] = None,
    copy_audio: Annotated[bool, typer.Option(help="16 kHz copies, or references")] = True,
    max_hours: MaxHours = 4.0,
    overwrite: Annotated[bool, typer.Option(help="replace a corpus that is there")] = False,
    preview: Annotated[bool, typer.Option(help="only show what would be made")] = False,
) -> None:
    """Make a corpus with splits and a card from recordings and transcripts."""
    from xlasr.data.audio import Limits
    from xlasr.data.prepare import prepare as run
    from xlasr.data.preview import show_preview

    how: dict[str, Any] = {"language": language, "reader": reader, "group_by": group_by}
    how |= {"columns": fields("--column", column), "delimiter": delimiter, "encoding": encoding}
    how |= {"tiers": tier or (), "tier_type": tier_type, "tier_index": tier_index, "media": media}
    how |= {
        "participant": participant,
        "channels": channels(channel),
        "copy_audio": copy_audio,
        "fold": fold,
        "ratios": shares(share),
        "limits": Limits.of_hours(max_hours),
    }
    if preview:
        show_preview(source, **how)
    elif corpus is None:
        raise UsageError("Missing argument 'corpus': the folder to make (or --preview)")
    else:
        run(source, corpus, **how, licence=licence, overwrite=overwrite)


def render_faces(
    corpus: Annotated[Path, typer.Argument(help="a prepared corpus", show_default=False)],
    out: Annotated[Path, typer.Argument(help="folder to make", show_default=False)],
    tie: Annotated[
        str, typer.Option(help="how much the mouth follows the speech: strong, medium or weak")
    ] = "strong",
    seed: Annotated[int, typer.Option(help="of everything else in the picture")] = 0,
    size: Annotated[int, typer.Option(help="width and height in pixels")] = 96,
    workers: Annotated[int, typer.Option(min=1, help="threads")] = 2,
) -> None:
    """Draw a SYNTHETIC talking face for every clip of a corpus, as videos in LRS3's layout."""
    from xlasr.data.faces import render_faces as run

    print(run(corpus, out, tie=tie, seed=seed, size=size, workers=workers))


def align(
    run: Annotated[Path, typer.Argument(help="a finished CTC run", show_default=False)],
    audio: Annotated[Path, typer.Argument(help="a recording", show_default=False)],
    text: Annotated[Path, typer.Argument(help="its transcript, a text file", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="corpus folder to make")] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="to standard output: txt, json, srt, vtt, eaf, textgrid, csv, nemo or labelstudio"
        ),
    ] = None,
    unit: Annotated[
        str,
        typer.Option(
            help="text: line ends mean nothing, cut at sentence ends and pauses; line: each line"
            " is an utterance"
        ),
    ] = "text",
    max_seconds: Annotated[
        float, typer.Option(min=1.2, help="no utterance is longer, for --unit text")
    ] = 15.0,
    encoding: Annotated[str, typer.Option(help="of the transcript")] = "utf-8",
    words: Annotated[bool, typer.Option("--words", help="word times too, for --format")] = False,
    max_hours: MaxHours = 4.0,
    licence: Annotated[str, typer.Option(help="for the card")] = "unknown",
    overwrite: Annotated[bool, typer.Option(help="replace a corpus that is there")] = False,
) -> None:
    """Cut a long recording by its unsegmented transcript; lists what does not match."""
    from xlasr import api
    from xlasr.alignment.output import annotated
    from xlasr.alignment.recording import LEFT_OUT, write_recording
    from xlasr.data.annotations import FORMATS, not_kept, render
    from xlasr.data.audio import Limits
    from xlasr.data.writing import check_target

    if (out is None) == (format is None):
        raise UsageError("give either --out FOLDER (a corpus) or --format FORMAT (a file)")
    if words and out is not None:
        raise UsageError("a corpus has no times of words; --words is for --format FORMAT")
    if format is not None:
        FORMATS[format]  # an unknown name is an error before anything is aligned
    if out is not None:
        check_target(out.absolute(), overwrite=overwrite)
    found = api.align(
        run,
        audio,
        text,
        unit=unit,
        longest_s=max_seconds,
        encoding=encoding,
        max_hours=max_hours,
    )
    if format is not None:
        recording = annotated(found, audio, words=words)
        sys.stdout.write(render(format, [recording]))
        print_not_kept(format, not_kept(format, recording.segments))
    for item in found.left_out:
        where = f"line {item.line}" if item.line else "sound"
        print(
            f"left out: {where}, {item.start_s:.2f} to {item.end_s:.2f} s, {item.reason}: "
            f"{item.text[:70]}",
            file=sys.stderr,
        )
    if found.unknown:
        letters = ", ".join(f"{k!r} {n} times" for k, n in found.unknown.items())
        print(f"letters that the model does not know were ignored: {letters}", file=sys.stderr)
    minutes = sum(u.end_s - u.start_s for u in found.utterances) / 60
    print(
        f"{len(found.utterances)} utterances, {minutes:.1f} of {found.duration_s / 60:.1f} min; "
        f"{len(found.left_out)} left out",
        file=sys.stderr,
    )
    if out is not None:
        language = api.open_run(run).facts["language"]
        corpus = write_recording(
            out,
            audio,
            found,
            language=language,
            licence=licence,
            overwrite=overwrite,
            limits=Limits.of_hours(max_hours),
        )
        print(f"{corpus.path}; what does not match: {corpus.path / LEFT_OUT}", file=sys.stderr)


def label(
    run: RunFolder,
    corpus: Annotated[Path, typer.Argument(help="speech; its texts are not used")],
    out: Annotated[Path, typer.Option(help="corpus folder to make")],
    split: Annotated[str, typer.Option(help="of the corpus")] = "train",
    keep: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="share of the audio, the surest first")
    ] = 0.5,
    min_confidence: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="keep nothing less sure than this")
    ] = 0.0,
    threads: Threads = None,
    overwrite: Annotated[bool, typer.Option(help="replace a corpus that is there")] = False,
) -> None:
    """Transcribe a corpus and keep the surest part as data to train on (self-training)."""
    from rich.console import Console

    from xlasr import api

    console = Console(stderr=True)
    made = api.label(
        run,
        corpus,
        out,
        split=split,
        keep=keep,
        min_confidence=min_confidence,
        threads=threads,
        overwrite=overwrite,
        console=console,
    )
    stats = made.corpus.card.splits["train"]
    print(
        f"{out}: {stats.utterances} utterances, {stats.minutes:.1f} minutes, "
        f"confidence {made.least:.3f} or more"
    )
    for reason, count in made.left_out.items():
        print(f"left out {count}: {reason}")
    both = f"adapt.data=[{{path: main}}, {{path: {out}}}]"
    print(f'train on both: xlasr adapt CORPUS --out NEW_RUN --set "{both}"')


def export_corpus(
    corpus: Annotated[Path, typer.Argument(help="corpus folder", show_default=False)],
    out: Annotated[Path, typer.Option(help="folder to make")],
    format: Annotated[
        str,
        typer.Option(help="eaf, textgrid, srt, vtt, csv, nemo, labelstudio or kaldi"),
    ] = "eaf",
    split: Annotated[
        list[str] | None, typer.Option(help="train, dev or test; may be repeated; default: all")
    ] = None,
) -> None:
    """Write a corpus as files for ELAN, Praat, spreadsheets, NeMo, Label Studio or Kaldi."""
    from xlasr.exporters.corpus import export_corpus as run

    done = run(corpus, out, format=format, splits=split or ())
    counts = ", ".join(f"{n} of {name}" for name, n in done.utterances.items())
    print(
        f"{done.folder}: {len(done.files)} file{'s' * (len(done.files) != 1)} of"
        f" {done.recordings} recording{'s' * (done.recordings != 1)} with"
        f" {sum(done.utterances.values())} utterances ({counts})"
    )
    print_not_kept(format, done.not_kept)


def print_not_kept(format: str, counts: Mapping[str, int]) -> None:
    """Say what a format had no place for."""
    if counts:
        alike: dict[int, list[str]] = {}
        for name, n in counts.items():
            alike.setdefault(n, []).append(name)
        named = ", ".join(f"{', '.join(names)} ({n} utterances)" for n, names in alike.items())
        print(f"{format} has no place for: {named}", file=sys.stderr)
