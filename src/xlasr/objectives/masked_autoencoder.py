"""Masked autoencoding of clips: reconstruct patches of sound and pictures that nobody saw.

Source: arXiv 2403.19822, section 3.1 (60 % of the patches of both, without replacement, squared
error on what was masked); He et al. 2022, MAE (arXiv 2111.06377). A patch of sound is the four
frames of a position, normalised by the training set's mean and spread; one of pictures is a block
of space and time, from -1 to 1.

Masks are drawn by PyTorch's generator of the CPU, which the loop seeds before every update.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xlasr.config import ObjectiveSettings
from xlasr.errors import UsageError
from xlasr.models.audiovisual import (
    CommonDecoder,
    Seen,
    VideoEncoder,
    patch_lens,
    sound_patches,
    video_patches,
)
from xlasr.models.conformer import ConformerEncoder
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Features
from xlasr.objectives import SOUND_OBJECTIVES


def draw_masked(lens: Tensor, width: int, ratio: float) -> Tensor:
    """Masked patches of each clip, drawn without replacement.

    Args:
        lens: (B,) patches of each clip.
        width: N, padding included.
        ratio: Share that is masked, rounded to whole patches; at least one is masked and at least
            one is not. A clip of a single patch stays whole.

    Returns:
        (B, N) bool.

    Raises:
        UsageError: A ratio of which nothing could be learnt.
    """
    if not 0 < ratio < 1:
        raise UsageError(
            f"a mask ratio of {ratio} hides {'nothing' if ratio <= 0 else 'everything'}; more than "
            "0 and less than 1 is needed"
        )
    is_masked = torch.zeros((len(lens), width), dtype=torch.bool)
    for row, n in enumerate(lens.tolist()):
        count = min(max(1, round(ratio * n)), n - 1)
        is_masked[row, torch.randperm(n)[:count]] = True
    return is_masked


def masked_error(guess: Tensor, patches: Tensor, is_masked: Tensor, *, normalise: bool) -> Tensor:
    """Mean squared error over the masked patches; 0 where none is.

    Args:
        guess: (B, N, P).
        patches: (B, N, P): the truth.
        is_masked: (B, N).
        normalise: Give each patch of the truth mean 0 and variance 1 first.
    """
    truth = patches[is_masked].float()
    if normalise:
        variance, mean = torch.var_mean(truth, dim=-1, keepdim=True, correction=0)
        truth = (truth - mean) / (variance + 1e-6).sqrt()
    errors = (guess[is_masked].float() - truth) ** 2
    return errors.mean() if len(errors) else guess.sum().mul(0.0)


@SOUND_OBJECTIVES.register("masked_autoencoder")
def masked_autoencoder(
    model: CTCModel, features: Features, settings: ObjectiveSettings, update: int
) -> Tensor:
    """Mask, encode what is left of each modality by its own encoder, decode both together.

    Args:
        model: On an audio-visual base, with its aids.
        features: A batch of clips.
        settings: ``autoencoder``.
        update: Of the stage; not used.

    Returns:
        Error of the sound plus the weighted error of the pictures, each the mean over all numbers
        of all masked patches of the batch.
    """
    encoder, viewer, decoder = parts_of(model, "masked_autoencoder")
    if not isinstance(decoder, CommonDecoder):
        raise TypeError("masked_autoencoder needs the model that training.recipe builds for it")
    how, device = settings.autoencoder, features.values.device
    truth = sound_patches(features.values)
    sound_lens = encoder.out_lens(features.input_lens)
    sound_pad = is_behind(sound_lens, truth.shape[1])
    sound_masked = draw_masked(sound_lens, truth.shape[1], how.mask_ratio).to(device)
    sound = encoder.masked(features, sound_masked)
    if not how.video_weight:
        seen = Seen.nothing(len(sound), viewer.config.video_dim, device)
        heard, _ = decoder(sound, sound_masked, sound_pad, seen, seen.is_pad)
        return masked_error(heard, truth, sound_masked, normalise=how.normalise)
    video, video_lens = pictures_of(features)
    patches = video_patches(video, viewer.config)
    seen_lens = patch_lens(video_lens, viewer.config)
    video_pad = is_behind(seen_lens, patches.shape[1])
    video_masked = draw_masked(seen_lens, patches.shape[1], how.mask_ratio).to(device)
    seen = viewer(patches, video_masked | video_pad)
    heard, shown = decoder(sound, sound_masked, sound_pad, seen, video_pad)
    of_sound = masked_error(heard, truth, sound_masked, normalise=how.normalise)
    of_video = masked_error(shown, patches, video_masked, normalise=how.normalise)
    return of_sound + how.video_weight * of_video


def is_behind(lens: Tensor, width: int) -> Tensor:
    """Padding (B, width) behind so many patches."""
    return torch.arange(width, device=lens.device) >= lens[:, None]


def parts_of(model: CTCModel, aid: str) -> tuple[ConformerEncoder, VideoEncoder, torch.nn.Module]:
    """The encoders of sound and pictures, and the aid of an objective."""
    encoder, viewer = model.encoder, model.aids["video"]
    if not isinstance(encoder, ConformerEncoder) or not isinstance(viewer, VideoEncoder):
        raise TypeError(f"{aid} needs the model that training.recipe builds for it")
    return encoder, viewer, model.aids[aid]


def pictures_of(features: Features) -> tuple[Tensor, Tensor]:
    """Pictures of a batch and how many each clip has.

    Raises:
        UsageError: There are none.
    """
    if features.video is None or features.video_lens is None:
        raise UsageError("these features have no pictures; make them of clips (training.clips)")
    return features.video, features.video_lens
