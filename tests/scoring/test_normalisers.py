"""The normaliser for scripts without spaces, and when it is chosen."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlasr.data import text as plain
from xlasr.errors import UnknownName
from xlasr.scoring import Counts, score
from xlasr.scoring.normalisers import NORMALISERS, is_unspaced, normalise, unspaced, version


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("こんにちは、世界。", "こんにちは世界"),
        ("「ﾃｽﾄ」　ＡＢＣ１２３", "テストabc123"),  # half and full width
        ("ｶﾞｷﾞ", "ガギ"),
        ("か゛", "が"),  # a voicing mark that stands apart
        ("コーヒー 人々 〇", "コーヒー人々〇"),  # letters, though they look like marks
        ("ええ〜っ…！？", "ええっ"),
        ("ブルース・リー", "ブルースリー"),
        ("㈱①㌔", "株1キロ"),
        ("葛\U000e0100城", "葛城"),  # the same letter in another shape
        ("你好，世界！", "你好世界"),
        ("สวัสดี ครับ", "สวัสดีครับ"),
        ("ភាសា\u200bខ្មែរ", "ភាសាខ្មែរ"),
        ("...", ""),
    ],
)
def test_unspaced_by_hand(text: str, expected: str) -> None:
    assert unspaced(text) == expected


@given(st.text(max_size=40))
def test_unspaced_twice_is_once_and_leaves_letters_only(text: str) -> None:
    once = unspaced(text)
    assert unspaced(once) == once
    assert all(unicodedata.category(c)[0] in "LMN" for c in once)


def test_punctuation_is_no_error_and_no_space_in_it() -> None:
    ref, hyp = {"1": "はい、そうです。"}, {"1": "はいそうです"}
    assert score(ref, hyp).characters.errors == 1  # the headline makes a space of the comma
    found = score(ref, hyp, normaliser="unspaced")
    assert (found.characters, found.normaliser) == (Counts(6, 0, 0, 0), "unspaced")


def test_the_headline_is_the_one_of_the_data() -> None:
    assert normalise("Ahoj, Petře!") == plain.headline("Ahoj, Petře!")
    assert set(NORMALISERS) == {"headline", "phones", "raw", "unspaced"}
    assert version("headline") == plain.NORMALISER_VERSION
    with pytest.raises(UnknownName, match="Did you mean 'unspaced'"):
        normalise("a", "unspace")


def test_which_scripts_have_no_spaces() -> None:
    for texts in (
        ["日本語です"],
        ["ﾊﾝｶｸ"],
        ["你好吗 OK"],
        ["ภาษาไทย"],
        ["ພາສາລາວ"],
        ["မြန်မာ"],
        ["ខ្មែរ"],
        ["𠮷"],
    ):
        assert is_unspaced(texts), texts
    for texts in (["Ahoj"], ["한국어 문장"], ["हिन्दी"], ["123 ..."], [], ["OK Google 好"]):
        assert not is_unspaced(texts), texts
