"""Languages by name, and how they are related: Glottolog's family tree.

Source: Glottolog 5 (CC BY 4.0); ``tables/SOURCES.md`` says how its table was made.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from xlasr.data.text import check_language
from xlasr.errors import UsageError, did_you_mean

SOURCE = "Glottolog 5"
_TABLE = Path(__file__).parent / "tables" / "glottolog.txt"
_LANGUAGE = re.compile(r"(.+) \[([a-z]{3})\]")


@functools.cache
def _paths() -> dict[str, tuple[str, ...]]:
    """ISO 639-3 code -> names from the family down to the language itself."""
    found: dict[str, tuple[str, ...]] = {}
    path: list[str] = []
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        depth, _, name = line.partition(" ")
        language = _LANGUAGE.fullmatch(name)
        del path[int(depth) :]
        path.append(language[1] if language else name)
        if language:
            found[language[2]] = tuple(path)
    return found


@functools.cache
def _codes() -> dict[str, str]:
    """Names in lower case -> ISO 639-3 code."""
    return {path[-1].lower(): code for code, path in _paths().items()}


def _code(tag: str) -> str | None:
    """The ISO 639-3 code under which the tree has a language; None where it has none.

    A macrolanguage ("zh", "ar") is what CLDR takes it for where nothing else is said (Mandarin,
    Standard Arabic).
    """
    import langcodes
    from langcodes.data_dicts import NORMALIZED_MACROLANGUAGES

    language = langcodes.get(tag).language or ""
    standard = {macro: own for own, macro in reversed(NORMALIZED_MACROLANGUAGES.items())}
    for known in (language, standard.get(language, language)):
        try:
            code = str(langcodes.get(known, normalize=False).to_alpha3())
        except LookupError:  # a private tag, or no language at all
            continue
        if code in _paths():
            return code
    return None


def lineage(tag: str) -> tuple[str, ...] | None:
    """Names from the family down to the language; None where Glottolog does not list it."""
    code = _code(tag)
    return None if code is None else _paths()[code]


def name(tag: str) -> str:
    """The language's English name; the tag where it is not known."""
    found = lineage(tag)
    return found[-1] if found else tag


def shared(target: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many groups, from the family down, two lineages have in common."""
    n = 0
    for mine, theirs in zip(target, other, strict=False):
        if mine != theirs:
            break
        n += 1
    return n


def check_tag(tag: str) -> str:
    """Return the canonical BCP-47 form of a tag.

    Raises:
        UsageError: It is none; with the tags of languages whose names or codes are close.
    """
    import langcodes

    try:
        return check_language(tag)
    except UsageError as error:
        codes = _codes()
        wanted = tag.lower()
        if wanted in codes:
            right = langcodes.standardize_tag(codes[wanted])
            raise UsageError(f"{error} {tag} is {right!r}.") from None
        tags = {langcodes.standardize_tag(code) for code in _paths()}
        known = [*codes, *(t for t in tags if len(t) == 2)]
        raise UsageError(f"{error}{did_you_mean(wanted, known)}") from None
