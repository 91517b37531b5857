"""Which transcripts are probably wrong? Utterances ranked by how badly text and sound agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from xlasr.alignment.ctc import align_lattice, frames_needed
from xlasr.alignment.posteriors import aligner, posteriors
from xlasr.alignment.text import make_unit
from xlasr.alignment.viterbi import Lattice
from xlasr.data.corpus import Utterance
from xlasr.decoding.ctc import greedy
from xlasr.errors import DataError
from xlasr.models.ctc import CTCModel
from xlasr.models.run import SpeechModel


@dataclass(frozen=True)
class Suspect:
    """One utterance.

    Args:
        id: Of the utterance.
        text: Its transcript.
        heard: What the model hears.
        score: Log-probability of the best alignment of the transcript, minus that of the best
            path of all, over the number of symbols (of the transcript, or of what was heard where
            that is more). At most 0; low is suspicious. Minus infinity where the transcript has
            more symbols than the sound has frames, or the sound is too short for one.
        forced: Mean log-probability per frame of the transcript's alignment.
    """

    id: str
    text: str
    heard: str
    score: float
    forced: float


def suspects(
    model: SpeechModel,
    utterances: Sequence[Utterance],
    *,
    progress: Callable[[float], None] | None = None,
) -> list[Suspect]:
    """Rank utterances, the most suspicious first.

    Args:
        model: A CTC model in evaluation mode; best one that has not seen these transcripts.
        utterances: A split of a corpus, or any of its utterances.
        progress: Called with the seconds of each utterance.

    Raises:
        UsageError: The model is no CTC model.
        AudioError: An utterance's audio is gone or damaged.

    Source: The difference to the best path is the goodness of pronunciation of Witt & Young 2000,
        over a whole utterance.
    """
    ctc = aligner(model)
    ranked = []
    for utterance in utterances:
        samples = utterance.load()
        try:
            heard = posteriors(ctc, [samples]).log_probs
        except DataError:  # too short for one frame: no text fits
            ranked.append(Suspect(utterance.id, utterance.text, "", -np.inf, -np.inf))
        else:
            unit = make_unit(ctc, utterance.text)
            ranked.append(_judge(utterance, heard, unit.symbols, ctc))
        if progress:
            progress(utterance.duration_s)
    return sorted(ranked, key=lambda suspect: suspect.score)


def _judge(
    utterance: Utterance, heard: NDArray[np.float16], symbols: NDArray[np.int64], model: CTCModel
) -> Suspect:
    tokenizer = model.tokenizer
    free = float(heard.max(axis=1).astype(np.float64).sum())
    decoded = greedy(torch.from_numpy(heard)[None], torch.tensor([len(heard)]))[0]
    said = tokenizer.decode(decoded)
    if not len(symbols) or frames_needed(symbols) > len(heard):
        return Suspect(utterance.id, utterance.text, said, -np.inf, -np.inf)
    found = align_lattice(Lattice(heard, symbols, tokenizer.blank))
    score = (found.log_prob - free) / max(len(symbols), len(decoded))
    return Suspect(utterance.id, utterance.text, said, score, found.log_prob / len(heard))
