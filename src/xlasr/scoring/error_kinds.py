"""Errors that are only spelling: diacritics, word boundaries, case and punctuation.

Both sides are stripped of one thing and scored again; the errors that are gone were *only* that.
"loď" for "lod" is one such error, "lodí" for "lod" is not. Exactly, for each utterance::

    vanished = max(0, errors(reference, hypothesis) - errors(stripped both))

diacritics
    Accents and points are taken off (NFD, without the marks of combining classes 10 to 36 and from
    200, NFC again): Latin, Greek and Cyrillic accents, Hebrew and Arabic points. Vowel signs of
    Indic scripts, Thai tone marks and the voicing marks of kana stay: they are letters or sounds of
    their own. Letters without a decomposition (ł, ø, đ) stay too.
word boundaries
    For characters: without spaces. For words: a block of words is matched free of charge with a
    block of other words of the same letters ("bude li" and "budeli", two errors that vanish).
case
    Lower case on both sides.
case and punctuation
    The "headline" normaliser on both sides ("unspaced" for scripts without spaces).
any of these
    All of the above at once. What stays are errors in letters and words.

A headline score has no errors of case and punctuation; score "raw" to see them. Kinds overlap (an
error can need two of them), so they do not add up to "any of these".
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xlasr.scoring.alignment import count
from xlasr.scoring.error_rates import Score
from xlasr.scoring.normalisers import normalise

Strip = Callable[[str], str]


@dataclass(frozen=True)
class ErrorKind:
    """How many errors are only of one kind.

    Attributes:
        name: "diacritics", "word boundaries", "case", "case and punctuation" or "any of these".
        word_errors: Errors of WER that vanish.
        character_errors: Errors of CER that vanish.
        word_share: ``word_errors`` as a share of all errors of WER, a ratio; 0 without errors.
        character_share: The same for CER.
    """

    name: str
    word_errors: int
    character_errors: int
    word_share: float
    character_share: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return dict(vars(self))


def error_kinds(score: Score, normaliser: str = "headline") -> list[ErrorKind]:
    """Count the errors that are only of one kind.

    Args:
        score: What ``score`` returned; under "raw" case and punctuation are looked at too.
        normaliser: What takes case and punctuation off.

    Returns:
        One entry per kind of the module's docstring; those of case and punctuation only for a
        "raw" score.

    Raises:
        UnknownName: No such normaliser.
    """
    plain = functools.cache(functools.partial(normalise, name=normaliser))  # two kinds want it
    kinds: list[tuple[str, Strip, bool]] = [
        ("diacritics", without_diacritics, False),
        ("word boundaries", str, True),
    ]
    if score.normaliser == "raw":
        kinds += [("case", str.lower, False), ("case and punctuation", plain, False)]
        kinds.append(("any of these", lambda text: without_diacritics(plain(text)), True))
    else:
        kinds.append(("any of these", without_diacritics, True))
    wrong = [
        # The fewest errors, also where the score is sclite's: what vanishes must not be its ties.
        (u.reference, u.hypothesis, *_errors(u.reference, u.hypothesis, joins=False))
        for u in score.utterances
        if u.reference != u.hypothesis
    ]
    all_words = sum(words for _, _, words, _ in wrong)
    all_characters = sum(characters for _, _, _, characters in wrong)
    found = []
    for name, strip, joins in kinds:
        words = characters = 0
        for ref, hyp, before_words, before_characters in wrong:
            after_words, after_characters = _errors(strip(ref), strip(hyp), joins)
            words += max(0, before_words - after_words)
            characters += max(0, before_characters - after_characters)
        shares = words / (all_words or 1), characters / (all_characters or 1)
        found.append(ErrorKind(name, words, characters, *shares))
    return found


def without_diacritics(text: str) -> str:
    """Return ``text`` without accents and points (see the module's docstring), in NFC."""
    if text.isascii():
        return text
    kept = (c for c in unicodedata.normalize("NFD", text) if not _is_diacritic(c))
    return unicodedata.normalize("NFC", "".join(kept))


@functools.lru_cache(maxsize=100_000)
def _is_diacritic(char: str) -> bool:
    place = unicodedata.combining(char)
    return 10 <= place <= 36 or place >= 200


def _errors(ref: str, hyp: str, joins: bool) -> tuple[int, int]:
    """Fewest errors in words and in characters, of word boundaries none where ``joins``."""
    words = ref.split(), hyp.split()
    if joins:
        return joined_errors(*words), count(ref.replace(" ", ""), hyp.replace(" ", "")).errors
    return count(*words).errors, count(ref, hyp).errors


def joined_errors(ref: Sequence[str], hyp: Sequence[str]) -> int:
    """Return the fewest word errors where word boundaries do not count.

    Besides hits, substitutions, deletions and insertions, a block of words may be matched with a
    block of words that has the same letters, free of charge. Words are not empty.
    """
    blocks = _blocks(ref, hyp)
    if not blocks:
        return count(ref, hyp).errors
    rows = [[0] * (len(hyp) + 1) for _ in range(len(ref) + 1)]
    for i in range(len(ref) + 1):
        for j in range(len(hyp) + 1):
            ways = [rows[a][b] for a, b in blocks.get((i, j), ())]
            if i:
                ways.append(rows[i - 1][j] + 1)
            if j:
                ways.append(rows[i][j - 1] + 1)
            if i and j:
                ways.append(rows[i - 1][j - 1] + (ref[i - 1] != hyp[j - 1]))
            rows[i][j] = min(ways, default=0)
    return rows[-1][-1]


def _blocks(ref: Sequence[str], hyp: Sequence[str]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return (end in ref, end in hyp) -> beginnings of the blocks with the same letters."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    by_letter: dict[str, list[int]] = {}
    for j, heard in enumerate(hyp):
        by_letter.setdefault(heard[0], []).append(j)
    for i, said in enumerate(ref):
        for j in by_letter.get(said[0], ()):
            heard = hyp[j]
            left, right, a, b = said, heard, i + 1, j + 1
            # Equal words are hits; of two others one must be how the other begins, all the way.
            while left != right and (left.startswith(right) or right.startswith(left)):
                if len(left) < len(right) and a < len(ref):
                    left, a = left + ref[a], a + 1
                elif len(right) < len(left) and b < len(hyp):
                    right, b = right + hyp[b], b + 1
                else:
                    break
            if left == right and said != heard:
                found.setdefault((a, b), []).append((i, j))
    return found
