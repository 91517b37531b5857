"""Where a recording whose words were found is cut: sentence ends and pauses, no part too long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf

import numpy as np

from xlasr.alignment.ctc import Alignment
from xlasr.alignment.posteriors import Posteriors
from xlasr.alignment.text import Unit, ends_sentence, join_words
from xlasr.alignment.words import place_words
from xlasr.models.ctc import CTCModel

PAUSE_S = 0.15
"""A sentence that ends with such a pause, in seconds, always ends an utterance."""
LONG_PAUSE_S = 1.0
"""A pause of so many seconds ends an utterance anywhere."""
STRAY_LETTERS = 4
"""So many letters heard between two words are sound that is not in the text."""
ISLAND_LETTERS = 10
"""Fewer letters between two places that do not match may have been found there by chance."""
NOT_HEARD = "not heard here"
NO_LETTER = "no letter that the model knows"
_ISLAND = "too short to be sure of it, between places that do not match"


@dataclass(frozen=True)
class Part:
    """Words that are found, or left out, together.

    Args:
        unit: The words.
        first: Place of its first symbol in the alignment; None if it was not found.
        reason: Why it is left out; empty if it is not.
    """

    unit: Unit
    first: int | None
    reason: str = ""


def cut_words(
    words: Sequence[Unit],
    firsts: Sequence[int | None],
    found: Alignment,
    heard: Posteriors,
    stray: Mapping[int, tuple[float, float]],
    longest_s: float,
) -> list[Part]:
    """Cut a text whose words were aligned one by one.

    Words that were not found, and sound between words that is not in the text, always divide. In
    between, sentences end an utterance where the speaker pauses (``PAUSE_S``), and so do long
    pauses; what is still too long is cut where that is least bad (``cheapest_cuts``).

    Args:
        words: All of the text (``text.make_words``).
        firsts: Place of the first symbol of each word in ``found``; None if it has none.
        found: The alignment of all their symbols.
        heard: What was aligned.
        stray: What ``stray_sound`` found.
        longest_s: No part is longer, in seconds, unless a single word is.

    Returns:
        Parts with all the words, in order.
    """
    kept = _heard(firsts, found)
    units = [(words[i], first) for i, first in kept]
    placed = place_words(units, found, heard, list(stray.values()))
    spans = [(of_word[0].start_s, of_word[-1].end_s) for of_word in placed]
    numbers = [i for i, _ in kept]
    around = [-1, *numbers, len(words)]
    broken = [k in stray or b - a > 1 for k, (a, b) in enumerate(pairwise(around))]
    parts: list[Part] = []
    at = 0  # word of the text
    for low, high in _stretches(broken):
        letters = sum(len(words[i].symbols) for i in numbers[low:high])
        island = broken[low] and broken[high] and letters < ISLAND_LETTERS
        ends = [ends_sentence(words[i].text) for i in numbers[low:high]]
        borders = (
            [low, high]
            if island
            else [low + i for i in cheapest_cuts(spans[low:high], ends, longest_s)]
        )
        for begin, end in pairwise(borders):
            parts += _left_out(words, firsts, at, numbers[begin])
            unit = join_words([words[i] for i in numbers[begin:end]])
            parts.append(Part(unit, firsts[numbers[begin]], _ISLAND if island else ""))
            at = numbers[end - 1] + 1
    return [*parts, *_left_out(words, firsts, at, len(words))]


def cheapest_cuts(
    spans: Sequence[tuple[float, float]], ends: Sequence[bool], longest_s: float
) -> list[int]:
    """Divide words so that no part is too long and the borders are the best there are.

    Args:
        spans: (start_s, end_s) of each word, in order.
        ends: Whether a sentence ends with the word.
        longest_s: Of a part; a word that is longer stands alone.

    Returns:
        Index of the first word of each part, and behind the last one the number of words.
    """
    best = [0.0]
    begins = [0]  # of the best last part that ends before each word
    for end in range(1, len(spans) + 1):
        best.append(inf)
        begins.append(end - 1)
        for begin in range(end - 1, -1, -1):
            if begin < end - 1 and spans[end - 1][1] - spans[begin][0] > longest_s:
                break
            if best[begin] < best[end]:
                best[end], begins[end] = best[begin], begin
        if end < len(spans):
            best[end] += _cost(spans[end][0] - spans[end - 1][1], sentence=ends[end - 1])
    borders = [len(spans)]
    while borders[-1]:
        borders.append(begins[borders[-1]])
    return borders[::-1]


def _cost(pause_s: float, *, sentence: bool) -> float:
    """What a border costs: 1 in running speech, less in pauses, negative where one belongs."""
    if pause_s >= (PAUSE_S if sentence else LONG_PAUSE_S):
        return -1.0
    return exp(-max(0.0, pause_s) / PAUSE_S) * (0.5 if sentence else 1.0)


def stray_sound(
    model: CTCModel,
    units: Sequence[Unit],
    firsts: Sequence[int | None],
    found: Alignment,
    heard: Posteriors,
) -> dict[int, tuple[float, float]]:
    """Find sound between units that is in no text: at least ``STRAY_LETTERS`` are heard there.

    Args:
        model: The CTC model that listened.
        units: All of the text.
        firsts: Place of the first symbol of each unit in ``found``; None if it has none.
        found: The alignment of all their symbols.
        heard: What was aligned.

    Returns:
        From the number of units that were found before it to (start_s, end_s).
    """
    best = heard.log_probs.argmax(axis=1)
    letter = ~np.isin(best, [model.tokenizer.blank, *model.tokenizer.encode(" ")])
    letter[1:] &= best[1:] != best[:-1]
    at = np.flatnonzero(letter)
    kept = _heard(firsts, found)
    begins = [0, *(int(found.ends[first + len(units[i].symbols) - 1]) for i, first in kept)]
    ends = [*(int(found.starts[first]) for _, first in kept), len(best)]
    lows, highs = np.searchsorted(at, begins).tolist(), np.searchsorted(at, ends).tolist()
    return {
        k: (float(at[low]) * heard.frame_s, float(at[high - 1] + 1) * heard.frame_s)
        for k, (low, high) in enumerate(zip(lows, highs, strict=True))
        if high - low >= STRAY_LETTERS
    }


def _heard(firsts: Sequence[int | None], found: Alignment) -> list[tuple[int, int]]:
    """(number, place of the first symbol) of the units that were found."""
    return [(i, f) for i, f in enumerate(firsts) if f is not None and found.starts[f] >= 0]


def _stretches(broken: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield (first, behind the last) of the words between mismatches."""
    low = 0
    for high in range(1, len(broken)):
        if broken[high] or high == len(broken) - 1:
            yield low, high
            low = high


def _left_out(
    words: Sequence[Unit], firsts: Sequence[int | None], low: int, high: int
) -> Iterator[Part]:
    """Yield words that were not found, those with one reason together."""
    begin = low
    for i in range(low, high):
        known = firsts[i] is not None
        if i == low or known != (firsts[i - 1] is not None):
            begin = i
        if i + 1 == high or known != (firsts[i + 1] is not None):
            unit = join_words(words[begin : i + 1])
            yield Part(unit, None, NOT_HEARD if known else NO_LETTER)
