"""The pruned transducer loss: a joiner that only adds finds out where the real one has to look.

Three steps: ``simple_loss`` of an additive joiner, whose normaliser is a matrix product, so that
nothing of size (B, T, U, V) exists; ``window_starts`` from how likely its arcs are; the real joiner
on the nodes of those windows, by ``fused.joined_loss(nodes=in_windows(...))``.

Source: Kuang et al. 2022 (arXiv 2206.13236).
"""

from __future__ import annotations

import torch
from torch import Tensor

from xlasr.errors import DataError, UsageError
from xlasr.objectives.transducer.lattice import (
    BLANK,
    ArcLoss,
    Occupations,
    Sizes,
    at_least_float32,
    check,
    occupations,
)


def simple_loss(
    encoder: Tensor,
    predictor: Tensor,
    targets: Tensor,
    frame_lens: Tensor,
    target_lens: Tensor,
    *,
    lm_scale: float = 0.0,
    am_scale: float = 0.0,
    modified: bool = False,
) -> tuple[Tensor, Occupations]:
    """Loss of the joiner ``encoder + predictor``, and how likely each arc of its lattice is.

    Args:
        encoder: (B, T, V) logits of the encoder alone.
        predictor: (B, U+1, V) logits of the predictor alone.
        targets: (B, U) int64 symbols; see ``lattice.check``.
        frame_lens: (B,) int64 frames of each clip.
        target_lens: (B,) int64 symbols of each target.
        lm_scale: Share of log-probabilities of the predictor alone: smooths, so that no half of
            the joiner leans on the other.
        am_scale: The same for the encoder alone, beside the mean distribution of the predictor over
            the clip (the paper's code takes that of the whole batch, which makes a clip's loss
            depend on its neighbours).
        modified: At most one symbol a frame.

    Returns:
        (B,) nats, and the occupations of arcs.

    Raises:
        UsageError: A shape, a length or a scale does not fit.
        DataError: A target holds the blank, has no alignment, or a logit is NaN.

    Source: arXiv 2206.13236, sections 3.1 and 3.2.
    """
    if encoder.ndim != 3 or predictor.ndim != 3 or encoder.shape[::2] != predictor.shape[::2]:
        raise UsageError(
            "the simple joiner takes (B, T, V) and (B, U+1, V); found "
            f"{tuple(encoder.shape)} and {tuple(predictor.shape)}"
        )
    if lm_scale < 0 or am_scale < 0 or lm_scale + am_scale > 1:
        raise UsageError(
            f"lm_scale and am_scale are shares of one; found {lm_scale} and {am_scale}"
        )
    n_frames = encoder.shape[1]
    sizes = check(
        targets.to(encoder.device),
        frame_lens,
        target_lens,
        n_frames=n_frames,
        n_rows=predictor.shape[1],
        n_classes=encoder.shape[2],
        modified=modified,
    )
    nodes = sizes.nodes(n_frames)
    with torch.autocast(encoder.device.type, enabled=False):
        am = at_least_float32(encoder).masked_fill(~nodes[:, :, :1], 0)
        lm = at_least_float32(predictor).masked_fill(~nodes[:, 0, :, None], 0)
        emit, blank = _arcs(am, lm, sizes, lm_scale, am_scale)
        found = occupations(emit.detach(), blank.detach(), sizes, modified=modified)
        loss: Tensor = ArcLoss.apply(emit, blank, found)  # type: ignore[no-untyped-call]
    return loss, found


