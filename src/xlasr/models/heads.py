"""CTC heads of many languages on one encoder: each is a part, and one is active."""

from __future__ import annotations

from torch import nn

from xlasr.errors import UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.parts import use_part
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.models.transducer import Transducer


def use_language(model: CTCModel | Seq2SeqModel | Transducer, language: str) -> None:
    """Switch to the part of a language; a model of this one language alone stays as it is.

    Args:
        model: Changed in place.
        language: BCP-47 tag.

    Raises:
        UsageError: The model does not have it.
    """
    names = [name for name, part in model.parts.items() if part.language == language]
    if names:
        use_part(model, names[0])
    elif model.parts or language != model.info["language"]:
        known = {part.language for part in model.parts.values()} or {str(model.info["language"])}
        raise UsageError(
            f"this model has no head for {language!r}; it has {', '.join(sorted(known))}. Go on "
            f"from it (--base RUN) with a corpus of {language!r}, output.heads: by_language and "
            "train.part: head or adapter, and it has one more"
        )


def turn_to(model: CTCModel | Seq2SeqModel | Transducer, language: str) -> None:
    """Switch to the head of a language, where languages have heads of their own.

    Raises:
        UsageError: They have, and this one has none.
    """
    if isinstance(model, CTCModel) and model.heads:
        use_language(model, language)


def register_heads(model: CTCModel) -> None:
    """Let the heads of all parts be parameters of the model, whichever is active."""
    model.heads = nn.ModuleDict({n: part.head for n, part in model.parts.items() if part.head})
