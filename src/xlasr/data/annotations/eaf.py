"""ELAN's ``.eaf``, format 3.0.

The texts are tiers of the type ``transcription``, one a speaker; the confidence of each text hangs
on it in a tier of the type ``confidence`` (a symbolic association, so that it goes along when a
linguist moves or deletes the text). Words have a tier of their own times, of the type ``words``.
Texts are kept to the letter, but for control characters that XML cannot hold (U+FFFD instead).

Source: https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
"""

from __future__ import annotations

import mimetypes
import re
from datetime import datetime, timezone
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from xlasr.data.annotations.base import AnnotatedRecording, for_xml, relative_link
from xlasr.data.annotations.tiers import TEXT, Row, Tier, tiers_of

AUTHOR = "xlasr"
_TYPES = {
    "transcription": 'TIME_ALIGNABLE="true"',
    "words": 'TIME_ALIGNABLE="true"',
    "confidence": 'CONSTRAINTS="Symbolic_Association" TIME_ALIGNABLE="false"',
}
_TEXT_NAME = re.compile(rf"{TEXT}(@.*)?( \d+)?")  # as ``tiers_of`` names them


def write(recording: AnnotatedRecording, folder: Path) -> str:
    """Return the file; it names the recording by URL and relative to ``folder``."""
    tiers = tiers_of(recording)
    numbered: list[tuple[Tier, list[tuple[int, Row]]]] = []
    number = 0
    for tier in tiers:
        numbered.append((tier, list(enumerate(tier.rows, start=number + 1))))
        number += len(tier.rows)
    # ELAN wants its time slots in the order of time; every annotation has two of its own.
    ends = [(t, n, i) for _, rows in numbered for n, r in rows for i, t in _ends(r)]
    slots = {(n, i): place for place, (_, n, i) in enumerate(sorted(ends), start=1)}
    times = sorted(t for t, _, _ in ends)
    body: list[str] = []
    for tier, rows in numbered:
        kind = "transcription" if tier.kind == TEXT else "words"
        body.append(_tier_head(tier, tier.name, kind))
        body += [
            f'    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{n}"'
            f' TIME_SLOT_REF1="ts{slots[n, 0]}" TIME_SLOT_REF2="ts{slots[n, 1]}">'
            f"<ANNOTATION_VALUE>{_text(row.text)}</ANNOTATION_VALUE>"
            "</ALIGNABLE_ANNOTATION></ANNOTATION>"
            for n, row in rows
        ]
        body.append("  </TIER>")
        if not tier.has_confidence:
            continue
        body.append(_tier_head(tier, tier.confidence_name, "confidence", parent=tier.name))
        for n, row in rows:
            if row.confidence is not None:
                number += 1
                body.append(
                    f'    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a{number}"'
                    f' ANNOTATION_REF="a{n}"><ANNOTATION_VALUE>{row.confidence:.3f}'
                    "</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
                )
        body.append("  </TIER>")
    lines = [*_head(recording, folder, number), "  <TIME_ORDER>"]
    lines += [
        f'    <TIME_SLOT TIME_SLOT_ID="ts{place}" TIME_VALUE="{t}"/>'
        for place, t in enumerate(times, start=1)
    ]
    lines += ["  </TIME_ORDER>", *body]
    lines += [
        f'  <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="{kind}" {rest}/>'
        for kind, rest in _TYPES.items()
    ]
    lines += [
        '  <CONSTRAINT DESCRIPTION="1-1 association with a parent annotation"'
        ' STEREOTYPE="Symbolic_Association"/>',
        "</ANNOTATION_DOCUMENT>",
    ]
    return "\n".join(lines) + "\n"


def role_of(kind: str, name: str) -> str:
    """Return what a tier of a file by ``AUTHOR`` is: "text", "derived" from texts, or neither ("").

    Args:
        kind: Its linguistic type.
        name: Its name; whoever corrects the file may have added tiers of a type of ours.
    """
    if kind == "transcription" and _TEXT_NAME.fullmatch(name):
        return "text"
    return "derived" if kind in _TYPES and kind != "transcription" else ""


def _ends(row: Row) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, row.start_ms), (1, row.end_ms)


def _head(recording: AnnotatedRecording, folder: Path, last_number: int) -> list[str]:
    media = recording.media.absolute()
    link = relative_link(media, folder)
    link = link if link.startswith("../") else f"./{link}"
    kind = "audio/x-wav" if media.suffix.lower() == ".wav" else mimetypes.guess_type(media.name)[0]
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<ANNOTATION_DOCUMENT AUTHOR="{AUTHOR}" DATE="{date}" FORMAT="3.0" VERSION="3.0" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">',
        '  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">',
        f"    <MEDIA_DESCRIPTOR MEDIA_URL={_attribute(media.as_uri())} "
        f"MIME_TYPE={_attribute(kind or 'unknown')} RELATIVE_MEDIA_URL={_attribute(link)}/>",
        f'    <PROPERTY NAME="lastUsedAnnotationId">{last_number}</PROPERTY>',
        "  </HEADER>",
    ]


def _tier_head(tier: Tier, name: str, kind: str, parent: str = "") -> str:
    who = "" if tier.speaker is None else f" PARTICIPANT={_attribute(tier.speaker)}"
    above = f" PARENT_REF={_attribute(parent)}" if parent else ""
    return f'  <TIER LINGUISTIC_TYPE_REF="{kind}"{above}{who} TIER_ID={_attribute(name)}>'


def _text(text: str) -> str:
    return escape(for_xml(text), {"\r": "&#13;"})  # a bare one would be read as a line feed


def _attribute(text: str) -> str:
    return quoteattr(for_xml(text))
