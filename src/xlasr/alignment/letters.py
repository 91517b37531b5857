"""Letters of a new language that begin as the phones a phone model hears where they are written.

No pronunciation dictionary is asked: the sound and its transcript are all there is. The model's
posteriors are spread over the letters of each clip in order, evenly at first (by the mass of phones
heard so far, which runs on in speech and rests in pauses), then by forced alignment with what each
letter was heard as in the round before: a few rounds of expectation and maximisation, as a
hidden Markov recogniser is trained from a flat start. What a letter was heard as is the average
posterior of its frames, without the blank.

A letter's row of the new head is the average of the phones' rows, weighted by that. The blank keeps
its row. A letter that is heard as almost nothing (the space, silent letters) begins at random.

Source: flat start as in Young et al., The HTK Book, section 3.2; alignment as in ``ctc``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xlasr.alignment.ctc import align_ctc, frames_needed
from xlasr.errors import DataError
from xlasr.models.ctc import CTCModel
from xlasr.models.tokenizer import CharTokenizer

Floats = NDArray[np.floating[Any]]
ROUNDS = 8
AT_MOST_S = 600.0
"""Seconds of speech that are listened to; letters are known from minutes."""
SILENT = 0.2
"""A letter with less phone mass than this, on average, is heard as nothing."""
_FLOOR = 1e-3  # of any phone in any letter, and of a letter where nothing is heard


@dataclass(frozen=True)
class HeardLetters:
    """What letters were heard as.

    Args:
        phones: (n_letters, V) average posterior of each letter's frames, rows sum to 1; the
            blank's column is 0. A letter that was never heard has a row of zeros.
        mass: (n_letters,) phone mass of each letter, on average: about 1 where it is one phone.
    """

    phones: NDArray[np.float64]
    mass: NDArray[np.float64]


def letter_head(
    model: CTCModel,
    tokenizer: CharTokenizer,
    clip: Callable[[int], NDArray[np.float32]],
    texts: Sequence[str],
    durations_s: Sequence[float] | Floats,
) -> nn.Linear:
    """Make a head of letters from the model's head of phones.

    Args:
        model: With a phone head; left in evaluation mode.
        tokenizer: The letters.
        clip: Samples of the clip of a text, float32 at 16 kHz.
        texts: Training transcripts.
        durations_s: Of the clips.

    Raises:
        DataError: No clip can be aligned.
    """
    model.eval()
    heard: list[Floats] = []
    ids: list[list[int]] = []
    left_s = AT_MOST_S
    for at, text in enumerate(texts):
        if left_s <= 0:
            break
        seconds = float(durations_s[at])
        spelled = tokenizer.encode(text.replace(" ", ""))  # a space has no sound
        if not spelled or seconds > model.encoder.max_samples / 16_000:
            continue
        with torch.inference_mode():
            features = model.features([clip(at)]).to(model.head.weight.device)
            log_probs, lens = model(features)
        found = log_probs[0, : int(lens[0])].float().cpu().numpy()
        if frames_needed(np.asarray(spelled)) <= len(found):
            heard.append(found)
            ids.append(spelled)
            left_s -= seconds
    table = hear_letters(heard, ids, len(tokenizer) - 1)
    head = nn.Linear(model.encoder.dim, len(tokenizer))
    begin_as(head, model.head, table)
    return head


def begin_as(head: nn.Linear, phones: nn.Linear, table: HeardLetters) -> None:
    """Set the rows of a letter head from those of a phone head; silent letters keep theirs."""
    with torch.no_grad():
        head.to(phones.weight.device)
        head.weight[0], head.bias[0] = phones.weight[0], phones.bias[0]
        for letter in np.flatnonzero(table.mass >= SILENT).tolist():
            weights = torch.as_tensor(table.phones[letter]).to(phones.weight)
            head.weight[letter + 1] = weights @ phones.weight
            head.bias[letter + 1] = weights @ phones.bias


def hear_letters(
    heard: Sequence[Floats], ids: Sequence[Sequence[int]], n_letters: int, rounds: int = ROUNDS
) -> HeardLetters:
    """Find out what each letter is heard as.

    Args:
        heard: (T, V) natural log-probabilities of phones, of each clip; the blank is 0.
        ids: Letters of each clip, from 1 to ``n_letters``, without spaces.
        n_letters: Of the alphabet.
        rounds: Of forced alignment after the even start.

    Raises:
        DataError: There is no clip.
    """
    if not heard:
        raise DataError(
            "output.start phones found no clip whose letters fit into its frames; do recordings and"
            " transcripts belong together?"
        )
    posteriors = [np.exp(np.asarray(one, dtype=np.float64)) for one in heard]
    spread = [_evenly(one, letters) for one, letters in zip(posteriors, ids, strict=True)]
    table = _average(posteriors, spread, n_letters)
    for _ in range(rounds):
        aligned = (_aligned(p, s, table) for p, s in zip(posteriors, ids, strict=True))
        table = _average(posteriors, aligned, n_letters)
    return table


Frames = Sequence[tuple[int, NDArray[np.int64]]]
"""(letter from 0, its frames) of every letter of a clip."""


def _evenly(posteriors: Floats, ids: Sequence[int]) -> Frames:
    phones = 1.0 - posteriors[:, 0] + 1e-9
    done = (np.cumsum(phones) - phones / 2) / phones.sum()
    which = np.minimum((done * len(ids)).astype(np.int64), len(ids) - 1)
    return [(letter - 1, np.flatnonzero(which == at)) for at, letter in enumerate(ids)]


def _aligned(posteriors: Floats, ids: Sequence[int], table: HeardLetters) -> Frames:
    n_phones = posteriors.shape[1] - 1
    likely = (1 - _FLOOR) * table.phones[:, 1:] + _FLOOR / n_phones
    said = posteriors[:, 1:] @ likely.T + _FLOOR * posteriors[:, :1]  # (T, n_letters)
    rest = posteriors[:, :1] + _FLOOR * (1 - posteriors[:, :1])  # a phone that no letter stands for
    found = align_ctc(np.log(np.minimum(1.0, np.hstack([rest, said]))), list(ids))
    pairs = zip(ids, found.starts.tolist(), found.ends.tolist(), strict=True)
    return [(letter - 1, np.arange(start, end)) for letter, start, end in pairs]


def _average(
    posteriors: Sequence[Floats], clips: Sequence[Frames] | Iterator[Frames], n_letters: int
) -> HeardLetters:
    sums = np.zeros((n_letters, posteriors[0].shape[1]))
    counts = np.zeros(n_letters)
    for one, frames in zip(posteriors, clips, strict=True):
        for letter, which in frames:
            sums[letter] += one[which].sum(axis=0)
            counts[letter] += 1
    sums[:, 0] = 0.0  # the blank says nothing about a letter
    mass = sums.sum(axis=1, keepdims=True)
    phones = np.divide(sums, mass, out=np.zeros_like(sums), where=mass > 0)
    return HeardLetters(phones, mass[:, 0] / np.maximum(counts, 1))
