"""Windows around a reference alignment: each symbol is written near where it was said."""

from __future__ import annotations

import torch
from torch import Tensor

from xlasr.errors import DataError, UsageError


def alignment_windows(
    alignment: Tensor,
    frame_lens: Tensor,
    target_lens: Tensor,
    *,
    n_frames: int,
    left: int,
    right: int,
) -> tuple[Tensor, Tensor]:
    """Nodes and writing arcs that an alignment-restricted loss allows.

    Args:
        alignment: (B, U) int64 frame of each symbol, never falling; values behind a row's end are
            not looked at.
        frame_lens: (B,) int64 frames of each clip.
        target_lens: (B,) int64 symbols of each target.
        n_frames: T.
        left: Frames before the reference at which the symbol may be written.
        right: Frames behind it.

    Returns:
        ``nodes`` (B, T, U+1) and ``writes`` (B, T, U), bool, for ``fused.joined_loss``.

    Raises:
        UsageError: A negative buffer, or lengths that do not fit.
        DataError: A reference frame lies outside of its clip or before the one before it.

    Source: Mahadeokar et al. 2020 (arXiv 2011.03072), section 3.1.
    """
    if left < 0 or right < 0:
        raise UsageError(f"buffers are counted in frames from 0; found {left} and {right}")
    n_clips, n_symbols = alignment.shape
    if len(frame_lens) != n_clips or len(target_lens) != n_clips:
        raise UsageError(f"{n_clips} alignments need as many lengths; found {len(frame_lens)}")
    device = alignment.device
    frames, symbols = frame_lens.to(device)[:, None], target_lens.to(device)[:, None]
    real = torch.arange(n_symbols, device=device) < symbols
    wrong = real & ((alignment < 0) | (alignment >= frames))
    falls = torch.zeros_like(real)
    falls[:, 1:] = real[:, 1:] & (alignment[:, 1:] < alignment[:, :-1])
    if bool((wrong | falls).any()):
        row, at = (wrong | falls).nonzero()[0].tolist()
        raise DataError(
            f"the reference alignment of target {row} puts symbol {at} at frame "
            f"{int(alignment[row, at])}; allowed are frames 0 to {int(frames[row]) - 1}, none "
            "before that of the symbol before. Align it again"
        )
    t = torch.arange(n_frames, device=device)[None, :, None]
    first, last = (alignment - left)[:, None], (alignment + right)[:, None]  # (B, 1, U)
    writes = (t >= first) & (t <= last) & real[:, None]
    nodes = torch.ones(n_clips, n_frames, n_symbols + 1, dtype=torch.bool, device=device)
    nodes[:, :, 1:] &= (t >= first) | ~real[:, None]  # behind a symbol only once it may be written
    nodes[:, :, :-1] &= (t <= last) | ~real[:, None]  # before it only as long as it still may
    return nodes, writes
