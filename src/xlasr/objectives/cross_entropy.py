"""Token cross-entropy of a teacher-forced decoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from xlasr.config import ObjectiveSettings
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.objectives import OBJECTIVES


@OBJECTIVES.register("cross_entropy")
def cross_entropy(
    model: Seq2SeqModel,
    states: Tensor,
    input_lens: Tensor,
    texts: Sequence[str],
    settings: ObjectiveSettings,
) -> Tensor:
    """Mean over the batch's target tokens (text and end), optionally smoothed.

    Only positions with a target reach the output matrix: padding costs no softmax.

    Args:
        model: With a decoder.
        states: (B, T', D) from its encoder.
        input_lens: (B,) int64 samples, or tokens of text; says which states are padding.
        texts: Transcripts.
        settings: ``label_smoothing``; ``bpe_dropout``, in training only.
    """
    dropout = settings.bpe_dropout if model.training else 0.0
    inputs, targets = (t.to(states.device) for t in model.target_ids(texts, dropout))
    hidden = model.decoder_states(states, inputs, input_lens)
    wanted = targets != -100
    logits = model.output_layer(hidden[wanted])  # (N, V)
    return nn.functional.cross_entropy(
        logits.float(), targets[wanted], label_smoothing=settings.label_smoothing
    )
