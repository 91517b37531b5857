"""What happens to the vocabulary when a model meets a new language."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import nn

from xlasr.errors import UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.heads import register_heads
from xlasr.models.parts import Part, hold_part, use_part
from xlasr.models.run import SpeechModel
from xlasr.models.seq2seq import Seq2SeqModel, WhisperModel
from xlasr.models.tokenizer import CharTokenizer

NewHead = Callable[[str, CharTokenizer], nn.Linear]
"""(language, alphabet) -> its head."""


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
    """Grow a CTC head or a transducer by the letters of ``texts`` that it lacks.

    Returns:
        How many were added.

    Raises:
        UsageError: The model writes no letters.
    """
    if not isinstance(model.tokenizer, CharTokenizer) or isinstance(model, Seq2SeqModel):
        raise UsageError(
            "output.mode: extend is for models that write letters; pieces are kept, cut "
            "(Whisper's) or replaced"
        )
    wider = model.tokenizer.extended(texts)
    added = len(wider) - len(model.tokenizer)
    if added:
        model.extend(wider)
    return added


def heads_by_language(
    model: CTCModel,
    texts: Mapping[str, Sequence[str]],
    mode: str,
    new_head: NewHead,
    *,
    spaced: bool = False,
) -> None:
    """Give each language a head of its own on the one encoder; the first one is active.

    Heads of other languages that the model holds stay as they are.

    Args:
        model: Changed in place.
        texts: Training texts by BCP-47 tag.
        mode: ``keep`` or ``extend`` the heads there are, or ``replace`` them.
        new_head: Makes a head.
        spaced: The symbols of the texts stand between spaces (phones).
    """
    if not model.parts and model.info["language"] in texts:
        hold_part(model, str(model.info["language"]))
    for language, lines in texts.items():
        part = model.parts.setdefault(language, Part((), language))
        if part.tokenizer is None or mode == "replace":
            part.tokenizer = CharTokenizer.from_texts(lines, spaced=spaced)
            part.head = new_head(language, part.tokenizer)
        elif mode == "extend":
            use_part(model, language)
            model.extend(part.tokenizer.extended(lines))
            part.tokenizer, part.head = model.tokenizer, model.head
    register_heads(model)
    use_part(model, next(iter(texts)))
