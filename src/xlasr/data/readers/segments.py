"""Long recordings that annotations cut: what the readers of such transcripts share.

A reader parses each file into a ``Transcript`` of tiers; ``read_transcripts`` chooses tiers, finds
the recordings and makes records. Every annotation of a chosen tier becomes a record or stands in
the quarantine: none is moved, shortened or guessed.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions, encoding_advice
from xlasr.data.readers.folder import walk
from xlasr.data.readers.media import Media, group_key
from xlasr.data.readers.tiers import Annotation, Tier, choose_tiers
from xlasr.data.spans import find_overlaps
from xlasr.errors import DataError, UsageError, did_you_mean

MAX_BYTES = 256 << 20
"""A larger transcript is refused: hours of annotation are a few megabytes."""

# A byte order mark and a line feed the wrong way round; neither is a character.
_OUT_OF_STEP = re.compile("[\ufffe\u0a00]")
_SHORTEST_S = 0.0005  # transcripts give milliseconds


@dataclass(slots=True)
class Transcript:
    """One parsed file, or the part of it that belongs to one recording.

    Attributes:
        path: The file.
        stem: Begins the ids of its records.
        tiers: In the order of the file.
        media: Names, paths or URLs of the recording that the file gives, best first.
        stems: What the recording may be called, without suffix; None is the stem of the file.
        offsets: Name of a recording (lower case) -> where in it time 0 is, in seconds.
        told: Remarks that the person should see if the file is used.
    """

    path: Path
    stem: str
    tiers: list[Tier]
    media: Sequence[str] = ()
    stems: Sequence[str] | None = None
    offsets: Mapping[str, float] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)


ParseFn = Callable[[Path, str, ReadOptions, Quarantine], Iterable[Transcript]]
"""A parser: (file, stem, options, where to report) -> transcripts; DataError if unreadable."""


def read_transcripts(
    root: Path,
    files: Sequence[Path],
    parse: ParseFn,
    options: ReadOptions,
    quarantine: Quarantine,
) -> Iterator[RawRecord]:
    """Parse transcripts, choose tiers, find the recordings and cut them.

    Args:
        root: The source: a file or a folder.
        files: The transcripts at or below it.
        parse: Parses one file.
        options: What the person said.
        quarantine: Where to report what cannot be used.

    Yields:
        One record per usable annotation of the chosen tiers.

    Raises:
        UsageError: Several tiers could be meant, or a choice names nothing that is there.
    """
    folder = root if root.is_dir() else root.parent
    transcripts: list[Transcript] = []
    for path in files:
        stem = path.relative_to(folder).with_suffix("").as_posix()
        n_told = len(quarantine)
        try:
            parsed = list(parse(path, stem, options, quarantine))
        except DataError as error:
            quarantine.add(path.relative_to(folder).as_posix(), "bad transcript", str(error))
            continue
        if not parsed and len(quarantine) == n_told:
            quarantine.add(stem, "missing text", f"{path.name}: nothing in it")
        transcripts += parsed
    if not transcripts:
        return
    _check_channels([tier for t in transcripts for tier in t.tiers], options.channels)
    chosen = choose_tiers([(t.path.name, t.tiers) for t in transcripts], options)
    media = Media(folder, options.media, n_transcripts=len(transcripts))
    placed: list[_Placed] = []
    for transcript, tiers in zip(transcripts, chosen, strict=True):
        found = _place(transcript, tiers, media, options, quarantine)
        placed += [found] if found else []
    # A tier can go on in another file: together, too, they must not be at two places at once.
    layers: dict[tuple[object, ...], list[RawRecord]] = {}
    for one in _one_each(placed, quarantine):
        for record in _records(one, group_key(one.audio, media), options, quarantine):
            key = (record.audio, record.custom.get("tier"), record.channel, record.speaker)
            layers.setdefault(key, []).append(record)
    for records in layers.values():
        yield from _without_overlaps(records, quarantine)


def transcript_files(root: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the transcripts at or below ``root`` in a fixed order.

    Raises:
        DataError: There is none.
    """
    if root.is_file():
        return [root]
    files = [path for path in walk(root) if path.suffix.lower() in suffixes]
    if not files:
        raise DataError(
            f"{root}: no {' or '.join(sorted(suffixes))} file in it or its subfolders. Name the"
            " folder or the file that has the transcripts."
        )
    return files