def _arcs(
    am: Tensor, lm: Tensor, sizes: Sizes, lm_scale: float, am_scale: float
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, T, U) of symbols and (B, T, U+1) of blanks."""
    am_top, lm_top = am.detach().amax(2, keepdim=True), lm.detach().amax(2, keepdim=True)
    am_exp, lm_exp = (am - am_top).exp(), (lm - lm_top).exp()
    tiny = torch.finfo(am.dtype).tiny
    # log of sum_v exp(am + lm): (B, T, U+1)
    normaliser = (am_exp @ lm_exp.transpose(1, 2) + tiny).log() + am_top + lm_top.transpose(1, 2)
    wanted = sizes.targets
    n_frames = am.shape[1]
    am_emit = am.gather(2, wanted[:, None].expand(-1, n_frames, -1))  # (B, T, U)
    lm_emit = lm[:, :-1].gather(2, wanted[:, :, None]).transpose(1, 2)  # (B, 1, U)
    am_blank, lm_blank = am[:, :, BLANK, None], lm[:, None, :, BLANK]
    both = 1.0 - lm_scale - am_scale
    emit = both * (am_emit + lm_emit - normaliser[:, :, :-1])
    blank = both * (am_blank + lm_blank - normaliser)
    if lm_scale:
        total = lm.logsumexp(2)[:, None]  # (B, 1, U+1)
        emit = emit + lm_scale * (lm_emit - total[:, :, :-1])
        blank = blank + lm_scale * (lm_blank - total)
    if am_scale:
        probs = lm.softmax(2).masked_fill(~sizes.nodes(1)[:, 0, :, None], 0)
        mean = (probs.sum(1) + tiny).log()  # (B, V); its scale is normalised away
        total = (am + mean[:, None]).logsumexp(2, keepdim=True)
        emit = emit + am_scale * (am_emit + mean.gather(1, wanted)[:, None] - total)
        blank = blank + am_scale * (am_blank + mean[:, None, BLANK, None] - total)
    return emit, blank


def symbols_a_frame(width: int, *, modified: bool = False) -> int:
    """Symbols that windows of ``width`` rows let be written in a frame."""
    return 1 if modified else width - 1


def window_starts(
    found: Occupations,
    frame_lens: Tensor,
    target_lens: Tensor,
    *,
    width: int,
    modified: bool = False,
) -> Tensor:
    """For each frame the first of ``width`` rows of the lattice that the joiner looks at.

    The window with the most probable paths is taken, and then moved so that it begins at row 0,
    ends at the last row, never goes back, and leaves a path through.

    Args:
        found: Occupations of the simple joiner's lattice.
        frame_lens: (B,) int64 frames of each clip.
        target_lens: (B,) int64 symbols of each target.
        width: Rows of a window, at least 2.
        modified: At most one symbol a frame.

    Returns:
        (B, T) int64; behind the end of a clip, its last window.

    Raises:
        UsageError: ``width`` is below 2.
        DataError: A target has so many symbols that windows of this width cannot reach its end.

    Source: arXiv 2206.13236, section 3.3.
    """
    if width < 2:
        raise UsageError(f"a window of {width} rows holds no symbol; give at least 2")
    n_frames, n_rows = found.blank.shape[1:]
    device = found.blank.device
    frames, symbols = frame_lens.to(device)[:, None], target_lens.to(device)[:, None]
    per_frame = symbols_a_frame(width, modified=modified)
    too_long = (symbols > per_frame * frames)[:, 0]
    if bool(too_long.any()):
        row = int(too_long.nonzero()[0, 0])
        raise DataError(
            f"target {row} has {int(symbols[row])} symbols for {int(frames[row])} frames; windows "
            f"of {width} rows let at most {per_frame} be written in a frame. Leave the clip out, "
            "or widen the window"
        )
    width = min(width, n_rows)
    inside = found.blank.unfold(2, width, 1).sum(3)  # (B, T, n_rows + 1 - width)
    emit = torch.nn.functional.pad(found.emit, (1, 1))  # by the row the symbol leads to
    if modified:
        inside = inside + emit[:, :, 1:].unfold(2, width, 1).sum(3)
    else:  # what enters the window at this frame from below was outside of it before
        inside = inside - emit[:, :, : n_rows + 1 - width]
    starts = inside.argmax(2)
    t = torch.arange(n_frames, device=device)[None]
    end = (symbols + 1 - width).clamp(min=0)
    low = (end - per_frame * (frames - 1 - t)).clamp(min=0)
    starts = torch.minimum(starts.maximum(low), torch.minimum(end, per_frame * t))
    starts = starts.cummax(1).values
    return (starts - per_frame * t).cummin(1).values + per_frame * t


def in_windows(starts: Tensor, width: int, n_rows: int) -> Tensor:
    """(B, T, n_rows) bool: the rows of each frame's window, for ``fused.joined_loss``."""
    u = torch.arange(n_rows, device=starts.device)
    return (u >= starts[..., None]) & (u < starts[..., None] + width)
