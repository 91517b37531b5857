r"""SubRip: numbered cues; segments without text leave no cue.

It has no escapes, so what players would take for a mark is written so that they do not:
``-->`` in a text becomes ``->``, and ``<b>`` or ``{\an8}`` get a space behind the bracket.

Source: none; written as FFmpeg and VLC read it.
"""

from __future__ import annotations

import re
from pathlib import Path

from xlasr.data.annotations.base import AnnotatedRecording, for_utf8, one_line
from xlasr.data.annotations.subtitles import cue_times

_MARK = re.compile(r"<(?=/?[a-zA-Z][^<>]*>|[\d:.]+>)|\{(?=\\[^{}]*\})")


def write(recording: AnnotatedRecording, folder: Path) -> str:
    """Return the file; subtitles name no recording, they go by their own name (``a.srt``)."""
    cues: list[str] = []
    for segment in recording.segments:
        text = _MARK.sub(r"\g<0> ", one_line(for_utf8(segment.text)).replace("-->", "->"))
        if text:
            cues.append(f"{len(cues) + 1}\n{cue_times(segment, ',')}\n{text}\n\n")
    return "".join(cues)
