"""Elastic weight consolidation: what mattered for an old language stays where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xlasr.config import ObjectiveSettings
from xlasr.objectives import OBJECTIVES


@dataclass(frozen=True)
class Anchor:
    """Where weights were, and how much each mattered.

    Args:
        start: Weights by name.
        importance: Diagonal of the empirical Fisher information, of mean 1, by name.
    """

    start: dict[str, Tensor]
    importance: dict[str, Tensor]


def make_anchor(
    model: Any, names: Iterable[str], clips: Iterable[Any], loss_of: Callable[[Any], Tensor]
) -> Anchor:
    """Measure how much each weight matters for the clips that should stay known.

    Args:
        model: At the weights to stay near; without dropout.
        names: Of the weights that will be trained.
        clips: One by one: the square of a mean gradient is not the mean of squares.
        loss_of: Loss of one clip.
    """
    model.eval()
    weights = {n: p for n, p in model.named_parameters() if n in set(names)}
    squares = {n: torch.zeros_like(p) for n, p in weights.items()}
    for clip in clips:
        gradients = torch.autograd.grad(loss_of(clip), list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                squares[name] += gradient.float() ** 2
    total = sum(float(s.sum(dtype=torch.float64)) for s in squares.values())
    mean = total / max(1, sum(s.numel() for s in squares.values()))
    return Anchor(
        {n: p.detach().clone() for n, p in weights.items()},
        {n: s / mean if mean > 0 else s for n, s in squares.items()},
    )


@OBJECTIVES.register("ewc")
def ewc(
    model: Any,
    states: Tensor,
    input_lens: Tensor,
    texts: Sequence[str],
    settings: ObjectiveSettings,
) -> Tensor:
    """Half the squared distance to the anchor, each weight by its importance, summed.

    The importances have mean 1, so that ``weight`` means the same for every model and corpus: the
    strength of a pull that all weights would feel alike if all mattered alike. As a sum it grows
    with the model: the first step of Adam, which moves each of 37 million weights by a rate of
    1e-4, costs 0.19 at weight 1. Useful weights are about a tenth (docs/RESULTS.md).

    Source: Kirkpatrick et al. 2017 (arXiv 1612.00796), equation 3.

    Args:
        model: Its ``anchor`` was made when the stage began.
        states: Only for their device.
        input_lens: Unused.
        texts: Unused.
        settings: Unused beyond the weight.
    """
    anchor: Anchor = model.anchor
    total = torch.zeros((), device=states.device)
    for name, parameter in model.named_parameters():
        if name in anchor.start:
            moved = parameter - anchor.start[name].to(parameter.device)
            total = total + (anchor.importance[name].to(parameter.device) * moved**2).sum()
    return total / 2
