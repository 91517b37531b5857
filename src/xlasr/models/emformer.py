"""Emformer: a transformer that hears speech as it comes, in segments.

A segment sees itself, a few positions behind it (the right context, a copy of its own, so that no
layer looks further ahead than the first), the positions before it whose keys and values were kept
(the left context), and optionally one memory vector for each earlier segment. Training runs over
whole padded clips with masks; streaming runs segment by segment with an explicit state; both give
the same.

Source: Shi et al. 2020 (Emformer, arXiv 2010.10759). Axes: B clips, T mel frames, U positions, S
positions of a segment, R of its right context, L of the left context, M memory vectors, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xlasr.models.emformer_config import EmformerConfig
from xlasr.models.segments import check_segment, never_nothing, newest

MEMORY_LIMIT = 10.0
Past = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Multi-head attention over keys that are computed now and keys that were kept."""

    def __init__(self, config: EmformerConfig, gain: float) -> None:
        super().__init__()
        dim = config.hidden_size
        self.n_heads = config.n_heads
        self.dropout = config.dropout
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        # the width by which Glorot's rule divides is that of keys and values as one matrix
        for module, share in ((self.q_proj, 1.0), (self.k_proj, 2 / 3), (self.v_proj, 2 / 3)):
            module.gain = gain * math.sqrt(share)  # type: ignore[assignment]

    def forward(
        self, queries: Tensor, inputs: Tensor, allowed: Tensor, past: Past | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend.

        Args:
            queries: (B, Q, D).
            inputs: (B, N, D), of which keys and values are made.
            allowed: (B, Q, P + N): what a query may look at; at least one key each.
            past: Keys and values (B, P, D) that stand before them.

        Returns:
            (B, Q, D), and the new keys and values (B, N, D).
        """
        keys, values = self.k_proj(inputs), self.v_proj(inputs)
        all_keys, all_values = keys, values
        if past is not None:
            all_keys = torch.cat((past[0].to(keys.dtype), keys), 1)
            all_values = torch.cat((past[1].to(values.dtype), values), 1)
        found = nn.functional.scaled_dot_product_attention(
            self._split(self.q_proj(queries)),
            self._split(all_keys),
            self._split(all_values),
            attn_mask=allowed[:, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out_proj(found.transpose(1, 2).flatten(2)), keys, values

    def _split(self, x: Tensor) -> Tensor:
        """Heads apart: (B, N, D) -> (B, H, N, D / H)."""
        width = x.shape[2] // self.n_heads
        return x.view(*x.shape[:2], self.n_heads, width).transpose(1, 2)


class EmformerLayer(nn.Module):
    """One layer, for whole clips and for single segments alike."""

    def __init__(self, config: EmformerConfig, number: int) -> None:
        super().__init__()
        dim = config.hidden_size
        self.tanh_on_memory = config.tanh_on_memory
        self.input_layer_norm = nn.LayerNorm(dim)
        self.self_attn = Attention(config, 1 / math.sqrt(number + 1))
        self.final_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, dim)
        self.output_layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden: Tensor,
        memory: Tensor,
        allowed: Tensor,
        pool: Tensor,
        past: Past | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute one layer.

        Args:
            hidden: (B, R + U, D): copies of the right contexts, then the positions themselves.
            memory: (B, M, D): memory vectors of earlier segments, from the layer below.
            allowed: (B, Q, P + M + R + U): who may look at whom. The queries are those of
                ``hidden``, then one summary for each row of ``pool``.
            pool: (n, U): the weights of the positions in each summary; no rows without memory.
            past: Kept keys and values (B, P, D).

        Returns:
            ``hidden`` after this layer (first, as the adapters behind a layer expect it), the
            memory vectors (B, n, D) of the segments for the layer above, and keys and values
            (B, U, D) of the positions.
        """
        normed = self.input_layer_norm(hidden)
        n_positions = pool.shape[1]
        summary = pool.to(normed.dtype) @ normed[:, -n_positions:]
        attended, keys, values = self.self_attn(
            torch.cat((normed, summary), 1),
            torch.cat((memory.to(normed.dtype), normed), 1),
            allowed,
            past,
        )
        own, memories = attended[:, : hidden.shape[1]], attended[:, hidden.shape[1] :]
        hidden = hidden + self.dropout(own)
        inner = nn.functional.gelu(self.fc1(self.final_layer_norm(hidden)))
        hidden = hidden + self.dropout(self.fc2(self.activation_dropout(inner)))
        hidden = self.output_layer_norm(hidden)
        if self.tanh_on_memory:
            memories = memories.tanh()
        else:
            memories = memories.clamp(-MEMORY_LIMIT, MEMORY_LIMIT)
        return hidden, memories, keys[:, -n_positions:], values[:, -n_positions:]


@dataclass(frozen=True)
class EmformerState:
    """What B streams remember between two segments; rows may stand at different places.

    Args:
        config: Of the model it belongs to.
        keys: (layers, B, L, D), the newest last.
        values: The same for the values.
        memory: (layers, B, M, D), the newest last.
        positions: (B,) int64: positions that were heard.
    """

    config: EmformerConfig
    keys: Tensor
    values: Tensor
    memory: Tensor
    positions: Tensor


class Emformer(nn.Module):
    """Mel frames to encoder positions.

    Args:
        config: Its shape.
    """

    def __init__(self, config: EmformerConfig) -> None:
        super().__init__()
        self.config = config
        self.input = nn.Linear(config.n_mels, config.input_dim, bias=False)
        self.layers = nn.ModuleList(EmformerLayer(config, n) for n in range(config.n_layers))
        self.projection = nn.Linear(config.hidden_size, config.output_dim)
        self.layer_norm = nn.LayerNorm(config.output_dim)
        self.recompute: dict[str, Any] | None = None
        # of the frames that it was trained on; see models.streaming
        self.register_buffer("frame_mean", torch.zeros(config.n_mels))
        self.register_buffer("frame_std", torch.ones(config.n_mels))
        self.register_buffer("frame_count", torch.zeros((), dtype=torch.int64))
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        """Draw the weights of one module; queries, keys and values get smaller with depth."""
        if isinstance(module, nn.Linear | nn.LayerNorm):
            module.reset_parameters()
            if isinstance(gain := getattr(module, "gain", None), float):
                nn.init.xavier_uniform_(module.weight, gain)

    def activation_checkpointing_enable(self, settings: dict[str, Any]) -> None:
        """Compute the inside of a layer again in the backward pass, as transformers' models do."""
        self.recompute = settings

    def forward(self, frames: Tensor, n_frames: Tensor) -> Tensor:
        """Encode whole clips.

        Args:
            frames: (B, T, n_mels), zero behind the end of each clip.
            n_frames: (B,) int64: frames of each clip.

        Returns:
            (B, U, output_dim) with U = ceil(T / stack); behind the end of a clip: anything.
        """
        return self._top(self.transform(self.stem(frames), self._positions(n_frames)))

    def step(
        self, frames: Tensor, n_frames: Tensor, state: EmformerState
    ) -> tuple[Tensor, EmformerState]:
        """Encode one segment of each stream.

        Args:
            frames: (B, segment + right context, n_mels), zero behind the end of a stream.
            n_frames: (B,) int64: frames among them; fewer than there is room for end the stream.
            state: From ``begin`` or the segment before; left as it is.

        Returns:
            (B, S, output_dim) and the next state.

        Raises:
            UsageError: The state is of another model or another number of streams, or has ended.
        """
        check_segment(frames, self.config, state)
        lens = self._positions(n_frames)
        hidden, state = self.transform_segment(self.stem(frames), lens, state)
        return self._top(hidden), state

    def _positions(self, n_frames: Tensor) -> Tensor:
        return -(-n_frames // self.config.stack)

    def stem(self, frames: Tensor) -> Tensor:
        """Frames narrowed, then stacked: (B, T, n_mels) -> (B, ceil(T / stack), D)."""
        missing = -frames.shape[1] % self.config.stack
        narrow: Tensor = self.input(nn.functional.pad(frames, (0, 0, 0, missing)))
        n_positions = narrow.shape[1] // self.config.stack
        return narrow.reshape(len(narrow), n_positions, self.config.hidden_size)

    def _top(self, hidden: Tensor) -> Tensor:
        return self.layer_norm(self.projection(hidden))  # type: ignore[no-any-return]

    def transform(self, x: Tensor, lens: Tensor, ahead: int = 0) -> Tensor:
        """All layers over whole clips, with masks: (B, U, D) -> (B, U, D).

        Args:
            x: Positions.
            lens: (B,) int64: positions of each clip.
            ahead: Positions behind the end of every clip that its last segment may look at.
        """
        size, right = self.config.segment, self.config.right
        n_positions = x.shape[1]
        n_segments = -(-n_positions // size)
        x = nn.functional.pad(x, (0, 0, 0, n_segments * size - n_positions))
        # (B, n, R): where the right context of each segment lies; it ends with the clip
        ends = torch.arange(1, n_segments + 1, device=x.device) * size
        behind = torch.minimum(ends, lens[:, None])[..., None]
        places = behind + torch.arange(right, device=x.device)
        is_right = (places < lens[:, None, None] + ahead).flatten(1)
        rows = torch.arange(len(x), device=x.device)[:, None]
        copies = x[rows, places.flatten(1).clamp(max=x.shape[1] - 1)]
        pool, memory = self._summaries(x, n_segments)
        allowed = self._mask(n_segments, is_right, lens)
        hidden = torch.cat((copies, x), 1)
        for layer in self.layers:
            if self.recompute is not None and self.training:
                found = checkpoint(layer, hidden, memory, allowed, pool, **self.recompute)
                hidden, memory = found[:2]
            else:
                hidden, memory, _, _ = layer(hidden, memory, allowed, pool)
        return hidden[:, copies.shape[1] :][:, :n_positions]

    def _summaries(self, x: Tensor, n_segments: int) -> tuple[Tensor, Tensor]:
        """Weights (n, U) that average each segment, and the averages: the lowest memory."""
        size = self.config.segment
        pool = torch.eye(n_segments, device=x.device).repeat_interleave(size, 1) / size
        pool = pool if self.config.memory_segments else pool[:0]
        return pool, pool @ x

    def _mask(self, n_segments: int, is_right: Tensor, lens: Tensor) -> Tensor:
        """Who may look at whom: (B, Q, K), keys in the order memory, right contexts, positions."""
        config, device = self.config, lens.device
        segments = torch.arange(n_segments, device=device)
        n_memory = n_segments if config.memory_segments else 0
        of_right = segments.repeat_interleave(config.right)
        place = torch.arange(n_segments * config.segment, device=device)
        asking = torch.cat((of_right, place // config.segment, segments[:n_memory]))[:, None]
        first = asking * config.segment - config.left_positions
        memory = segments[:n_memory]
        near = torch.cat(
            (
                (memory < asking) & (memory >= asking - config.memory_segments),
                of_right == asking,
                (place >= first) & (place < (asking + 1) * config.segment),
            ),
            1,
        )
        near[len(asking) - n_memory :, :n_memory] = False  # a summary does not look at memory
        held = torch.cat(
            (
                torch.ones(len(lens), n_memory, dtype=torch.bool, device=device),
                is_right,
                place < lens[:, None],
            ),
            1,
        )
        return never_nothing(near[None] & held[:, None])

    def begin(self, n_streams: int = 1) -> EmformerState:
        """State of streams of which nothing was heard."""
        config, like = self.config, self.input.weight
        past = like.new_zeros(config.n_layers, n_streams, config.left_positions, config.hidden_size)
        memory = like.new_zeros(
            config.n_layers, n_streams, config.memory_segments, config.hidden_size
        )
        heard = torch.zeros(n_streams, dtype=torch.int64, device=like.device)
        return EmformerState(config, past, past, memory, heard)

    def transform_segment(
        self, x: Tensor, lens: Tensor, state: EmformerState
    ) -> tuple[Tensor, EmformerState]:
        """All layers over one segment: (B, S + R, D) -> (B, S, D); see ``step``."""
        config = self.config
        size, left, bank = config.segment, config.left_positions, config.memory_segments
        here, copies = x[:, :size], x[:, size:]
        pool, below = self._summaries(here, 1)
        heard = state.positions[:, None]

        def numbers(n: int) -> Tensor:
            return torch.arange(n, device=x.device)

        held = torch.cat(
            (
                numbers(left) >= left - heard,
                numbers(bank) >= bank - heard // size,
                numbers(config.right) < lens[:, None] - size,
                numbers(size) < lens[:, None],
            ),
            1,
        )
        n_queries = x.shape[1] + len(pool)
        allowed = held[:, None].repeat(1, n_queries, 1)
        allowed[:, x.shape[1] :, left : left + bank] = False
        allowed = never_nothing(allowed)
        hidden = torch.cat((copies, here), 1)
        keys, values, memory = [], [], []
        for number, layer in enumerate(self.layers):
            past = (state.keys[number], state.values[number])
            memory.append(newest(state.memory[number], below, bank))
            hidden, below, k, v = layer(hidden, state.memory[number], allowed, pool, past)
            keys.append(newest(past[0], k, left))
            values.append(newest(past[1], v, left))
        return hidden[:, config.right :], replace(
            state,
            keys=torch.stack(keys),
            values=torch.stack(values),
            memory=torch.stack(memory),
            positions=state.positions + lens.clamp(max=size),
        )
