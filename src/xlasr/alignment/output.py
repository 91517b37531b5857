"""An aligned recording as a file: any format of ``data/annotations``."""

from __future__ import annotations

from math import exp
from pathlib import Path

from xlasr.alignment.segment import Segmentation
from xlasr.data.annotations import AnnotatedRecording, TimedText


def annotated(found: Segmentation, audio: str | Path, *, words: bool = False) -> AnnotatedRecording:
    """Return what the writers take.

    The texts are a person's; the confidence says how well the sound fits them: ``exp(score)``, the
    geometric mean over the frames of an utterance, and that of ``words.Word`` for words. ``score``,
    ``worst`` and ``line`` go along as extra fields.

    Args:
        found: What ``segment`` returned.
        audio: The recording.
        words: Give the words too.
    """
    segments = [
        TimedText(
            u.start_s,
            u.end_s,
            u.text,
            [TimedText(w.start_s, w.end_s, w.text, confidence=w.confidence) for w in u.words]
            if words
            else (),
            confidence=min(1.0, exp(u.score)),
            extra={"score": round(u.score, 3), "worst": round(u.worst, 3), "line": u.line},
        )
        for u in found.utterances
    ]
    return AnnotatedRecording(Path(audio), segments, found.duration_s)
