"""Masked contrastive learning: tell the quantised truth behind a mask from other masked places.

Nothing is transcribed. Source: Baevski et al. 2020, wav2vec 2.0 (arXiv 2006.11477), section 3.

What is random here (masks, negatives, the quantiser's noise) is drawn by PyTorch's generator of the
CPU, which the loop seeds before every update; transformers' own helpers draw from NumPy's global
one, mask padding where a clip is shorter than a mask, and fail on a clip with a single masked
position, so they are not used. The L2 penalty and the scaled gradients of the convolutions with
which the paper regularises its smallest model (section 4.2) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xlasr.config import ContrastiveSettings, ObjectiveSettings
from xlasr.models.aids import ContrastiveAid
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Features, SelfSupervisedEncoder
from xlasr.objectives import SOUND_OBJECTIVES


def draw_mask(lens: Sequence[int], width: int, settings: ContrastiveSettings) -> Tensor:
    """Masked positions: starts without replacement, as many as ``mask_prob`` of the positions.

    The expected number of starts is rounded up or down at random. Masks overlap: with the defaults
    about half of the positions are masked (section 4.2).

    Args:
        lens: Positions of each clip; one that is shorter than a mask stays whole.
        width: T', padding included.
        settings: Probability, length and fewest masks.

    Returns:
        (B, T') bool.
    """
    is_masked = torch.zeros((len(lens), width), dtype=torch.bool)
    for row, n in enumerate(lens):
        begins = max(0, n - settings.mask_length + 1)
        count = int(settings.mask_prob * n + float(torch.rand(())))
        starts = torch.randperm(begins)[: max(count, settings.min_masks)]
        places = (starts[:, None] + torch.arange(settings.mask_length)).flatten()
        is_masked[row, places] = True
        if int(is_masked[row].sum()) == 1:  # one alone has nothing to be told from
            is_masked[row] = False
    return is_masked


def draw_negatives(counts: Sequence[int], n: int) -> Tensor:
    """For each masked position, other masked positions of the same clip.

    Args:
        counts: Masked positions of each clip; 0, or 2 and more.
        n: Negatives of each.

    Returns:
        (sum of counts, n) int64: places among all masked positions of the batch, never its own.
    """
    first, found = 0, []
    for count in counts:
        if count:
            others = torch.randint(count - 1, (count, n))
            others += others >= torch.arange(count)[:, None]
            found.append(first + others)
        first += count
    return torch.cat(found) if found else torch.zeros((0, n), dtype=torch.int64)


def gumbel_temperature(update: int, settings: ContrastiveSettings) -> float:
    """Of the quantiser at an update: from ``gumbel_start`` down to ``gumbel_end`` (section 4.2)."""
    return max(settings.gumbel_end, settings.gumbel_start * settings.gumbel_decay**update)


def contrast(
    aid: ContrastiveAid,
    states: Tensor,
    latents: Tensor,
    is_masked: Tensor,
    negatives: Tensor,
    settings: ContrastiveSettings,
    *,
    same_is_wrong: bool = False,
) -> Tensor:
    """Mean over the masked positions of the contrastive loss plus the weighted diversity loss.

    Only masked positions are quantised: they are all the targets and all the negatives. Diversity
    is (G V - perplexity) / (G V), as in fairseq and transformers; the paper writes the entropy.

    Args:
        aid: Quantiser and projections.
        states: (B, T', D) of the layers, which did not see the masked positions.
        latents: (B, T', C) of the convolutions, which did.
        is_masked: (B, T').
        negatives: (N, K) of ``draw_negatives``; N masked positions.
        settings: Temperature and weight of the diversity.
        same_is_wrong: A negative with the code of the truth counts as a wrong answer. Without it
            (as in transformers) a quantiser that has but one code left has no loss at all.
    """
    context = aid.project_hid(states[is_masked])  # (N, P)
    codes, perplexity = aid.quantizer(aid.dropout(latents[is_masked])[None])
    targets = aid.project_q(codes.to(aid.project_q.weight.dtype))[0]
    own = torch.arange(len(negatives), device=negatives.device)[:, None]
    with torch.autocast(states.device.type, enabled=False):  # cosines are divided by 0.1
        context, targets = (nn.functional.normalize(x.float(), dim=-1) for x in (context, targets))
        # all pairs cost less time and memory than N x K copies of the targets
        logits = (context @ targets.T).gather(1, torch.cat([own, negatives], dim=1))
    logits = logits / settings.temperature
    if not same_is_wrong:
        _, number = torch.unique(codes[0].detach(), dim=0, return_inverse=True)
        same = number[negatives] == number[:, None]
        logits = torch.cat([logits[:, :1], logits[:, 1:].masked_fill(same, float("-inf"))], dim=1)
    truth = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    n_codes = aid.quantizer.num_groups * aid.quantizer.num_vars
    diversity = (n_codes - perplexity.float()) / n_codes
    loss: Tensor = nn.functional.cross_entropy(logits, truth) + settings.diversity * diversity
    return loss


@SOUND_OBJECTIVES.register("masked_contrastive")
def masked_contrastive(
    model: CTCModel, features: Features, settings: ObjectiveSettings, update: int
) -> Tensor:
    """Mask, encode, and pick out the quantised latent behind each masked position.

    Args:
        model: On a Wav2Vec2-class base, with its aid.
        features: A batch. Masks of augmentation are replaced.
        settings: ``contrastive``.
        update: Of the stage; the quantiser's temperature follows from it.

    Returns:
        The mean over the masked positions; 0 where every clip is too short for a mask. On dev, it
        steers: there a negative with the code of the truth counts as wrong, or a collapsed
        quantiser would be the best.
    """
    encoder, aid, how = model.encoder, model.aids["masked_contrastive"], settings.contrastive
    if not isinstance(encoder, SelfSupervisedEncoder) or not isinstance(aid, ContrastiveAid):
        raise TypeError("masked_contrastive needs the model that training.recipe builds for it")
    lens = encoder.out_lens(features.input_lens).tolist()
    is_masked = draw_mask(lens, encoder.mask_shape(features)[1], how)
    negatives = draw_negatives(is_masked.sum(1).tolist(), how.negatives)
    device = features.values.device
    is_masked, negatives = is_masked.to(device), negatives.to(device)
    hidden = Features(features.values, features.input_lens, features.is_pad, is_masked)
    states, latents = encoder.with_latents(hidden)
    if not len(negatives):
        return states.sum().mul(0.0)
    aid.quantizer.temperature = gumbel_temperature(update, how)
    return contrast(
        aid, states, latents, is_masked, negatives, how, same_is_wrong=not model.training
    )
