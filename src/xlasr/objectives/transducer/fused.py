"""Joiner and transducer loss in one: the logits of all cells of the lattice never exist together.

The cells (target, frame, symbols written) that an alignment may pass are listed, and the joiner
runs over the list a slice at a time; in the backward pass it runs again. Cells of padding, or
outside of a window, cost nothing: the pruned and the restricted loss are this one with fewer cells.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xlasr.errors import UsageError
from xlasr.objectives.transducer.lattice import (
    BLANK,
    INF,
    Sizes,
    at_least_float32,
    check,
    occupations,
)

CHUNK = 1 << 20
"""Logits (or states of the joiner) that exist at a time: 4 MB in float32."""


def joined_loss(
    encoder: Tensor,
    predictor: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    frame_lens: Tensor,
    target_lens: Tensor,
    *,
    clips: Tensor | None = None,
    nodes: Tensor | None = None,
    writes: Tensor | None = None,
    modified: bool = False,
    chunk: int = CHUNK,
) -> Tensor:
    """Loss of the joiner ``tanh(encoder + predictor) @ weight.T + bias``.

    Args:
        encoder: (B, T, J) projected encoder states; (C, T, J) of fewer clips with ``clips``.
        predictor: (B, U+1, J) projected predictor states.
        weight: (V, J) of the output layer.
        bias: (V,).
        targets: (B, U) int64 symbols; see ``lattice.check``.
        frame_lens: (B,) int64 frames of each clip.
        target_lens: (B,) int64 symbols of each target.
        clips: (B,) int64: the row of ``encoder`` of each target, where several targets are of one
            clip, which is not copied; None is one each.
        nodes: (B, T, U+1) bool: nodes that alignments may pass; None is all.
        writes: (B, T, U) bool: frames at which each symbol may be written; None is all.
        modified: At most one symbol a frame.
        chunk: Logits that exist at a time.

    Returns:
        (B,) nats, as ``transducer_loss`` of the joiner's logits.

    Raises:
        UsageError: A shape or a length does not fit.
        DataError: A target holds the blank, has no alignment, or a logit is NaN.

    Source: Graves 2012 (arXiv 1211.3711); recomputation as in Chen et al. 2016 (arXiv 1604.06174).
    """
    shapes = [(x.ndim, len(x) if clips is None else 0, x.shape[-1]) for x in (encoder, predictor)]
    if shapes[0] != shapes[1] or encoder.ndim != 3:
        raise UsageError(
            "the joiner takes (B, T, J) and (B, U+1, J); found "
            f"{tuple(encoder.shape)} and {tuple(predictor.shape)}"
        )
    heard = torch.arange(len(encoder)) if clips is None else clips
    if heard.shape != (len(predictor),) or bool(((heard < 0) | (heard >= len(encoder))).any()):
        raise UsageError(
            f"each of {len(predictor)} targets needs one of {len(encoder)} clips; found "
            f"{heard.tolist()}"
        )
    n_frames = encoder.shape[1]
    sizes = check(
        targets.to(encoder.device),
        frame_lens,
        target_lens,
        n_frames=n_frames,
        n_rows=predictor.shape[1],
        n_classes=len(weight),
        modified=modified,
    )
    inside = sizes.nodes(n_frames)
    if nodes is not None:
        inside = inside & nodes
    parts = [at_least_float32(x) for x in (encoder, predictor, weight, bias)]
    with torch.autocast(encoder.device.type, enabled=False):
        loss: Tensor = _Joined.apply(  # type: ignore[no-untyped-call]
            *parts, heard.to(encoder.device), sizes, inside, writes, modified, chunk
        )
    return loss


class _Joined(torch.autograd.Function):
    """Projections to losses over a list of cells."""

    @staticmethod
    def forward(
        ctx: Any,
        encoder: Tensor,
        predictor: Tensor,
        weight: Tensor,
        bias: Tensor,
        heard: Tensor,
        sizes: Sizes,
        inside: Tensor,
        writes: Tensor | None,
        modified: bool,
        chunk: int,
    ) -> Tensor:
        n_symbols = sizes.targets.shape[1]
        row, frame, written = inside.nonzero().unbind(1)
        cells = torch.stack([row, frame, written, heard[row]], 1)  # (K, 4), with the clip
        wanted = torch.nn.functional.pad(sizes.targets, (0, 1), value=BLANK)[row, written]
        size = max(1, chunk // max(weight.shape))
        normaliser, blank, emit = (encoder.new_empty(len(cells)) for _ in range(3))
        ctx.kept = None
        for at in range(0, len(cells), size):
            rows = slice(at, at + size)
            logits = _logits(encoder, predictor, weight, bias, cells[rows])[1]
            blank[rows] = logits[:, BLANK]
            emit[rows] = logits.gather(1, wanted[rows, None])[:, 0]
            top = logits.amax(1)
            total = logits.sub_(top[:, None]).exp_().sum(1)
            normaliser[rows] = top + total.log()
            if at + size >= len(cells):  # the backward pass begins with it
                ctx.kept = (at, logits.div_(total[:, None]))
        emits, blanks = (
            encoder.new_full(inside.shape, -INF).masked_scatter_(inside, arcs - normaliser)
            for arcs in (emit, blank)
        )
        emits = emits[:, :, :n_symbols]
        if writes is not None:
            emits = emits.masked_fill(~writes, -INF)
        found = occupations(emits, blanks, sizes, modified=modified)
        ctx.save_for_backward(encoder, predictor, weight, bias)
        ctx.cells, ctx.wanted, ctx.normaliser, ctx.size = cells, wanted, normaliser, size
        ctx.arcs = (
            torch.nn.functional.pad(found.emit, (0, 1))[inside],
            found.blank[inside],
        )
        return -found.log_prob

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        encoder, predictor, weight, bias = ctx.saved_tensors
        scale = grads[0][ctx.cells[:, 0]]
        emit, blank = (scale * arcs for arcs in ctx.arcs)
        gradients = [torch.zeros_like(x) for x in (encoder, predictor, weight, bias)]
        done, ctx.kept = ctx.kept, None  # a second backward pass computes it again
        if done is not None:
            rows = slice(done[0], None)
            cells = ctx.cells[rows]
            joined = _joined(encoder, predictor, cells)
            _add(
                gradients, weight, cells, joined, done[1], ctx.wanted[rows], emit[rows], blank[rows]
            )
            del joined
        todo = torch.arange(len(emit) if done is None else done[0], device=emit.device)
        done = None
        # a cell that no alignment passes, to the last bit, has no gradient
        share = ctx.arcs[0] + ctx.arcs[1]
        todo = todo[share[todo] > 1e-4 * torch.finfo(emit.dtype).eps]
        for part in torch.split(todo, ctx.size):
            cells = ctx.cells[part]
            joined, probs = _logits(encoder, predictor, weight, bias, cells)
            probs.sub_(ctx.normaliser[part, None]).exp_()
            _add(gradients, weight, cells, joined, probs, ctx.wanted[part], emit[part], blank[part])
            del joined, probs
        return (*gradients, None, None, None, None, None, None)


def _joined(encoder: Tensor, predictor: Tensor, cells: Tensor) -> Tensor:
    """(K, J) of cells (K, 4)."""
    row, frame, written, clip = cells.unbind(1)
    return (encoder[clip, frame] + predictor[row, written]).tanh_()


def _logits(
    encoder: Tensor, predictor: Tensor, weight: Tensor, bias: Tensor, cells: Tensor
) -> tuple[Tensor, Tensor]:
    """(K, J) and logits (K, V) of cells (K, 4)."""
    joined = _joined(encoder, predictor, cells)
    return joined, torch.addmm(bias, joined, weight.t())


def _add(
    gradients: list[Tensor],
    weight: Tensor,
    cells: Tensor,
    joined: Tensor,
    probs: Tensor,
    wanted: Tensor,
    emit: Tensor,
    blank: Tensor,
) -> None:
    """Add the gradients of some cells; ``joined`` and ``probs`` (K, V) are overwritten."""
    gradient = probs.mul_((emit + blank)[:, None])
    gradient[:, BLANK] -= blank
    gradient.scatter_add_(1, wanted[:, None], -emit[:, None])
    encoder, predictor, of_weight, of_bias = gradients
    of_weight.addmm_(gradient.t(), joined)
    of_bias += gradient.sum(0)
    inner = (gradient @ weight).mul_(joined.square_().neg_().add_(1))  # the slope of tanh
    row, frame, written, clip = cells.unbind(1)
    encoder.view(-1, inner.shape[1]).index_add_(0, clip * encoder.shape[1] + frame, inner)
    predictor.view(-1, inner.shape[1]).index_add_(0, row * predictor.shape[1] + written, inner)
