"""WebVTT: segments without text leave no cue; the speaker is its voice, ``<v NAME>``.

Source: W3C WebVTT, sections 4.1, 4.2.2 (escapes) and 4.2.3 (voices).
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from xlasr.data.annotations.base import AnnotatedRecording, TimedText, for_utf8, one_line
from xlasr.data.annotations.subtitles import cue_times


def write(recording: AnnotatedRecording, folder: Path) -> str:
    """Return the file; subtitles name no recording, they go by their own name (``a.vtt``)."""
    cues = ["WEBVTT\n\n"]
    for segment in recording.segments:
        text = one_line(for_utf8(segment.text))
        if text:
            shown = escape(text, {"{\\": "&#123;\\"})  # players take it for a mark of SubRip's
            cues.append(f"{cue_times(segment, '.')}\n{_voice(segment)}{shown}\n\n")
    return "".join(cues)


def _voice(segment: TimedText) -> str:
    speaker = one_line(for_utf8(segment.speaker or ""))
    return f"<v {escape(speaker)}>" if speaker else ""
