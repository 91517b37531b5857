"""The transducer's lattice: forward and backward over anti-diagonals, for every variant alike.

Node (t, u) means: t frames are used up and u symbols are written. A blank leads from (t, u) to
(t + 1, u). A symbol leads to (t, u + 1), or in the modified topology, which writes at most one
symbol a frame, to (t + 1, u + 1). Every path goes from (0, 0) to (frames, symbols). Variants differ
only in which arcs they leave out, and an arc that is left out has log-probability minus infinity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xlasr.errors import DataError, UsageError

BLANK = 0
INF = float("inf")


@dataclass(frozen=True)
class Sizes:
    """A batch of targets, checked.

    Args:
        targets: (B, U) int64 symbols, blank behind the end of each row.
        frames: (B,) int64 frames of each clip.
        symbols: (B,) int64 symbols of each row of ``targets``.
    """

    targets: Tensor
    frames: Tensor
    symbols: Tensor

    def nodes(self, n_frames: int) -> Tensor:
        """(B, T, U+1) bool: nodes from which an arc may leave."""
        t = torch.arange(n_frames, device=self.frames.device)
        u = torch.arange(self.targets.shape[1] + 1, device=self.frames.device)
        in_time = t < self.frames[:, None]
        return in_time[:, :, None] & (u <= self.symbols[:, None])[:, None]


def check(
    targets: Tensor,
    frame_lens: Tensor,
    target_lens: Tensor,
    *,
    n_frames: int,
    n_rows: int,
    n_classes: int,
    modified: bool = False,
) -> Sizes:
    """Check what every loss is given.

    Args:
        targets: (B, U) int64; what stands behind a row's end is never looked at.
        frame_lens: (B,) frames of each clip, 1 to T.
        target_lens: (B,) symbols of each row, 0 to U; an empty target is T blanks.
        n_frames: T.
        n_rows: U + 1, of the logits or of the predictor's output.
        n_classes: V, blank included.
        modified: At most one symbol a frame.

    Raises:
        UsageError: A shape or a length does not fit.
        DataError: A target holds the blank or an unknown symbol, or has no alignment.
    """
    if targets.ndim != 2 or targets.shape[1] + 1 != n_rows:
        raise UsageError(
            f"targets must be (B, U) for U + 1 = {n_rows} rows of the lattice; found shape "
            f"{tuple(targets.shape)}"
        )
    n_clips, n_symbols = targets.shape
    for name, lens, low, high in (
        ("frame_lens", frame_lens, 1, n_frames),
        ("target_lens", target_lens, 0, n_symbols),
    ):
        values = lens.tolist()
        if lens.shape != (n_clips,) or any(not low <= n <= high for n in values):
            raise UsageError(
                f"{name} must hold {n_clips} values between {low} and {high}; found {values}"
            )
    device = targets.device
    frames, symbols = frame_lens.to(device, torch.int64), target_lens.to(device, torch.int64)
    inside = torch.arange(n_symbols, device=device) < symbols[:, None]
    kept = targets.to(torch.int64).masked_fill(~inside, BLANK)
    wrong = inside & ((kept <= BLANK) | (kept >= n_classes))
    if bool(wrong.any()):
        row, at = wrong.nonzero()[0].tolist()
        raise DataError(
            f"target {row} holds {int(kept[row, at])} at place {at}; symbols are 1 to "
            f"{n_classes - 1}, and {BLANK} is the blank, which no target holds"
        )
    if modified and bool((symbols > frames).any()):
        row = int((symbols > frames).nonzero()[0, 0])
        raise DataError(
            f"target {row} has {int(symbols[row])} symbols for {int(frames[row])} frames; the "
            "modified topology writes at most one a frame. Leave the clip out, or use the regular "
            "topology"
        )
    return Sizes(kept, frames, symbols)


@dataclass(frozen=True)
class Occupations:
    """How likely each arc is, given the targets.

    Args:
        log_prob: (B,) natural log of the summed probability of all paths.
        emit: (B, T, U) probability that the path writes symbol u at frame t.
        blank: (B, T, U+1) probability that it leaves frame t behind u symbols by a blank.
    """

    log_prob: Tensor
    emit: Tensor
    blank: Tensor


def _by_step(arcs: Tensor, modified: bool) -> Tensor:
    """(B, T, U+1) -> (N, B, U+1), by the step of the recursion at which an arc is taken.

    A step is a frame where a symbol takes one, else an anti-diagonal t + u: row u is moved u places
    to the right, by reading rows one place too long.
    """
    if modified:
        return arcs.transpose(0, 1).contiguous()
    n_clips, n_frames, n_rows = arcs.shape
    padded = torch.nn.functional.pad(arcs.transpose(1, 2), (0, n_rows), value=-INF)
    flat = padded.reshape(n_clips, -1)[:, : n_rows * (n_frames + n_rows - 1)]
    return flat.view(n_clips, n_rows, -1).permute(2, 0, 1).contiguous()


def _by_frame(steps: Tensor, n_frames: int, modified: bool) -> Tensor:
    """Undo ``_by_step``: (N, B, U+1) -> (B, T, U+1)."""
    if modified:
        return steps.transpose(0, 1)
    n_clips, n_rows = steps.shape[1:]
    flat = torch.nn.functional.pad(steps.permute(1, 2, 0).reshape(n_clips, -1), (0, n_rows))
    return flat.view(n_clips, n_rows, -1)[:, :, :n_frames].transpose(1, 2)


@torch.no_grad()
def occupations(emit: Tensor, blank: Tensor, sizes: Sizes, *, modified: bool) -> Occupations:
    """Sum over all paths, forward and backward.

    Args:
        emit: (B, T, U) log-probabilities of the next symbol; values outside of a clip and its
            target are never looked at.
        blank: (B, T, U+1) log-probabilities of the blank.
        sizes: Of the batch.
        modified: At most one symbol a frame.

    Raises:
        DataError: A log-probability is NaN or plus infinity, or there is no path at all.

    Source: Graves 2012 (arXiv 1211.3711), equations 16 to 18 and 20.
    """
    n_frames, n_symbols = emit.shape[1:]
    nodes = sizes.nodes(n_frames)
    u = torch.arange(n_symbols, device=emit.device)
    writes = nodes[:, :, :n_symbols] & (u < sizes.symbols[:, None])[:, None]
    emit, blank = emit.masked_fill(~writes, -INF), blank.masked_fill(~nodes, -INF)
    for arcs in (emit, blank):
        bad = torch.isnan(arcs) | (arcs == INF)
        if bool(bad.any()):
            row, t, at = bad.nonzero()[0].tolist()
            raise DataError(
                f"the logits of clip {row} hold NaN or infinity at frame {t} behind {at} symbols: "
                "the model is broken, or the audio is"
            )
    emits = _by_step(torch.nn.functional.pad(emit, (0, 1), value=-INF), modified)
    blanks = _by_step(blank, modified)
    n_steps, n_clips, n_rows = blanks.shape
    rows = torch.arange(n_clips, device=emit.device)
    last = sizes.frames if modified else sizes.frames + sizes.symbols
    alpha = blank.new_full((n_steps + 1, n_clips, n_rows), -INF)
    alpha[0, :, 0] = 0
    for n in range(n_steps):
        torch.add(alpha[n], blanks[n], out=alpha[n + 1])
        written = (alpha[n] + emits[n])[:, :-1]
        torch.logaddexp(alpha[n + 1, :, 1:], written, out=alpha[n + 1, :, 1:])
    log_prob = alpha[last, rows, sizes.symbols]
    if bool(torch.isinf(log_prob).any()):
        row = int(torch.isinf(log_prob).nonzero()[0, 0])
        raise DataError(
            f"target {row} ({int(sizes.symbols[row])} symbols, {int(sizes.frames[row])} frames) "
            "has no alignment with a probability above zero; widen the window, or leave it out"
        )
    beta = blank.new_full((n_steps + 1, n_clips, n_rows), -INF)
    beta[last, rows, sizes.symbols] = 0
    for n in reversed(range(n_steps)):
        before = blanks[n] + beta[n + 1]
        written = emits[n, :, :-1] + beta[n + 1, :, 1:]
        torch.logaddexp(before[:, :-1], written, out=before[:, :-1])
        torch.maximum(beta[n], before, out=beta[n])  # the end of a clip is there already
    alpha = alpha[:-1] - log_prob[:, None]
    blanks = (alpha + blanks + beta[1:]).exp()
    emits = (alpha[..., :-1] + emits[..., :-1] + beta[1:, :, 1:]).exp()
    emits = torch.nn.functional.pad(emits, (0, 1))
    return Occupations(
        log_prob,
        _by_frame(emits, n_frames, modified)[:, :, :n_symbols],
        _by_frame(blanks, n_frames, modified),
    )


class ArcLoss(torch.autograd.Function):
    """Negative log-likelihood (B,) of arcs that PyTorch can differentiate further.

    The gradient of -log P with respect to an arc's log-probability is minus its occupation.
    """

    @staticmethod
    def forward(ctx: Any, emit: Tensor, blank: Tensor, found: Occupations) -> Tensor:
        """Of arcs (B, T, U) and (B, T, U+1), and what ``occupations`` said of them."""
        ctx.found = found
        return -found.log_prob

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """Minus the occupations, by the gradient of each clip's loss."""
        scale = -grads[0][:, None, None]
        return scale * ctx.found.emit, scale * ctx.found.blank, None


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precisions as float32; float64 stays (tests)."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
