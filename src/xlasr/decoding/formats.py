"""Timed segments as plain text, JSON, SubRip and WebVTT."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import floor, isfinite

from xlasr.errors import UsageError
from xlasr.registry import Registry


@dataclass(frozen=True)
class TimedText:
    """A word or a segment with its times.

    Args:
        start_s: Seconds from the start of the recording.
        end_s: Seconds from the start of the recording.
        text: What was said.
        words: The words of a segment, where their times are known.

    Raises:
        UsageError: Times that are not finite, negative, or end before they start.
    """

    start_s: float
    end_s: float
    text: str
    words: Sequence[TimedText] = ()

    def __post_init__(self) -> None:
        if not (isfinite(self.start_s) and isfinite(self.end_s)):
            raise UsageError(f"times must be finite; found {self.start_s} to {self.end_s}")
        if not 0 <= self.start_s <= self.end_s:
            raise UsageError(
                f"a segment must start at 0 or later and not end before it starts; found "
                f"{self.start_s} to {self.end_s} for {self.text!r}"
            )


Writer = Callable[[Iterable[TimedText]], str]

FORMATS: Registry[Writer] = Registry("output format")
"""Writers by name; the keys are what ``--format`` takes."""


@FORMATS.register("txt")
def to_txt(segments: Iterable[TimedText]) -> str:
    """One line a segment; segments without text leave no line."""
    return "".join(f"{text}\n" for text in (_one_line(s.text) for s in segments) if text)


@FORMATS.register("json")
def to_json(segments: Iterable[TimedText]) -> str:
    """``{"text", "segments": [{"id", "start", "end", "text", "words"?}]}``, times in seconds.

    Nothing is left out, also not segments without text; times are rounded to milliseconds.
    """
    listed = list(segments)
    rows = []
    for number, segment in enumerate(listed):
        row: dict[str, object] = {"id": number, **_json_times(segment), "text": segment.text}
        if segment.words:
            row["words"] = [{**_json_times(word), "word": word.text} for word in segment.words]
        rows.append(row)
    whole = " ".join(text for text in (_one_line(s.text) for s in listed) if text)
    return json.dumps({"text": whole, "segments": rows}, ensure_ascii=False, indent=2) + "\n"


@FORMATS.register("srt")
def to_srt(segments: Iterable[TimedText]) -> str:
    """SubRip: numbered cues; segments without text leave no cue.

    SubRip has no escapes: ``-->`` in a text becomes ``->``.
    """
    cues: list[str] = []
    for segment in segments:
        text = _one_line(segment.text).replace("-->", "->")
        if text:
            cues.append(f"{len(cues) + 1}\n{_cue_times(segment, ',')}\n{text}\n\n")
    return "".join(cues)


@FORMATS.register("vtt")
def to_vtt(segments: Iterable[TimedText]) -> str:
    """WebVTT: segments without text leave no cue; ``&``, ``<`` and ``>`` are escaped.

    Source: W3C WebVTT, sections 4.1 and 4.2.2.
    """
    cues = ["WEBVTT\n\n"]
    for segment in segments:
        text = _one_line(segment.text)
        if text:
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            cues.append(f"{_cue_times(segment, '.')}\n{text}\n\n")
    return "".join(cues)


def _milliseconds(seconds: float) -> int:
    """Nearest millisecond, halves up (Python's ``round`` takes halves to even)."""
    return floor(seconds * 1000 + 0.5)


def _json_times(item: TimedText) -> dict[str, object]:
    return {
        "start": _milliseconds(item.start_s) / 1000,
        "end": _milliseconds(item.end_s) / 1000,
    }


def _cue_times(segment: TimedText, point: str) -> str:
    """``start --> end``; a cue lasts at least a millisecond, as WebVTT demands."""
    start = _milliseconds(segment.start_s)
    end = max(start + 1, _milliseconds(segment.end_s))
    return f"{_clock(start, point)} --> {_clock(end, point)}"


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{rest:03d}"


def _one_line(text: str) -> str:
    """Text without line breaks or doubled spaces: a blank line would end a cue."""
    return " ".join(text.split())
