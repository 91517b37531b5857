"""Transcripts: named normalisers, alphabets and language tags.

The headline error rates are computed on ``normalise(text, "headline")``. Its decisions, in order:

* Unicode NFC, then lower case (``str.lower``: German sharp s and Greek final sigma stay letters);
* an apostrophe *between two letters* stays and becomes U+0027 ("l'eau", "z'n"); others go;
* hyphens, dashes and all other punctuation and symbols (categories P and S) become a space, so
  "bude-li" is two words and "konec...ano" does not become one;
* soft hyphens, byte order marks and bidirectional controls vanish; the joiners U+200C and U+200D
  stay, because they are spelling in Persian and Indic scripts;
* spaces are collapsed and trimmed. Digits stay digits.

An orthography that writes letters with ASCII punctuation ("!" for a click, "=" for a tone) should
use "raw" or its Unicode letters (U+01C3, U+A78A), or these marks are not scored.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

from xlasr.errors import UnknownName, UsageError

NORMALISER_VERSION = 1
"""Raised whenever a normaliser's output changes; saved in corpus cards and with weights."""

_APOSTROPHES = frozenset("'\u2018\u2019\u02bc\uff07`\u00b4")
_JOINERS = frozenset("\u200c\u200d")


def raw(text: str) -> str:
    """Return ``text`` in NFC with runs of white space collapsed to one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _is_letter(char: str) -> bool:
    # Marks count as letters: in NFD-only scripts the apostrophe may follow a combining accent.
    return unicodedata.category(char)[0] in "LM"


def headline(text: str) -> str:
    """Return ``text`` without casing and punctuation (decisions in the module's docstring)."""
    # Lower-casing can leave the NFC form, and dropping a control can bring two characters
    # together that compose; hence NFC before and after.
    source = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    source = "".join(c for c in source if unicodedata.category(c) != "Cf" or c in _JOINERS)
    kept: list[str] = []
    for i, char in enumerate(source):
        if char in _APOSTROPHES:
            inside = 0 < i < len(source) - 1
            keep = inside and _is_letter(source[i - 1]) and _is_letter(source[i + 1])
            kept.append("'" if keep else " ")
        elif unicodedata.category(char)[0] in "PSC" and char not in _JOINERS:
            kept.append(" ")
        else:
            kept.append(char)
    return raw("".join(kept))


NORMALISERS: dict[str, Callable[[str], str]] = {"headline": headline, "raw": raw}


def normalise(text: str, name: str = "headline") -> str:
    """Normalise a transcript by a named rule.

    Args:
        text: Any text.
        name: A key of ``NORMALISERS``: "headline" or "raw".

    Returns:
        The normalised text; may be empty.

    Raises:
        UnknownName: No normaliser has this name.
    """
    if name not in NORMALISERS:
        raise UnknownName("normaliser", name, NORMALISERS)
    return NORMALISERS[name](text)


def character_counts(texts: Iterable[str]) -> Counter[str]:
    """Count the characters (Unicode code points, the space included) of ``texts``."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return counts


def alphabet(texts: Iterable[str]) -> list[str]:
    """Return the distinct characters (code points) of ``texts``, sorted.

    Build it from *training* text only, normalised the way the model will be trained.
    """
    return sorted(character_counts(texts))


def check_language(tag: str) -> str:
    """Return the canonical BCP-47 form of a language tag ("ces" -> "cs", "cs_CZ" -> "cs-CZ").

    Raises:
        UsageError: The tag is malformed or its parts are not registered.

    Source: RFC 5646 and the IANA subtag registry, through ``langcodes``.
    """
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        valid = langcodes.tag_is_valid(tag)
        canonical = langcodes.standardize_tag(tag)
    except LanguageTagError:
        valid, canonical = False, ""
    if not valid:
        raise UsageError(
            f"unknown language tag {tag!r}. Give a BCP-47 tag such as 'cs', 'pt-BR' or 'zh-Hant';"
            " for a language without a code use a private one, 'qaa' to 'qtz'."
        )
    return str(canonical)
