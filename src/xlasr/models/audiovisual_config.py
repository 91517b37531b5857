"""The shape of an audio-visual base, and the two shapes that have a name. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xlasr.errors import BaseError
from xlasr.models.shapes import Shape

STACK = 4
"""Frames of 10 ms in one position: two convolutions of stride 2, 1000 frames -> 250 positions."""


@dataclass(frozen=True)
class AudioVisualConfig(Shape):
    """Shape of a Conformer for sound, a ViT for video and what their objectives need.

    Source: arXiv 2403.19822, section 3. It says 16 layers, 4 heads and kernel 31 for the Conformer,
    12 blocks and width 768 for the ViT, 4 blocks and width 512 for the decoder. Everything else
    (widths and heads, size and rate of the pictures, patches) is not in the text at hand: it is
    that of Conformer (M) (arXiv 2005.08100, table 1), ViT-B and VideoMAE (arXiv 2203.12602), and
    pictures as small as talking faces allow.

    Args:
        n_layers: Conformer layers.
        hidden_size: Their width.
        n_heads: Their attention heads.
        ffn_dim: Width inside their feed-forward modules.
        kernel: Of their depthwise convolutions, in positions; odd.
        video_layers: Blocks of the ViT.
        video_dim: Their width.
        video_heads: Their attention heads.
        decoder_layers: Blocks of the common decoder.
        decoder_dim: Their width.
        decoder_heads: Their attention heads.
        joint_dim: Width of the space in which sound and video are compared.
        frame_size: Width and height of a picture, in pixels.
        patch: Width and height of a patch, in pixels.
        tubelet: Pictures that one patch covers.
        fps: Pictures a second that are looked at.
        seconds: Of a clip that are used: the first so many.
        dropout: In the Conformer.
        n_mels: Bands of a frame.
        model_type: As in the ``config.json`` of every base.

    Raises:
        BaseError: The numbers do not fit together.
    """

    n_layers: int
    hidden_size: int
    n_heads: int
    ffn_dim: int
    video_layers: int
    video_dim: int
    video_heads: int
    decoder_layers: int
    decoder_dim: int
    decoder_heads: int
    kernel: int = 31
    joint_dim: int = 256
    frame_size: int = 64
    patch: int = 16
    tubelet: int = 2
    fps: float = 12.5
    seconds: float = 10.0
    dropout: float = 0.1
    n_mels: int = 80
    model_type: str = "audiovisual"
    called: ClassVar[str] = "audio-visual model"

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, more than 0 is needed"
            for name, value in vars(self).items()
            if isinstance(value, int | float) and name != "dropout" and value <= 0
        ]
        if not problems:
            for width, heads in (
                ("hidden_size", "n_heads"),
                ("video_dim", "video_heads"),
                ("decoder_dim", "decoder_heads"),
            ):
                if getattr(self, width) % getattr(self, heads):
                    problems.append(
                        f"{getattr(self, heads)} heads do not divide {width} "
                        f"({getattr(self, width)})"
                    )
            if self.hidden_size // self.n_heads % 2:
                problems.append("a head of the Conformer must have an even width")
            if self.video_dim % 8 or self.decoder_dim % 8:
                problems.append("video_dim and decoder_dim must be multiples of 8")
            if self.frame_size % self.patch:
                problems.append("patch must divide frame_size")
            if self.kernel % 2 == 0:
                problems.append("kernel must be odd")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout}, 0 to 1 is allowed")
        if problems:
            raise BaseError(f"no audio-visual model has this shape: {'; '.join(problems)}")

    @property
    def side(self) -> int:
        """Patches along one side of a picture."""
        return self.frame_size // self.patch

    @property
    def video_patch(self) -> int:
        """Numbers in one patch of video."""
        return self.tubelet * self.patch**2 * 3

    @property
    def sound_patch(self) -> int:
        """Numbers in one patch of sound: the frames of a position."""
        return STACK * self.n_mels


AUDIOVISUAL = {
    "audiovisual-base": AudioVisualConfig(
        n_layers=16, hidden_size=256, n_heads=4, ffn_dim=1024,
        video_layers=12, video_dim=768, video_heads=12,
        decoder_layers=4, decoder_dim=512, decoder_heads=8,
        frame_size=112, fps=12.5,
    ),
    "audiovisual-small": AudioVisualConfig(
        n_layers=6, hidden_size=144, n_heads=4, ffn_dim=576, kernel=15,
        video_layers=4, video_dim=192, video_heads=3,
        decoder_layers=2, decoder_dim=128, decoder_heads=4, joint_dim=128,
    ),
}  # fmt: skip
"""Shapes with a name: the paper's, for GPUs, and one that two CPU cores can train."""
