"""JSON: everything, for programs.

``{"audio", "duration"?, "text", "segments": [{"id", "start", "end", "text", "speaker"?,
"confidence"?, "channel"?, EXTRA..., "words"?: [{"start", "end", "word", "confidence"?}]}]}`` with
times in seconds, rounded to milliseconds. Nothing is left out, also not segments without text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xlasr.data.annotations.base import (
    AnnotatedRecording,
    TimedText,
    extras,
    milliseconds,
    one_line,
    to_json,
)

_OWN = ("id", "start", "end", "text", "word", "speaker", "confidence", "channel", "words")


def write(recording: AnnotatedRecording, folder: Path) -> str:
    """Return the file; it names the recording as it was given."""
    rows = []
    for number, segment in enumerate(recording.segments):
        row: dict[str, Any] = {"id": number, **_times(segment), "text": segment.text}
        row |= {} if segment.speaker is None else {"speaker": segment.speaker}
        row |= confidence_of(segment)
        row |= {} if segment.channel is None else {"channel": segment.channel}
        row |= extras(segment, _OWN)
        row |= {"words": words_of(segment)} if segment.words else {}
        rows.append(row)
    whole = " ".join(text for s in recording.segments if (text := one_line(s.text)))
    length = {} if recording.duration_s is None else {"duration": round(recording.duration_s, 3)}
    document = {"audio": recording.media.as_posix(), **length, "text": whole, "segments": rows}
    return to_json(document, indent=2) + "\n"


def confidence_of(item: TimedText) -> dict[str, float]:
    """The field ``confidence``, where there is one."""
    return {} if item.confidence is None else {"confidence": round(item.confidence, 4)}


def words_of(segment: TimedText) -> list[dict[str, Any]]:
    """The words of a segment with times (seconds) and confidences."""
    return [{**_times(w), "word": w.text, **confidence_of(w)} for w in segment.words]


def _times(item: TimedText) -> dict[str, float]:
    return {
        "start": milliseconds(item.start_s) / 1000,
        "end": milliseconds(item.end_s) / 1000,
    }
