"""``prepare``: recordings and transcripts in any known layout -> a corpus."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xlasr.data.archives import outside_scratch, scratch
from xlasr.data.arrange import Arrangement, arrange
from xlasr.data.audio import DEFAULT_LIMITS, SAMPLE_RATE, Limits
from xlasr.data.card import Card
from xlasr.data.clips import Clip, make_clips
from xlasr.data.corpus import SOURCE, VIDEO, Corpus, Utterance
from xlasr.data.intake import locate, read_options, read_records
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord
from xlasr.data.show import Display
from xlasr.data.splits import SPLITS, check_ratios, fold_shift
from xlasr.data.writing import check_target, staging, write_manifests
from xlasr.errors import DataError, UsageError
from xlasr.files import sha256

_log = logging.getLogger(__name__)


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    language: str | None = None,
    reader: str | None = None,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    tiers: Sequence[str] = (),
    tier_type: str | None = None,
    tier_index: int | None = None,
    participant: str | None = None,
    channels: Mapping[str, int] | None = None,
    media: str | Path | None = None,
    group_by: str | None = None,
    ratios: Mapping[str, float] | None = None,
    fold: str | None = None,
    licence: str | None = None,
    copy_audio: bool = True,
    overwrite: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    workers: int = 2,
    progress: bool = True,
) -> Corpus:
    """Make a corpus. The source is only read; ``out`` appears complete or not at all.

    Args:
        source: A folder, a table, a transcript, an archive (.zip, .tar, ...) of one of these, or
            the name of free speech (``readers.SOURCES``).
        out: The corpus folder to make.
        language: BCP-47 tag; needed unless the source knows its own.
        reader: Layout (``readers.READERS``); None guesses it.
        columns: For tables: field -> column, e.g. ``{"text": "sentence"}``; others are guessed.
        delimiter: For tables; None sniffs it.
        encoding: Encoding of text files.
        tiers: For recordings annotated on several tiers (or fields): the names of those to read.
        tier_type: For ELAN: the linguistic type of the tiers to read.
        tier_index: For ELAN and Praat: the number of the tier to read, from 0.
        participant: For ELAN: whose tiers to read.
        channels: For stereo: tier or speaker -> channel, from 0; the mean of all for others.
        media: Where the recordings of transcripts are: a folder, or the one recording.
        group_by: What must not be split: "speaker", "folder", "recording" or a column of a table;
            None decides (``arrange.choose_groups``).
        ratios: Share of train, dev and test; None is ``splits.DEFAULT_RATIOS``.
        fold: "K/N": other groups are the test side (``splits.fold_shift``); None is 1/N.
        licence: Licence of the material, for the card.
        copy_audio: Write 16 kHz mono copies; otherwise refer to the source files.
        overwrite: Replace a corpus that is there.
        limits: Bounds for one file, by counted samples.
        workers: Decoding threads.
        progress: Show a bar and a summary on standard error; without it one log line is left.

    Raises:
        UsageError: Unknown source, reader or language, bad ratios or fold, or ``out`` is taken.
        DataError: The source cannot be fetched or read, or no utterance is usable.
    """
    out = Path(out).absolute()
    display = Display(quiet=not progress)
    check_target(out, overwrite=overwrite)
    check_ratios(ratios)
    fold_shift(fold, ratios)
    with scratch() as unpacked:
        where = locate(source, language, reader, licence, display, unpacked)
        if out == where.root or where.root.is_relative_to(out):
            raise UsageError(
                f"{out}: the corpus would replace its own source. Choose another folder."
            )
        options = read_options(
            where,
            display.say,
            columns=columns,
            delimiter=delimiter,
            encoding=encoding,
            tiers=tiers,
            tier_type=tier_type,
            tier_index=tier_index,
            participant=participant,
            channels=channels,
            media=media,
            limits=limits,
            scratch=unpacked,
        )
        quarantine = Quarantine()
        records = read_records(source, where, options, quarantine, copy_audio=copy_audio)
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
            arranged = arrange(
                clips, where.folder, group_by, where.group_rule, ratios, fold, quarantine=quarantine
            )
            write_clips(folder, clips, arranged, card, quarantine)
    corpus = Corpus.open(out)
    display.card(corpus.card, str(out))
    display.notes(quarantine)
    if not progress:
        _log.info("%r, %d quarantined, dropped %s", corpus, len(quarantine), corpus.card.dropped)
    return corpus


def _nothing_left(source: str | Path, out: Path, quarantine: Quarantine) -> str:
    if not len(quarantine):
        return f"{source}: there is not a single record in it."
    saved = out.with_name(f"{out.name}.quarantine.jsonl")
    quarantine.save(saved)
    counts = ", ".join(f"{n} {reason}" for reason, n in quarantine.counts().items())
    first = next(iter(quarantine))
    alone = "\nRecordings without transcripts are read by --reader recordings."
    return (
        f"{source}: not one usable utterance, so no corpus was made ({counts}).\n"
        f"The first: {first.record}: {first.detail}\nAll of them: {saved}"
        + (alone if "missing text" in quarantine.counts() else "")
    )


def write_clips(
    folder: Path,
    clips: Sequence[Clip],
    arranged: Arrangement,
    card: Card,
    quarantine: Quarantine,
) -> None:
    """Write the manifests of a corpus; the copies of lines that are left out go.

    Args:
        folder: Where to write.
        clips: What can be used.
        arranged: Their sides.
        card: Language, source, licence; the rest is filled in.
        quarantine: What cannot be used, and notes.
    """
    splits: dict[str, list[Utterance]] = {side: [] for side in SPLITS}
    for i in arranged.keep:
        source = Path(card.source).absolute()
        utterance = _utterance(clips[i], arranged.groups[i], card.language, source)
        splits[arranged.sides[i]].append(utterance)
    if card.audio.startswith("16 kHz"):
        for i in set(range(len(clips))) - set(arranged.keep):
            clips[i].path.unlink()
    card = replace(
        card,
        split_rule=arranged.split_rule,
        group_rule=arranged.group_rule,
        dropped=arranged.dropped,
        warnings=arranged.warnings,
    )
    recordings = {clip.path: clip.recording for clip in clips}
    has_text = any(clip.record.text for clip in clips)
    write_manifests(folder, splits, card, quarantine, recordings=recordings, has_text=has_text)


def _utterance(clip: Clip, group: str, language: str, source: Path) -> Utterance:
    record = clip.record
    copied = clip.path != record.audio
    place = _place(record, source) if copied else {}
    # A column of the source may have the name of one of ours.
    own = {**place, **_video(clip), "samples_sha256": clip.sha256}
    custom = {f"custom_{k}" if k in own else k: v for k, v in record.custom.items()}
    return Utterance(
        id=record.id,
        audio=clip.path,
        start_s=clip.start_s,
        duration_s=clip.n_samples / SAMPLE_RATE,
        text=record.text,
        language=language,
        speaker=record.speaker,
        group=group,
        channel=0 if copied else -1 if record.channel is None else record.channel,
        custom={**custom, **own},
    )


def _video(clip: Clip) -> dict[str, Any]:
    """Return where the pictures of a clip are; nothing where it has none."""
    record = clip.record
    if record.video is None or clip.video is None:
        return {}
    return {
        VIDEO: str(record.video.absolute()),
        "video_start_s": record.start_s,
        "video_s": round(clip.video.seconds - record.start_s, 6),
        "video_frames": clip.video.n_frames,
        "video_sha256": sha256(record.video),
    }


def _place(record: RawRecord, source: Path) -> dict[str, Any]:
    """Return where in which recording a copied clip was cut out; nothing for whole recordings.

    A recording in an archive is named as if the archive were a folder.
    """
    if record.start_s == 0.0 and record.duration_s is None:
        return {}
    audio = outside_scratch(record.audio)
    if not audio.is_absolute():  # its first folder is what it was unpacked to
        audio = source.joinpath(*audio.parts[1:])
    place: dict[str, Any] = {SOURCE: str(audio), "source_start_s": record.start_s}
    return place if record.channel is None else {**place, "source_channel": record.channel}
