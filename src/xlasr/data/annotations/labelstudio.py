"""Label Studio's import JSON: a task a recording, a region a segment, with its text in it.

Texts of a person are ``annotations``; those of a model are ``predictions``, which an annotator
sees and takes over or corrects, and which no export mistakes for checked work. The confidence is
the ``score`` of the region. The labelling interface that shows them (every speaker is a label,
segments without one are ``Speech``)::

    <View>
      <Labels name="labels" toName="audio"><Label value="Speech"/></Labels>
      <Audio name="audio" value="$audio"/>
      <TextArea name="transcription" toName="audio" perRegion="true" editable="true"/>
    </View>

Recordings are named ``/data/local-files/?d=/whole/path``: Label Studio serves them from its local
storage with ``LOCAL_FILES_SERVING_ENABLED=true`` and ``LOCAL_FILES_DOCUMENT_ROOT=/``.

Source: https://labelstud.io/guide/tasks.html, https://labelstud.io/guide/predictions.html and
https://labelstud.io/guide/storage.html#Local-storage
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlasr.data.annotations.base import AnnotatedRecording, TimedText, for_utf8, span_ms, to_json

DEFAULT_LABEL = "Speech"


def write(recordings: Sequence[AnnotatedRecording], folder: Path) -> str:
    """Return the list of tasks."""
    return to_json([_task(recording) for recording in recordings], indent=1) + "\n"


def _task(recording: AnnotatedRecording) -> dict[str, Any]:
    results = [
        result
        for number, segment in enumerate(recording.segments, start=1)
        for result in _region(f"r{number}", segment, recording.duration_s)
    ]
    done: dict[str, Any] = {"result": results}
    if recording.by_machine:
        done = {"model_version": "xlasr", **done}
    path = recording.media.absolute().as_uri().removeprefix("file://")
    return {
        "data": {"audio": f"/data/local-files/?d={path}"},
        "predictions" if recording.by_machine else "annotations": [done],
    }


def _region(key: str, segment: TimedText, duration_s: float | None) -> list[dict[str, Any]]:
    """A region is two results of one id: where it is and who speaks, and what is said."""
    start, end = span_ms(segment)
    where = {"start": start / 1000, "end": end / 1000, "channel": segment.channel or 0}
    common: dict[str, Any] = {"id": key, "to_name": "audio"}
    if duration_s is not None:
        common["original_length"] = round(duration_s, 3)
    if segment.confidence is not None:
        common["score"] = round(segment.confidence, 4)
    label = for_utf8(segment.speaker or DEFAULT_LABEL)
    return [
        {**common, "from_name": "labels", "type": "labels", "value": {**where, "labels": [label]}},
        {
            **common,
            "from_name": "transcription",
            "type": "textarea",
            "value": {**where, "text": [segment.text]},
        },
    ]
