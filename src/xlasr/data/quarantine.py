"""The records that could not be used: kept in a list, printed, saved, never silently skipped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

REASONS = {
    "missing audio": "a transcript whose audio file is not there",
    "missing text": "audio without a transcript",
    "empty text": "a transcript without a single letter or digit",
    "not speech": "a note about a sound instead of words, such as [beep]",
    "bad encoding": "a text file that is not in the expected encoding",
    "bad row": "a table row that cannot be read",
    "duplicate id": "an id that an earlier record has",
    "bad audio": "a file that cannot be decoded, or is empty, damaged or too long",
    "silent audio": "nothing but zeros",
}


@dataclass(frozen=True)
class Entry:
    """One unusable record.

    Attributes:
        record: Its id, or the file or row it comes from.
        reason: A key of ``REASONS``.
        detail: What was found and what to do.
    """

    record: str
    reason: str
    detail: str


class Quarantine:
    """Collects entries in the order in which they are met."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, record: str, reason: str, detail: str) -> None:
        """Note that ``record`` cannot be used.

        Raises:
            ValueError: ``reason`` is not in ``REASONS`` (counts by reason would fall apart).
        """
        if reason not in REASONS:
            raise ValueError(f"unknown quarantine reason {reason!r}")
        self.entries.append(Entry(record, reason, detail))

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def counts(self) -> dict[str, int]:
        """Return how many entries each reason has, most frequent first."""
        return dict(Counter(entry.reason for entry in self.entries).most_common())

    def save(self, path: Path) -> None:
        """Write one JSON object per entry: record, reason, detail."""
        with path.open("w", encoding="utf-8") as file:
            for entry in self.entries:
                file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
