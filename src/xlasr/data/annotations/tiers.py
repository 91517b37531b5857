"""Segments as tiers: what ELAN and Praat share. Nothing is moved, shortened or dropped.

A tier holds stretches that do not overlap. So each speaker gets one, and where stretches of one
speaker overlap, the later one goes to a further tier, with a number behind its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from xlasr.data.annotations.base import AnnotatedRecording, TimedText, for_xml, one_line, span_ms

TEXT, WORDS = "text", "words"


@dataclass(frozen=True)
class Row:
    """A stretch of a tier: milliseconds, text, and the confidence where there is one."""

    start_ms: int
    end_ms: int
    text: str
    confidence: float | None


@dataclass
class Tier:
    """Rows by time that do not overlap.

    Args:
        name: ``text`` or ``words``, and ``@SPEAKER`` where one is known, as is usual in ELAN.
        kind: ``TEXT`` or ``WORDS``.
        speaker: None where unknown.
        rows: See there.
        confidence_name: Of the tier that says how sure they are.
    """

    name: str
    kind: str
    speaker: str | None
    rows: list[Row] = field(default_factory=list)
    confidence_name: str = ""

    @property
    def has_confidence(self) -> bool:
        """Whether any row has one."""
        return any(row.confidence is not None for row in self.rows)


def tiers_of(recording: AnnotatedRecording) -> list[Tier]:
    """Tiers of texts, then of words, by speaker in the order of their first segment; at least one.

    Names are unique, in one line, and hold no character that XML cannot hold.
    """
    segments = sorted(recording.segments, key=span_ms)
    tiers: list[Tier] = []
    for speaker in dict.fromkeys(s.speaker for s in segments):
        own = [s for s in segments if s.speaker == speaker]
        tiers += _layers(TEXT, speaker, own)
        tiers += _layers(WORDS, speaker, (word for s in own for word in s.words))
    tiers = tiers or [Tier(TEXT, TEXT, None)]
    used: set[str] = set()
    for tier in tiers:
        who = "" if tier.speaker is None else f"@{one_line(for_xml(tier.speaker))}"
        tier.name = _unused(f"{tier.kind}{who}", used)
        sure = "confidence" if tier.kind == TEXT else "word confidence"
        if tier.has_confidence:
            tier.confidence_name = _unused(f"{sure}{who}", used)
    return tiers


def _layers(kind: str, speaker: str | None, items: Iterable[TimedText]) -> list[Tier]:
    """As few tiers as it takes: each item goes to the first one that is free at its time."""
    tiers: list[Tier] = []
    for item in sorted(items, key=span_ms):
        start, end = span_ms(item)
        free = next((tier for tier in tiers if tier.rows[-1].end_ms <= start), None)
        if free is None:
            free = Tier("", kind, speaker)
            tiers.append(free)
        free.rows.append(Row(start, end, item.text, item.confidence))
    return tiers


def _unused(name: str, used: set[str]) -> str:
    number, found = 1, name
    while found in used:
        number += 1
        found = f"{name} {number}"
    used.add(found)
    return found
