"""Whole recordings of any length: speech is found, cut, recognised in batches, and timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from xlasr.data import audio
from xlasr.data.annotations import TimedText
from xlasr.decoding import long_form
from xlasr.decoding.recognise import DecodeOptions, recognise
from xlasr.models.run import SpeechModel

AT_ONCE_S = 120.0
"""Seconds of speech held and recognised together; memory does not grow past this."""


def transcribe_file(
    model: SpeechModel,
    path: str | Path,
    options: DecodeOptions,
    *,
    limits: audio.Limits = audio.DEFAULT_LIMITS,
    progress: Callable[[float], None] | None = None,
) -> Iterator[TimedText]:
    """Transcribe a file, segment by segment, in order.

    Args:
        model: In evaluation mode.
        path: Any file ``data.audio`` reads.
        options: How to decode.
        limits: Refuses files that decode to more.
        progress: Called with the seconds reached in the file.

    Yields:
        Text with start and end in seconds, and its confidence (see ``token_confidence``); silent
        files yield nothing.

    Raises:
        AudioError: The file cannot be decoded.
    """
    longest_s = min(28.0, model.encoder.max_samples / 16_000 - 0.1)
    waiting: list[long_form.Segment] = []
    held_s = 0.0
    blocks = audio.stream(path, limits=limits)
    for segment in long_form.segments(blocks, long_form.Cutting(max_segment_s=longest_s)):
        waiting.append(segment)
        held_s += segment.end_s - segment.start_s
        if held_s >= AT_ONCE_S:
            yield from _recognised(model, waiting, options)
            if progress:
                progress(segment.end_s)
            waiting, held_s = [], 0.0
    yield from _recognised(model, waiting, options)


def _recognised(
    model: SpeechModel, waiting: list[long_form.Segment], options: DecodeOptions
) -> Iterator[TimedText]:
    if not waiting:
        return
    clips = [segment.samples for segment in waiting]
    found = recognise(model, clips, [len(c) / 16_000 for c in clips], options)
    for segment, result in zip(waiting, found, strict=True):
        if result.text:
            yield TimedText(
                segment.start_s, segment.end_s, result.text, confidence=result.confidence
            )
