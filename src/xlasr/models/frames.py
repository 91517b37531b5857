"""Encoders of log-mel frames: what they share, whether they hear speech as it comes or whole clips.

Axes: B clips, T frames of 10 ms, T' positions, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xlasr.config import SpecAugmentSettings
from xlasr.errors import BaseError, DataError
from xlasr.features.augment import spec_augment
from xlasr.features.logmel import HOP, SAMPLE_RATE
from xlasr.features.streaming import FrameStatistics, frames_of, log_mel_frames
from xlasr.models.encoders import Clips, Features


class FrameEncoder(nn.Module):
    """Frames of clips, padded with zeros and marked; a batch of N equals N batches of one by masks.

    Args:
        hf: The network; layers and weights are found there.
        n_layers: Of its transformer.
        dim: Width of a position.
        stack: Frames that make one position.
    """

    context = None
    max_positions: int | None = None
    length_adapter: nn.Module | None = None
    tail: tuple[str, ...] = ()  # it is cut behind its end only
    lead = 0
    """Samples by which a frame's window begins before its hop; see ``LogMelStream``."""
    max_samples = 60 * SAMPLE_RATE
    """The longest clip."""
    can_mask = True  # SpecAugment reaches its frames

    def __init__(self, hf: Any, n_layers: int, dim: int, stack: int) -> None:
        super().__init__()
        self.hf = hf
        self.n_layers = n_layers
        self.dim = dim
        self.stack = stack

    @abstractmethod
    def encode(self, frames: Tensor, n_frames: Tensor) -> Tensor:
        """Whole clips: (B, T, 80) with (B,) frames each -> (B, T', D)."""

    @abstractmethod
    def normalised(self, frames: Tensor) -> Tensor:
        """Natural logarithms of mel energies (T, 80) as the network wants them."""

    @property
    def samples_per_position(self) -> int:
        """Samples from one position to the next."""
        return self.stack * HOP

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
            raise BaseError("frames come with is_pad; take its features()")
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


class MeasuredEncoder(FrameEncoder):
    """One whose frames have mean 0 and variance 1 over its training set.

    Its network keeps the statistics, which are saved with the weights: buffers ``frame_mean``,
    ``frame_std`` (80,) and ``frame_count``.
    """

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
