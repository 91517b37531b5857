"""What the tests of annotated recordings share: sounds, and everything that a reader says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile as sf

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import READERS, RawRecord, ReadOptions


def sound(path: Path, seconds: float = 12.0, channels: int = 1) -> Path:
    """White noise, another on each channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(7).uniform(-0.3, 0.3, (round(16_000 * seconds), channels))
    sf.write(path, samples, 16_000)
    return path


class Read(NamedTuple):
    """What a reader gave."""

    records: list[RawRecord]
    quarantine: Quarantine
    said: str

    @property
    def spans(self) -> list[tuple[float, float | None, str]]:
        """(start, end, text) of each record; the end is None where it is that of the file."""
        return [
            (
                r.start_s,
                None if r.duration_s is None else round(r.start_s + r.duration_s, 6),
                r.text,
            )
            for r in self.records
        ]

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """(record, reason) of each entry."""
        return [(entry.record, entry.reason) for entry in self.quarantine]

    @property
    def n_rows(self) -> int:
        """Rows out and rows listed."""
        return len(self.records) + len(self.quarantine)


def read(reader: str, root: Path, **options: Any) -> Read:
    """Read everything below ``root``."""
    quarantine = Quarantine()
    said: list[str] = []
    given = ReadOptions(**{"language": "cs", "say": said.append, **options})
    records = list(READERS[reader](root, given, quarantine))
    return Read(records, quarantine, "\n".join(said))
