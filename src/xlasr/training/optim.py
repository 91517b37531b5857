"""Learning rates: groups, warm-up, decay. All pure functions of the update number."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from xlasr.adaptation.trainable import Trainable
from xlasr.config import OptimSettings


def make_optimizer(
    model: nn.Module, trainable: Trainable, settings: OptimSettings
) -> torch.optim.Optimizer:
    """AdamW with one group for each (head or not, depth, decayed or not).

    Norms and biases are not decayed.
    """
    parameters = dict(model.named_parameters())
    groups: list[dict[str, Any]] = []
    for group in trainable.groups:
        peak = settings.lr * settings.layer_decay**group.depth
        if group.is_head:
            peak = settings.head_lr or settings.lr
        for decayed in (True, False):
            chosen = [parameters[n] for n in group.names if (parameters[n].ndim > 1) == decayed]
            if chosen:
                groups.append(
                    {
                        "params": chosen,
                        "peak_lr": peak,
                        "is_head": group.is_head,
                        "weight_decay": settings.weight_decay if decayed else 0.0,
                    }
                )
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=1e-8)


def rate(update: int, total: int, settings: OptimSettings) -> float:
    """Factor on the peak rate for update number ``update`` (from 0) of ``total``."""
    if update < settings.warmup:
        return (update + 1) / settings.warmup
    left = 1.0 - (update - settings.warmup) / max(1, total - settings.warmup)
    if settings.schedule == "constant":
        shape = 1.0
    elif settings.schedule == "linear":
        shape = left
    else:
        shape = 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
    return settings.final + (1.0 - settings.final) * shape


def set_rates(optimizer: torch.optim.Optimizer, factor: float, *, head_only: bool) -> float:
    """Set every group's rate; returns the first group's. ``head_only`` freezes the others."""
    for group in optimizer.param_groups:
        frozen = head_only and not group["is_head"]
        group["lr"] = 0.0 if frozen else group["peak_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
