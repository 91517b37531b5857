"""Log-probabilities of a CTC model over a recording of any length, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xlasr.errors import DataError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.run import SpeechModel
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import Transducer

SAMPLE_RATE = 16_000
WINDOW_S = 8.0
"""What a window adds, in seconds: about the length of the clips that models are trained on."""
OVERLAP_S = 1.0
"""Heard on both sides of it and thrown away, in seconds."""
_BATCH = 6  # windows encoded together
_QUIET_S = 0.01
LOUDNESS_RATE = round(1 / _QUIET_S)
"""Values of ``Posteriors.loudness`` in a second."""


@dataclass(frozen=True)
class Posteriors:
    """What a model hears.

    Args:
        log_probs: (T, V) float16 natural log-probabilities.
        frame_s: Seconds from one frame to the next.
        loudness: (n,) float32, mean power of every 10 ms in dB (full scale is 0).
        duration_s: Of the recording.
    """

    log_probs: NDArray[np.float16]
    frame_s: float
    loudness: NDArray[np.float32]
    duration_s: float


def aligner(model: SpeechModel) -> CTCModel:
    """Return ``model`` if it can align; of a transducer, the CTC head beside it.

    Raises:
        UsageError: It is no CTC model and has no such head.
    """
    if isinstance(model, CTCModel):
        return model
    if isinstance(model, Transducer) and "ctc" in model.aids:
        symbols = model.tokenizer
        if isinstance(symbols, CharTokenizer):
            beside = CTCModel(model.encoder, symbols, model.info)
            beside.head = cast(nn.Linear, model.aids["ctc"])
            return beside.eval()
    raise UsageError(
        f"a {model.family} model has no frames that stand for letters, so it cannot align text to "
        "sound. Give a CTC run of the same language as aligner (xlasr transcribe --words --aligner "
        "RUN; xlasr adapt --recipe ctc makes one); the text may come from any model"
    )


def posteriors(
    model: CTCModel,
    blocks: Iterable[NDArray[np.float32]],
    *,
    window_s: float = WINDOW_S,
    overlap_s: float = OVERLAP_S,
    progress: Callable[[float], None] | None = None,
) -> Posteriors:
    """Listen to a recording.

    Memory is flat but for the result: T x V in float16 (20 MB an hour for 55 letters). A recording
    that is no longer than one window with its overlaps is heard as one clip.

    Args:
        model: In evaluation mode.
        blocks: float32 (n_samples,) mono 16 kHz, any sizes (``audio.stream``).
        window_s: What each window adds, in seconds.
        overlap_s: Context on both sides of it, in seconds.
        progress: Called with the seconds heard so far.

    Raises:
        DataError: There is no sound, or too little for one frame.
    """
    hop = model.encoder.samples_per_position
    levels: list[NDArray[np.float32]] = []
    counted = _Counter()
    parts: list[NDArray[np.float16]] = []
    waiting: list[tuple[NDArray[np.float32], int, int | None]] = []
    for window in _windows(_measured(blocks, levels, counted), hop, window_s, overlap_s):
        if waiting and (len(waiting) == _BATCH or len(window[0]) != len(waiting[0][0])):
            parts += _listen(model, waiting)
            waiting = []
        waiting.append(window)
        if progress:
            progress(counted.n / SAMPLE_RATE)
    if waiting:
        parts += _listen(model, waiting)
    if not sum(map(len, parts)):
        raise DataError("the recording holds too little sound for one frame of the model")
    loudness = np.concatenate(levels)
    return Posteriors(np.concatenate(parts), hop / SAMPLE_RATE, loudness, counted.n / SAMPLE_RATE)


class _Counter:
    n = 0


def _measured(
    blocks: Iterable[NDArray[np.float32]], levels: list[NDArray[np.float32]], counted: _Counter
) -> Iterator[NDArray[np.float32]]:
    """Pass blocks on; note their loudness and number of samples."""
    size = round(_QUIET_S * SAMPLE_RATE)
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        counted.n += len(block)
        rest = np.concatenate([rest, block])
        whole = len(rest) // size * size
        levels.append(_decibels(rest[:whole].reshape(-1, size)))
        rest = rest[whole:]
        yield block
    if len(rest):
        levels.append(_decibels(rest[None]))


def _decibels(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    levels: NDArray[np.float32] = (10 * np.log10(power + 1e-10)).astype(np.float32)
    return levels


def _windows(
    blocks: Iterable[NDArray[np.float32]], hop: int, window_s: float, overlap_s: float
) -> Iterator[tuple[NDArray[np.float32], int, int | None]]:
    """Samples of each window, and which of its frames count (first, stop; None is all)."""
    core = max(1, round(window_s * SAMPLE_RATE / hop)) * hop
    side = max(1, round(overlap_s * SAMPLE_RATE / hop)) * hop
    buffer = np.zeros(0, dtype=np.float32)
    first = 0  # frames of the left overlap; the first window has none
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        while len(buffer) > first * hop + core + side:
            yield buffer[: first * hop + core + side], first, first + core // hop
            drop = first * hop + core - side
            buffer = buffer[drop:].copy()
            first = side // hop
    if len(buffer):
        yield buffer, first, None


@torch.inference_mode()
def _listen(
    model: CTCModel, windows: list[tuple[NDArray[np.float32], int, int | None]]
) -> list[NDArray[np.float16]]:
    clips = [samples for samples, _, _ in windows]
    try:
        features = model.features(clips)
    except Exception as error:
        if len(clips[0]) < SAMPLE_RATE // 10:  # the encoders refuse what gives no position
            raise DataError(
                f"the recording is too short to align: {len(clips[0])} samples"
            ) from error
        raise
    found: tuple[Any, Any] = model(features.to(next(model.parameters()).device))
    log_probs, lens = found
    arrays = []
    for i, (_, first, stop) in enumerate(windows):
        part = log_probs[i, first : int(lens[i]) if stop is None else stop]
        arrays.append(part.cpu().numpy().astype(np.float16))
    return arrays
