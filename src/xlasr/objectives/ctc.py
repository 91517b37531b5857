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
    log_probs = model.log_probs(states).transpose(0, 1)  # (B, T', V) -> (T', B, V)
    ids = [model.tokenizer.encode(t) for t in texts]
    targets = torch.tensor([i for row in ids for i in row], device=states.device)
    losses = nn.functional.ctc_loss(
        log_probs,
        targets,
        model.out_lens(input_lens),
        torch.tensor([len(row) for row in ids]),
        blank=model.tokenizer.blank,
        reduction="none",
    )
    return losses.sum() / max(1, len(targets))
