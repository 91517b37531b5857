"""Text as the aligner sees it: units (lines or words), their words, their symbols."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from xlasr.data.text import normalise, raw
from xlasr.errors import UsageError
from xlasr.models.ctc import CTCModel
from xlasr.scoring.normalisers import is_unspaced

UNITS = ("text", "line")
_STOPS = ".!?…。！？।؟۔։።။។"
_SENTENCE_END = re.compile(rf"[{_STOPS}][\"'»”’“)\]」』\s–—-]*$")


@dataclass(frozen=True)
class Unit:
    """A line, a word, or the words of an utterance.

    Args:
        text: As it was given (NFC, spaces collapsed).
        words: Its words as they were given; a dash between spaces belongs to the word before it.
        symbols: (L,) int64 ids of what the model knows of it.
        word_of: (L,) int64 word of each symbol; -1 for the spaces between words.
        line: Number of its (first) line in the transcript, from 1.
        space: What stands before it, if it is not the first: a space, or nothing in scripts that
            do without.
    """

    text: str
    words: list[str]
    symbols: NDArray[np.int64]
    word_of: NDArray[np.int64]
    line: int = 0
    space: str = " "


@dataclass
class Unknown:
    """Letters that the model does not know, with counts."""

    letters: dict[str, int] = field(default_factory=dict)


def make_units(model: CTCModel, text: str, unit: str, unknown: Unknown) -> list[Unit]:
    """Cut a transcript into what is found, or left out, as a whole.

    Args:
        model: Knows the letters.
        text: Of the whole recording.
        unit: ``line``: every line that holds text; ``text``: every word (see ``make_words``).
        unknown: Letters that the model does not know are counted here.

    Raises:
        UsageError: Another unit.
    """
    if unit not in UNITS:
        raise UsageError(f"a transcript is cut by {' or '.join(UNITS)}; found {unit!r}")
    if unit == "text":
        return make_words(model, text, unknown)
    lines = enumerate(text.splitlines(), start=1)
    return [make_unit(model, line, number, unknown) for number, line in lines if raw(line)]


def make_words(model: CTCModel, text: str, unknown: Unknown | None = None) -> list[Unit]:
    """Cut a transcript into words; the ends of its lines mean no more than spaces.

    A word without any letter or digit (a dash) stays with its neighbour. Scripts without
    spaces between words are cut into letters with their marks.
    """
    rule = model.info.get("text", "headline")
    parts: list[tuple[int, str, str]] = []  # line, what stands before, text
    for line, space, part in _parts(text):
        if parts and not (normalise(part, rule) and normalise(parts[-1][2], rule)):
            number, before, content = parts[-1]
            parts[-1] = number, before, content + space + part
        else:
            parts.append((line, space, part))
    return [
        replace(make_unit(model, part, line, unknown), space=space) for line, space, part in parts
    ]


def _parts(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, what stands before, text) of each word, or letter of an unspaced script."""
    last = ""
    for line, content in enumerate(text.splitlines(), start=1):
        for number, word in enumerate(raw(content).split()):
            wrapped = not number and last and is_unspaced([last]) and is_unspaced([word[0]])
            space = "" if wrapped else " "
            for part in _letters(word):
                yield line, space, part
                space = ""
            last = word[-1]


def _letters(word: str) -> list[str]:
    """Cut a word around each letter of an unspaced script; what is no letter stays behind one."""
    if not any(is_unspaced([char]) for char in word):
        return [word]
    parts: list[str] = []
    for char in word:
        letter = unicodedata.category(char)[0] in "LN"
        begins = is_unspaced([char]) or bool(parts and is_unspaced([parts[-1][0]]))
        if parts and not (letter and begins):
            parts[-1] += char
        else:
            parts.append(char)
    return parts


def ends_sentence(text: str) -> bool:
    """Whether a full stop or a relative of it stands at the end, perhaps before quotation marks."""
    return _SENTENCE_END.search(text) is not None


def join_words(words: Sequence[Unit]) -> Unit:
    """Return what ``make_words`` cut as one unit again, without symbols for the spaces."""
    of: list[NDArray[np.int64]] = []
    listed: list[str] = []
    for word in words:
        of.append(np.where(word.word_of < 0, -1, word.word_of + len(listed)))
        listed += word.words
    text = words[0].text + "".join(word.space + word.text for word in words[1:])
    symbols = np.concatenate([word.symbols for word in words])
    return Unit(text, listed, symbols, np.concatenate(of), words[0].line, words[0].space)


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
