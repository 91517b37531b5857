"""Which language a text is in, and which of two tags are one language to such a judgement.

The identifier is py3langid (naive Bayes over byte n-grams, about 130 languages, its model in the
package): an optional extra, because most languages that this project is for are not in it.
"""

from __future__ import annotations

import functools
from typing import Any

from xlasr.errors import DataError

EXTRA = "xlasr[check]"
_SAME = 14
"""CLDR's distance up to which two languages are not told apart by text alone (Croatian and
Bosnian 8, Danish and Norwegian 12, Indonesian and Malay 14); Czech and Slovak, at 24, are."""
_ONE = frozenset({"bs", "hr", "sr"})  # CLDR counts their scripts too
_ALIASES = {"fil": "tl", "nb": "no"}  # the identifier's codes are older


@functools.cache
def identifier() -> Any:
    """The identifier, with probabilities.

    Raises:
        DataError: The package is not installed.
    """
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise DataError(
            f"it takes the package py3langid: pip install '{EXTRA}' ({error})"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def known_as(tag: str, labels: set[str]) -> str:
    """The identifier's label for a BCP-47 tag; "" where it does not know the language."""
    import langcodes

    language = langcodes.Language.get(tag)
    names = [language.language, language.prefer_macrolanguage().language]
    for name in names:
        label = _ALIASES.get(str(name), str(name))
        if label in labels:
            return label
    return ""


@functools.cache
def is_near(found: str, expected: str) -> bool:
    """Whether a text in one language may well be called the other."""
    import langcodes

    pairs = ((found, expected), (expected, found))
    alike = min(langcodes.tag_distance(*pair) for pair in pairs) <= _SAME
    return alike or {found, expected} <= _ONE
