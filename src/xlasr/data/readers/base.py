"""What every reader takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from xlasr.data.audio import DEFAULT_LIMITS, Limits
from xlasr.data.quarantine import Quarantine
from xlasr.errors import UsageError


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One transcribed stretch of a recording, as a reader found it; nothing is decoded yet.

    Attributes:
        id: Unique in its source.
        audio: The file.
        text: The transcript; empty only where the layout has none (``recordings``).
        speaker: Who speaks; None where unknown.
        group: What must stay on one side of the split; None lets ``prepare`` choose.
        start_s: Where it begins, in seconds.
        duration_s: How long it is, in seconds; None is to the end of the file.
        channel: Channel of the file, from 0; None is the mean of all.
        split: A side that the source itself prescribes.
        custom: Anything else worth keeping.
        origin: Where it was read, for messages ("table.csv row 7").
        video: The file with the pictures, on the clock of ``audio``; often the same file.
    """

    id: str
    audio: Path
    text: str
    speaker: str | None = None
    group: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    channel: int | None = None
    split: str | None = None
    custom: dict[str, Any] = field(default_factory=dict)
    origin: str = ""
    video: Path | None = None


@dataclass(frozen=True)
class ReadOptions:
    """What a person can say about a layout.

    Attributes:
        language: BCP-47 tag of the speech.
        columns: Field -> column name, for tables; what is not given is guessed and shown.
        delimiter: Column separator of tables; None sniffs it.
        encoding: Encoding of text files.
        tiers: Names of the tiers to read, where recordings are annotated on several.
        tier_type: Linguistic type of the tiers to read (ELAN).
        tier_index: Number of the tier to read, from 0, in the order of the file.
        participant: Whose tiers to read (ELAN).
        channels: Tier or speaker -> channel of the recording, from 0; the mean of all for others.
        media: Where the recordings of transcripts are, if not beside them: a folder, or the file.
        limits: Bounds for one file, where a reader has to decode it.
        scratch: Where sound that lies inside other files is unpacked; whoever calls removes it.
        say: Called with a line that the person should see.
    """

    language: str
    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    encoding: str = "utf-8"
    tiers: Sequence[str] = ()
    tier_type: str | None = None
    tier_index: int | None = None
    participant: str | None = None
    channels: Mapping[str, int] = field(default_factory=dict)
    media: Path | None = None
    limits: Limits = DEFAULT_LIMITS
    scratch: Path | None = None
    say: Callable[[str], None] = print

    def unpack_to(self, name: str) -> Path:
        """Return a path below the scratch folder that is not there yet.

        Raises:
            UsageError: The caller gave no scratch folder.
        """
        if self.scratch is None:
            raise UsageError(
                "this layout has its sound inside other files: give ReadOptions a scratch folder"
                " to unpack it to, or use prepare"
            )
        return next(
            path for n in count() if not (path := self.scratch / f"{n:06d}-{name}").exists()
        )


def encoding_advice(content: bytes, encoding: str) -> str:
    """Return what to do about bytes that are not in ``encoding``."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "It begins like UTF-16: --encoding utf-16"
    return (
        f"It is not {encoding}. Give its encoding, for example --encoding cp1252 (Western),"
        " cp1250 (Central European), cp1251 (Cyrillic) or utf-16"
    )


ReaderFn = Callable[[Path, ReadOptions, Quarantine], Iterator[RawRecord]]
"""A reader: (folder or file, options, where to report problems) -> records."""


@dataclass(frozen=True)
class Source:
    """Free speech that is fetched by name.

    Attributes:
        language: BCP-47 tag.
        licence: SPDX expression.
        attribution: Whom to name, and what was changed.
        packages: Debian packages that hold it.
        reader: Name of the reader that understands the unpacked tree.
        group_rule: What a group is, in words.
        about: One line for lists.
    """

    language: str
    licence: str
    attribution: str
    packages: tuple[str, ...]
    reader: str
    group_rule: str
    about: str
