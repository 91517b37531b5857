"""The objective ``transducer``: which of the losses, and how they are put together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xlasr.config import ObjectiveSettings, TransducerLossSettings
from xlasr.data.learnt_text import LearntText
from xlasr.models.transducer import Transducer
from xlasr.objectives import OBJECTIVES
from xlasr.objectives.transducer.exact import transducer_loss
from xlasr.objectives.transducer.fused import joined_loss
from xlasr.objectives.transducer.pruned import in_windows, simple_loss, window_starts
from xlasr.objectives.transducer.restricted import alignment_windows


@OBJECTIVES.register("transducer")
def transducer(
    model: Transducer,
    states: Tensor,
    input_lens: Tensor,
    texts: Sequence[str],
    settings: ObjectiveSettings,
) -> Tensor:
    """Negative log-likelihood per symbol, mean over the batch's symbols.

    Where texts have no alignment (dev), the restricted loss is that of the whole lattice.

    Source: Graves 2012 (arXiv 1211.3711); pruned: Kuang et al. 2022 (arXiv 2206.13236), section 3;
        restricted: Mahadeokar et al. 2020 (arXiv 2011.03072).

    Args:
        model: A transducer.
        states: (B, T', D) from its encoder.
        input_lens: (B,) int64 samples.
        texts: Transcripts; letters that the model has no symbol for are left out.
        settings: ``transducer`` says which loss.
    """
    loss = settings.transducer or TransducerLossSettings()
    ids = [model.tokenizer.encode(text) for text in texts]
    targets, symbols = _padded(ids, states.device)
    lens = (targets, model.out_lens(input_lens).to(states.device), symbols)
    states = model.dropout(states)
    predicted = model.predict(targets)
    joiner, modified = model.joiner, model.shape.modified
    encoder, predictor = joiner.encoder(states), joiner.predictor(predicted)
    n_symbols = max(1, int(symbols.sum()))
    if loss.kind == "exact":
        logits = joiner(encoder[:, :, None], predictor[:, None])
        losses = transducer_loss(
            logits, *lens, modified=modified, reuse_logits=logits.requires_grad
        )
        return losses.sum() / n_symbols
    output = joiner.output
    nodes = writes = None
    if loss.kind == "restricted":
        nodes, writes = _windows(model, texts, ids, lens, states.shape[1], loss)
    parts = (encoder, predictor, output.weight, output.bias)
    if loss.kind in ("fused", "restricted"):
        losses = joined_loss(*parts, *lens, nodes=nodes, writes=writes, modified=modified)
        return losses.sum() / n_symbols
    simple, arcs = simple_loss(
        model.simple.encoder(states),
        model.simple.predictor(predicted),
        *lens,
        lm_scale=loss.lm_scale,
        am_scale=loss.am_scale,
        modified=modified,
    )
    starts = window_starts(arcs, *lens[1:], width=loss.range, modified=modified)
    nodes = in_windows(starts, loss.range, predictor.shape[1])
    pruned = joined_loss(*parts, *lens, nodes=nodes, modified=modified)
    # a function of the batch alone, so that a resumed run does the same
    poor = float(simple.detach().sum() / lens[1].sum()) > loss.start_until
    scale = loss.start_scale if poor else 1.0
    return (loss.simple_scale * simple + scale * pruned).sum() / n_symbols


def transducer_losses(
    model: Transducer,
    states: Tensor,
    input_lens: Tensor,
    ids: Sequence[Sequence[int]],
    clips: Tensor,
) -> Tensor:
    """Negative log-likelihood (N,) of each sequence of symbols: the fused loss, without copies.

    Args:
        model: A transducer.
        states: (B, T', D) from its encoder.
        input_lens: (B,) int64 samples.
        ids: N sequences.
        clips: (N,) int64: the clip of each sequence.

    Raises:
        DataError: The model's topology has no alignment for a sequence.
    """
    targets, symbols = _padded(ids, states.device)
    joiner = model.joiner
    frames = model.out_lens(input_lens).to(states.device)[clips]
    return joined_loss(
        joiner.encoder(model.dropout(states)),
        joiner.predictor(model.predict(targets)),
        joiner.output.weight,
        joiner.output.bias,
        targets,
        frames,
        symbols,
        clips=clips,
        modified=model.shape.modified,
    )


def _padded(ids: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(N, U) symbols, zeros behind the ends, and how many (N,) there are."""
    symbols = torch.tensor([len(row) for row in ids], device=device)
    targets = torch.zeros(len(ids), int(symbols.max()), dtype=torch.int64)
    for row, found in zip(targets, ids, strict=True):
        row[: len(found)] = torch.tensor(found, dtype=torch.int64)
    return targets.to(device), symbols


def _windows(
    model: Transducer,
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    lens: tuple[Tensor, Tensor, Tensor],
    n_frames: int,
    loss: TransducerLossSettings,
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Cells around the reference alignments of the texts; none where there are none."""
    targets, frames, symbols = lens
    alignment = torch.zeros_like(targets)
    frame_s = model.encoder.samples_per_position / 16_000
    for row, text in enumerate(texts):
        if not isinstance(text, LearntText) or text.ends_s is None:
            return None, None
        ends = [text.ends_s[at] for at in model.tokenizer.last_letters(text)]
        at = torch.tensor([int(end / frame_s) for end in ends], dtype=torch.int64)
        alignment[row, : len(ids[row])] = at.to(targets.device).clamp(max=int(frames[row]) - 1)
    return alignment_windows(
        alignment,
        frames,
        symbols,
        n_frames=n_frames,
        left=round(loss.left_ms / 1000 / frame_s),
        right=round(loss.right_ms / 1000 / frame_s),
    )
