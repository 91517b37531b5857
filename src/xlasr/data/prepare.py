"""``prepare``: recordings and transcripts in any known layout -> a corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xlasr.data import arrange
from xlasr.data.audio import DEFAULT_LIMITS, SAMPLE_RATE, Limits
from xlasr.data.card import Card
from xlasr.data.clips import Clip, make_clips
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import READERS, SOURCES, RawRecord, ReadOptions, guess_reader
from xlasr.data.readers.debian import fetch_tree
from xlasr.data.show import Display
from xlasr.data.splits import SPLITS, check_ratios
from xlasr.data.text import check_language, normalise, raw
from xlasr.data.writing import check_target, staging, write_manifests
from xlasr.errors import DataError, UsageError, did_you_mean

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Where:
    """A source once it is clear what it is and where it lies."""

    root: Path
    reader: str
    language: str
    licence: str
    attribution: str
    group_rule: str | None


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    language: str | None = None,
    reader: str | None = None,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    group_by: str | None = None,
    ratios: Mapping[str, float] | None = None,
    licence: str | None = None,
    copy_audio: bool = True,
    overwrite: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    workers: int = 2,
    progress: bool = True,
) -> Corpus:
    """Make a corpus. The source is only read; ``out`` appears complete or not at all.

    Args:
        source: A folder, a table file, or the name of free speech (``readers.SOURCES``).
        out: The corpus folder to make.
        language: BCP-47 tag; needed unless the source knows its own.
        reader: Layout (``readers.READERS``); None guesses it.
        columns: For tables: field -> column, e.g. ``{"text": "sentence"}``; others are guessed.
        delimiter: For tables; None sniffs it.
        encoding: Encoding of text files.
        group_by: What must not be split: "speaker", "folder", "recording" or a column of a table;
            None decides (``arrange.choose_groups``).
        ratios: Share of train, dev and test; None is ``splits.DEFAULT_RATIOS``.
        licence: Licence of the material, for the card.
        copy_audio: Write 16 kHz mono copies; otherwise refer to the source files.
        overwrite: Replace a corpus that is there.
        limits: Bounds for one file, by counted samples.
        workers: Decoding threads.
        progress: Show a bar and a summary on standard error; without it one log line is left.

    Raises:
        UsageError: Unknown source, reader or language, bad ratios, or ``out`` is taken.
        DataError: The source cannot be fetched or read, or no utterance is usable.
    """
    out = Path(out).absolute()
    display = Display(quiet=not progress)
    check_target(out, overwrite=overwrite)
    check_ratios(ratios)
    where = _locate(source, language, reader, licence, display)
    if out == where.root or where.root.is_relative_to(out):
        raise UsageError(f"{out}: the corpus would replace its own source. Choose another folder.")
    options = ReadOptions(
        language=where.language,
        columns=dict(columns or {}),
        delimiter=delimiter,
        encoding=_check_encoding(encoding),
        say=display.say,
    )
    quarantine = Quarantine()
    try:
        records = _clean(READERS[where.reader](where.root, options, quarantine), quarantine)
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error}") from error
    with staging(out, overwrite=overwrite) as folder:
        copies = folder / "audio" if copy_audio else None
        if copies:
            copies.mkdir()
        with display.bar("decoding", len(records)) as advance:
            clips = make_clips(
                records,
                quarantine,
                copies=copies,
                limits=limits,
                workers=workers,
                advance=advance,
            )
        display.quarantine(quarantine)
        if not clips:
            raise DataError(_nothing_left(source, out, quarantine))
        card = Card(
            language=where.language,
            source=str(source),
            licence=where.licence,
            attribution=where.attribution,
            audio="16 kHz 16-bit mono copies" if copies else "references to the source files",
        )
        _arrange_and_write(folder, clips, where, card, quarantine, group_by, ratios)
    corpus = Corpus.open(out)
    display.card(corpus.card, str(out))
    if not progress:
        _log.info("%r, %d quarantined, dropped %s", corpus, len(quarantine), corpus.card.dropped)
    return corpus


def _locate(
    source: str | Path,
    language: str | None,
    reader: str | None,
    licence: str | None,
    display: Display,
) -> _Where:
    tag = check_language(language) if language is not None else None
    name = str(source)
    if name in SOURCES:
        known = SOURCES[name]
        if tag is not None and tag != known.language:
            raise UsageError(f"source {name!r} is in {known.language!r}, not in {tag!r}.")
        display.say(f"{name}: {known.about}. Licence {known.licence}. {known.attribution}.")
        root = fetch_tree(known.packages, say=display.say)
        return _Where(
            root, known.reader, known.language, known.licence, known.attribution, known.group_rule
        )
    root = Path(source).absolute()
    if not root.exists():
        raise UsageError(
            f"{name!r} is neither a file or folder here nor free speech with a name."
            f"{did_you_mean(name, SOURCES)} Names: {', '.join(SOURCES)}."
        )
    if tag is None:
        raise UsageError(f"which language is {name!r} in? Give its tag, e.g. --language cs")
    chosen = reader or guess_reader(root)
    READERS[chosen]  # an unknown name is an error before anything is read
    if reader is None:
        display.say(f"{name}: read as {chosen!r}")
    return _Where(root, chosen, tag, licence or "unknown", "", None)


def _check_encoding(encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError as error:
        raise UsageError(
            f"unknown encoding {encoding!r}. Common ones: utf-8, utf-16, cp1250, cp1252, latin-1."
        ) from error
    return encoding


def _clean(records: Iterable[RawRecord], quarantine: Quarantine) -> list[RawRecord]:
    """Tidy the texts; quarantine empty ones and ids that were there before."""
    kept: dict[str, RawRecord] = {}
    for record in records:
        text = raw(record.text)
        if not normalise(text):
            detail = f"the transcript of {record.audio.name} is {text!r}: no letter, no digit"
            quarantine.add(record.id, "empty text", detail)
        elif record.id in kept:
            first = kept[record.id]
            detail = (
                f"{first.origin or first.audio} and {record.origin or record.audio} have the same"
                " id; the first is used. Make the ids unique, or leave the column out"
            )
            quarantine.add(record.id, "duplicate id", detail)
        else:
            kept[record.id] = replace(record, text=text)
    return list(kept.values())


def _nothing_left(source: str | Path, out: Path, quarantine: Quarantine) -> str:
    if not len(quarantine):
        return f"{source}: there is not a single record in it."
    saved = out.with_name(f"{out.name}.quarantine.jsonl")
    quarantine.save(saved)
    counts = ", ".join(f"{n} {reason}" for reason, n in quarantine.counts().items())
    first = next(iter(quarantine))
    return (
        f"{source}: not one usable utterance, so no corpus was made ({counts}).\n"
        f"The first: {first.record}: {first.detail}\nAll of them: {saved}"
    )


def _arrange_and_write(
    folder: Path,
    clips: Sequence[Clip],
    where: _Where,
    card: Card,
    quarantine: Quarantine,
    group_by: str | None,
    ratios: Mapping[str, float] | None,
) -> None:
    records = [clip.record for clip in clips]
    base = where.root if where.root.is_dir() else where.root.parent
    groups, group_rule = arrange.choose_groups(records, base, group_by, where.group_rule)
    sides, split_rule = arrange.choose_sides(records, groups, ratios)
    keep, dropped = arrange.drop_repeated(clips, sides)
    warnings = arrange.overlaps(
        [records[i] for i in keep], [groups[i] for i in keep], [sides[i] for i in keep]
    )
    splits: dict[str, list[Utterance]] = {side: [] for side in SPLITS}
    for i in keep:
        splits[sides[i]].append(_utterance(clips[i], groups[i], where.language))
    warnings += [
        f"split {side!r} is empty: there are only {len(set(groups))} groups ({group_rule})."
        " Choose a finer --group-by"
        for side in SPLITS
        if not splits[side] and check_ratios(ratios)[side] > 0
    ]
    if card.audio.startswith("16 kHz"):
        for i in set(range(len(clips))) - set(keep):
            clips[i].path.unlink()
    card = replace(
        card,
        split_rule=split_rule,
        group_rule=group_rule,
        dropped=dropped,
        warnings=warnings,
    )
    recordings = {clip.path: clip.recording for clip in clips}
    write_manifests(folder, splits, card, quarantine, recordings=recordings)


def _utterance(clip: Clip, group: str, language: str) -> Utterance:
    channel = clip.record.channel
    copied = clip.path != clip.record.audio
    return Utterance(
        id=clip.record.id,
        audio=clip.path,
        start_s=clip.start_s,
        duration_s=clip.n_samples / SAMPLE_RATE,
        text=clip.record.text,
        language=language,
        speaker=clip.record.speaker,
        group=group,
        channel=0 if copied else -1 if channel is None else channel,
        custom={**clip.record.custom, "samples_sha256": clip.sha256},
    )
