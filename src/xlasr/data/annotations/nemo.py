"""NeMo's manifest: a JSON object a line, recordings relative to the manifest.

The fields are those of NeMo (``audio_filepath``, ``offset``, ``duration``, ``text``) and
``speaker``, ``confidence``, ``channel``, ``words`` and the extra fields, which it passes by.

Source: https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlasr.data.annotations.base import (
    AnnotatedRecording,
    extras,
    relative_link,
    span_ms,
    to_json,
)
from xlasr.data.annotations.document import confidence_of, words_of

_OWN = ("audio_filepath", "audio_file", "speaker", "confidence", "channel")


def write(recordings: Sequence[AnnotatedRecording], folder: Path) -> str:
    """Return the manifest."""
    lines: list[str] = []
    for recording in recordings:
        link = relative_link(recording.media, folder)
        for segment in recording.segments:
            start, end = span_ms(segment)
            row: dict[str, Any] = {"audio_filepath": link, "offset": start / 1000}
            row |= {"duration": (end - start) / 1000, "text": segment.text}
            row |= {} if segment.speaker is None else {"speaker": segment.speaker}
            row |= confidence_of(segment)
            row |= {} if segment.channel is None else {"channel": segment.channel}
            row |= extras(segment, _OWN)
            row |= {"words": words_of(segment)} if segment.words else {}
            lines.append(to_json(row) + "\n")
    return "".join(lines)
