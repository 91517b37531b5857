"""The transducer loss of logits that exist: (B, T, U+1, V) in, its gradient the only other one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xlasr.errors import UsageError
from xlasr.objectives.transducer.lattice import (
    BLANK,
    Sizes,
    at_least_float32,
    check,
    occupations,
)

CHUNK = 1 << 21
"""Logits that are looked at together: 8 MB in float32."""


def transducer_loss(
    logits: Tensor,
    targets: Tensor,
    frame_lens: Tensor,
    target_lens: Tensor,
    *,
    modified: bool = False,
    reuse_logits: bool = False,
) -> Tensor:
    """Negative log-likelihood of each target, summed over all its alignments.

    Beside the logits only their gradient is ever that large; with ``reuse_logits`` it is written
    where the logits were.

    Args:
        logits: (B, T, U+1, V), not normalised; class 0 is the blank. Padding may hold anything.
        targets: (B, U) int64 symbols; see ``lattice.check``.
        frame_lens: (B,) int64 frames of each clip.
        target_lens: (B,) int64 symbols of each target; an empty one is all blanks.
        modified: At most one symbol a frame.
        reuse_logits: Overwrite the logits in the backward pass: nothing else may need them (PyTorch
            refuses the backward pass where it sees that something does).

    Returns:
        (B,) nats, float32 (float64 for float64 logits).

    Raises:
        UsageError: A shape or a length does not fit, or leaf logits were to be overwritten.
        DataError: A target holds the blank, has no alignment, or the logits hold NaN.

    Source: Graves 2012 (arXiv 1211.3711), equations 16 to 20.
    """
    if logits.ndim != 4:
        raise UsageError(f"logits must be (B, T, U+1, V); found shape {tuple(logits.shape)}")
    if reuse_logits and (logits.is_leaf or not logits.is_contiguous()):
        raise UsageError("only contiguous logits that were computed can be overwritten")
    n_frames, n_rows, n_classes = logits.shape[1:]
    sizes = check(
        targets.to(logits.device),
        frame_lens,
        target_lens,
        n_frames=n_frames,
        n_rows=n_rows,
        n_classes=n_classes,
        modified=modified,
    )
    loss: Tensor = _FromLogits.apply(logits, sizes, modified, reuse_logits)  # type: ignore[no-untyped-call]
    return loss


class _FromLogits(torch.autograd.Function):
    """Logits to losses; the gradient is computed in closed form, a slice at a time."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, sizes: Sizes, modified: bool, reuse: bool) -> Tensor:
        shape, n_classes = logits.shape[:3], logits.shape[3]
        flat = logits.detach().reshape(-1, n_classes)
        wanted = torch.nn.functional.pad(sizes.targets, (0, 1), value=BLANK)  # nothing behind all
        wanted = wanted[:, None].expand(shape).reshape(-1)
        at_least = torch.float64 if logits.dtype == torch.float64 else torch.float32
        normaliser, blank, emit = (flat.new_empty(len(flat), dtype=at_least) for _ in range(3))
        for rows in _slices(len(flat), n_classes):
            part = at_least_float32(flat[rows])
            normaliser[rows] = part.logsumexp(1)
            blank[rows] = part[:, BLANK] - normaliser[rows]
            emit[rows] = part.gather(1, wanted[rows, None])[:, 0] - normaliser[rows]
        found = occupations(
            emit.view(shape)[:, :, :-1], blank.view(shape), sizes, modified=modified
        )
        ctx.save_for_backward(logits, normaliser, wanted)
        ctx.found, ctx.reuse, ctx.inside = found, reuse, sizes.nodes(shape[1])
        return -found.log_prob

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        logits, normaliser, wanted = ctx.saved_tensors
        scale = grads[0][:, None, None]
        blank = (scale * ctx.found.blank).reshape(-1)
        emit = torch.nn.functional.pad(scale * ctx.found.emit, (0, 1)).reshape(-1)
        gradient = logits.detach() if ctx.reuse else logits.new_empty(logits.shape)
        source = logits.detach().reshape(-1, logits.shape[3])
        flat = gradient.view(-1, logits.shape[3])
        outside = ~ctx.inside.reshape(-1, 1)
        for rows in _slices(len(flat), flat.shape[1]):
            part = at_least_float32(source[rows]) - normaliser[rows, None]
            part.exp_().mul_((blank + emit)[rows, None])
            part[:, BLANK] -= blank[rows]
            part.scatter_add_(1, wanted[rows, None], -emit[rows, None])
            flat[rows] = part.masked_fill_(outside[rows], 0)  # NaN in padding stays there
        return gradient, None, None, None


def _slices(n_rows: int, n_classes: int) -> list[slice]:
    size = max(1, CHUNK // n_classes)
    return [slice(at, at + size) for at in range(0, n_rows, size)]
