"""Encoders that hear speech as it comes: whole clips for training, streams for use.

Both give the same positions. A stream takes any number of samples at a time; ``flush`` ends it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xlasr.errors import DataError, UsageError
from xlasr.features.logmel import HOP, N_FFT, SAMPLE_RATE
from xlasr.features.streaming import LogMelStream
from xlasr.models.emformer import Emformer, EmformerState
from xlasr.models.encoders import SelfSupervisedEncoder, WhisperSpeechEncoder
from xlasr.models.frames import FrameEncoder, MeasuredEncoder

State = Any
"""Of B streams; every encoder has its own. Never changed in place."""


class Segments(Protocol):
    """The shape of what an encoder takes at once, in mel frames of 10 ms."""

    @property
    def segment_frames(self) -> int:
        """Frames of a segment."""

    @property
    def right_frames(self) -> int:
        """Frames behind it that it looks at."""

    @property
    def stack(self) -> int:
        """Frames that make one position."""


class StreamingEncoder(FrameEncoder):
    """What every streaming encoder has; a stream of an Emformer has no end.

    Args:
        hf: The network; layers and weights are found there.
        n_layers: Of its transformer.
        dim: Width of a position.
        shape: Of its segments.
    """

    max_stream_positions: int | None = None
    """Positions after which a stream has to begin anew, at a pause; None: never."""

    def __init__(self, hf: Any, n_layers: int, dim: int, shape: Segments) -> None:
        super().__init__(hf, n_layers, dim, shape.stack)
        self.shape = shape

    @abstractmethod
    def begin(self, n_streams: int = 1) -> State:
        """State of streams of which nothing was heard."""

    @abstractmethod
    def step(self, frames: Tensor, n_frames: Tensor, state: State) -> tuple[Tensor, State]:
        """One segment and its right context: (B, segment + right, 80) -> (B, S, D) and the state.

        Args:
            frames: Zero behind the end of a stream.
            n_frames: (B,) of them before the end; less than all ends the stream.
            state: From ``begin`` or the segment before.
        """

    @property
    def latency_s(self) -> float:
        """Algorithmic latency at most: from the begin of a segment to what it needs to be heard.

        Segment, right context, and the part of the last window that lies behind its own hop.
        """
        ahead = self.shape.segment_frames + self.shape.right_frames
        return (ahead * HOP + N_FFT - HOP - self.lead) / SAMPLE_RATE

    def stream(self) -> EncoderStream:
        """Begin to listen."""
        return EncoderStream(self)


class EmformerEncoder(StreamingEncoder, MeasuredEncoder):
    """An Emformer on frames normalised by the statistics of its training set.

    Args:
        hf: The network.
    """

    def __init__(self, hf: Emformer) -> None:
        super().__init__(hf, hf.config.n_layers, hf.config.output_dim, hf.config)

    def encode(self, frames: Tensor, n_frames: Tensor) -> Tensor:
        """Whole clips."""
        return self.hf(frames, n_frames)  # type: ignore[no-any-return]

    def begin(self, n_streams: int = 1) -> EmformerState:
        """State of streams of which nothing was heard."""
        return self.hf.begin(n_streams)  # type: ignore[no-any-return]

    def step(self, frames: Tensor, n_frames: Tensor, state: State) -> tuple[Tensor, EmformerState]:
        """One segment of each stream; see ``Emformer.step``."""
        return self.hf.step(frames, n_frames, state)  # type: ignore[no-any-return]


class FrameStream:
    """Positions of frames that come in pieces of any size: they are kept until a segment is full.

    Args:
        encoder: In evaluation mode.

    Raises:
        UsageError: The encoder is in training mode.
    """

    def __init__(self, encoder: StreamingEncoder) -> None:
        if encoder.training:
            raise UsageError("dropout is on; put the encoder into evaluation mode: encoder.eval()")
        self.encoder = encoder
        self.state: State = encoder.begin()
        self._frames = torch.zeros(0, 0)
        self._ended = False

    def push(self, frames: Tensor) -> Tensor:
        """Take normalised frames (T, 80), any number; (n, D) positions that are complete now.

        Raises:
            DataError: A frame is not finite.
            UsageError: The stream was flushed.
        """
        return self._joined(list(self.segments(frames)))

    def flush(self) -> Tensor:
        """End the stream: the positions (n, D) that had waited for more.

        Raises:
            UsageError: The stream was flushed before.
        """
        return self._joined(list(self.last_segments()))

    def segments(self, frames: Tensor) -> Iterator[Tensor]:
        """``push``, one segment (S, D) at a time: each is computed when it is asked for.

        Raises:
            DataError: A frame is not finite.
            UsageError: The stream was flushed.
        """
        self._check_open()
        if not bool(torch.isfinite(frames).all()):
            raise DataError("a frame holds NaN or infinity; nothing of this piece was taken")
        self._frames = torch.cat((self._frames, frames)) if self._frames.numel() else frames
        shape = self.encoder.shape
        while len(self._frames) >= shape.segment_frames + shape.right_frames:
            yield self._step()

    def last_segments(self) -> Iterator[Tensor]:
        """``flush``, one segment at a time; the last one may be shorter.

        Raises:
            UsageError: The stream was flushed before.
        """
        self._check_open()
        self._ended = True
        while len(self._frames):
            n = -(-len(self._frames) // self.encoder.shape.stack)
            yield self._step()[:n]

    def restart(self) -> None:
        """Forget what was heard: the segment that comes next is the first of a new stream.

        Frames that wait to become a segment are kept.
        """
        self.state = self.encoder.begin()

    def _check_open(self) -> None:
        if self._ended:
            raise UsageError("the stream was flushed and has ended; begin a new one")

    @torch.inference_mode()
    def _step(self) -> Tensor:
        shape = self.encoder.shape
        piece = self._frames[: shape.segment_frames + shape.right_frames]
        missing = shape.segment_frames + shape.right_frames - len(piece)
        full = nn.functional.pad(piece, (0, 0, 0, missing))[None]
        device = next(self.encoder.parameters()).device
        n_frames = torch.tensor([len(piece)], device=device)
        out, self.state = self.encoder.step(full.to(device), n_frames, self.state)
        self._frames = self._frames[shape.segment_frames :]
        return out[0]

    def _joined(self, found: list[Tensor]) -> Tensor:
        if found:
            return torch.cat(found)
        return torch.zeros(0, self.encoder.dim, device=next(self.encoder.parameters()).device)


class EncoderStream:
    """Positions of samples that come in pieces of any size.

    Args:
        encoder: In evaluation mode.
    """

    def __init__(self, encoder: StreamingEncoder) -> None:
        self.frames = FrameStream(encoder)
        self._mel = LogMelStream(encoder.lead)

    def push(self, samples: NDArray[np.float32]) -> Tensor:
        """Take samples (float32, 16 kHz), any number; (n, D) positions that are complete now.

        Raises:
            DataError: A sample is not a finite number; nothing of the piece was taken.
            UsageError: The stream was flushed.
        """
        return self.frames.push(self._heard(self._mel.push(samples)))

    def flush(self) -> Tensor:
        """End the stream: the positions (n, D) that had waited for more.

        Raises:
            UsageError: The stream was flushed before.
        """
        rest = self.frames.push(self._heard(self._mel.flush()))
        return torch.cat((rest, self.frames.flush()))

    def segments(self, samples: NDArray[np.float32]) -> Iterator[Tensor]:
        """``push``, one segment (S, D) at a time: each is computed when it is asked for.

        Between two of them ``frames.restart`` may begin anew. All have to be taken.

        Raises:
            DataError: A sample is not a finite number; nothing of the piece was taken.
            UsageError: The stream was flushed.
        """
        return self.frames.segments(self._heard(self._mel.push(samples)))

    def last_segments(self) -> Iterator[Tensor]:
        """``flush``, one segment at a time; the last one may be shorter.

        Raises:
            UsageError: The stream was flushed before.
        """
        yield from self.frames.segments(self._heard(self._mel.flush()))
        yield from self.frames.last_segments()

    def _heard(self, frames: Tensor) -> Tensor:
        return self.frames.encoder.normalised(frames)


SpeechEncoder = WhisperSpeechEncoder | SelfSupervisedEncoder | FrameEncoder
