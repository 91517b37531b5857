"""CSV: a row a segment, times in seconds, recordings relative to the table.

Columns are those that any row fills, of ``kind`` (``utterance`` or ``word``, where there are words
with times), ``audio``, ``start_s``, ``end_s``, ``text``, ``speaker``, ``confidence``, ``channel``
and the extra fields. Texts are in one line; a character that XML cannot hold becomes U+FFFD, for
spreadsheets end a cell or the file at some of them.

Source: RFC 4180.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xlasr.data.annotations.base import (
    AnnotatedRecording,
    TimedText,
    extras,
    for_xml,
    one_line,
    relative_link,
    span_ms,
    to_json,
)

KIND, UTTERANCE, WORD = "kind", "utterance", "word"
"""The column that tells rows of utterances from those of their words, and what it holds."""
ALWAYS = ("audio", "start_s", "end_s", "text")
"""Columns that every table has."""
_OPTIONAL = ("speaker", "confidence", "channel")


def write(recordings: Sequence[AnnotatedRecording], folder: Path) -> str:
    """Return the table."""
    rows = list(_rows(recordings, folder))
    filled = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
    kinds = any(row[KIND] == WORD for row in rows)
    columns = [*([KIND] if kinds else []), *ALWAYS, *(c for c in _OPTIONAL if c in filled)]
    columns += [name for name in filled if name not in {KIND, *columns}]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        cells = {name: _cell(value) for name, value in row.items()}
        writer.writerow({**cells, "audio": for_xml(row["audio"])})  # a path may have two spaces
    return out.getvalue()


def _rows(recordings: Sequence[AnnotatedRecording], folder: Path) -> Iterator[dict[str, Any]]:
    for recording in recordings:
        link = relative_link(recording.media, folder)
        for segment in recording.segments:
            own = extras(segment, (KIND, *ALWAYS, *_OPTIONAL))
            yield {KIND: UTTERANCE, "audio": link, **_cells(segment), **own}
            for word in segment.words:
                who = {"speaker": segment.speaker, "channel": segment.channel}
                yield {KIND: WORD, "audio": link, **_cells(word), **who, **own}


def _cells(item: TimedText) -> dict[str, Any]:
    start, end = span_ms(item)
    sure = None if item.confidence is None else f"{item.confidence:.4f}"
    return {
        "start_s": f"{start / 1000:.3f}",
        "end_s": f"{end / 1000:.3f}",
        "text": item.text,
        "speaker": item.speaker,
        "confidence": sure,
        "channel": item.channel,
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else to_json(value)
    return one_line(for_xml(text))
