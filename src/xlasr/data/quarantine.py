"""The records that could not be used: kept in a list, printed, saved, never silently skipped.

Beside them stand notes: what is no defect of a record, and must be known all the same.
"""

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
    "bad encoding": "a text or a name that is not in the expected encoding, or not in any",
    "bad row": "a table row that cannot be read",
    "duplicate id": "an id that an earlier record has",
    "bad audio": "a file that cannot be decoded, or is empty, damaged or too long",
    "bad video": "a file without moving pictures, or whose pictures cannot be decoded",
    "missing video": "sound whose video is not there",
    "silent audio": "nothing but zeros",
    "no speech": "a long recording in which the voice detector hears nobody",
    "not a file": "sound behind a command, an address or a placeholder: only files are read",
    "bad cut": "a cut that is mixed, padded or changed, so that no stretch of a file equals it",
    "bad transcript": "a transcript file that cannot be read",
    "missing tier": "a transcript without any of the chosen tiers",
    "bad annotation": "an annotation, cue or region that cannot be read",
    "empty annotation": "a marked stretch of a recording without text",
    "no times": "an annotation whose times are missing and cannot be interpolated",
    "zero length": "an annotation that ends where it begins",
    "reversed": "an annotation that ends before it begins",
    "overlap": "annotations of one tier at the same time: the times of at least one are wrong",
    "out of range": "times that lie outside the recording",
    "other language": "a transcript in another language than that of the corpus",
    "too much text": "more letters than the sound has room for: another transcript, or a cut clip",
    "ambiguous": "several transcripts of the same speech, and nothing says which one is meant",
}
NOTES = {
    "same time": "two records of one channel share time; both are used, and each has both voices",
    "repeated text": "a line of dev or test whose text stands on another side too; left out",
    "unequal length": "sound and video of a clip do not end together; the longer stays whole",
    "no translation": "translations that cannot be read, or a file that does not fit; left out",
    "unused audio": "a recording beside those of a table that no row of it names",
}


@dataclass(frozen=True)
class Entry:
    """One unusable record.

    Attributes:
        record: Its id, or the file or row it comes from.
        reason: A key of ``REASONS``.
        detail: What was found and what to do.
        n_records: How many records it stands for; more than 1 where they share one cause.
    """

    record: str
    reason: str
    detail: str
    n_records: int = 1


class Quarantine:
    """Collects entries in the order in which they are met; its length is the number of records.

    Attributes:
        entries: Of records that cannot be used.
        notes: Of what is used, or left out for another reason, and should be known.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.notes: list[Entry] = []

    def add(self, record: str, reason: str, detail: str, n_records: int = 1) -> None:
        """Note that ``record``, or ``n_records`` of it, cannot be used.

        Raises:
            ValueError: ``reason`` is not in ``REASONS`` (counts by reason would fall apart).
        """
        if reason not in REASONS:
            raise ValueError(f"unknown quarantine reason {reason!r}")
        self.entries.append(Entry(encodable(record), reason, encodable(detail), n_records))

    def note(self, record: str, reason: str, detail: str, n_records: int = 1) -> None:
        """Note something about ``record`` that is no reason not to use it.

        Raises:
            ValueError: ``reason`` is not in ``NOTES``.
        """
        if reason not in NOTES:
            raise ValueError(f"unknown reason {reason!r} of a note")
        self.notes.append(Entry(encodable(record), reason, encodable(detail), n_records))

    def __len__(self) -> int:
        return sum(entry.n_records for entry in self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def counts(self) -> dict[str, int]:
        """Return how many records each reason has, most frequent first."""
        return _counts(self.entries)

    def note_counts(self) -> dict[str, int]:
        """Return how many notes each reason has, most frequent first."""
        return _counts(self.notes)

    def save(self, path: Path) -> None:
        """Write one JSON object per entry: record, reason, detail, n_records."""
        _save(self.entries, path)

    def save_notes(self, path: Path) -> None:
        """Write the notes likewise; no file where there are none."""
        if self.notes:
            _save(self.notes, path)


def encodable(text: str) -> str:
    r"""Return a text that UTF-8 can hold, with ``\xe9`` for a byte and ``\ud800`` for half a pair.

    Python gives bytes of file names that are not UTF-8 as halves of surrogate pairs.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a half that stands for no byte
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _counts(entries: list[Entry]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for entry in entries:
        counts[entry.reason] += entry.n_records
    return dict(counts.most_common())


def _save(entries: list[Entry], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps(asdict(entry), ensure_ascii=False) + "\n")
