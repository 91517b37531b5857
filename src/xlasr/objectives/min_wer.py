"""Minimum word error rate: make the better ones of a model's own hypotheses more likely.

For each clip a list of texts, either decoded by the weights of the moment, or ahead
(``training/lists.py``), which a transcript then carries (``data.learnt_text``). Any family that can
write a list and score it will do; see ``log_prob.py``.

Source: Prabhavalkar et al. 2018 (arXiv 1712.01818), equations 3 and 6; for transducers, scored by
the sum over alignments and from lists decoded ahead: Guo et al. 2020 (arXiv 2007.13802).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from xlasr.config import MinWerSettings, ObjectiveSettings
from xlasr.data.learnt_text import LearntText
from xlasr.decoding.hypothesis import Hypothesis
from xlasr.decoding.recognise import DecodeOptions, hypotheses
from xlasr.objectives import OBJECTIVES
from xlasr.objectives.log_prob import fits, ids_of, log_prob
from xlasr.scoring.error_rates import score
from xlasr.scoring.normalisers import normalise

UNITS = {"word": "wer", "character": "cer"}


@OBJECTIVES.register("min_wer")
def min_wer(
    model: Any,
    states: Tensor,
    input_lens: Tensor,
    texts: Sequence[str],
    settings: ObjectiveSettings,
) -> Tensor:
    """Expected errors over each clip's list, relative to the list's mean, per reference word.

    A hypothesis' probability is its share of the list's. In training its errors are counted from
    their mean over the list: that changes no gradient, and the value is below zero where the model
    prefers the better ones. In evaluation (the dev loss of a stage) nothing is subtracted, because
    means of other lists cannot be compared: it is the word error rate to be expected, on lists that
    the weights of the moment write.

    A list without the reference is one like any other: what is least wrong becomes likelier. Where
    all hypotheses have equally many errors, or there is but one or none, there is nothing to
    choose, hence no gradient. A hypothesis that a clip is too short for (at another speed, or one
    from a file) is left out, and so are letters that the model cannot write. Errors are those of
    the scorer, on the text form that the model writes. What is random in the states (dropout,
    masks) is in the lists as well; the decoder that writes them has no dropout.

    Args:
        model: Of a family that writes and scores texts; put back into the mode it was in.
        states: (B, T', D) from its encoder.
        input_lens: (B,) int64 samples.
        texts: Transcripts; one that carries hypotheses is not decoded.
        settings: ``min_wer``.

    Raises:
        UnknownName: The family scores no texts.
    """
    how = settings.min_wer or MinWerSettings()
    frames = model.out_lens(input_lens).tolist()
    written = _written(model, states, input_lens, texts, how)
    lists = [
        _candidates(model, [*found[: how.n_best], *([text] if how.add_reference else [])], n)
        for found, text, n in zip(written, texts, frames, strict=True)
    ]
    errors, n_symbols = count_errors(texts, lists, how.unit, model.info["text"])
    chosen = [i for i, row in enumerate(errors) if len(set(row)) > 1]
    certain = 0 if model.training else sum(row[0] for row in errors if len(set(row)) == 1)
    if chosen:
        ids = [ids for i in chosen for ids in lists[i].values()]
        scores = log_prob(model, states, input_lens, ids, [i for i in chosen for _ in lists[i]])
        found = expected_errors(scores, [errors[i] for i in chosen], relative=model.training)
    else:  # nothing to choose: every weight that would learn has a gradient, and it is zero
        found = log_prob(model, states, input_lens, [[]], [0]) * 0.0
    return (found.sum() + certain) / max(1, n_symbols)


def expected_errors(
    scores: Tensor, errors: Sequence[Sequence[int]], *, relative: bool = True
) -> Tensor:
    """Errors to be expected of each list, by the probabilities of its hypotheses.

    Probabilities are divided by their sum as logarithms: those of long utterances are zero in any
    floating point.

    Args:
        scores: (N,) log-probabilities, one list behind the other.
        errors: Of each hypothesis, by lists of one or more.
        relative: To the mean over the list.

    Returns:
        One value a list, float32 (float64 for float64 scores).
    """
    sizes = torch.tensor([len(row) for row in errors], device=scores.device)
    inside = torch.arange(int(sizes.max()), device=scores.device) < sizes[:, None]
    table = scores.new_full(inside.shape, -torch.inf).masked_scatter(inside, scores)
    flat = [e - (sum(row) / len(row) if relative else 0.0) for row in errors for e in row]
    wrong = scores.new_zeros(inside.shape)
    wrong[inside] = torch.tensor(flat, dtype=scores.dtype, device=scores.device)
    return (table.log_softmax(1).exp() * wrong).sum(1)


def count_errors(
    texts: Sequence[str], lists: Sequence[Collection[str]], unit: str, form: str
) -> tuple[list[list[int]], int]:
    """Errors of every hypothesis, and the words (characters) of all references.

    Args:
        texts: References.
        lists: Hypotheses of each.
        unit: ``word`` or ``character``.
        form: The form of text that the model writes; phones are counted as phones.
    """
    metric: Any = UNITS[unit]
    pairs = [
        (text, h) for text, found in zip(texts, lists, strict=True) for h in (text, *found)
    ]  # a reference stands beside itself, for its length
    references, written = ({str(i): p[k] for i, p in enumerate(pairs)} for k in (0, 1))
    normaliser = "phones" if form == "phones" else "headline"
    counts = [
        u.counts(metric) for u in score(references, written, normaliser=normaliser).utterances
    ]
    errors, n_symbols, at = [], 0, 0
    for found in lists:
        n_symbols += counts[at].reference
        errors.append([c.errors for c in counts[at + 1 : at + 1 + len(found)]])
        at += 1 + len(found)
    return errors, n_symbols


def list_options(how: MinWerSettings) -> DecodeOptions:
    """How lists are searched: quickly, since every hypothesis is scored anew by its full sum."""
    return DecodeOptions(beam=how.n_best, one_a_frame=True)


def distinct_texts(model: Any, found: Sequence[Hypothesis]) -> tuple[str, ...]:
    """Texts of hypotheses, each once, in their order: two spellings of a text are one.

    A text is as the model was taught to write it: NFC, single spaces.
    """
    texts = (normalise(model.tokenizer.decode(h.tokens), "raw") for h in found)
    return tuple(dict.fromkeys(texts))


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Without dropout; the mode the model was in is put back, whatever happens."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _written(
    model: Any, states: Tensor, input_lens: Tensor, texts: Sequence[str], how: MinWerSettings
) -> list[tuple[str, ...]]:
    """The list of each clip: the one its transcript carries, or decoded now."""
    carried = [text.hypotheses if isinstance(text, LearntText) else None for text in texts]
    rows = [i for i, found in enumerate(carried) if found is None]
    if rows:
        at = torch.tensor(rows, device=states.device)
        lens = input_lens.to(states.device)[at]
        with evaluation_mode(model):
            decoded = hypotheses(model, states.detach()[at], lens, list_options(how), how.n_best)
        for row, found in zip(rows, decoded, strict=True):
            carried[row] = distinct_texts(model, found)
    return [found or () for found in carried]


def _candidates(model: Any, texts: Sequence[str], n_frames: int) -> dict[str, list[int]]:
    """Texts that the clip has room for, as the model spells them, and their tokens; each once."""
    found: dict[str, list[int]] = {}
    for text in texts:
        ids = ids_of(model, normalise(text, "raw"))
        if fits(model, ids, n_frames):
            found.setdefault(normalise(model.tokenizer.decode(ids), "raw"), ids)
    return found
