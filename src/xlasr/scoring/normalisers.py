"""The normalisers that texts are scored under: those of ``data.text``, and one without spaces.

``unspaced`` is for scripts that do without spaces between words (Japanese, Chinese, Thai, Lao,
Khmer, Burmese). Under "headline" a comma becomes a space and a space counts as a character, which
is right for Czech and an error by convention for Japanese. Its decisions, in order:

* NFKC: half-width kana, full-width letters and digits, ligatures of units and circled digits become
  the plain characters; then lower case for the letters that have one;
* everything that is no letter, mark or number (Unicode L, M, N) is removed, spaces included, and so
  are variation selectors (the same letter in another shape);
* NFKC again, because a mark may now stand beside its letter.

The long vowel mark and the iteration marks are letters and stay; the wave dash is punctuation and
goes. Digits and kanji numerals stay what they are, as do kanji and kana (``japanese.py``).

Source: Unicode Standard Annexes 15 (NFKC) and 44 (general categories).
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable

from xlasr.data import text as plain
from xlasr.errors import UnknownName

UNSPACED_VERSION = 1
"""Raised whenever the output of ``unspaced`` changes."""

# First and last code point of letters that are written without spaces between words.
_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan: separates syllables, not words
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x1AAF),  # Tai Le, New Tai Lue, Buginese, Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x3005, 0x3007),  # iteration mark, zero
    (0x3040, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31F0, 0x31FF),
    (0x3400, 0x9FFF),  # Han
    (0xA980, 0xA9DF),  # Javanese
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x20000, 0x3FFFF),
)
_STARTS = [first for first, _ in _UNSPACED_RANGES]


def unspaced(text: str) -> str:
    """Return ``text`` as its letters, marks and numbers only (see the module's docstring)."""
    composed = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(
        c for c in composed if unicodedata.category(c)[0] in "LMN" and not _is_selector(c)
    )
    return unicodedata.normalize("NFKC", kept)


NORMALISERS: dict[str, Callable[[str], str]] = {
    **plain.NORMALISERS,
    "unspaced": unspaced,
    "phones": plain.raw,  # IPA is left as it is; see error_rates
}


def normalise(text: str, name: str = "headline") -> str:
    """Normalise a transcript for scoring.

    Args:
        text: Any text.
        name: A key of ``NORMALISERS``: "headline", "raw", "unspaced" or "phones".

    Raises:
        UnknownName: No normaliser has this name.
    """
    if name not in NORMALISERS:
        raise UnknownName("normaliser", name, NORMALISERS)
    return NORMALISERS[name](text)


def version(name: str) -> int:
    """Return the version of a normaliser; it is raised whenever its output changes."""
    return UNSPACED_VERSION if name == "unspaced" else plain.NORMALISER_VERSION


def is_unspaced(texts: Iterable[str]) -> bool:
    """Whether most letters of ``texts`` belong to a script without spaces between words.

    Korean and Vietnamese are not among them. Where it is true the words of WER do not exist, and
    CER under "unspaced" is the headline.
    """
    without = letters = 0
    for text in texts:
        for char in text:
            if char.isalpha():
                letters += 1
                at = bisect_right(_STARTS, ord(char)) - 1
                without += at >= 0 and ord(char) <= _UNSPACED_RANGES[at][1]
    return 2 * without > letters


def headline_for(texts: Iterable[str]) -> str:
    """Return the normaliser of the headline: "unspaced" for scripts without spaces, "headline"."""
    return "unspaced" if is_unspaced(texts) else "headline"


def _is_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
