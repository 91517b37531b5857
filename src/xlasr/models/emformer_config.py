"""The shape of an Emformer, and the two shapes that have a name. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xlasr.errors import BaseError
from xlasr.models.shapes import Shape

FRAME_MS = 10


@dataclass(frozen=True)
class EmformerConfig(Shape):
    """Shape of an Emformer; its ``config.json``.

    Args:
        n_layers: Transformer layers.
        n_heads: Attention heads.
        ffn_dim: Width inside a feed-forward layer.
        input_dim: To which a mel frame is narrowed.
        stack: Frames that make one position; the layers are ``input_dim * stack`` wide.
        output_dim: Of what comes out.
        segment_frames: Of 10 ms, in one segment.
        right_frames: Of 10 ms, that a segment looks ahead.
        left_positions: Before a segment, that it looks back at in every layer.
        memory_segments: Earlier segments of which a memory vector is kept; 0: none.
        tanh_on_memory: Bound memory vectors by tanh; else they are cut at 10.
        dropout: Of attention, activations and layers.
        n_mels: Bands of a frame.
        model_type: As in the ``config.json`` of every base.

    Raises:
        BaseError: The numbers do not fit together.
    """

    n_layers: int
    n_heads: int
    ffn_dim: int
    input_dim: int
    output_dim: int
    stack: int = 4
    segment_frames: int = 16
    right_frames: int = 4
    left_positions: int = 30
    memory_segments: int = 0
    tanh_on_memory: bool = True
    dropout: float = 0.1
    n_mels: int = 80
    model_type: str = "emformer"
    called: ClassVar[str] = "Emformer"

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, at least {least} is needed"
            for name, value in vars(self).items()
            if isinstance(value, int) and not isinstance(value, bool)
            and value < (least := int(name not in MAY_BE_ZERO))
        ]  # fmt: skip
        if not problems:
            for name in ("segment_frames", "right_frames"):
                if getattr(self, name) % self.stack:
                    problems.append(f"{name} must be a multiple of stack ({self.stack})")
            if self.hidden_size % self.n_heads:
                problems.append(f"{self.n_heads} heads do not divide a width of {self.hidden_size}")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout}, 0 to 1 is allowed")
        if problems:
            raise BaseError(f"no Emformer has this shape: {'; '.join(problems)}")

    @property
    def hidden_size(self) -> int:
        """Width of the layers (the name that other bases' configs use)."""
        return self.input_dim * self.stack

    @property
    def segment(self) -> int:
        """Positions of a segment."""
        return self.segment_frames // self.stack

    @property
    def right(self) -> int:
        """Positions of the right context."""
        return self.right_frames // self.stack

    @property
    def latency_ms(self) -> int:
        """Algorithmic latency at most: how old the beginning of a segment is when it is encoded."""
        return (self.segment_frames + self.right_frames) * FRAME_MS

    @property
    def mean_latency_ms(self) -> float:
        """Algorithmic latency on average: right context and half a segment.

        Source: arXiv 2010.10759, section 3.
        """
        return (self.segment_frames / 2 + self.right_frames) * FRAME_MS


MAY_BE_ZERO = ("right_frames", "left_positions", "memory_segments")
EMFORMERS = {
    "emformer-20": EmformerConfig(
        n_layers=20, n_heads=8, ffn_dim=2048, input_dim=128, output_dim=1024
    ),
    "emformer-small": EmformerConfig(
        n_layers=8, n_heads=4, ffn_dim=1024, input_dim=64, output_dim=256
    ),
}
"""Shapes with a name: 20 layers for servers, and one that two CPU cores can train."""
