"""Oracles and small lattices for the transducer tests: every alignment written out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Arc = tuple[int, int, int]
"""Frame, symbols written before, class."""


def paths(target: Sequence[int], n_frames: int, *, modified: bool = False) -> Iterator[list[Arc]]:
    """Every alignment of a target with frames, by the definition and without any recursion sum."""

    def go(t: int, u: int) -> Iterator[list[Arc]]:
        if t == n_frames:
            if u == len(target):
                yield []
            return
        for rest in go(t + 1, u):
            yield [(t, u, 0), *rest]
        if u < len(target):
            for rest in go(t + 1 if modified else t, u + 1):
                yield [(t, u, target[u]), *rest]

    yield from go(0, 0)


def by_hand(
    logits: Tensor, target: Sequence[int], n_frames: int, *, modified: bool = False, allowed=None
) -> float:
    """-log of the summed probability of all (allowed) alignments; logits (T, U+1, V)."""
    log_probs = logits.double().log_softmax(-1).tolist()
    total = 0.0
    for path in paths(target, n_frames, modified=modified):
        if allowed is None or all(allowed(*arc) for arc in path):
            total += math.exp(sum(log_probs[t][u][v] for t, u, v in path))
    return -math.log(total) if total else math.inf


@dataclass
class Batch:
    """A ragged batch with everything a loss is given; padding is random too."""

    encoder: Tensor
    predictor: Tensor
    weight: Tensor
    bias: Tensor
    targets: Tensor
    frames: Tensor
    symbols: Tensor

    @property
    def leaves(self) -> list[Tensor]:
        return [self.encoder, self.predictor, self.weight, self.bias]

    def logits(self) -> Tensor:
        joined = (self.encoder[:, :, None] + self.predictor[:, None]).tanh()
        return joined @ self.weight.T + self.bias

    def lens(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.targets, self.frames, self.symbols

    def row(self, i: int) -> Batch:
        """One clip, without its padding."""
        t, u = int(self.frames[i]), int(self.symbols[i])
        return Batch(
            self.encoder[i : i + 1, :t].detach().requires_grad_(),
            self.predictor[i : i + 1, : u + 1].detach().requires_grad_(),
            self.weight.detach().requires_grad_(),
            self.bias.detach().requires_grad_(),
            self.targets[i : i + 1, :u],
            self.frames[i : i + 1],
            self.symbols[i : i + 1],
        )


def batch(
    frames: Sequence[int] = (5, 3, 4, 1),
    symbols: Sequence[int] = (3, 3, 0, 1),
    *,
    n_classes: int = 4,
    width: int = 3,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Batch:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=dtype).mul(1.5).requires_grad_()

    n, t, u = len(frames), max(frames), max(symbols)
    return Batch(
        draw(n, t, width),
        draw(n, u + 1, width),
        draw(n_classes, width),
        draw(n_classes),
        torch.randint(1, n_classes, (n, u), generator=g),
        torch.tensor(frames),
        torch.tensor(symbols),
    )
