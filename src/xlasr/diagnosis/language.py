"""Is the text in the language of the tag? Judged over a whole split, never over a line.

The identifier is py3langid (naive Bayes over byte n-grams, about 130 languages, its model in the
package): an optional extra, because most languages that this project is for are not in it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from xlasr.diagnosis.findings import Finding
from xlasr.diagnosis.material import Check, Material

EXTRA = "xlasr[check]"
_MOST_CHARACTERS = 100_000
"""Enough for any identifier, and memory stays flat."""
_SAME = 14
"""CLDR's distance up to which two languages are not told apart by text alone (Croatian and
Bosnian 8, Danish and Norwegian 12, Indonesian and Malay 14); Czech and Slovak, at 24, are."""
_ONE = frozenset({"bs", "hr", "sr"})  # CLDR counts their scripts too
_ALIASES = {"fil": "tl", "nb": "no"}  # the identifier's codes are older


class CheckSkipped(Exception):
    """A check that cannot be made here; the message says what is missing."""


@functools.cache
def identifier() -> Any:
    """The identifier, with probabilities.

    Raises:
        CheckSkipped: The package is not installed.
    """
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise CheckSkipped(
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


def language(material: Material) -> Iterator[Finding]:
    """Another language than the tag's, or one that cannot be judged."""
    limits = material.thresholds
    tag = material.corpus.language
    judge = identifier()
    expected = known_as(tag, set(judge.labels))
    wrong = []
    for split in material.corpus.splits:
        text = _sample(material, split)
        if len(text) < limits.language_characters:
            continue
        found, probability = judge.classify(text)
        if not expected:
            yield Finding(
                "note",
                "language not known",
                f"the identifier does not know {tag!r}, so nobody has checked that the text is in "
                f"it; of what it knows, {split} is most like {found!r}",
                advice="fine for a language that few programs know; else check the tag",
            )
            return
        if not _near(found, expected) and probability >= limits.language_probability:
            wrong.append(f"{split}: {found!r} ({probability:.0%})")
    if wrong:
        yield Finding(
            "warning",
            "another language",
            f"the corpus says {tag!r}, its text looks like another language: {', '.join(wrong)}",
            advice="correct --language, or look which files came in by mistake",
        )


def _near(found: str, expected: str) -> bool:
    import langcodes

    pairs = ((found, expected), (expected, found))
    alike = min(langcodes.tag_distance(*pair) for pair in pairs) <= _SAME
    return alike or {found, expected} <= _ONE


def _sample(material: Material, split: str) -> str:
    """Text of a split, evenly taken from all of it where it is long."""
    part = material.corpus.split(split)
    step = max(1, -(-int(part.n_symbols.sum()) // _MOST_CHARACTERS))
    return " ".join(part[i].text for i in range(0, len(part), step))


CHECKS = (Check("language of the text", language),)
