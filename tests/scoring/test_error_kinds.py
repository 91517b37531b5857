"""Errors that are only spelling: counted by hand."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlasr.scoring import score, word_counts
from xlasr.scoring.error_kinds import error_kinds, joined_errors, without_diacritics


def vanished(ref: str, hyp: str, normaliser: str = "headline") -> dict[str, tuple[int, int]]:
    result = score({"1": ref}, {"1": hyp}, normaliser=normaliser)
    return {k.name: (k.word_errors, k.character_errors) for k in error_kinds(result)}


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Příliš žluťoučký kůň", "Prilis zlutoucky kun"),
        ("đ ø ł ß ı", "đ ø ł ß ı"),  # letters, not accented ones
        ("Tiếng Việt", "Tieng Viet"),
        ("й ё ї", "и е і"),
        ("ά ϋ", "α υ"),
        ("שָׁלוֹם", "שלום"),
        ("مُحَمَّد", "محمد"),
        ("हिन्दी क़", "हिन्दी क़"),  # vowel signs, virama and nukta are spelling
        ("ภาษาไทย กุ้ง", "ภาษาไทย กุ้ง"),  # so are Thai vowels and tones
        ("が ぱ", "が ぱ"),  # and voicing
        ("한국어", "한국어"),
    ],
)
def test_what_a_diacritic_is(text: str, bare: str) -> None:
    assert without_diacritics(text) == unicodedata.normalize("NFC", bare)


def test_diacritics_by_hand() -> None:
    # loď-lod is only that; kůň-kun too (two letters); psí-ps is not, nor is oko-ono
    kinds = vanished("loď kůň psí oko", "lod kun ps ono")
    assert kinds["diacritics"] == (2, 3)
    assert kinds["word boundaries"] == (0, 0)
    assert kinds["any of these"] == (2, 3)
    assert set(kinds) == {"diacritics", "word boundaries", "any of these"}
    shares = error_kinds(score({"1": "loď kůň psí oko"}, {"1": "lod kun ps ono"}))[0]
    assert (shares.word_share, shares.character_share) == (2 / 4, 3 / 5)


@pytest.mark.parametrize(
    ("ref", "hyp", "words", "characters"),
    [
        ("bude li pršet", "budeli pršet", 2, 1),  # a substitution and a deletion
        ("budeli pršet", "bude li pršet", 2, 1),
        ("ne zmokneme dnes", "nezmokneme des", 2, 1),  # dnes-des stays
        ("a b c d", "ab cd", 4, 2),
        ("ab cd", "a bc d", 3, 3),  # two words against three
        ("vy let adlo", "výlet adlo", 0, 1),  # a letter is wrong too, so the words stay wrong
        ("to je on", "to je on", 0, 0),
        ("on on", "on", 0, 1),  # a word is lost, and of its three characters one is the space
        ("aa a", "a aa", 2, 2),
    ],
)
def test_word_boundaries_by_hand(ref: str, hyp: str, words: int, characters: int) -> None:
    assert vanished(ref, hyp)["word boundaries"] == (words, characters)


def test_two_kinds_at_once_vanish_only_together() -> None:
    kinds = vanished("vy let adlo", "výlet adlo")
    assert kinds["diacritics"] == (0, 1)
    assert kinds["word boundaries"] == (0, 1)
    assert kinds["any of these"] == (2, 2)


def test_case_and_punctuation_by_hand() -> None:
    # Ahoj,-ahoj (case and comma), Petře!-Petře (mark), Jak-jak (case), je?-byl (another word)
    kinds = vanished("Ahoj, Petře! Jak je?", "ahoj Petře jak byl", "raw")
    assert kinds["case"] == (1, 2)
    assert kinds["case and punctuation"] == (3, 4)
    assert kinds["diacritics"] == (0, 0)
    # je? to byl: three errors in characters (j-b, e-y, ?-l), two of the letters stay and "l" too
    assert kinds["any of these"] == kinds["case and punctuation"]


def test_stripping_that_makes_more_errors_takes_none_away() -> None:
    # "bude-li" is one word as written and two without the hyphen; İ is two characters in lower case
    assert vanished("bude-li", "budeli", "raw")["case and punctuation"] == (0, 0)
    assert vanished("İ", "x", "raw")["case"] == (0, 0)


def test_for_scripts_without_spaces_the_other_normaliser_is_used() -> None:
    result = score({"1": "はい、そう。"}, {"1": "はいそう"}, normaliser="raw")
    plain = {k.name: k.character_errors for k in error_kinds(result)}
    assert plain["case and punctuation"] == 1  # the comma has become a space
    found = {k.name: k.character_errors for k in error_kinds(result, "unspaced")}
    assert found["case and punctuation"] == 2


def test_without_errors_and_under_sclite_s_costs() -> None:
    assert all(k.word_share == 0 for k in error_kinds(score({"1": "a"}, {"1": "a"})))
    # sclite's alignment has more errors than the fewest (7 and 6); none is only spelling.
    ref, hyp = {"1": "a b c d e"}, {"1": "d e x y z w"}
    nist = score(ref, hyp, costs="sclite")
    assert nist.words.errors == 7
    assert {k.word_errors for k in error_kinds(nist)} == {0}


def plainly(ref: list[str], hyp: list[str]) -> int:
    """The definition, word for word: blocks of the same letters are free. Exponential."""
    if not ref or not hyp:
        return len(ref) + len(hyp)
    ways = [
        1 + plainly(ref[1:], hyp),
        1 + plainly(ref, hyp[1:]),
        (ref[0] != hyp[0]) + plainly(ref[1:], hyp[1:]),
    ]
    for i in range(1, len(ref) + 1):
        for j in range(1, len(hyp) + 1):
            if "".join(ref[:i]) == "".join(hyp[:j]):
                ways.append(plainly(ref[i:], hyp[j:]))
    return min(ways)


WORDS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aa", "aab"]), max_size=5)


@settings(max_examples=200, deadline=None)
@given(WORDS, WORDS)
def test_joined_errors_are_the_fewest_by_definition(ref: list[str], hyp: list[str]) -> None:
    found = joined_errors(ref, hyp)
    assert found == plainly(ref, hyp)
    assert found <= word_counts(" ".join(ref), " ".join(hyp)).errors
