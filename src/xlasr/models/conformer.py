"""A Conformer over log-mel frames, of which some can be hidden. Whole clips; no streams.

A masked position is treated as padding is: its frames are zeros before the first convolution, no
attention looks at it, and it is zero in every depthwise convolution. So nothing of it is seen, and
the geometry of what is seen stays that of whole clips.

Source: Gulati et al. 2020 (arXiv 2005.08100), with two changes: layer norm instead of batch norm in
the convolution module (as w2v-BERT 2.0), so that a batch of N equals N batches of one in training
too, and rotary instead of relative positions (Su et al. 2021, arXiv 2104.09864).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xlasr.models.audiovisual_config import STACK, AudioVisualConfig
from xlasr.models.encoders import Features
from xlasr.models.frames import MeasuredEncoder
from xlasr.models.vit import Rotation, SelfAttention, rotation_of


class FeedForward(nn.Module):
    """Norm, wider, swish, narrower. Source: figure 4."""

    def __init__(self, config: AudioVisualConfig) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.hidden_size)
        self.fc1 = nn.Linear(config.hidden_size, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, config.hidden_size)
        self.activation_dropout = nn.Dropout(config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T', D) -> (B, T', D)."""
        inner = self.activation_dropout(nn.functional.silu(self.fc1(self.layer_norm(x))))
        return self.dropout(self.fc2(inner))  # type: ignore[no-any-return]


class Convolution(nn.Module):
    """Gate, depthwise convolution, norm, swish. Source: figure 2."""

    def __init__(self, config: AudioVisualConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.layer_norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(
            dim, dim, config.kernel, padding=config.kernel // 2, groups=dim, bias=False
        )
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, is_hidden: Tensor) -> Tensor:
        """(B, T', D) -> (B, T', D); what is hidden is zero where neighbours are mixed."""
        x = nn.functional.glu(self.gate(self.layer_norm(x)), dim=-1)
        x = x.masked_fill(is_hidden[..., None], 0.0)
        x = self.norm(self.depthwise(x.transpose(1, 2)).transpose(1, 2))
        return self.dropout(self.out(nn.functional.silu(x)))  # type: ignore[no-any-return]


class ConformerLayer(nn.Module):
    """Half a feed-forward module, attention, convolution, the other half. Source: equation 1."""

    def __init__(self, config: AudioVisualConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        self.ffn1 = FeedForward(config)
        self.layer_norm = nn.LayerNorm(dim)
        self.self_attn = SelfAttention(dim, config.n_heads, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.conv = Convolution(config)
        self.ffn2 = FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, is_hidden: Tensor, rotation: Rotation | None = None) -> Tensor:
        """(B, T', D) -> (B, T', D)."""
        x = x + 0.5 * self.ffn1(x)
        x = x + self.dropout(self.self_attn(self.layer_norm(x), is_hidden, rotation))
        x = x + self.conv(x, is_hidden)
        x = x + 0.5 * self.ffn2(x)
        return self.final_layer_norm(x)  # type: ignore[no-any-return]


class Conformer(nn.Module):
    """Frames to positions: (B, T, 80) -> (B, T', D) with T' = ceil(T / 4).

    Args:
        config: Its shape.
    """

    def __init__(self, config: AudioVisualConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.hidden_size
        self.conv1 = nn.Conv1d(config.n_mels, dim, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.n_layers))
        self.recompute: dict[str, Any] | None = None
        # of the frames that it was trained on; see MeasuredEncoder
        self.register_buffer("frame_mean", torch.zeros(config.n_mels))
        self.register_buffer("frame_std", torch.ones(config.n_mels))
        self.register_buffer("frame_count", torch.zeros((), dtype=torch.int64))

    def _init_weights(self, module: nn.Module) -> None:
        """Draw the weights of one module, as PyTorch does; see ``adaptation.layers``."""
        if isinstance(module, nn.Linear | nn.LayerNorm | nn.Conv1d):
            module.reset_parameters()

    def activation_checkpointing_enable(self, settings: dict[str, Any]) -> None:
        """Compute the inside of a layer again in the backward pass, as transformers' models do."""
        self.recompute = settings

    def forward(self, frames: Tensor, n_frames: Tensor, is_masked: Tensor | None = None) -> Tensor:
        """Encode whole clips.

        Args:
            frames: (B, T, 80).
            n_frames: (B,) int64: frames of each clip; what lies behind is padding.
            is_masked: (B, T') positions that nobody may see; the four frames of each count as
                zeros.

        Returns:
            (B, T', D); at hidden positions: anything.
        """
        at = torch.arange(frames.shape[1], device=frames.device)
        hidden_frames = at >= n_frames[:, None]
        is_hidden = at[::STACK] >= n_frames[:, None]
        if is_masked is not None:
            is_hidden = is_hidden | is_masked
            hidden_frames |= is_masked.repeat_interleave(STACK, 1)[:, : len(at)]
        x = frames.masked_fill(hidden_frames[..., None], 0.0).transpose(1, 2)
        x = nn.functional.gelu(self.conv1(x))
        # as if the clip ended there: what follows is the zeros of the next convolution
        x = x.masked_fill((at[::2] >= n_frames[:, None])[:, None], 0.0)
        x = nn.functional.gelu(self.conv2(x)).transpose(1, 2)
        width = self.config.hidden_size // self.config.n_heads
        rotation = rotation_of(x.shape[1], width, x.device)
        for layer in self.layers:
            if self.recompute is not None and self.training:
                x = checkpoint(layer, x, is_hidden, rotation, **self.recompute)
            else:
                x = layer(x, is_hidden, rotation)
        return x


class ConformerEncoder(MeasuredEncoder):
    """A Conformer as a speech encoder: one position for every 40 ms that have begun.

    Args:
        hf: The network.
    """

    def __init__(self, hf: Conformer) -> None:
        super().__init__(hf, hf.config.n_layers, hf.config.hidden_size, STACK)

    def encode(self, frames: Tensor, n_frames: Tensor) -> Tensor:
        """Whole clips."""
        return self.hf(frames, n_frames)  # type: ignore[no-any-return]

    def masked(self, features: Features, is_masked: Tensor) -> Tensor:
        """Encode what is not masked: (B, T, 80) and (B, T') -> (B, T', D)."""
        n_frames = -(-features.input_lens // (self.samples_per_position // STACK))
        return self.hf(features.values, n_frames, is_masked)  # type: ignore[no-any-return]
