"""The tree of languages: planted relations, tags and names."""

from __future__ import annotations

import pytest

from xlasr.diagnosis.pivots.family import check_tag, lineage, name, shared
from xlasr.errors import UsageError


def related(one: str, other: str) -> int:
    first, second = lineage(one), lineage(other)
    assert first is not None and second is not None
    return shared(first, second)


def test_relatives() -> None:
    czech = lineage("cs")
    assert czech is not None
    assert czech[0] == "Indo-European" and czech[-2:] == ("Czech-Slovak", "Czech")
    assert related("cs", "sk") > related("cs", "pl") > related("cs", "hr") > related("cs", "lt")
    assert related("cs", "lt") > related("cs", "it") > related("cs", "hu") == 0
    assert related("nl", "af") > related("nl", "de") > related("nl", "sv") > related("nl", "es")
    assert related("cs", "cs") == len(czech)


def test_what_has_no_family() -> None:
    assert lineage("eu") == ("Basque",)
    assert related("eu", "es") == 0
    assert lineage("qaa") is None
    assert name("qaa") == "qaa"
    assert lineage("ase") is None  # American Sign Language is not spoken


@pytest.mark.parametrize(
    ("tag", "english"),
    [
        ("zh", "Mandarin Chinese"),  # macrolanguages, by CLDR's choice
        ("ar", "Standard Arabic"),
        ("sw", "Swahili"),
        ("pt-BR", "Portuguese"),
        ("sr-Latn", "Serbian Standard"),
        ("et", "Estonian"),
    ],
)
def test_names(tag: str, english: str) -> None:
    assert name(tag) == english


def test_tags() -> None:
    assert check_tag("ces") == "cs"
    assert check_tag("cs_CZ") == "cs-CZ"
    assert check_tag("qaa") == "qaa"
    with pytest.raises(UsageError, match="czech is 'cs'"):
        check_tag("czech")
    with pytest.raises(UsageError, match="Did you mean 'french'"):
        check_tag("Frensh")
    with pytest.raises(UsageError, match=r"Did you mean .*'zu'"):
        check_tag("zx")