def read_bytes(path: Path) -> bytes:
    """Return the content of a transcript.

    Raises:
        DataError: It cannot be read, or is larger than ``MAX_BYTES``.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(
                f"{path}: {size >> 20} MiB; a transcript has at most {MAX_BYTES >> 20} MiB. Is it"
                " really one? Then split it."
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error


def decode_text(path: Path, content: bytes, encoding: str) -> str:
    """Return the text of a transcript; a byte order mark and the zeros of UTF-16 beat ``encoding``.

    Raises:
        DataError: It is not in this encoding.
    """
    if content.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    elif content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif content[1:2] == b"\0" != content[:1]:  # these formats begin with an ASCII character
        encoding = "utf-16-le"
    elif content[:1] == b"\0" != content[1:2]:
        encoding = "utf-16-be"
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        advice = encoding_advice(content, encoding)
        raise DataError(f"{path}: {error}. {advice}.") from error
    if codecs.lookup(encoding).name.startswith("utf-16") and (step := _OUT_OF_STEP.search(text)):
        raise DataError(
            f"{path}: damaged: bytes are lost or too many before character {step.start()}, so that"
            " its UTF-16 cannot be read. Copy it again."
        )
    return text


def _check_channels(tiers: Sequence[Tier], channels: Mapping[str, int]) -> None:
    names = {tier.name for tier in tiers} | {tier.speaker for tier in tiers if tier.speaker}
    names |= {a.speaker for tier in tiers for a in tier.annotations if a.speaker}
    for name, channel in channels.items():
        if name not in names:
            raise UsageError(
                f"channel {channel} is for {name!r}, and no tier or speaker has that name."
                f"{did_you_mean(name, names)} Found: {', '.join(sorted(names - {''})) or 'none'}."
            )


@dataclass(frozen=True, slots=True)
class _Placed:
    """A transcript, its chosen tiers, its recording, and where in that its time 0 is."""

    transcript: Transcript
    tiers: Sequence[Tier]
    audio: Path
    offset_s: float

    @property
    def n_rows(self) -> int:
        return sum(map(len, self.tiers))


def _place(
    transcript: Transcript,
    tiers: Sequence[Tier],
    media: Media,
    options: ReadOptions,
    quarantine: Quarantine,
) -> _Placed | None:
    """Find the recording of a transcript; report why it cannot be used."""
    name, stem = transcript.path.name, transcript.stem
    n_rows = sum(map(len, tiers))
    if not tiers:
        found = ", ".join(f"{tier.name!r} ({len(tier)})" for tier in transcript.tiers) or "none"
        detail = f"{name}: it has none of the chosen tiers. Tiers found: {found}"
        quarantine.add(stem, "missing tier", detail)
        return None
    if not n_rows:
        quarantine.add(stem, "missing text", f"{name}: not a single annotation in it")
        return None
    audio, detail = media.find(transcript.path, transcript.media, transcript.stems)
    if audio is None:
        quarantine.add(stem, "missing audio", f"{name}: {detail}", n_rows)
        return None
    offset_s = _offset_s(transcript, audio)
    if offset_s is None:
        detail = (
            f"{name}: its recordings begin at different times ({dict(transcript.offsets)}), and it"
            f" is not told for {audio.name}. Give --media the folder of those that it names"
        )
        quarantine.add(stem, "ambiguous", detail, n_rows)
        return None
    for line in [*transcript.told, *([detail] if detail else [])]:
        options.say(f"{name}: {line}")
    return _Placed(transcript, tiers, audio, offset_s)


def _one_each(placed: Sequence[_Placed], quarantine: Quarantine) -> Iterator[_Placed]:
    """Yield what is usable: of transcripts without tiers, a recording has one."""
    rivals: dict[Path, list[str]] = {}
    for one in placed:
        if not one.tiers[0].name:
            rivals.setdefault(one.audio, []).append(one.transcript.path.name)
    for one in placed:
        names = rivals.get(one.audio, [])
        if one.tiers[0].name or len(names) == 1:
            yield one
            continue
        detail = f"{', '.join(names)} are all for {one.audio.name}; leave one of them"
        quarantine.add(one.transcript.stem, "ambiguous", detail, one.n_rows)


def _records(
    placed: _Placed, group: str, options: ReadOptions, quarantine: Quarantine
) -> Iterator[RawRecord]:
    """Yield the records of one transcript; report the rest of its chosen tiers."""
    transcript = placed.transcript
    name, stem = transcript.path.name, transcript.stem
    for tier in placed.tiers:
        for problem in tier.problems:
            quarantine.add(f"{stem} {problem.record}", problem.reason, f"{name}: {problem.detail}")
        for annotation in _usable(transcript, tier, placed.offset_s, quarantine):
            to_end = math.isinf(annotation.end_s)
            start = "" if to_end else f"{round(annotation.start_s * 1000):08d}"
            place = "" if tier.channel is None else f"channel{tier.channel}"
            speaker = annotation.speaker or tier.speaker
            channel = options.channels.get(tier.name, options.channels.get(speaker or ""))
            parts = (stem, tier.name, annotation.speaker, place, start)
            yield RawRecord(
                id="-".join(part for part in parts if part),
                audio=placed.audio,
                text=annotation.text,
                speaker=speaker,
                group=group,
                start_s=annotation.start_s,
                duration_s=None if to_end else annotation.end_s - annotation.start_s,
                channel=tier.channel if channel is None else channel,
                custom={**({"tier": tier.name} if tier.name else {}), **annotation.custom},
                origin=f"{name} {annotation.where}",
            )


def _offset_s(transcript: Transcript, audio: Path) -> float | None:
    """Return where in the recording time 0 of the annotations is; None if that cannot be told."""
    offsets = transcript.offsets
    if audio.name.lower() in offsets:
        return offsets[audio.name.lower()]
    values = set(offsets.values()) or {0.0}
    return values.pop() if len(values) == 1 else None


def _usable(
    transcript: Transcript, tier: Tier, offset_s: float, quarantine: Quarantine
) -> Iterator[Annotation]:
    """Yield the annotations of a tier that have text and possible times; report the others."""
    name = transcript.path.name + (f", tier {tier.name!r}" if tier.name else "")
    empty = 0
    for annotation in tier.annotations:
        a = annotation
        if offset_s:
            a = replace(a, start_s=a.start_s + offset_s, end_s=a.end_s + offset_s)
        if not a.text.strip():
            empty += 1
        elif reason := _wrong_times(a):
            detail = f"{name}: {a.where} lasts from {a.start_s:.3f} to {a.end_s:.3f} s: correct it"
            quarantine.add(f"{transcript.stem} {a.where}", reason, detail)
        else:
            yield a
    if empty:
        detail = f"{name}: {empty} of {len(tier)} annotations have no text (silence, or not done)"
        quarantine.add(f"{transcript.stem} {tier.name}".strip(), "empty annotation", detail, empty)


def _wrong_times(a: Annotation) -> str:
    """Return the quarantine reason of impossible times, or an empty string."""
    if not math.isfinite(a.start_s) or math.isnan(a.end_s):
        return "bad annotation"
    if a.end_s < a.start_s:
        return "reversed"
    if a.end_s - a.start_s < _SHORTEST_S:
        return "zero length"
    return "out of range" if a.start_s < 0 else ""


def _without_overlaps(records: Sequence[RawRecord], quarantine: Quarantine) -> Iterator[RawRecord]:
    """Yield the records of a layer that are alone at their time; report the others."""
    spans = [(r.start_s, r.start_s + (r.duration_s or math.inf)) for r in records]
    overlapping = find_overlaps(spans)
    for i, record in enumerate(records):
        if i not in overlapping:
            yield record
            continue
        j = overlapping[i]
        detail = (
            f"{record.origin} ({spans[i][0]:.3f} to {spans[i][1]:.3f} s) and {records[j].origin}"
            f" ({spans[j][0]:.3f} to {spans[j][1]:.3f} s) are at the same time in"
            f" {record.audio.name}: correct the times; leave one of two transcripts of one thing;"
            " give two speakers two tiers"
        )
        quarantine.add(record.id, "overlap", detail)
