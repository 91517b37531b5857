"""Pictures beside the sound: a ViT of space-time patches, a common decoder, a common space.

The sound's encoder (``models.conformer``) is the base's; what stands here only helps to train it,
and belongs to the objectives on clips (``models.aids``).

Source: arXiv 2403.19822, section 3; masked autoencoding as in MAE (arXiv 2111.06377) and VideoMAE
(arXiv 2203.12602). That the decoder looks at sound and pictures together, and that both have their
place on one clock, is ours: the text at hand says no more than that it is common to both.

Axes: B clips, F pictures, N patches of a video, K of them that are seen, U positions of sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xlasr.models.audiovisual_config import STACK, AudioVisualConfig
from xlasr.models.vit import Block, space_time

POSITIONS_PER_S = 100 / STACK


def video_patches(video: Tensor, config: AudioVisualConfig) -> Tensor:
    """Cut pictures into patches: (B, F, size, size, 3) uint8 -> (B, N, numbers) from -1 to 1.

    Patches are in the order time, row, column; F is a multiple of ``tubelet``.
    """
    n_clips, side, size = len(video), config.side, config.patch
    parts = video.reshape(n_clips, -1, config.tubelet, side, size, side, size, 3)
    flat = parts.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4).flatten(1, 3)
    return flat.float() / 127.5 - 1


def patch_lens(video_lens: Tensor, config: AudioVisualConfig) -> Tensor:
    """Patches (int64) of so many pictures."""
    return -(-video_lens // config.tubelet) * config.side**2


def sound_patches(frames: Tensor) -> Tensor:
    """The four frames of each position: (B, T, 80) -> (B, U, 320)."""
    missing = -frames.shape[1] % STACK
    whole = nn.functional.pad(frames, (0, 0, 0, missing))
    return whole.reshape(len(whole), -1, STACK * frames.shape[2])


def video_places(n: int, config: AudioVisualConfig, width: int, device: torch.device) -> Tensor:
    """Fixed positions (n, width) of the first n patches of a video."""
    at = torch.arange(n, device=device)
    tubelet_s = config.tubelet / config.fps
    time = (at // config.side**2 + 0.5) * tubelet_s * POSITIONS_PER_S
    return space_time(time, at // config.side % config.side, at % config.side, width)


@dataclass(frozen=True)
class Seen:
    """What an encoder of pictures saw, shortened to what was not hidden.

    Args:
        states: (B, K, D).
        at: (B, K) int64: the number of each patch.
        is_pad: (B, K): clips of which less was seen.
    """

    states: Tensor
    at: Tensor
    is_pad: Tensor

    @classmethod
    def nothing(cls, n_clips: int, width: int, device: torch.device) -> Seen:
        """Of pictures that are not looked at: K is 0."""
        none = torch.zeros((n_clips, 0), device=device)
        return cls(none[..., None].expand(-1, -1, width), none.long(), none.bool())

    def mean(self) -> Tensor:
        """Over time and space: (B, D)."""
        return masked_mean(self.states, self.is_pad)


def masked_mean(states: Tensor, is_pad: Tensor) -> Tensor:
    """Mean over what is no padding: (B, K, D), (B, K) -> (B, D)."""
    weights = (~is_pad).to(states.dtype)[..., None]
    total: Tensor = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    return total


class VideoEncoder(nn.Module):
    """A ViT over space-time patches; what is hidden is not computed.

    Args:
        config: Its shape.
    """

    def __init__(self, config: AudioVisualConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Linear(config.video_patch, config.video_dim)
        # so that at first what is seen weighs as much as where it is: numbers of a patch go from -1
        # to 1, and PyTorch's own weights are a quarter of these
        nn.init.normal_(self.embedding.weight, std=(0.2 * config.video_patch) ** -0.5)
        self.blocks = nn.ModuleList(
            Block(config.video_dim, config.video_heads) for _ in range(config.video_layers)
        )
        self.layer_norm = nn.LayerNorm(config.video_dim)

    def forward(self, patches: Tensor, is_hidden: Tensor) -> Seen:
        """Encode (B, N, numbers), of which (B, N) are hidden: masked, or padding."""
        seen = ~is_hidden
        n_seen = max(1, int(seen.sum(1).max()))
        at = is_hidden.to(torch.uint8).argsort(dim=1, stable=True)[:, :n_seen]
        is_pad = is_hidden.gather(1, at)
        shown = patches.gather(1, at[..., None].expand(-1, -1, patches.shape[2]))
        width = self.config.video_dim
        where = video_places(patches.shape[1], self.config, width, patches.device)
        x = self.embedding(shown) + where[at]
        for block in self.blocks:
            x = block(x, is_pad)
        return Seen(self.layer_norm(x), at, is_pad)


class CommonDecoder(nn.Module):
    """Reconstructs patches of sound and of pictures from what was seen of both.

    Args:
        config: Its shape.
    """

    def __init__(self, config: AudioVisualConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.decoder_dim
        self.from_sound = nn.Linear(config.hidden_size, dim)
        self.from_video = nn.Linear(config.video_dim, dim)
        self.sound_mask, self.video_mask, self.sound_kind, self.video_kind = (
            nn.Parameter(0.02 * torch.randn(dim)) for _ in range(4)
        )
        self.blocks = nn.ModuleList(
            Block(dim, config.decoder_heads) for _ in range(config.decoder_layers)
        )
        self.layer_norm = nn.LayerNorm(dim)
        self.to_sound = nn.Linear(dim, config.sound_patch)
        self.to_video = nn.Linear(dim, config.video_patch)

    def forward(
        self,
        sound: Tensor,
        sound_masked: Tensor,
        sound_pad: Tensor,
        video: Seen,
        video_pad: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Reconstruct everything.

        Args:
            sound: (B, U, D) of the Conformer; what stands at masked positions is not looked at.
            sound_masked: (B, U).
            sound_pad: (B, U).
            video: What the ViT saw.
            video_pad: (B, N).

        Returns:
            Patches of sound (B, U, 320) and of pictures (B, N, numbers).
        """
        n_sound, n_video, dim = sound.shape[1], video_pad.shape[1], self.config.decoder_dim
        heard = self.from_sound(sound)
        heard = torch.where(sound_masked[..., None], self.sound_mask.to(heard), heard)
        states = self.from_video(video.states)
        states = torch.where(video.is_pad[..., None], self.video_mask.to(states), states)
        shown = self.video_mask.to(states).expand(len(states), n_video, -1)
        shown = shown.scatter(1, video.at[..., None].expand(-1, -1, dim), states)
        device = sound.device
        time = torch.arange(n_sound, device=device) + 0.5
        nowhere = torch.zeros_like(time)
        heard = heard + space_time(time, nowhere, nowhere, dim) + self.sound_kind
        shown = shown + video_places(n_video, self.config, dim, device) + self.video_kind
        x, is_hidden = torch.cat((heard, shown), 1), torch.cat((sound_pad, video_pad), 1)
        for block in self.blocks:
            x = block(x, is_hidden)
        x = self.layer_norm(x)
        return self.to_sound(x[:, :n_sound]), self.to_video(x[:, n_sound:])


class JointSpace(nn.Module):
    """Linear projections of pooled sound and pictures, whose widths differ, to one space.

    Args:
        config: Its shape.
    """

    def __init__(self, config: AudioVisualConfig) -> None:
        super().__init__()
        self.from_sound = nn.Linear(config.hidden_size, config.joint_dim)
        self.from_video = nn.Linear(config.video_dim, config.joint_dim)
