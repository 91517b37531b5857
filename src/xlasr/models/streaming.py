"""Encoders that hear speech as it comes: whole clips for training, streams for use.

Both give the same positions. A stream takes any number of samples at a time; ``flush`` ends it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xlasr.config import SpecAugmentSettings
from xlasr.errors import BaseError, DataError, UsageError
from xlasr.features.augment import spec_augment
from xlasr.features.logmel import HOP, N_FFT, SAMPLE_RATE
from xlasr.features.streaming import FrameStatistics, LogMelStream, frames_of, log_mel_frames
from xlasr.models.emformer import Emformer, EmformerState
from xlasr.models.encoders import Clips, Features, SelfSupervisedEncoder, WhisperSpeechEncoder

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


class StreamingEncoder(nn.Module):
    """What every streaming encoder has; a batch of N equals N batches of one by masks.

    Args:
        hf: The network; layers and weights are found there.
        n_layers: Of its transformer.
        dim: Width of a position.
        shape: Of its segments.
    """

    context = None
    max_positions: int | None = None
    length_adapter: nn.Module | None = None
    tail: tuple[str, ...] = ()  # it is cut behind its end only
    lead = 0
    """Samples by which a frame's window begins before its hop; see ``LogMelStream``."""
    max_samples = 60 * SAMPLE_RATE
    """The longest clip. A stream of an Emformer has no end."""
    can_mask = True  # SpecAugment reaches its frames

    def __init__(self, hf: Any, n_layers: int, dim: int, shape: Segments) -> None:
        super().__init__()
        self.hf = hf
        self.n_layers = n_layers
        self.dim = dim
        self.shape = shape

    @abstractmethod
    def encode(self, frames: Tensor, n_frames: Tensor) -> Tensor:
        """Whole clips: (B, T, 80) with (B,) frames each -> (B, T', D)."""

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

    @abstractmethod
    def normalised(self, frames: Tensor) -> Tensor:
        """Natural logarithms of mel energies (T, 80) as the network wants them."""

    @property
    def samples_per_position(self) -> int:
        """Samples from one position to the next."""
        return self.shape.stack * HOP

    @property
    def latency_s(self) -> float:
        """Algorithmic latency at most: from the begin of a segment to what it needs to be heard.

        Segment, right context, and the part of the last window that lies behind its own hop.
        """
        ahead = self.shape.segment_frames + self.shape.right_frames
        return (ahead * HOP + N_FFT - HOP - self.lead) / SAMPLE_RATE

    def positions(self, n_samples: int) -> int:
        """Positions of a clip of ``n_samples``; its bucket for batching."""
        return -(-n_samples // self.samples_per_position)

    def out_lens(self, input_lens: Tensor) -> Tensor:
        """Positions (int64) for lengths in samples."""
        return -(-input_lens // self.samples_per_position)

    def features(self, clips: Clips, positions: int | None = None) -> Features:
        """Frames of clips, each what a stream would give, padded with zeros.

        Args:
            clips: float32 arrays at 16 kHz.
            positions: Ignored; padding is masked.

        Raises:
            BaseError: A clip is too long, or has no sample.
            DataError: Samples that are not finite numbers.
        """
        lens = [len(clip) for clip in clips]
        if max(lens) > self.max_samples or min(lens) < 1:
            raise BaseError(
                f"clips have {min(lens)} to {max(lens)} samples; this encoder takes 1 to "
                f"{self.max_samples} ({self.max_samples / SAMPLE_RATE:.0f} s) at once"
            )
        frames = [self.normalised(log_mel_frames(clip, self.lead)) for clip in clips]
        values = nn.utils.rnn.pad_sequence(frames, batch_first=True)
        n_frames = torch.tensor([frames_of(n) for n in lens])
        is_pad = torch.arange(values.shape[1]) >= n_frames[:, None]
        return Features(values, torch.tensor(lens), is_pad)

    def augmented(
        self, features: Features, spec: SpecAugmentSettings, rngs: Sequence[np.random.Generator]
    ) -> Features:
        """SpecAugment on the frames, driven by one generator a clip."""
        lens = [frames_of(n) for n in features.input_lens.tolist()]
        by_band = features.values.transpose(1, 2)
        masked = spec_augment(by_band, lens, list(rngs), **spec.model_dump())
        return replace(features, values=masked.transpose(1, 2))

    def forward(self, features: Features) -> Tensor:
        """Encode: (B, T, 80) -> (B, T', D)."""
        is_pad = features.is_pad
        if is_pad is None:
            raise BaseError("frames of a streaming encoder come with is_pad; take its features()")
        return self.encode(features.values, (~is_pad).sum(1))

    def lower(self, features: Features, last: int) -> Tensor:
        """The whole encoder: (B, T', D). Only ``last == n_layers`` is offered.

        Raises:
            BaseError: A cut inside the encoder was asked for.
        """
        if last != self.n_layers:
            raise BaseError("features of this base are cached behind its last layer only")
        return self(features)  # type: ignore[no-any-return]

    def upper(self, hidden: Tensor, first: int, features: Features) -> Tensor:
        """Nothing is left to do behind the last layer."""
        return hidden

    def layer_modules(self) -> Sequence[nn.Module]:
        """Transformer layers, bottom first."""
        return list(self.hf.layers)

    def stream(self) -> EncoderStream:
        """Begin to listen."""
        return EncoderStream(self)


class EmformerEncoder(StreamingEncoder):
    """An Emformer on frames normalised by the statistics of its training set.

    Args:
        hf: The network.
    """

    def __init__(self, hf: Emformer) -> None:
        super().__init__(hf, hf.config.n_layers, hf.config.output_dim, hf.config)

    @property
    def is_measured(self) -> bool:
        """Whether it knows mean and standard deviation of the frames."""
        return bool(self.hf.frame_count > 0)

    def measure(self, statistics: FrameStatistics) -> None:
        """Keep the statistics of the training set; they are saved with the weights.

        Raises:
            DataError: They are of no frame at all.
        """
        if not statistics.count:
            raise DataError("there is not one frame of audio to take the mean of")
        self.hf.frame_mean.copy_(statistics.mean)
        self.hf.frame_std.copy_(statistics.std)
        self.hf.frame_count.fill_(statistics.count)

    def normalised(self, frames: Tensor) -> Tensor:
        """Mean 0 and variance 1 over the training set.

        Raises:
            BaseError: The statistics are not known yet.
        """
        if not self.is_measured:
            raise BaseError(
                "this encoder has random weights and does not know its features' mean yet; "
                "training measures it (xlasr adapt), or call encoder.measure()"
            )
        mean, std = self.hf.frame_mean, self.hf.frame_std
        scaled: Tensor = (frames - mean.cpu()) / std.cpu()
        return scaled

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

    @torch.inference_mode()
    def push(self, frames: Tensor) -> Tensor:
        """Take normalised frames (T, 80), any number; (n, D) positions that are complete now.

        Raises:
            DataError: A frame is not finite.
            UsageError: The stream was flushed.
        """
        if self._ended:
            raise UsageError("the stream was flushed and has ended; begin a new one")
        if not bool(torch.isfinite(frames).all()):
            raise DataError("a frame holds NaN or infinity; nothing of this piece was taken")
        self._frames = torch.cat((self._frames, frames)) if self._frames.numel() else frames
        shape = self.encoder.shape
        found = []
        while len(self._frames) >= shape.segment_frames + shape.right_frames:
            found.append(self._step())
        return self._joined(found)

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the stream: the positions (n, D) that had waited for more.

        Raises:
            UsageError: The stream was flushed before.
        """
        if self._ended:
            raise UsageError("the stream was flushed and has ended; begin a new one")
        self._ended = True
        found = []
        while len(self._frames):
            n = -(-len(self._frames) // self.encoder.shape.stack)
            found.append(self._step()[:n])
        return self._joined(found)

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
        return self.frames.push(self.frames.encoder.normalised(self._mel.push(samples)))

    def flush(self) -> Tensor:
        """End the stream: the positions (n, D) that had waited for more.

        Raises:
            UsageError: The stream was flushed before.
        """
        rest = self.frames.push(self.frames.encoder.normalised(self._mel.flush()))
        return torch.cat((rest, self.frames.flush()))


SpeechEncoder = WhisperSpeechEncoder | SelfSupervisedEncoder | StreamingEncoder
