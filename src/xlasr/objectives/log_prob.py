"""How likely a model finds texts that somebody else wrote, family by family, with gradient.

What an objective over hypotheses asks of a family: ``log_prob`` here and
``decoding.recognise.hypotheses``. A family that registers itself has both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from xlasr.models.ctc import CTCModel
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.models.transducer import Transducer
from xlasr.objectives.ctc import ctc_losses, min_frames
from xlasr.objectives.transducer.lattice import at_least_float32
from xlasr.objectives.transducer.objective import transducer_losses
from xlasr.registry import Registry

LogProb = Callable[[Any, Tensor, Tensor, Sequence[Sequence[int]], Tensor], Tensor]
LOG_PROBS: Registry[LogProb] = Registry("family that scores texts")


def log_prob(
    model: Any,
    states: Tensor,
    input_lens: Tensor,
    ids: Sequence[Sequence[int]],
    clips: Sequence[int],
) -> Tensor:
    """Log-probability (N,) of each text given its clip, summed over all its alignments.

    Several texts of a clip share its encoder states (copied for a decoder only).

    Args:
        model: Of a family in ``LOG_PROBS``.
        states: (B, T', D) from its encoder.
        input_lens: (B,) int64 samples.
        ids: Of N texts, as ``ids_of`` gives them; each must ``fit``.
        clips: The clip of each.

    Raises:
        UnknownName: The family scores no texts.
    """
    rows = torch.tensor(clips, dtype=torch.int64, device=states.device)
    return LOG_PROBS[model.family](model, states, input_lens.to(states.device), ids, rows)


def ids_of(model: Any, text: str) -> list[int]:
    """Tokens of a text; none of an empty one (Whisper would spell it as a space)."""
    return list(model.tokenizer.encode(text)) if text else []


def fits(model: Any, ids: Sequence[int], n_frames: int) -> bool:
    """Whether a text has any probability at all for a clip of so many encoder positions."""
    if isinstance(model, Seq2SeqModel):
        return len(ids) <= model.room
    if model.family == "ctc":
        return max(1, min_frames(ids)) <= n_frames
    return n_frames > 0 and not (model.shape.modified and len(ids) > n_frames)


@LOG_PROBS.register("ctc")
def _ctc(
    model: CTCModel, states: Tensor, lens: Tensor, ids: Sequence[Sequence[int]], clips: Tensor
) -> Tensor:
    return -ctc_losses(model, states, lens, ids, clips)


@LOG_PROBS.register("transducer")
def _transducer(
    model: Transducer, states: Tensor, lens: Tensor, ids: Sequence[Sequence[int]], clips: Tensor
) -> Tensor:
    return -transducer_losses(model, states, lens, ids, clips)


@LOG_PROBS.register("seq2seq")
def _seq2seq(
    model: Seq2SeqModel, states: Tensor, lens: Tensor, ids: Sequence[Sequence[int]], clips: Tensor
) -> Tensor:
    """Of a text's tokens and the end behind them, given those before."""
    inputs, targets = (t.to(states.device) for t in model.teach(ids))
    hidden = model.decoder_states(states[clips], inputs, lens[clips])
    wanted = targets != -100
    with torch.autocast(states.device.type, enabled=False):  # of logits of 20, bfloat16 keeps 0.1
        logits = model.output_layer(at_least_float32(hidden[wanted]))  # (tokens, V)
    own = logits.log_softmax(-1).gather(1, targets[wanted][:, None])[:, 0]
    row = wanted.nonzero()[:, 0]
    total: Tensor = own.new_zeros(len(ids)).index_add(0, row, own)
    return total
