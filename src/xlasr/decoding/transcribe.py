"""Whole recordings of any length: speech is found, cut, recognised in batches, and timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import exp, log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xlasr.data import audio, voice
from xlasr.data.annotations import TimedText
from xlasr.decoding.recognise import DecodeOptions, Recognised, recognise
from xlasr.errors import AudioError
from xlasr.models.run import SpeechModel

WordTimer = Callable[[NDArray[np.float32], str], Sequence[TimedText]]
"""(samples of a segment, its text) -> its words, in seconds from its start."""

AT_ONCE_S = 120.0
"""Seconds of speech held and recognised together; memory does not grow past this."""


def transcribe_file(
    model: SpeechModel,
    path: str | Path,
    options: DecodeOptions,
    *,
    limits: audio.Limits = audio.UNLIMITED,
    words: WordTimer | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[TimedText]:
    """Transcribe a file, segment by segment, in order; memory does not grow with its length.

    Args:
        model: In evaluation mode.
        path: Any file ``data.audio`` reads.
        options: How to decode.
        limits: Refuses files that decode to more.
        words: Finds the words of each segment (``alignment.words.word_timer``).
        progress: Called with the seconds reached in the file.

    Yields:
        Text with start and end in seconds, and its confidence (see ``token_confidence``); silent
        files yield nothing.

    Raises:
        AudioError: The file cannot be decoded; all that could be was given before.
    """
    waiting: list[voice.Segment] = []
    held_s = 0.0
    damage: list[AudioError] = []
    # short blocks: the one in which a file fails is lost
    blocks = _until_damage(audio.stream(path, block_s=0.5, limits=limits), damage)
    for segment in voice.segments(blocks, _cutting(model)):
        waiting.append(segment)
        held_s += segment.end_s - segment.start_s
        if held_s >= AT_ONCE_S:
            yield from _recognised(model, waiting, options, words)
            if progress:
                progress(segment.end_s)
            waiting, held_s = [], 0.0
    yield from _recognised(model, waiting, options, words)
    if damage:
        raise damage[0]


def _cutting(model: SpeechModel) -> voice.Cutting:
    return voice.Cutting(max_segment_s=min(28.0, model.encoder.max_samples / 16_000 - 0.1))


def recognise_long(
    model: SpeechModel, samples: NDArray[np.float32], options: DecodeOptions
) -> Recognised:
    """Transcribe a clip that is longer than the model takes: cut by voice activity, then joined.

    Args:
        model: In evaluation mode.
        samples: (n,) float32, 16 kHz.
        options: How to decode.

    Returns:
        Texts with spaces between them; the confidence is the geometric mean over their symbols.
    """
    clips = [segment.samples for segment in voice.segments([samples], _cutting(model))]
    found = recognise(model, clips, [len(c) / 16_000 for c in clips], options)
    said = [r for r in found if r.text]
    sure = [(len(r.text), r.confidence) for r in said if r.confidence]
    mean = sum(n * log(c) for n, c in sure) / max(1, sum(n for n, _ in sure))
    return Recognised(
        " ".join(r.text for r in said),
        sum(r.log_prob for r in found),
        any(r.looped for r in found),
        exp(mean) if said and len(sure) == len(said) else None,
    )


def _until_damage(
    blocks: Iterator[NDArray[np.float32]], damage: list[AudioError]
) -> Iterator[NDArray[np.float32]]:
    """Pass blocks on until the file fails, and keep the error: what came before is still used."""
    try:
        yield from blocks
    except AudioError as error:
        damage.append(error)


def _recognised(
    model: SpeechModel,
    waiting: list[voice.Segment],
    options: DecodeOptions,
    words: WordTimer | None,
) -> Iterator[TimedText]:
    if not waiting:
        return
    clips = [segment.samples for segment in waiting]
    found = recognise(model, clips, [len(c) / 16_000 for c in clips], options)
    for segment, result in zip(waiting, found, strict=True):
        if result.text:
            found_words = words(segment.samples, result.text) if words else ()
            yield TimedText(
                segment.start_s,
                segment.end_s,
                result.text,
                [_moved(word, segment.start_s) for word in found_words],
                confidence=result.confidence,
            )


def _moved(word: TimedText, by_s: float) -> TimedText:
    return replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s)
