"""The language model of a run: n-grams over the model's own tokens, from training text only."""

from __future__ import annotations

from pathlib import Path

from xlasr.config import DecodeSettings
from xlasr.data.corpus import Corpus
from xlasr.data.text import normalise
from xlasr.decoding.ngram import NGram, build
from xlasr.errors import UsageError
from xlasr.models.run import SpeechModel


def language_model(model: SpeechModel, corpus: Corpus, settings: DecodeSettings) -> NGram:
    """Build n-grams from the transcripts of ``train`` and any extra texts.

    Extra lines that also stand in dev or test are left out: no text of a held-out group enters a
    language model.

    Args:
        model: Its tokenizer and form of text are used.
        corpus: Only the split ``train`` is learnt from.
        settings: ``lm_order`` and ``lm_text`` (files, or corpora whose ``train`` is read).

    Raises:
        UsageError: A text file cannot be read.
    """
    form = model.info["text"]
    texts = [normalise(u.text, form) for u in corpus.split("train")]
    held_out = {
        normalise(u.text) for name in corpus.splits if name != "train" for u in corpus.split(name)
    }
    for path in settings.lm_text:
        if Path(path).is_dir():
            lines = [u.text for u in Corpus.open(path).split("train")]
        else:
            try:
                lines = Path(path).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"cannot read {path} as UTF-8 text: {error}") from error
        texts += [normalise(line, form) for line in lines if normalise(line) not in held_out]
    ids = [model.tokenizer.encode(text) for text in texts]
    return build((row for row in ids if row), settings.lm_order, len(model.tokenizer))
