"""The language model of a run: n-grams over the model's own tokens, from training text only.

A run keeps the one of its recipe in ``lm/``, beside its model, so that it decodes without its
corpus: ``recipe.npz`` (the n-grams) and ``recipe.json`` (what they were built from). Where
languages have heads of their own, each has its own n-grams (``recipe-cs.npz``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlasr.config import DecodeSettings
from xlasr.data.corpus import Corpus
from xlasr.data.phones import in_form
from xlasr.data.text import normalise
from xlasr.data.translation import translated, translation_of
from xlasr.decoding.ngram import NGram, build
from xlasr.errors import DataError, RunError, UsageError
from xlasr.files import write_text
from xlasr.models.ctc import CTCModel
from xlasr.models.run import SpeechModel
from xlasr.models.tokenizer import WhisperTokens

FORMAT = 1


def language_model(model: SpeechModel, corpus: Corpus, settings: DecodeSettings) -> NGram:
    """Build n-grams from the transcripts of ``train`` and any extra texts.

    Args:
        model: Its tokenizer and form of text are used.
        corpus: Only the split ``train`` is learnt from.
        settings: ``lm_order`` and ``lm_text`` (files, or corpora whose ``train`` is read).

    Raises:
        UsageError: A text file cannot be read.
    """
    return _build(model, training_lines(corpus, settings, model.info), settings)


def training_lines(corpus: Corpus, settings: DecodeSettings, info: Mapping[str, Any]) -> list[str]:
    """What a language model learns from, a line each, as a model with this ``info`` writes it.

    Extra lines that also stand in dev or test are left out: no text of a held-out group enters a
    language model.

    Raises:
        UsageError: A text file cannot be read.
    """
    form, target = info["text"], info.get("target")
    train = translated(corpus.split("train"), target)
    texts = [in_form(u.text, form, u.language) for u in train]
    held_out = {
        normalise(translation_of(u, target) or "" if target else u.text)
        for name in corpus.splits
        if name != "train"
        for u in corpus.split(name)
    }
    lines = extra_lines(settings)
    return texts + [
        in_form(line, form, corpus.language) for line in lines if normalise(line) not in held_out
    ]


def extra_lines(settings: DecodeSettings) -> list[str]:
    """Lines of ``lm_text``, as written.

    Raises:
        UsageError: A text file cannot be read.
        CorpusError: A folder is no corpus.
    """
    lines: list[str] = []
    for path in settings.lm_text if settings.lm_order else ():
        if Path(path).is_dir():
            lines += [u.text for u in Corpus.open(path).split("train")]
            continue
        try:
            lines += Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path} as UTF-8 text: {error}") from error
    return lines


def save_language_model(
    run: Path, model: SpeechModel, corpus: Corpus, settings: DecodeSettings
) -> None:
    """Keep the language model of a run's recipe in its folder; one that is there and fits stays.

    Args:
        run: Folder of the run.
        model: The finished one.
        corpus: Of the run.
        settings: Of the recipe.

    Raises:
        UsageError: A text file cannot be read.
    """
    try:
        if saved_language_model(run, model, settings) is not None:
            return
    except RunError:
        pass  # built again
    lines = training_lines(corpus, settings, model.info)
    facts = {
        **_wanted(model, settings),
        "corpus_sha256": corpus.sha256,
        "text_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "lines": len(lines),
    }
    told, table = _files(run, model)
    table.parent.mkdir(exist_ok=True)
    told.unlink(missing_ok=True)  # a kill between the two writes leaves no pair that misfits
    _build(model, lines, settings).save(table)
    write_text(told, json.dumps(facts, indent=1, ensure_ascii=False))


def saved_language_model(run: Path, model: SpeechModel, settings: DecodeSettings) -> NGram | None:
    """Open the language model that a run keeps.

    Args:
        run: Folder of the run.
        model: The finished one.
        settings: How to decode.

    Returns:
        None where the run keeps none, or one of another order or of other texts.

    Raises:
        RunError: It is damaged, or belongs to other letters than the model's.
    """
    told, table = _files(run, model)
    if not told.exists():
        return None
    facts, wanted = _read(told), _wanted(model, settings)
    again = f"`xlasr adapt --resume {run}` makes it again"
    if facts.get("format") != FORMAT:
        raise RunError(f"{told} is damaged, or of another version of xlasr; {again}")
    if any(facts.get(key) != wanted[key] for key in ("order", "lm_text")):
        return None
    if facts != {**facts, **wanted}:
        raise RunError(f"{table} was built for other letters than those of {run}/model; {again}")
    try:
        return NGram.load(table)
    except DataError as error:
        raise RunError(f"{error}; {again}") from error


def keeps_language_model(run: Path) -> bool:
    """Whether a run has one in its folder, of whatever kind."""
    return any((run / "lm").glob("recipe*.json"))


def _wanted(model: SpeechModel, settings: DecodeSettings) -> dict[str, Any]:
    """What a language model must have been built with."""
    tokenizer = model.tokenizer
    letters = tokenizer.spec if isinstance(tokenizer, WhisperTokens) else tokenizer.symbols
    return {
        "format": FORMAT,
        "order": settings.lm_order,
        "lm_text": list(settings.lm_text),
        "form": model.info["text"],
        "vocabulary_sha256": hashlib.sha256(json.dumps(letters).encode()).hexdigest(),
    }


def _build(model: SpeechModel, lines: list[str], settings: DecodeSettings) -> NGram:
    ids = [model.tokenizer.encode(line) for line in lines]
    return build((row for row in ids if row), settings.lm_order, len(model.tokenizer))


def _files(run: Path, model: SpeechModel) -> tuple[Path, Path]:
    """Of the language that is active, where languages have heads of their own."""
    by_language = isinstance(model, CTCModel) and model.heads
    stem = f"recipe-{model.info['language']}" if by_language else "recipe"
    return run / "lm" / f"{stem}.json", run / "lm" / f"{stem}.npz"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
