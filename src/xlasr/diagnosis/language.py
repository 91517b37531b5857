"""Is the text in the language of the tag? Judged over a whole split, never over a line."""

from __future__ import annotations

from collections.abc import Iterator

from xlasr.data.language import identifier, is_near, known_as
from xlasr.diagnosis.findings import Finding
from xlasr.diagnosis.material import Check, Material
from xlasr.errors import DataError

_MOST_CHARACTERS = 100_000
"""Enough for any identifier, and memory stays flat."""


class CheckSkipped(Exception):
    """A check that cannot be made here; the message says what is missing."""


def language(material: Material) -> Iterator[Finding]:
    """Another language than the tag's, or one that cannot be judged."""
    limits = material.thresholds
    tag = material.corpus.language
    try:
        judge = identifier()
    except DataError as error:
        raise CheckSkipped(str(error)) from error
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
        if not is_near(found, expected) and probability >= limits.language_probability:
            wrong.append(f"{split}: {found!r} ({probability:.0%})")
    if wrong:
        yield Finding(
            "warning",
            "another language",
            f"the corpus says {tag!r}, its text looks like another language: {', '.join(wrong)}",
            advice="correct --language, or look which files came in by mistake",
        )


def _sample(material: Material, split: str) -> str:
    """Text of a split, evenly taken from all of it where it is long."""
    part = material.corpus.split(split)
    step = max(1, -(-int(part.n_symbols.sum()) // _MOST_CHARACTERS))
    return " ".join(part[i].text for i in range(0, len(part), step))


CHECKS = (Check("language of the text", language),)
