"""An aligned recording as a file: what ``transcribe`` writes, and csv, eaf and textgrid."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path

from xlasr.alignment.segment import Segmentation
from xlasr.decoding.formats import FORMATS, TimedText
from xlasr.errors import UnknownName

Writer = Callable[[Segmentation, str, bool], str]
Row = tuple[int, int, str]  # start and end in ms, text


def render(found: Segmentation, format: str, audio: str | Path, *, words: bool = False) -> str:
    """Return the text of a file.

    Args:
        found: What ``segment`` returned.
        format: ``eaf``, ``textgrid``, ``csv``, or one that ``transcribe`` knows (srt, vtt, json,
            txt).
        audio: The recording, for formats that name it.
        words: Give the words too (eaf, textgrid, csv, json).

    Raises:
        UnknownName: No such format.
    """
    if format in OWN:
        return OWN[format](found, str(audio), words)
    if format not in set(FORMATS):
        raise UnknownName("output format", format, known_formats())
    return FORMATS[format](
        TimedText(
            u.start_s,
            u.end_s,
            u.text,
            [TimedText(w.start_s, w.end_s, w.text) for w in u.words] if words else (),
        )
        for u in found.utterances
    )


def known_formats() -> list[str]:
    """Names that ``render`` takes."""
    return sorted({*OWN, *FORMATS})


def _ms(seconds: float) -> int:
    return int(seconds * 1000 + 0.5)


def to_csv(found: Segmentation, audio: str, words: bool) -> str:
    """A row an utterance (and a word): kind, start_s, end_s, text, score, worst, line, audio.

    The score of a word is its confidence.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow("kind start_s end_s text score worst line audio".split())
    for u in found.utterances:
        times = f"{_ms(u.start_s) / 1000:.3f}", f"{_ms(u.end_s) / 1000:.3f}"
        writer.writerow(
            ["utterance", *times, u.text, f"{u.score:.3f}", f"{u.worst:.3f}", u.line, audio]
        )
        for w in u.words if words else ():
            times = f"{_ms(w.start_s) / 1000:.3f}", f"{_ms(w.end_s) / 1000:.3f}"
            writer.writerow(["word", *times, w.text, f"{w.confidence:.3f}", "", u.line, audio])
    return out.getvalue()


def _tiers(found: Segmentation, words: bool) -> list[tuple[str, list[Row]]]:
    """Name and (start in ms, end in ms, text) rows; a row lasts at least a millisecond."""
    spoken = [(*_span(u.start_s, u.end_s), u.text) for u in found.utterances]
    scores = [(*_span(u.start_s, u.end_s), f"{u.score:.3f}") for u in found.utterances]
    tiers: list[tuple[str, list[Row]]] = [("text", spoken), ("score", scores)]
    if words:
        every = [w for u in found.utterances for w in u.words]
        tiers.append(("words", _in_order([(*_span(w.start_s, w.end_s), w.text) for w in every])))
        sure = [(*_span(w.start_s, w.end_s), f"{w.confidence:.3f}") for w in every]
        tiers.append(("confidence", _in_order(sure)))
    return [(name, _in_order(rows)) for name, rows in tiers]


def _span(start_s: float, end_s: float) -> tuple[int, int]:
    start = _ms(start_s)
    return start, max(start + 1, _ms(end_s))


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """Rows of one tier must not overlap: rounding may make them."""
    kept: list[Row] = []
    for start, end, text in rows:
        start = max(start, kept[-1][1] if kept else 0)
        kept.append((start, max(end, start + 1), text))
    return kept


def to_textgrid(found: Segmentation, audio: str, words: bool) -> str:
    """Praat's long text form; the pauses between intervals are intervals without text.

    Source: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
    """
    tiers = _tiers(found, words)
    end_ms = max([_ms(found.duration_s), *(rows[-1][1] for _, rows in tiers if rows)])
    end = f"{end_ms / 1000:.3f}"
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0"]
    lines += [f"xmax = {end}", "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, rows) in enumerate(tiers, start=1):
        intervals: list[Row] = []
        at = 0
        for row in [*rows, (end_ms, end_ms, "")]:
            if row[0] > at:
                intervals.append((at, row[0], ""))
            if row[1] > row[0]:
                intervals.append(row)
            at = row[1]
        lines += [f"    item [{number}]:", '        class = "IntervalTier"']
        lines += [f'        name = "{name}"', "        xmin = 0", f"        xmax = {end}"]
        lines.append(f"        intervals: size = {len(intervals)}")
        for i, (start, stop, text) in enumerate(intervals, start=1):
            quoted = text.replace('"', '""')
            lines += [f"        intervals [{i}]:", f"            xmin = {start / 1000:.3f}"]
            lines += [f"            xmax = {stop / 1000:.3f}", f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def to_eaf(found: Segmentation, audio: str, words: bool) -> str:
    """ELAN, format 3.0: tiers of text and score, and of words and their confidence.

    Source: https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
    """
    tiers = _tiers(found, words)
    times: list[int] = []
    body: list[str] = []
    number = 0
    for name, rows in tiers:
        body.append(f'  <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="{name}">')
        for start, end, text in rows:
            number += 1
            times += [start, end]
            slots = f'TIME_SLOT_REF1="ts{len(times) - 1}" TIME_SLOT_REF2="ts{len(times)}"'
            body.append(
                f'    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" {slots}>'
                f"<ANNOTATION_VALUE>{escape(text, quote=False)}</ANNOTATION_VALUE>"
                "</ALIGNABLE_ANNOTATION></ANNOTATION>"
            )
        body.append("  </TIER>")
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    media = escape(Path(audio).absolute().as_uri())
    head = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<ANNOTATION_DOCUMENT AUTHOR="xlasr" DATE="{date}" FORMAT="3.0" VERSION="3.0" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">',
        '  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">',
        f'    <MEDIA_DESCRIPTOR MEDIA_URL="{media}" MIME_TYPE="audio/*" '
        f'RELATIVE_MEDIA_URL="{escape(Path(audio).name)}"/>',
        "  </HEADER>",
        "  <TIME_ORDER>",
    ]
    slots_xml = [
        f'    <TIME_SLOT TIME_SLOT_ID="ts{i}" TIME_VALUE="{value}"/>'
        for i, value in enumerate(times, start=1)
    ]
    tail = [
        '  <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" '
        'TIME_ALIGNABLE="true"/>',
        "</ANNOTATION_DOCUMENT>",
    ]
    return "\n".join([*head, *slots_xml, "  </TIME_ORDER>", *body, *tail]) + "\n"


OWN: dict[str, Writer] = {"csv": to_csv, "eaf": to_eaf, "textgrid": to_textgrid}
