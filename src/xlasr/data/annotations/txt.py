"""Plain text: one line a segment; segments without text leave no line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xlasr.data.annotations.base import AnnotatedRecording, for_utf8, one_line


def write(recordings: Sequence[AnnotatedRecording], folder: Path) -> str:
    """Return the file."""
    texts = (segment.text for recording in recordings for segment in recording.segments)
    return "".join(f"{line}\n" for text in texts if (line := one_line(for_utf8(text))))
