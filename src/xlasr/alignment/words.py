"""Word times and confidences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlasr.alignment.ctc import Alignment, align_lattice, check_lattice, frames_needed
from xlasr.alignment.posteriors import LOUDNESS_RATE, Posteriors, aligner, posteriors
from xlasr.alignment.text import Unit, make_unit, pause_bonus
from xlasr.alignment.viterbi import Lattice
from xlasr.data.annotations import TimedText
from xlasr.models.ctc import CTCModel
from xlasr.models.run import SpeechModel

FADE_DB = 20.0
"""A word lasts as long as the sound is at most so much quieter than its loudest 10 ms."""
REACH_S = 0.3
"""... but at most so long before its first letter and behind its last one."""
PAUSE_BONUS = 0.05
"""Natural log, for each frame of a pause between words: letters that the model does not hear stay
with their word. A guess: on Czech dev, 0.05 to 0.4 hardly differed."""
_DIP_S = 0.05  # shorter dips are inside a word: the closure of a plosive


@dataclass(frozen=True)
class Word:
    """A word of the text, where it was said.

    Args:
        text: As it was given.
        start_s: Seconds from the start of the recording.
        end_s: Seconds from the start of the recording.
        confidence: 0 to 1: for each letter the posterior of its frames (geometric mean), and of
            these the mean over the letters. It says how well the sound fits the given word, not
            whether another word would fit better.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float


def align(model: SpeechModel, samples: NDArray[np.float32], text: str) -> list[Word]:
    """Find when each word of a text was said.

    Args:
        model: A CTC model in evaluation mode; the text may come from any model or person.
        samples: float32 (n_samples,) mono 16 kHz, of any length that fits into memory.
        text: All that is said, in order. ``segment`` takes text that does not match everywhere.

    Returns:
        The words in order; a word without a letter that the model knows has none.

    Raises:
        UsageError: The model is no CTC model (pass a CTC run as aligner).
        DataError: More text than fits into the sound, or no letter that the model knows.
    """
    ctc = aligner(model)
    unit = make_unit(ctc, text)
    heard = posteriors(ctc, [samples])
    check_lattice(heard.log_probs, unit.symbols, ctc.tokenizer.blank)
    return _all_words(ctc, unit, heard)


def word_timer(
    model: SpeechModel,
) -> Callable[[NDArray[np.float32], str], list[TimedText]]:
    """Return what times the words of a clip that any model has transcribed.

    It takes samples, float32 (n_samples,) mono 16 kHz, and their text; it gives the words with
    times in seconds from the start of the clip and confidences, and none where the text cannot be
    that of the sound: no letter that the model knows, or more letters than frames.

    Raises:
        UsageError: The model is no CTC model (pass a CTC run as aligner).
    """
    ctc = aligner(model)

    def timed(samples: NDArray[np.float32], text: str) -> list[TimedText]:
        unit = make_unit(ctc, text)
        heard = posteriors(ctc, [samples])
        if not 0 < frames_needed(unit.symbols) <= len(heard.log_probs):
            return []
        words = _all_words(ctc, unit, heard)
        return [TimedText(w.start_s, w.end_s, w.text, confidence=w.confidence) for w in words]

    return timed


def _all_words(model: CTCModel, unit: Unit, heard: Posteriors) -> list[Word]:
    """Words of a text that was checked to fit."""
    bonus = pause_bonus([unit], PAUSE_BONUS)
    blank = model.tokenizer.blank
    found = align_lattice(Lattice(heard.log_probs, unit.symbols, blank, bonus=bonus))
    return place_words([(unit, 0)], found, heard)[0]


def place_words(
    units: Sequence[tuple[Unit, int]],
    found: Alignment,
    heard: Posteriors,
    stray: Sequence[tuple[float, float]] = (),
) -> list[list[Word]]:
    """Words of units, timed.

    Letters of a CTC model are spikes inside the sound, so a word is longer than from its first
    spike to its last: it reaches out to where the sound fades (``FADE_DB``). Between two words
    without a pause the border is at the quietest place.

    Args:
        units: Units that were aligned, in order, each with the place of its first symbol in
            ``found``.
        found: The alignment of all symbols.
        heard: What was aligned.
        stray: Sound between units that is in no text, (start_s, end_s), in order: words do not
            reach into it.
    """
    spans: list[tuple[float, float]] = [*stray]
    rows: list[tuple[int, str, float]] = [(-1, "", 0.0)] * len(stray)
    for number, (unit, first) in enumerate(units):
        n = len(unit.symbols)
        own = slice(first, first + n)
        starts, ends, scores = found.starts[own], found.ends[own], np.exp(found.scores[own])
        for i, text in enumerate(unit.words):
            letters = np.flatnonzero(unit.word_of == i)
            if len(letters):
                first_s = float(starts[letters[0]]) * heard.frame_s
                spans.append((first_s, float(ends[letters[-1]]) * heard.frame_s))
                rows.append((number, text, float(scores[letters].mean())))
    order = sorted(range(len(spans)), key=spans.__getitem__) if stray else range(len(spans))
    words: list[list[Word]] = [[] for _ in units]
    reached = reach_out([spans[i] for i in order], heard)
    for i, (start_s, end_s) in zip(order, reached, strict=True):
        number, text, confidence = rows[i]
        if number >= 0:
            words[number].append(Word(text, start_s, end_s, min(1.0, confidence)))
    return words


def reach_out(spans: Sequence[tuple[float, float]], heard: Posteriors) -> list[tuple[float, float]]:
    """Widen spans of letters (start_s, end_s), in order, to where the sound fades."""
    loudness = heard.loudness
    n = len(loudness)
    inner = [
        (min(n - 1, round(s * LOUDNESS_RATE)), max(1, min(n, round(e * LOUDNESS_RATE))))
        for s, e in spans
    ]
    reach = round(REACH_S * LOUDNESS_RATE)
    edges: list[list[int]] = []
    for i, (start, end) in enumerate(inner):
        end = max(end, start + 1)
        low = max(0, start - reach, inner[i - 1][1] if i else 0)
        high = min(n, end + reach, inner[i + 1][0] if i + 1 < len(inner) else n)
        floor = float(loudness[start : max(end, start + 1)].max()) - FADE_DB
        before = _still_loud(loudness[min(low, start) : start][::-1], floor)
        after = _still_loud(loudness[end : max(high, end)], floor)
        edges.append([start - before, end + after])
    smooth = np.convolve(loudness, np.ones(3) / 3, mode="same") if n > 2 else loudness
    for i in range(len(edges) - 1):
        if edges[i][1] > edges[i + 1][0]:  # both want the sound between them
            left, right = inner[i][1], max(inner[i][1] + 1, inner[i + 1][0])
            border = left + int(smooth[left:right].argmin())
            edges[i][1] = edges[i + 1][0] = border
    limit = heard.duration_s
    return [
        (min(limit, a / LOUDNESS_RATE), min(limit, max(a, b) / LOUDNESS_RATE)) for a, b in edges
    ]


def _still_loud(levels: NDArray[Any], floor: float) -> int:
    """How many values go by before the sound stays below ``floor``."""
    dip = round(_DIP_S * LOUDNESS_RATE)
    last = 0
    for at in np.flatnonzero(levels > floor).tolist():
        if at - last > dip:
            break
        last = at + 1
    return last
