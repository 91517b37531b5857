"""Connectionist temporal classification."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xlasr.config import ObjectiveSettings
from xlasr.models.ctc import CTCModel
from xlasr.objectives import OBJECTIVES


def min_frames(ids: Sequence[int]) -> int:
    """Frames CTC needs for a transcript: its symbols, and a blank between equal neighbours."""
    return len(ids) + sum(a == b for a, b in itertools.pairwise(ids))


@OBJECTIVES.register("ctc")
def ctc_loss(
    model: CTCModel,
    states: Tensor,
    input_lens: Tensor,
    texts: Sequence[str],
    settings: ObjectiveSettings,
) -> Tensor:
    """Negative log-likelihood per symbol, mean over the batch's symbols.

    Source: Graves et al. 2006.

    Args:
        model: With a CTC head.
        states: (B, T', D) from its encoder.
        input_lens: (B,) int64 samples.
        texts: Transcripts; letters the alphabet lacks are left out.
        settings: Unused beyond the weight.
    """
    ids = [model.tokenizer.encode(t) for t in texts]
    losses = ctc_losses(model, states, input_lens, ids)
    return losses.sum() / max(1, sum(map(len, ids)))


def ctc_losses(
    model: CTCModel,
    states: Tensor,
    input_lens: Tensor,
    ids: Sequence[Sequence[int]],
    clips: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood (N,) of each sequence of symbols, summed over its alignments.

    Args:
        model: With a CTC head, which hears each clip once.
        states: (B, T', D) from its encoder.
        input_lens: (B,) int64 samples.
        ids: N sequences; infinite is the loss of one with less than ``min_frames``.
        clips: (N,) int64: the clip of each sequence; None is one each.
    """
    log_probs = model.log_probs(states).transpose(0, 1)  # (B, T', V) -> (T', B, V)
    lens = model.out_lens(input_lens)
    if clips is not None:
        log_probs, lens = log_probs[:, clips], lens[clips]
    flat = torch.tensor([i for row in ids for i in row], dtype=torch.int64, device=states.device)
    sizes = torch.tensor([len(row) for row in ids])
    return nn.functional.ctc_loss(
        log_probs, flat, lens, sizes, blank=model.tokenizer.blank, reduction="none"
    )
