"""Token cross-entropy of a teacher-forced decoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from xlasr.config import ObjectiveSettings
from xlasr.models.seq2seq import WhisperModel
from xlasr.objectives import OBJECTIVES


@OBJECTIVES.register("cross_entropy")
def cross_entropy(
    model: WhisperModel,
    states: Tensor,
    input_lens: Tensor,
    texts: Sequence[str],
    settings: ObjectiveSettings,
) -> Tensor:
    """Mean over the batch's target tokens (text and end), optionally smoothed.

    Only positions with a target reach the output matrix: padding costs no softmax.

    Args:
        model: Whisper.
        states: (B, T', D) from its encoder.
        input_lens: Unused: the states of one batch share one context.
        texts: Transcripts.
        settings: ``label_smoothing``; ``bpe_dropout``, in training only.
    """
    dropout = settings.bpe_dropout if model.training else 0.0
    inputs, targets = (t.to(states.device) for t in model.target_ids(texts, dropout))
    hidden = model.decoder_states(states, inputs)
    wanted = targets != -100
    logits = model.hf.proj_out(hidden[wanted])  # (N, V)
    return nn.functional.cross_entropy(
        logits.float(), targets[wanted], label_smoothing=settings.label_smoothing
    )
