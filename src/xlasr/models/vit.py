"""Attention, transformer blocks and fixed positions, of whatever can be hidden.

Axes: B clips, N tokens, D width. ``is_hidden`` (B, N) marks tokens that nobody may look at:
padding, and what is masked.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Rotation = tuple[Tensor, Tensor]


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to those that are not hidden.

    Args:
        dim: Width.
        n_heads: They divide it.
        dropout: Of the attention's weights.
    """

    def __init__(self, dim: int, n_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = dropout
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, is_hidden: Tensor, rotation: Rotation | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D); ``rotation`` turns queries and keys by their place."""
        q, k, v = (
            proj(x).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        if rotation is not None:
            q, k = rotated(q, rotation), rotated(k, rotation)
        # a clip of which everything is hidden may look at all of it: its softmax would be NaN
        allowed = ~is_hidden | is_hidden.all(1, keepdim=True)
        found = nn.functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=allowed[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        out: Tensor = self.out_proj(found.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """A block of a ViT: norm first, GELU, four times as wide inside.

    Source: Dosovitskiy et al. 2021 (arXiv 2010.11929), section 3.1.
    """

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim)
        self.self_attn = SelfAttention(dim, n_heads)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, is_hidden: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.self_attn(self.layer_norm(x), is_hidden)
        inner = nn.functional.gelu(self.fc1(self.final_layer_norm(x)))
        return x + self.fc2(inner)  # type: ignore[no-any-return]


def rotation_of(n: int, width: int, device: torch.device) -> Rotation:
    """Cosines and sines (n, width / 2) of the angles by which places are turned.

    Source: Su et al. 2021, RoFormer (arXiv 2104.09864), equation 15.

    Args:
        n: Places.
        width: Of a head; even.
        device: Where.
    """
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(n, device=device)[:, None] * rates
    return angles.cos(), angles.sin()


def rotated(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn (B, H, N, W): dimension i together with i + W / 2."""
    one, other = x.chunk(2, dim=-1)
    cos, sin = (r.to(x.dtype) for r in rotation)
    return torch.cat((one * cos - other * sin, other * cos + one * sin), dim=-1)


def places(at: Tensor, width: int) -> Tensor:
    """Fixed sinusoids for places on a line: (...,) -> (..., width), width even.

    Source: Vaswani et al. 2017, section 3.5; in several dimensions side by side, as in He et al.
    2022 (MAE, arXiv 2111.06377), appendix A.1.
    """
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=at.device) / width)
    angles = at[..., None].float() * rates
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def space_time(time: Tensor, row: Tensor, column: Tensor, width: int) -> Tensor:
    """Fixed positions (..., width): half of the width for time, a quarter each for row and column.

    Args:
        time: In positions of 40 ms, for sound and video alike.
        row: Of the picture, in patches; 0 for sound.
        column: The same.
        width: A multiple of 8.
    """
    parts = (places(time, width // 2), places(row, width // 4), places(column, width // 4))
    return torch.cat(parts, dim=-1)
