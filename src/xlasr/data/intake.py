"""What comes before decoding: find out what a source is, read it, tidy its texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xlasr.data.archives import content, is_archive, unpack
from xlasr.data.audio import DEFAULT_LIMITS, Limits
from xlasr.data.quarantine import Quarantine, encodable
from xlasr.data.readers import (
    ANNOTATED,
    OPTIONS,
    READERS,
    SOURCES,
    UNTRANSCRIBED,
    RawRecord,
    ReadOptions,
    guess_reader,
    huggingface,
)
from xlasr.data.readers.debian import fetch_tree
from xlasr.data.show import Display
from xlasr.data.text import check_language, normalise, raw
from xlasr.errors import DataError, UsageError, did_you_mean


@dataclass(frozen=True)
class Where:
    """A source once it is clear what it is and where it lies."""

    root: Path
    reader: str
    language: str
    licence: str
    attribution: str
    group_rule: str | None

    @property
    def folder(self) -> Path:
        """The folder that holds it."""
        return self.root if self.root.is_dir() else self.root.parent


def locate(
    source: str | Path,
    language: str | None,
    reader: str | None,
    licence: str | None,
    display: Display,
    scratch: Path,
) -> Where:
    """Find a source and what its layout is; fetch it if it has a name, unpack it if need be.

    Raises:
        UsageError: Unknown source, reader or language.
        DataError: It cannot be fetched or unpacked, or looks like no layout.
    """
    tag = check_language(language) if language is not None else None
    name = str(source)
    if name in SOURCES:
        known = SOURCES[name]
        if tag is not None and tag != known.language:
            raise UsageError(f"source {name!r} is in {known.language!r}, not in {tag!r}.")
        display.say(f"{name}: {known.about}. Licence {known.licence}. {known.attribution}.")
        root = fetch_tree(known.packages, say=display.say)
        return Where(
            root, known.reader, known.language, known.licence, known.attribution, known.group_rule
        )
    root = Path(source).absolute()
    if not root.exists() and reader == "huggingface" and name.count("/") == 1:
        root = huggingface.fetch(name)
    if not root.exists():
        raise UsageError(
            f"{name!r} is neither a file or folder here nor free speech with a name."
            f"{did_you_mean(name, SOURCES)} Names: {', '.join(SOURCES)}."
        )
    if encodable(str(root)) != str(root):
        raise UsageError(
            f"{encodable(str(root))}: the path is not UTF-8, and a corpus names what it was made"
            " of. Rename the file or folder."
        )
    if tag is None:
        raise UsageError(f"which language is {name!r} in? Give its tag, e.g. --language cs")
    if reader is not None:
        READERS[reader]  # an unknown name is an error before anything is unpacked
    if is_archive(root):
        display.say(f"{name}: unpacked to {scratch}")
        unpack(root, scratch / "archive")
        root = content(scratch / "archive")
    chosen = reader or guess_reader(root)
    if reader is None:
        display.say(f"{name}: read as {chosen!r}")
    group_rule = "recording" if chosen in ANNOTATED else None
    drawn = _drawn_faces(root)
    licence = licence or drawn.get("licence_of_the_speech", "unknown")
    return Where(root, chosen, tag, licence, drawn.get("attribution", ""), group_rule)


def _drawn_faces(root: Path) -> dict[str, str]:
    """What ``render_faces`` says of its folder: that nobody was filmed, and whose speech it is."""
    try:
        told = json.loads((root / "faces.json").read_bytes())
        said = [told["synthetic"], f"tie {told['tie']}", f"seed {told['seed']}"]
        speech = [text for text in [told.get("attribution_of_the_speech")] if text]
        return {
            "attribution": "; ".join([", ".join(said), *speech]),
            "licence_of_the_speech": str(told["licence_of_the_speech"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # another file of that name, or none


def read_options(
    where: Where,
    say: Callable[[str], None],
    *,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    tiers: Sequence[str] = (),
    tier_type: str | None = None,
    tier_index: int | None = None,
    participant: str | None = None,
    channels: Mapping[str, int] | None = None,
    media: str | Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
    scratch: Path | None = None,
) -> ReadOptions:
    """Return the options for the reader of a source.

    Args:
        where: The source.
        say: Called with lines that the person should see.
        columns: As ``prepare``; so are all the others.
        delimiter: Of tables.
        encoding: Of text files.
        tiers: Names of tiers.
        tier_type: Linguistic type of tiers.
        tier_index: Number of a tier.
        participant: Speaker of tiers.
        channels: Tier or speaker -> channel.
        media: Where the recordings are.
        limits: Bounds for one file.
        scratch: Where sound that lies inside other files is unpacked.

    Raises:
        UsageError: An option that this layout does not have, or an unknown encoding.
    """
    tables = ("table", "huggingface") if delimiter is None else ("table",)
    if where.reader not in tables and (columns or delimiter is not None):
        raise UsageError(
            f"{where.root}: columns and a delimiter are for tables, and this is read as"
            f" {where.reader!r}. Name the table itself, or leave them out."
        )
    options = ReadOptions(
        language=where.language,
        columns=dict(columns or {}),
        delimiter=delimiter,
        encoding=_check_encoding(encoding),
        tiers=tuple(tiers),
        tier_type=tier_type,
        tier_index=tier_index,
        participant=participant,
        channels=dict(channels or {}),
        media=None if media is None else Path(media).absolute(),
        limits=limits,
        scratch=scratch,
        say=say,
    )
    for name, readers in OPTIONS.items():
        given = getattr(options, name)
        if given not in ((), {}, None) and where.reader not in readers:
            raise UsageError(
                f"{where.root}: {name} = {given!r} is for {', '.join(readers)}, and this is read as"
                f" {where.reader!r}. Leave it out, or say what it is: --reader NAME."
            )
    return options


def read_records(
    source: str | Path,
    where: Where,
    options: ReadOptions,
    quarantine: Quarantine,
    *,
    copy_audio: bool,
) -> list[RawRecord]:
    """Read a source; tidy the texts, and quarantine empty ones and ids that were there before.

    Raises:
        DataError: It cannot be read.
        UsageError: An option names nothing that is there, or sound that was unpacked for the time
            being is to be referred to.
    """
    try:
        found = READERS[where.reader](where.root, options, quarantine)
        records = _clean(found, quarantine, has_text=where.reader not in UNTRANSCRIBED)
    except (OSError, UnicodeError) as error:
        raise DataError(f"{source}: cannot be read: {error}") from error
    scratch = options.scratch
    if scratch and any(r.video and r.video.is_relative_to(scratch) for r in records):
        raise UsageError(
            f"{source}: its video lies inside an archive, and a corpus refers to video instead of"
            " copying it. Unpack it yourself, and prepare the folder."
        )
    if not copy_audio and scratch and any(r.audio.is_relative_to(scratch) for r in records):
        raise UsageError(
            f"{source}: its sound lies inside other files, so the corpus cannot refer to it."
            " Unpack it yourself, or let the sound be copied (--copy-audio)."
        )
    return records


def _check_encoding(encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError as error:
        raise UsageError(
            f"unknown encoding {encoding!r}. Common ones: utf-8, utf-16, cp1250, cp1252, latin-1."
        ) from error
    return encoding


def _clean(
    records: Iterable[RawRecord], quarantine: Quarantine, *, has_text: bool
) -> list[RawRecord]:
    kept: dict[str, RawRecord] = {}
    for record in records:
        text = raw(record.text)
        if problem := _not_utf8(record):
            quarantine.add(record.id, "bad encoding", problem)
        elif has_text and not normalise(text):
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


def _not_utf8(record: RawRecord) -> str:
    """Return what of a record no UTF-8 file can hold, and what to do; empty if there is nothing.

    Every reader's records come by here, whatever way half a surrogate pair found into them: an
    escape in JSON, a file name in another encoding, an encoding that allows it.
    """
    parts = {
        "file name": str(record.audio),
        "video's name": str(record.video or ""),
        "text": record.text,
        "id": record.id,
        "speaker": record.speaker or "",
        "group": record.group or "",
        "extra fields": json.dumps(record.custom, ensure_ascii=False),
    }
    for what, value in parts.items():
        if encodable(value) != value:
            advice = "Rename it" if what.endswith("name") else "Correct it in the source"
            origin = f"{record.origin}: " if record.origin else ""
            return f"{origin}its {what} is not UTF-8: {encodable(value)[:300]}. {advice}"
    return ""
