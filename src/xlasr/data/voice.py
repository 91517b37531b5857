"""Cut a recording of any length where nobody speaks: voice activity, segments, flat memory.

The voice detector is Silero's, run by onnxruntime from the file that the ``silero-vad`` package
ships; the package itself is never imported (it imports torch, and torchaudio for its own audio).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xlasr.errors import BaseError, UsageError

SAMPLE_RATE = 16_000
FRAME = 512
"""Samples of one voice-activity frame: 32 ms."""
_CONTEXT = 64  # samples of the frame before that the detector sees too
_CHUNK_FRAMES = 32  # frames per call; fixed, so that results do not depend on the caller's blocks
_MODEL_FILE = "silero_vad/data/silero_vad_16k_sequence.onnx"

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Segment:
    """A stretch of speech.

    Args:
        start_s: Seconds from the start of the recording.
        end_s: Seconds from the start of the recording.
        samples: (n_samples,) float32 mono 16 kHz, a copy.
    """

    start_s: float
    end_s: float
    samples: Samples


@dataclass(frozen=True)
class Cutting:
    """How speech is cut out of a recording; all times in seconds.

    Args:
        threshold: Speech begins at this probability ...
        exit_threshold: ... and may end below this one (hysteresis).
        min_speech_s: Shorter bursts are dropped.
        min_silence_s: Shorter pauses do not cut.
        pad_s: Kept on both sides of the speech, at most half of ``min_silence_s``.
        max_segment_s: Longer speech is cut at its quietest place in the second half. Whisper
            hears 30 s at most.

    Raises:
        UsageError: Values that contradict each other.
    """

    threshold: float = 0.5
    exit_threshold: float = 0.35
    min_speech_s: float = 0.1
    min_silence_s: float = 0.5
    pad_s: float = 0.2
    max_segment_s: float = 28.0

    def __post_init__(self) -> None:
        if not 0 < self.exit_threshold <= self.threshold < 1:
            raise UsageError(
                "thresholds must be 0 < exit_threshold <= threshold < 1; found "
                f"{self.exit_threshold} and {self.threshold}"
            )
        if not 0 <= 2 * self.pad_s <= self.min_silence_s:
            raise UsageError(
                f"pad_s ({self.pad_s}) must be at most half of min_silence_s "
                f"({self.min_silence_s}): segments would overlap"
            )
        if self.max_segment_s < 1 + 2 * self.pad_s or self.min_speech_s < 0:
            raise UsageError(
                f"max_segment_s ({self.max_segment_s}) must be at least 1 s more than the padding, "
                f"and min_speech_s ({self.min_speech_s}) not negative"
            )


class VoiceDetector(Protocol):
    """Says for each frame how likely it is speech; remembers what came before."""

    def __call__(self, frames: Samples) -> NDArray[np.float32]:
        """(n_frames, 512) samples -> (n_frames,) probabilities."""


class SileroVAD:
    """Silero's detector on one thread; make one per recording, it carries state.

    Raises:
        BaseError: The ``silero-vad`` package, or its model file, is not installed.
    """

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(silero_file()), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._hidden: Any = np.zeros((1, 1, 128), dtype=np.float32)
        self._cell: Any = np.zeros((1, 1, 128), dtype=np.float32)
        self._before = np.zeros(_CONTEXT, dtype=np.float32)

    def __call__(self, frames: Samples) -> NDArray[np.float32]:
        """(n_frames, 512) samples -> (n_frames,) probabilities."""
        before = np.concatenate([self._before[None], frames[:-1, -_CONTEXT:]])
        self._before = frames[-1, -_CONTEXT:].copy()
        found, self._hidden, self._cell = self._session.run(
            ["speech_probs", "hn", "cn"],
            {
                "input": np.concatenate([before, frames], axis=1),
                "h": self._hidden,
                "c": self._cell,
            },
        )
        return np.asarray(found, dtype=np.float32).reshape(-1)


def silero_file() -> Path:
    """Locate Silero's model without importing its package.

    Raises:
        BaseError: It is not installed.
    """
    advice = "install it with: pip install --no-deps 'silero-vad>=6.2.3'"
    try:
        distribution = importlib.metadata.distribution("silero-vad")
    except importlib.metadata.PackageNotFoundError as error:
        raise BaseError(f"cutting long recordings needs silero-vad; {advice}") from error
    path = Path(str(distribution.locate_file(_MODEL_FILE)))
    if not path.is_file():
        raise BaseError(f"silero-vad {distribution.version} has no {_MODEL_FILE}; {advice}")
    return path


class Segmenter:
    """Cuts a stream as it comes: ``push`` blocks of any size, then ``flush`` once.

    Holds back the open segment (at most ``max_segment_s``), the pause behind it and about a
    second more, whatever the length of the recording.

    Args:
        cutting: How to cut.
        detector: Default: a new ``SileroVAD``.
    """

    def __init__(
        self, cutting: Cutting | None = None, detector: VoiceDetector | None = None
    ) -> None:
        self.cutting = cutting or Cutting()
        self._detect = detector if detector is not None else SileroVAD()
        seconds = FRAME / SAMPLE_RATE
        self._pad = round(self.cutting.pad_s * SAMPLE_RATE)
        self._min_silence = max(1, -int(-self.cutting.min_silence_s // seconds))
        self._min_speech = self.cutting.min_speech_s / seconds
        self._max_frames = int((self.cutting.max_segment_s - 2 * self.cutting.pad_s) / seconds)
        self._waiting: list[Samples] = []  # less than a chunk
        self._n_waiting = 0
        self._buffer: Samples = np.zeros(0, dtype=np.float32)
        self._base = 0  # sample that the buffer begins with
        self._frame = 0  # next frame to look at
        self._start: int | None = None  # first frame of the open segment
        self._continued = False  # it begins where one that was too long was cut
        self._silence: int | None = None  # first frame of the pause at its end
        self._loudness: list[float] = []  # of each frame of the open segment
        self._n_samples = 0
        self._given = 0  # end of the last segment, in samples

    @property
    def buffered(self) -> int:
        """Samples held at the moment."""
        return len(self._buffer) + self._n_waiting

    def push(self, block: NDArray[Any]) -> Iterator[Segment]:
        """Take a block, (n_samples,) mono 16 kHz; yield the segments that end in it.

        Raises:
            UsageError: The block is not one-dimensional.
        """
        if block.ndim != 1:
            raise UsageError(f"blocks must be (n_samples,) mono; found shape {block.shape}")
        size = _CHUNK_FRAMES * FRAME
        at = 0
        while at < len(block):
            piece = np.asarray(block[at : at + size - self._n_waiting], dtype=np.float32)
            at += len(piece)
            self._n_samples += len(piece)
            # a copy: callers may reuse their block, and a view would keep all of it in memory
            self._waiting.append(piece.copy())
            self._n_waiting += len(piece)
            if self._n_waiting == size:
                yield from self._chunk()

    def flush(self) -> Iterator[Segment]:
        """Yield what is still open at the end of the recording."""
        if self._n_waiting:
            rest = -self._n_waiting % FRAME
            self._waiting.append(np.zeros(rest, dtype=np.float32))
            yield from self._chunk()
        if self._start is not None:
            end = self._frame if self._silence is None else self._silence
            yield from self._close(end)

    def _chunk(self) -> Iterator[Segment]:
        """Look at all waiting frames."""
        chunk = np.concatenate(self._waiting)
        self._waiting, self._n_waiting = [], 0
        self._buffer = np.concatenate([self._buffer, chunk])
        frames = chunk.reshape(-1, FRAME)
        power = np.square(frames).mean(axis=1)
        probabilities = self._detect(frames).tolist()
        for probability, loudness in zip(probabilities, power.tolist(), strict=True):
            yield from self._look(probability, loudness)
            self._frame += 1
        keep_from = self._frame * FRAME if self._start is None else self._start * FRAME
        drop = keep_from - self._pad - self._base
        if drop > 0:
            self._buffer = self._buffer[drop:].copy()
            self._base += drop

    def _look(self, probability: float, loudness: float) -> Iterator[Segment]:
        """Advance the state by one frame."""
        if self._start is None:
            if probability < self.cutting.threshold:
                return
            self._start, self._continued, self._silence = self._frame, False, None
            self._loudness = []
        self._loudness.append(loudness)
        if probability >= self.cutting.threshold:
            self._silence = None
        elif probability < self.cutting.exit_threshold and self._silence is None:
            self._silence = self._frame
        if self._silence is not None and self._frame + 1 - self._silence >= self._min_silence:
            yield from self._close(self._silence)
        elif self._frame + 1 - self._start >= self._max_frames:
            yield from self._split()

    def _split(self) -> Iterator[Segment]:
        """Cut the open segment, which has become too long, at its quietest place."""
        start = self._start or 0
        window = np.ones(5)  # 160 ms
        power = np.convolve(self._loudness, window, mode="same")
        power /= np.convolve(np.ones(len(power)), window, mode="same")  # fewer at both ends
        half = len(power) // 2
        cut = start + half + int(power[half:].argmin())
        if self._silence is not None and self._silence <= cut:
            # the quiet place is the pause that is just running: the segment simply ends
            yield from self._close(self._silence)
            return
        yield from self._emit(start, cut, end_pad=0)
        self._loudness = self._loudness[cut - start :]
        self._start, self._continued = cut, True

    def _close(self, end: int) -> Iterator[Segment]:
        """End the open segment before frame ``end``."""
        start = self._start or 0
        if self._continued or end - start >= self._min_speech:
            yield from self._emit(start, end, end_pad=self._pad)
        self._start = None

    def _emit(self, start: int, end: int, end_pad: int) -> Iterator[Segment]:
        # the pause before or behind is shorter than the padding only where _split ended a segment
        first = max(self._given, start * FRAME - (0 if self._continued else self._pad))
        last = min(self._n_samples, end * FRAME + end_pad, (self._frame + 1) * FRAME)
        if last > first:
            self._given = last
            samples = self._buffer[first - self._base : last - self._base].copy()
            yield Segment(first / SAMPLE_RATE, last / SAMPLE_RATE, samples)


def segments(
    blocks: Iterable[NDArray[Any]],
    cutting: Cutting | None = None,
    *,
    detector: VoiceDetector | None = None,
) -> Iterator[Segment]:
    """Cut a recording, given block by block (``audio.stream``), into stretches of speech.

    The size of the blocks makes no difference. Segments come as soon as they are complete, in
    order, do not overlap, and are at most ``cutting.max_segment_s`` long; recordings without
    speech give none.

    Args:
        blocks: (n_samples,) float32 mono 16 kHz, any sizes.
        cutting: How to cut.
        detector: Default: a new ``SileroVAD``.

    Yields:
        Segments with their times.

    Raises:
        BaseError: The voice detector is not installed.
        UsageError: A block is not one-dimensional.
    """
    segmenter = Segmenter(cutting, detector)
    for block in blocks:
        yield from segmenter.push(block)
    yield from segmenter.flush()
