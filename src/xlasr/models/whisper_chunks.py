"""Whisper's encoder chunk by chunk: its own weights, and masks that let it hear speech as it comes.

A chunk of positions looks at itself and, in every layer, at a number of positions before it, whose
keys and values were kept. The two convolutions look one mel frame ahead (10 ms), as they always do.
Whisper's clamp at the clip's maximum is not causal; here it is a fixed floor. The weights were
never trained for any of this, so an untuned model is worse than at its own 30 s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xlasr.errors import BaseError, UsageError
from xlasr.models.segments import check_segment, never_nothing
from xlasr.models.streaming import State, StreamingEncoder

SEEN_FRAMES = 2
"""Mel frames before a chunk that its convolutions look at."""


@dataclass(frozen=True)
class Chunks:
    """How Whisper's encoder is cut; saved with the weights.

    Args:
        chunk: Positions (20 ms) of one chunk.
        left: Positions before it that every layer looks back at.
        loudest: Decimal logarithm of the mel energy that stands for the clip's maximum: 8 below it
            is the floor. 1.5 is the median over Czech dialogues and English prompts.
    """

    chunk: int = 32
    left: int = 128
    loudest: float = 1.5
    stack = 2
    right_frames = 1

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.left < 0:
            raise BaseError(
                f"a chunk of {self.chunk} positions that looks back at {self.left}: give at least "
                "1 and 0"
            )

    @property
    def segment_frames(self) -> int:
        """Mel frames of a chunk."""
        return self.chunk * self.stack


@dataclass(frozen=True)
class ChunkState:
    """What B streams remember between two chunks.

    Args:
        config: Of the model it belongs to.
        frames: (B, 2, 80): the last mel frames.
        keys: (layers, B, heads, left, D / heads), the newest last.
        values: The same for the values.
        positions: (B,) int64: positions that were heard.
    """

    config: Chunks
    frames: Tensor
    keys: Tensor
    values: Tensor
    positions: Tensor


class _Past:
    """Keys and values before a chunk, as transformers' attention asks for them."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values

    def update(self, keys: Tensor, values: Tensor, _: int | None) -> tuple[Tensor, Tensor]:
        self.keys = torch.cat((self.keys.to(keys.dtype), keys), 2)
        self.values = torch.cat((self.values.to(values.dtype), values), 2)
        return self.keys, self.values


class ChunkedWhisperEncoder(StreamingEncoder):
    """Whisper's encoder, cut into chunks.

    Args:
        hf: ``transformers`` WhisperEncoder.
        chunks: How it is cut.
    """

    lead = 200  # Whisper's frames are centred

    def __init__(self, hf: Any, chunks: Chunks) -> None:
        super().__init__(hf, len(hf.layers), hf.config.d_model, chunks)
        self.chunks = chunks
        self.max_stream_positions: int = hf.config.max_source_positions
        self.max_samples = self.max_stream_positions * self.samples_per_position

    def normalised(self, frames: Tensor) -> Tensor:
        """Whisper's scale, about -1 to 1, over a fixed floor."""
        floor = self.chunks.loudest - 8.0
        return ((frames / math.log(10)).clamp(min=floor) + 4.0) / 4.0

    def encode(self, frames: Tensor, n_frames: Tensor) -> Tensor:
        """Whole clips: (B, T, 80) -> (B, ceil(T / 2), D)."""
        x = nn.functional.gelu(self.hf.conv1(frames.transpose(1, 2)))
        place = torch.arange(x.shape[2], device=x.device)
        # behind its end a clip has the zeros that a convolution pads with, in every batch
        x = x * (place < n_frames[:, None])[:, None]
        x = nn.functional.gelu(self.hf.conv2(x)).transpose(1, 2)
        at = torch.arange(x.shape[1], device=x.device)
        asking = at[:, None]
        first = asking // self.chunks.chunk * self.chunks.chunk
        near = (at >= first - self.chunks.left) & (at < first + self.chunks.chunk)
        lens = -(-n_frames // self.chunks.stack)
        allowed = never_nothing(near[None] & (at < lens[:, None])[:, None])
        return self._layers(x + self.hf.embed_positions.weight[: x.shape[1]], allowed, [])

    def begin(self, n_streams: int = 1) -> ChunkState:
        """State of streams of which nothing was heard."""
        config, like = self.hf.config, self.hf.conv1.weight
        heads = config.encoder_attention_heads
        past = like.new_zeros(self.n_layers, n_streams, heads, self.chunks.left, self.dim // heads)
        frames = like.new_zeros(n_streams, SEEN_FRAMES, config.num_mel_bins)
        heard = torch.zeros(n_streams, dtype=torch.int64, device=like.device)
        return ChunkState(self.chunks, frames, past, past, heard)

    def step(self, frames: Tensor, n_frames: Tensor, state: State) -> tuple[Tensor, ChunkState]:
        """One chunk and the frame behind it: (B, 2 C + 1, 80) -> (B, C, D) and the next state.

        Raises:
            UsageError: The state does not belong to it, has ended, or would pass Whisper's 30 s.
        """
        check_segment(frames, self.chunks, state)
        size, left, stack = self.chunks.chunk, self.chunks.left, self.chunks.stack
        lens = (-(-n_frames // stack)).clamp(max=size)
        if int((state.positions + lens).max()) > self.max_stream_positions:
            raise UsageError(
                f"Whisper has {self.max_stream_positions} positions "
                f"({self.max_stream_positions * 0.02:.0f} s); begin a new stream at a pause"
            )
        seen = torch.cat((state.frames, frames), 1)
        x = nn.functional.gelu(nn.functional.conv1d(
            seen.transpose(1, 2), self.hf.conv1.weight, self.hf.conv1.bias
        ))  # fmt: skip
        # from the frame before the chunk to its last
        place = torch.arange(-1, stack * size, device=x.device)
        is_there = (place < n_frames[:, None]) & (place >= -stack * state.positions[:, None])
        x = nn.functional.gelu(nn.functional.conv1d(
            x * is_there[:, None], self.hf.conv2.weight, self.hf.conv2.bias, stride=stack
        )).transpose(1, 2)  # fmt: skip
        at = state.positions[:, None] + torch.arange(size, device=x.device)
        x = x + self.hf.embed_positions.weight[at.clamp(max=self.max_stream_positions - 1)]
        held = torch.cat(
            (
                torch.arange(left, device=x.device) >= left - state.positions[:, None],
                torch.arange(size, device=x.device) < lens[:, None],
            ),
            1,
        )
        allowed = never_nothing(held[:, None].repeat(1, size, 1))
        past = [_Past(k, v) for k, v in zip(state.keys, state.values, strict=True)]
        hidden = self._layers(x, allowed, past)
        return hidden, replace(
            state,
            frames=seen[:, stack * size : stack * size + SEEN_FRAMES],
            keys=torch.stack([p.keys[:, :, size:] for p in past]),
            values=torch.stack([p.values[:, :, size:] for p in past]),
            positions=state.positions + lens,
        )

    def _layers(self, x: Tensor, allowed: Tensor, past: list[_Past]) -> Tensor:
        x = nn.functional.dropout(x, self.hf.dropout, self.training)
        for number, layer in enumerate(self.hf.layers):
            kept = {"past_key_values": past[number]} if past else {}
            x = layer(x, allowed[:, None], **kept)
            x = x[0] if isinstance(x, tuple) else x
        return self.hf.layer_norm(x)  # type: ignore[no-any-return]
