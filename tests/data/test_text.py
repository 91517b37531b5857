"""The normaliser's documented decisions, one by one, and its laws."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlasr.data.text import NORMALISERS, alphabet, check_language, normalise
from xlasr.errors import UnknownName, UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ano.", "ano"),
        ("  Ahoj,\n\tsvěte!  ", "ahoj světe"),
        ("konec...Ano", "konec ano"),
        ("bude-li – snad", "bude li snad"),
        ("L’eau z'n ‘n huis 't", "l'eau z'n n huis t"),
        ("rock 'n' roll", "rock n roll"),
        ("STRASSE Straße", "strasse straße"),
        ("ΟΔΟΣ", "οδος"),
        ("3,5 % = 100 €", "3 5 100"),
        ("e\u0301tude", "étude"),
        ("A\u030a", "å"),
        ("a =\u0338 b", "a b"),
        ("\ufeffslovo so\u00adft \u202bx\u202c", "slovo soft x"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("हिन्दी।", "हिन्दी"),
        ("ǃKung ʻokina", "ǃkung ʻokina"),
        ("... ?! —", ""),
        ("C:\\WINDOWS", "c windows"),
    ],
)
def test_headline_decisions(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_raw_keeps_everything_but_spaces() -> None:
    assert normalise(" Ano,  e\u0301! ", "raw") == "Ano, é!"


@given(st.text(max_size=60), st.sampled_from(sorted(NORMALISERS)))
def test_normalising_twice_is_normalising_once(text: str, name: str) -> None:
    once = normalise(text, name)
    assert normalise(once, name) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == " ".join(once.split())


@given(st.text(max_size=60))
def test_headline_holds_no_punctuation_and_no_case(text: str) -> None:
    result = normalise(text)
    assert result == unicodedata.normalize("NFC", result.lower())
    left = {c for c in result if unicodedata.category(c)[0] in "PS"}
    assert left <= {"'"}


@given(st.text(max_size=40))
def test_spelling_of_the_same_text_does_not_matter(text: str) -> None:
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(text)


def test_alphabet_is_sorted_and_distinct() -> None:
    assert alphabet(["baba", "ča č"]) == [" ", "a", "b", "č"]
    assert alphabet([]) == []


def test_unknown_normaliser() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'headline'"):
        normalise("x", "headlines")


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [("cs", "cs"), ("ces", "cs"), ("cs_CZ", "cs-CZ"), ("zh-hant", "zh-Hant"), ("qaa", "qaa")],
)
def test_language_tags_are_canonical(tag: str, canonical: str) -> None:
    assert check_language(tag) == canonical


@pytest.mark.parametrize("tag", ["", "xx", "czech", "Čeština", "cs-", "a", "english", "en-XX1"])
def test_unknown_language_tags(tag: str) -> None:
    with pytest.raises(UsageError, match="BCP-47"):
        check_language(tag)
