"""Japanese: three scores, counted by hand."""

from __future__ import annotations

import builtins
import json
from typing import Any

import pytest

from xlasr.errors import UsageError
from xlasr.scoring import Counts, japanese
from xlasr.scoring.japanese import (
    Word,
    is_japanese,
    katakana,
    read_towards,
    score_japanese,
    words_of,
)

REFERENCES = {
    "1": "東京に行きました。",
    "2": "私は日本人です",
    "3": "脳炎とリステリア",
    "4": "十人、来た",
    "5": "今日は良い天気です",
}
HYPOTHESES = {
    "1": "とうきょうにいきました",  # the same in kana
    "2": "わたしはにほんじんです",  # neither reading is the dictionary's first
    "3": "農園とリステリヤ",  # a word that sounds alike; one kana is wrong
    "4": "10人来た",  # digits are not read
    "5": "きょうはいい天気だ",  # だ for です
}


def test_cer_is_over_what_is_written() -> None:
    found = score_japanese(REFERENCES, HYPOTHESES)
    counts = {u.id: u.characters for u in found.characters.utterances}
    # 東京に行きました (8): に, きました stay; 東京 and 行 are 2 + 1 substituted, and 3 too much
    assert counts["1"] == Counts(5, 3, 0, 3)
    # 脳炎とリステリア (8): 脳, 炎 and ア are others
    assert counts["3"] == Counts(5, 3, 0, 0)
    assert counts["4"] == Counts(3, 1, 0, 1)  # 十 is 10; the comma is gone
    assert found.cer == found.characters.cer
    assert found.characters.normaliser == "unspaced"


def test_mecab_words_by_hand() -> None:
    assert [w.surface for w in words_of("東京に、行きました。")] == [
        "東京",
        "に",
        "行き",
        "まし",
        "た",
    ]
    found = score_japanese(REFERENCES, HYPOTHESES)
    spaced = {u.id: (u.reference, u.hypothesis) for u in found.words.utterances}
    assert spaced["1"] == ("東京 に 行き まし た", "とうきょう に いき まし た")
    counts = {u.id: u.words for u in found.words.utterances}
    assert counts["1"] == Counts(3, 2, 0, 0)
    assert counts["4"] == Counts(3, 1, 0, 0)  # 十 人 来 た and 10 人 来 た
    assert found.mecab_wer == found.words.wer
    assert "MeCab" in found.words.normaliser
    assert found.dictionary.startswith("fugashi 1.") and "unidic-lite 1.0" in found.dictionary


def test_spellings_of_one_reading_are_equal() -> None:
    found = score_japanese(REFERENCES, HYPOTHESES)
    texts = {u.id: (u.reference, u.hypothesis) for u in found.readings.utterances}
    assert texts["1"] == ("トウキョウニイキマシタ", "トウキョウニイキマシタ")
    assert texts["2"][0] == texts["2"][1]  # 私 may be ワタシ, 日本 may be ニホン
    counts = {u.id: u.characters for u in found.readings.utterances}
    assert counts["3"] == Counts(
        9, 1, 0, 0
    )  # ノウエントリステリ and ア for ヤ: homophones are equal
    assert counts["4"] == Counts(4, 2, 1, 0)  # ジュウニンキタ: ジュウ (3) against 10 (2)
    assert counts["5"] == Counts(9, 1, 1, 0)  # キョウハヨイテンキデス: デス against ダ
    assert found.reading_cer == found.readings.cer


@pytest.mark.parametrize(
    ("ref", "hyp"),
    [
        ("寿司を食べる", "スシをたべる"),
        ("鮨をたべる", "すしを食べる"),
        ("とうきょう", "東京"),  # kana in the reference, kanji in the hypothesis
        ("にほんへ行く", "日本へいく"),
        ("明日行った", "あしたいった"),
        ("明日行った", "あすいった"),
        ("コーヒー", "こーひー"),
        ("何か言った", "なにかいった"),
        ("一人で", "ひとりで"),
        ("ゔぁ", "ヴァ"),  # not in the dictionary
    ],
)
def test_equal_by_reading(ref: str, hyp: str) -> None:
    assert score_japanese({"1": ref}, {"1": hyp}).readings.characters.errors == 0


@pytest.mark.parametrize(
    ("ref", "hyp", "errors"),
    [
        ("東京", "京都", 3),  # トウキョウ and キョウト: two lost in front, one made up behind
        ("私は", "私わ", 1),  # the particle is misspelt
        ("コーヒー", "コヒー", 1),
        ("食べた", "飲んだ", 3),  # タベタ and ノンダ
        ("東京", "", 5),
        ("", "東京", 5),
    ],
)
def test_unequal_by_reading(ref: str, hyp: str, errors: int) -> None:
    assert score_japanese({"1": ref}, {"1": hyp}).readings.characters.errors == errors


def test_equal_texts_are_right_whatever_their_context_makes_of_them() -> None:
    # 今日 is キョウ before は and may be コンニチ elsewhere; the same characters stay the same.
    for ref, hyp in (("今日は暑い", "今日わ暑い"), ("彼は行った", "彼が行った")):
        counts = score_japanese({"1": ref}, {"1": hyp}).readings.characters
        assert (counts.substitutions, counts.errors) == (1, 1)


def test_the_reference_is_read_the_same_whatever_was_heard() -> None:
    # or two systems could not be compared on the same references
    one = score_japanese({"1": "日本"}, {"1": "にほん"}).readings
    two = score_japanese({"1": "日本"}, {"1": "にっぽん"}).readings
    assert one.utterances[0].reference == two.utterances[0].reference
    assert one.characters.errors == two.characters.errors == 0


def test_stretches_end_beside_what_agrees_only() -> None:
    # 山川 and やまかわ agree on no character, so nothing says that 山 is やま. They are one stretch
    # and can be read alike, so it is read as the reference is here.
    ref, hyp = (
        [Word("山", "サン"), Word("川", "カワ")],
        [Word("やま", "ヤマ"), Word("かわ", "カワ")],
    )
    assert read_towards(hyp, ref) == "サンカワ"


def test_a_stretch_with_too_many_readings_takes_the_likeliest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref, hyp = words_of("私"), words_of("あたし")
    assert read_towards(hyp, ref) == ref[0].reading
    monkeypatch.setattr(japanese, "_MOST_READINGS", 1)
    assert read_towards(hyp, ref) == "アタシ"
    # The same characters are the same, whatever their context makes of them.
    assert read_towards([Word("今日", "コンニチ")], [Word("今日", "キョウ")]) == "キョウ"


def test_kana_and_what_is_japanese() -> None:
    assert katakana("ひらがなゔゝ カタカナ 漢字") == "ヒラガナヴヽ カタカナ 漢字"
    assert words_of("ゔぁ")[0].reading == "ヴァ"  # not in the dictionary
    assert is_japanese(["日本", "です"])
    assert not is_japanese(["你好", "世界・"])


def test_json_and_groups() -> None:
    groups = dict.fromkeys(REFERENCES, "voice")
    found = score_japanese(REFERENCES, HYPOTHESES, groups)
    assert found.words.per_group("wer")[0] == ["voice"]
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["cer"]["rate"] == found.cer
    assert content["mecab_wer"]["hits"] == found.words.words.hits
    assert content["reading_cer"]["substitutions"] == found.readings.characters.substitutions


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name == "fugashi":
            raise ImportError("no", name="fugashi")
        return real(name, *rest, **more)

    japanese._tagger.cache_clear()
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"'fugashi' is not installed: pip install 'xlasr\[jap"):
        words_of("東京")
    monkeypatch.undo()
    assert words_of("東京")
