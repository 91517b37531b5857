"""Writing systems, look-alike letters and invisible characters of single words.

Source: scripts and look-alikes are Unicode's (UAX 24 and the confusables of UTS 39), through the
package confusable_homoglyphs.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

_TOGETHER = {
    # Japanese and Korean are written in several scripts at once, and so is Chinese with Bopomofo.
    **dict.fromkeys(("HAN", "HIRAGANA", "KATAKANA", "BOPOMOFO", "HANGUL"), "CJK"),
}
_EVERYWHERE = frozenset({"COMMON", "INHERITED", "UNKNOWN"})
WORD = re.compile(r"[^\W\d_]+")
"""A run of letters: what is joined by punctuation only are two words."""
JOINERS = "\u200c\u200d"
_NO_JOINERS = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "GEORGIAN", "HEBREW", "CJK"})
"""Scripts that do without U+200C and U+200D; elsewhere these are spelling."""


@functools.cache
def script_of(char: str) -> str:
    """Return the script of a letter ("LATIN", "CYRILLIC", "CJK"); "" where it has none.

    Digits, punctuation, marks and the letters that all scripts share have none.
    """
    from confusable_homoglyphs import categories

    if unicodedata.category(char)[0] != "L":
        return ""
    found = str(categories.alias(char)).upper()
    return "" if found in _EVERYWHERE else _TOGETHER.get(found, found)


def letters_by_script(characters: Mapping[str, int]) -> Counter[str]:
    """Count letters by script."""
    found: Counter[str] = Counter()
    for char, n in characters.items():
        if script := script_of(char):
            found[script] += n
    return found


def main_script(word: str, default: str) -> str:
    """The script of most letters of a word; ``default`` where it ties with another."""
    scripts = letters_by_script(Counter(word))
    if not scripts:
        return default
    best = max(scripts.values())
    leading = [name for name, n in scripts.items() if n == best]
    return leading[0] if len(leading) == 1 else default if default in leading else leading[0]


@functools.cache
def lookalike(char: str, script: str) -> str:
    """Return the one letter of ``script`` that looks like ``char``; "" where there is none.

    The letter has the same case; where several would do, none is returned.
    """
    from confusable_homoglyphs.confusables import confusables_data

    kind = unicodedata.category(char)
    found = {
        other
        for entry in confusables_data.get(char, ())
        for other in [unicodedata.normalize("NFC", entry["c"])]
        if len(other) == 1 and script_of(other) == script and unicodedata.category(other) == kind
        # Mathematical and full-width alphabets look alike too; nobody types them by mistake.
        if unicodedata.normalize("NFKC", other) == other
    }
    return found.pop() if len(found) == 1 else ""


def foreign_letters(word: str, default: str) -> list[tuple[str, str]]:
    """Return (letter, the letter of the word's main script it looks like or "") of a mixed word."""
    scripts = {script_of(char) for char in word} - {""}
    if len(scripts) < 2 or "CJK" in scripts:  # Japanese writes Latin letters inside words
        return []
    main = main_script(word, default)
    return [
        (char, lookalike(char, main))
        for char in word
        if script_of(char) and script_of(char) != main
    ]


def is_slip(letter: str, twin: str, characters: Mapping[str, int], ratio: float) -> bool:
    """Whether a foreign letter is a slip of the keyboard: its twin is far more frequent."""
    return bool(twin) and characters.get(twin, 0) >= ratio * characters.get(letter, 0)


def repair_words(text: str, default: str, characters: Mapping[str, int], ratio: float) -> str:
    """Replace the look-alike letters inside the words of a text.

    Args:
        text: A transcript.
        default: The corpus's script, for words that are half and half.
        characters: How often each character stands in the corpus.
        ratio: As ``Thresholds.lookalike_ratio``.
    """

    def repaired(match: re.Match[str]) -> str:
        word = match[0]
        slips = {
            letter: twin
            for letter, twin in foreign_letters(word, default)
            if is_slip(letter, twin, characters, ratio)
        }
        return "".join(slips.get(char, char) for char in word)

    return WORD.sub(repaired, text)


def invisible(text: str) -> list[str]:
    """Characters that nobody sees and no model should learn: controls and format characters.

    Joiners stay where the word's script spells with them; tabs and line ends are white space.
    """
    return [
        char
        for word in text.split()
        for char in word
        if unicodedata.category(char) in ("Cc", "Cf") and not _spelling(char, word)
    ]


def without_invisible(text: str) -> str:
    """Return ``text`` without what ``invisible`` finds; white space becomes single spaces."""
    words = []
    for word in text.split():
        gone = set(invisible(word))
        words.append("".join(char for char in word if char not in gone))
    return " ".join(word for word in words if word)


def _spelling(char: str, word: str) -> bool:
    return char in JOINERS and main_script(word, "") not in _NO_JOINERS


def describe(chars: Iterable[str]) -> str:
    """Name characters so that they can be told apart: "'а' CYRILLIC SMALL LETTER A (x3)"."""
    parts = []
    for char, n in Counter(chars).most_common():
        name = unicodedata.name(char, "without a name")
        seen = f"{char!r} " if char.isprintable() and not unicodedata.combining(char) else ""
        parts.append(f"{seen}U+{ord(char):04X} {name} (x{n:,})")
    more = f" and {len(parts) - 4} more" if len(parts) > 4 else ""
    return ", ".join(parts[:4]) + more
