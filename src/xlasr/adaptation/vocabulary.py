"""What happens to the vocabulary when a model meets a new language."""

from __future__ import annotations

from collections.abc import Iterable

from xlasr.errors import UsageError
from xlasr.models.run import SpeechModel
from xlasr.models.seq2seq import Seq2SeqModel, WhisperModel


def cut_to_text(model: SpeechModel, texts: Iterable[str]) -> int:
    """Cut Whisper's pieces to those the text uses (``WhisperTokens.cut``).

    Returns:
        Rows of the embedding that are left.

    Raises:
        UsageError: The model is no Whisper.
    """
    if not isinstance(model, WhisperModel):
        raise UsageError(
            "output.mode: cut is for Whisper; a CTC alphabet is `replace` or `extend`, the pieces "
            "of SeamlessM4T are `keep`"
        )
    tokenizer, old_ids = model.tokenizer.cut(texts)
    model.cut_vocabulary(tokenizer, old_ids)
    return len(old_ids)


def extend_to_text(model: SpeechModel, texts: Iterable[str]) -> int:
    """Grow a CTC head by the letters of ``texts`` that it lacks.

    Returns:
        How many were added.

    Raises:
        UsageError: The model has no CTC head.
    """
    if isinstance(model, Seq2SeqModel):
        raise UsageError("output.mode: extend is for ctc; the pieces of a decoder are given")
    wider = model.tokenizer.extended(texts)
    added = len(wider) - len(model.tokenizer)
    if added:
        model.extend(wider)
    return added
