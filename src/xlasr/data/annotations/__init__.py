"""Writers of annotated recordings: one file a format, for every command that writes texts.

``xlasr transcribe``, ``xlasr align`` and ``xlasr export-corpus`` use these and no others; their
counterparts, which read the same formats, are in ``data/readers``.

============ =======================================================================
base         ``TimedText`` and ``AnnotatedRecording``, which all writers take
tiers        speakers and overlaps as tiers, for ELAN and Praat
eaf          ELAN
textgrid     Praat
srt, vtt     subtitles (``subtitles`` has what they share)
table        CSV
nemo         a manifest of NeMo (JSONL)
labelstudio  tasks for Label Studio
txt          plain text
document     JSON with everything
============ =======================================================================

A new format is one new file with a function ``write``, and one line in ``FORMATS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xlasr.data.annotations import (
    document,
    eaf,
    labelstudio,
    nemo,
    srt,
    table,
    textgrid,
    txt,
    vtt,
)
from xlasr.data.annotations.base import AnnotatedRecording, TimedText
from xlasr.errors import UsageError
from xlasr.registry import Registry

FIELDS = ("speaker", "confidence", "channel", "words", "extra")
"""What a segment may have beside times and text, and a format may have no place for."""


@dataclass(frozen=True)
class Format:
    """A format of annotations.

    Args:
        suffix: Of its files, with the dot.
        write: (recordings, folder of the file) -> the file's text, to be stored as UTF-8.
        keeps: Those of ``FIELDS`` that it holds.
        several: A file can hold several recordings.
        needs_duration: It says how long the recording is; without, it ends with the last segment.
        joins: Files one after the other are a file again.
    """

    suffix: str
    write: Callable[[Sequence[AnnotatedRecording], Path], str]
    keeps: frozenset[str]
    several: bool
    needs_duration: bool = False
    joins: bool = False


FORMATS: Registry[Format] = Registry("output format")
"""Formats by name; the keys are what ``--format`` takes."""


def _each(
    name: str,
    suffix: str,
    write: Callable[[AnnotatedRecording, Path], str],
    keeps: Sequence[str],
    *,
    needs_duration: bool = False,
) -> None:
    """Register a format whose files hold one recording."""

    def write_one(recordings: Sequence[AnnotatedRecording], folder: Path) -> str:
        if len(recordings) != 1:
            raise UsageError(
                f"a file of the format {name!r} holds one recording, not {len(recordings)}; write"
                " one file for each"
            )
        return write(recordings[0], folder)

    FORMATS.register(name)(Format(suffix, write_one, frozenset(keeps), False, needs_duration))


FORMATS.register("txt")(Format(".txt", txt.write, frozenset(), True, joins=True))
_each("json", ".json", document.write, FIELDS)
_each("srt", ".srt", srt.write, ())
_each("vtt", ".vtt", vtt.write, ("speaker",))
_each("eaf", ".eaf", eaf.write, ("speaker", "confidence", "words"))
_each(
    "textgrid",
    ".TextGrid",
    textgrid.write,
    ("speaker", "confidence", "words"),
    needs_duration=True,
)
FORMATS.register("csv")(Format(".csv", table.write, frozenset(FIELDS), True))
FORMATS.register("nemo")(Format(".jsonl", nemo.write, frozenset(FIELDS), True, joins=True))
FORMATS.register("labelstudio")(
    Format(".json", labelstudio.write, frozenset({"speaker", "confidence", "channel"}), True, True)
)


def render(
    format: str, recordings: Sequence[AnnotatedRecording], folder: str | Path | None = None
) -> str:
    """Return the text of an annotation file.

    Args:
        format: A name in ``FORMATS``.
        recordings: One, or several where the format can hold them.
        folder: Where the file will be, for links to the recordings; None is the current folder.

    Raises:
        UnknownName: No such format.
        UsageError: Several recordings, and the format holds one.
    """
    return FORMATS[format].write(recordings, Path.cwd() if folder is None else Path(folder))


def not_kept(format: str, segments: Sequence[TimedText]) -> dict[str, int]:
    """Count the segments with something that the format has no place for.

    Args:
        format: A name in ``FORMATS``.
        segments: What is to be written.

    Returns:
        Field of ``FIELDS`` -> segments that have it; for extra fields, each by its own name. Also
        ``empty text``, for formats that leave such segments out.

    Raises:
        UnknownName: No such format.
    """
    keeps = FORMATS[format].keeps
    counts: dict[str, int] = {}

    def count(name: str, has: bool) -> None:
        if has:
            counts[name] = counts.get(name, 0) + 1

    for segment in segments:
        count("empty text", format in _NEED_TEXT and not segment.text.split())
        for name in FIELDS[:-1]:
            count(name, name not in keeps and _has(segment, name))
        for name in segment.extra:
            count(name, "extra" not in keeps)
    return counts


def _has(segment: TimedText, name: str) -> bool:
    if name == "words":
        return len(segment.words) > 0
    if name == "channel":
        return bool(segment.channel)  # the first one is where everybody looks
    return getattr(segment, name) is not None


_NEED_TEXT = frozenset({"txt", "srt", "vtt"})

__all__ = [
    "FIELDS",
    "FORMATS",
    "AnnotatedRecording",
    "Format",
    "TimedText",
    "not_kept",
    "render",
]
