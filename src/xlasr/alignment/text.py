"""Text as the aligner sees it: units (lines or sentences), their words, their symbols."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xlasr.data.text import normalise, raw
from xlasr.errors import UsageError
from xlasr.models.ctc import CTCModel

UNITS = ("line", "sentence")
_CLOSING = "[\"'»”’“)\\]」』]*"
_SENTENCE = re.compile(rf".+?(?:[.!?…।]{_CLOSING}(?=\s)|[。！？]+{_CLOSING}|$)")


@dataclass(frozen=True)
class Unit:
    """A line or a sentence.

    Args:
        text: As it was given (NFC, spaces collapsed).
        words: Its words as they were given; a dash between spaces belongs to the word before it.
        symbols: (L,) int64 ids of what the model knows of it.
        word_of: (L,) int64 word of each symbol; -1 for the spaces between words.
        line: Number of its line in the transcript, from 1.
    """

    text: str
    words: list[str]
    symbols: NDArray[np.int64]
    word_of: NDArray[np.int64]
    line: int = 0


@dataclass
class Unknown:
    """Letters that the model does not know, with counts."""

    letters: dict[str, int] = field(default_factory=dict)


def split_units(text: str, unit: str = "line") -> list[tuple[int, str]]:
    """Cut a transcript into (line number, text); lines without text are left out.

    Args:
        text: Of the whole recording.
        unit: ``line``, or ``sentence``: at . ! ? … and their relatives, also within lines; a
            sentence does not go over the end of a line.

    Raises:
        UsageError: Another unit.
    """
    if unit not in UNITS:
        raise UsageError(f"a transcript is cut by {' or '.join(UNITS)}; found {unit!r}")
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        parts: Sequence[str] = [line] if unit == "line" else _SENTENCE.findall(line)
        found += [(number, raw(part)) for part in parts if raw(part)]
    return found


def make_unit(model: CTCModel, text: str, line: int = 0, unknown: Unknown | None = None) -> Unit:
    """Spell a text with the model's letters; others are left out and counted."""
    tokenizer = model.tokenizer
    rule = model.info.get("text", "headline")
    words: list[str] = []
    symbols: list[int] = []
    word_of: list[int] = []
    space = tokenizer.encode(" ")
    for word in raw(text).split():
        spelled = normalise(word, rule)
        if unknown is not None:
            for letter, n in tokenizer.unknown([spelled.replace(" ", "")]).items():
                unknown.letters[letter] = unknown.letters.get(letter, 0) + n
        ids = tokenizer.encode(spelled)
        if not spelled and words:
            words[-1] += f" {word}"  # a dash by itself
            continue
        words.append(word)
        if not ids:
            continue
        if symbols:
            symbols += space
            word_of += [-1] * len(space)
        symbols += ids
        word_of += [len(words) - 1] * len(ids)
    return Unit(
        raw(text),
        words,
        np.array(symbols, dtype=np.int64),
        np.array(word_of, dtype=np.int64),
        line,
    )


def join_units(units: Iterable[Unit]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Symbols of all units (L,), and where each begins and the last ends (n + 1,)."""
    listed = list(units)
    breaks = np.cumsum([0, *(len(unit.symbols) for unit in listed)])
    if not listed:
        return np.zeros(0, dtype=np.int64), breaks
    return np.concatenate([unit.symbols for unit in listed]), breaks


def pause_bonus(units: Iterable[Unit], bonus: float) -> NDArray[np.float64]:
    """(L + 1,) ``bonus`` for the blanks beside spaces and between units, 0 inside words."""
    inside = []
    for unit in units:
        space = unit.word_of < 0
        inside.append(~(space | np.concatenate([[True], space[:-1]])) if len(space) else space)
    return np.where(np.concatenate([*inside, [False]]), 0.0, bonus)
