"""Praat's TextGrid in its long text form.

A tier of texts a speaker, ``confidence`` beside it, and tiers of words where their times are known.
The pauses between intervals are intervals without text, as Praat wants it; so a segment without
text looks like a pause. Texts are in one line; control characters that XML cannot hold, which
Praat does not show either, become U+FFFD.

Source: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xlasr.data.annotations.base import AnnotatedRecording, for_xml, milliseconds, one_line
from xlasr.data.annotations.tiers import tiers_of

_Interval = tuple[int, int, str]


def write(recording: AnnotatedRecording, folder: Path) -> str:
    """Return the file; a TextGrid names no recording, it goes by its own name (``a.TextGrid``)."""
    tiers: list[tuple[str, list[_Interval]]] = []
    for tier in tiers_of(recording):
        tiers.append((tier.name, [(r.start_ms, r.end_ms, r.text) for r in tier.rows]))
        if tier.has_confidence:
            sure = [
                (r.start_ms, r.end_ms, f"{r.confidence:.3f}")
                for r in tier.rows
                if r.confidence is not None
            ]
            tiers.append((tier.confidence_name, sure))
    last = max((rows[-1][1] for _, rows in tiers if rows), default=0)
    end_ms = max(1, last, milliseconds(recording.duration_s or 0.0))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0"]
    lines += [f"xmax = {_s(end_ms)}", "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, rows) in enumerate(tiers, start=1):
        intervals = _with_pauses(rows, end_ms)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"']
        lines += [f"        name = {_quoted(name)}", "        xmin = 0"]
        lines += [f"        xmax = {_s(end_ms)}", f"        intervals: size = {len(intervals)}"]
        for i, (start, end, text) in enumerate(intervals, start=1):
            lines += [f"        intervals [{i}]:", f"            xmin = {_s(start)}"]
            lines += [f"            xmax = {_s(end)}", f"            text = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def _with_pauses(rows: Iterable[_Interval], end_ms: int) -> list[_Interval]:
    """Intervals without gaps from 0 to the end."""
    intervals: list[_Interval] = []
    at = 0
    for row in rows:
        if row[0] > at:
            intervals.append((at, row[0], ""))
        intervals.append(row)
        at = row[1]
    if at < end_ms:
        intervals.append((at, end_ms, ""))
    return intervals


def _s(ms: int) -> str:
    return f"{ms / 1000:.3f}"


def _quoted(text: str) -> str:
    return '"' + one_line(for_xml(text)).replace('"', '""') + '"'
