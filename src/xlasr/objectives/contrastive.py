"""Which pictures belong to which sound: symmetric InfoNCE over the clips of a batch.

Source: arXiv 2403.19822, section 3.1 (means over time of the sound, over space and time of the
pictures); the loss is that of CLIP (Radford et al. 2021, arXiv 2103.00020, figure 3) and of van den
Oord et al. 2018 (arXiv 1807.03748), equation 4. The temperature is not in the text at hand. The two
widths differ, so both means go through a linear projection, as in CLIP.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from xlasr.config import ObjectiveSettings, PairSettings
from xlasr.features.logmel import HOP
from xlasr.models.audiovisual import (
    POSITIONS_PER_S,
    JointSpace,
    masked_mean,
    patch_lens,
    video_patches,
)
from xlasr.models.audiovisual_config import AudioVisualConfig
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Features
from xlasr.objectives import SOUND_OBJECTIVES
from xlasr.objectives.masked_autoencoder import is_behind, parts_of, pictures_of


def info_nce(sound: Tensor, video: Tensor, settings: PairSettings) -> Tensor:
    """Mean of two cross-entropies: pictures of each sound, sound of each picture.

    Args:
        sound: (B, J).
        video: (B, J): row i belongs to row i of ``sound``.
        settings: Standardisation, normalisation and temperature.

    Returns:
        log B where nothing is known, 0 where everything is, and for a batch of one, which has
        nothing to be told from.
    """
    with torch.autocast(sound.device.type, enabled=False):
        sound, video = sound.float(), video.float()
        if settings.standardise:
            sound, video = standardised(sound), standardised(video)
        if settings.normalise:
            sound, video = (torch.nn.functional.normalize(x, dim=-1) for x in (sound, video))
        logits = sound @ video.T / settings.temperature
    own = torch.arange(len(logits), device=logits.device)
    one, other = (torch.nn.functional.cross_entropy(x, own) for x in (logits, logits.T))
    return (one + other) / 2


def standardised(rows: Tensor) -> Tensor:
    """Each column (B, J) with mean 0 and variance 1; one row alone stays as it is.

    Means over a clip have most in common with those of every other clip: unless that is taken
    away, all cosines are near 1, and within fifty updates on real speech they were 1 and the
    gradient gone. It is the batch normalisation without scale and shift at the end of the
    projections of MoCo v3 (arXiv 2104.02057), without its running means.
    """
    if len(rows) == 1:
        return rows
    return torch.nn.functional.batch_norm(rows, None, None, training=True)


def cut_to_shortest(features: Features) -> Features:
    """Cut sound and pictures of all clips to what the shortest has of each.

    Without it the length alone tells which sound and which pictures belong together.
    """
    video, video_lens = pictures_of(features)
    n_samples, n_pictures = int(features.input_lens.min()), int(video_lens.min())
    n_frames = -(-n_samples // HOP)
    return replace(
        features,
        values=features.values[:, :n_frames],
        input_lens=torch.full_like(features.input_lens, n_samples),
        is_pad=None if features.is_pad is None else features.is_pad[:, :n_frames],
        video=video[:, :n_pictures],
        video_lens=torch.full_like(video_lens, n_pictures),
    )


@SOUND_OBJECTIVES.register("contrastive")
def contrastive(
    model: CTCModel, features: Features, settings: ObjectiveSettings, update: int
) -> Tensor:
    """Encode sound and pictures whole, take means, compare all clips, or all windows of all clips.

    Args:
        model: On an audio-visual base, with its aids.
        features: A batch of clips. One alone adds nothing: a loss of 0 without gradient.
        settings: ``pairs``.
        update: Of the stage; not used.
    """
    how = settings.pairs
    if how.same_length:
        features = cut_to_shortest(features)
    n = len(features.input_lens)
    window_s = how.window_s if n > 1 else None
    sound, video = (x.float() for x in pooled(model, features, window_s))
    if window_s is not None:
        sound, video = (what_moves(x.reshape(n, -1, x.shape[1])) for x in (sound, video))
    return info_nce(sound, video, how)


def what_moves(windows: Tensor) -> Tensor:
    """Leave of windows (B, W, J) what is neither the clip's nor the time's: (B * W, J).

    The mean of a clip is its voice, its room, the face and the light: easier to see than speech,
    and of no use to it. The mean over the batch is what every clip has at that time: without it
    the windows of one clip can be told apart by nothing but what is heard and seen in them. One
    window alone keeps its mean. All windows together are then the rows of ``standardised``.
    """
    if windows.shape[1] > 1:
        windows = windows - windows.mean(1, keepdim=True)
    return (windows - windows.mean(0)).flatten(0, 1)


def pooled(
    model: CTCModel, features: Features, window_s: float | None = None
) -> tuple[Tensor, Tensor]:
    """Sound and pictures of clips in their common space.

    Args:
        model: On an audio-visual base, with its aids.
        features: A batch of clips; for windows all of one length.
        window_s: Seconds of a window; None is the whole clip, and so is more than there is.

    Returns:
        Projected means over time (B, J), and over time and space (B, J); with W windows in a clip
        (B * W, J) each, those of a clip together.
    """
    encoder, viewer, joint = parts_of(model, "contrastive")
    if not isinstance(joint, JointSpace):
        raise TypeError("contrastive needs the model that training.recipe builds for it")
    video, video_lens = pictures_of(features)
    states = encoder(features)
    behind = is_behind(encoder.out_lens(features.input_lens), states.shape[1])
    patches = video_patches(video, viewer.config)
    seen = viewer(patches, is_behind(patch_lens(video_lens, viewer.config), patches.shape[1]))
    if window_s is None:
        return joint.from_sound(masked_mean(states, behind)), joint.from_video(seen.mean())
    heard, watched = in_windows(states[:, ~behind[0]], seen.states, window_s, viewer.config)
    return joint.from_sound(heard), joint.from_video(watched)


def in_windows(
    sound: Tensor, video: Tensor, window_s: float, config: AudioVisualConfig
) -> tuple[Tensor, Tensor]:
    """Means over windows of whole tubelets; what is left behind the last one is not looked at.

    Args:
        sound: (B, U, D) positions.
        video: (B, N, E) patches in the order time, row, column.
        window_s: Seconds of a window, at least one tubelet.
        config: Shape of the model.

    Returns:
        (B * W, D) and (B * W, E), the windows of a clip together; W is at least 1.
    """
    tubelet_s = config.tubelet / config.fps
    tubelets = max(1, round(window_s / tubelet_s))
    patches, positions = tubelets * config.side**2, round(tubelets * tubelet_s * POSITIONS_PER_S)
    n = max(1, min(sound.shape[1] // positions, video.shape[1] // patches))
    parts = []
    for states, size in ((sound, positions), (video, patches)):
        whole = states[:, : n * size]
        parts.append(whole.reshape(n * len(whole), -1, whole.shape[2]).mean(1))
    return parts[0], parts[1]
