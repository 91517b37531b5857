"""What every writer takes, and what the writers share: milliseconds, clean text, links to sound."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, isfinite
from pathlib import Path
from typing import Any

from xlasr.errors import UsageError

# XML 1.0, section 2.2: these are not characters of any document, not even as references.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_HALF_PAIR = re.compile("[\ud800-\udfff]")  # no UTF-8 holds half a surrogate pair
_INSTEAD = "\ufffd"


@dataclass(frozen=True)
class TimedText:
    """A word or a segment with its times.

    Args:
        start_s: Seconds from the start of the recording.
        end_s: Seconds from the start of the recording.
        text: What was said; may be empty.
        words: The words of a segment, where their times are known.
        speaker: Who speaks; None where nobody said.
        confidence: 0 to 1, how sure whoever wrote the text is; None where nobody said.
        channel: Channel of the recording, from 0; None is the mean of all.
        extra: Anything else worth keeping, by name: texts, numbers, or what JSON holds.

    Raises:
        UsageError: Times that are not finite, negative, or end before they start; a confidence
            that is no number from 0 to 1.
    """

    start_s: float
    end_s: float
    text: str
    words: Sequence[TimedText] = ()
    speaker: str | None = None
    confidence: float | None = None
    channel: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (isfinite(self.start_s) and isfinite(self.end_s)):
            raise UsageError(f"times must be finite; found {self.start_s} to {self.end_s}")
        if not 0 <= self.start_s <= self.end_s:
            raise UsageError(
                f"a segment must start at 0 or later and not end before it starts; found "
                f"{self.start_s} to {self.end_s} for {self.text!r}"
            )
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise UsageError(
                f"a confidence is a number from 0 to 1; found {self.confidence} for {self.text!r}"
            )


@dataclass(frozen=True)
class AnnotatedRecording:
    """A recording and what is said in it.

    Args:
        media: The recording.
        segments: In any order; those of different speakers may overlap.
        duration_s: Of the recording; None where nobody measured it.
        by_machine: A model wrote the texts and nobody checked them.
    """

    media: Path
    segments: Sequence[TimedText]
    duration_s: float | None = None
    by_machine: bool = False


def milliseconds(seconds: float) -> int:
    """Nearest millisecond, halves up (Python's ``round`` takes halves to even)."""
    return floor(seconds * 1000 + 0.5)


def span_ms(item: TimedText) -> tuple[int, int]:
    """Start and end in ms; at least one apart, because most formats know no shorter stretch."""
    start = milliseconds(item.start_s)
    return start, max(start + 1, milliseconds(item.end_s))


def one_line(text: str) -> str:
    """Text without line breaks or doubled spaces: a blank line would end a subtitle."""
    return " ".join(text.split())


def for_xml(text: str) -> str:
    """Text with U+FFFD for each control character that no XML file can hold."""
    return _NOT_IN_XML.sub(_INSTEAD, text)


def for_utf8(text: str) -> str:
    """Text with U+FFFD for each half of a surrogate pair, which no UTF-8 file can hold."""
    return _HALF_PAIR.sub(_INSTEAD, text)


def to_json(value: object, indent: int | None = None) -> str:
    """JSON as UTF-8 holds it, letters as they are."""
    return for_utf8(json.dumps(value, ensure_ascii=False, indent=indent))


def relative_link(media: Path, folder: Path) -> str:
    """Path of a recording as seen from the folder of an annotation file, with slashes.

    Both can then be moved together.
    """
    return Path(os.path.relpath(media.absolute(), folder.absolute())).as_posix()


def extras(segment: TimedText, taken: Sequence[str]) -> dict[str, Any]:
    """The extra fields of a segment, beside columns that have names of their own.

    A field with the name of such a column, or with one that readers take for it ("start"), gets
    ``custom_`` in front.
    """
    reserved = {*taken, "start", "end", "duration", "offset", "audio", "text", "words", "kind"}
    return {f"custom_{k}" if k in reserved else k: v for k, v in segment.extra.items()}
