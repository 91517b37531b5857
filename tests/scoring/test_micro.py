"""Numbers, names and listed terms: counted by hand."""

from __future__ import annotations

import json
import math

import pytest

from xlasr.errors import DataError
from xlasr.scoring import Counts, score
from xlasr.scoring.micro import Tally, find_names, score_names, score_numbers, score_terms


def test_numbers_by_hand() -> None:
    result = score_numbers(
        score(
            {"1": "Mám 3 psy a 12 koček.", "2": "LC-10 letí.", "3": "Nic."},
            {"1": "mám 3 psy a 2 kočky", "2": "lc letí", "3": "nic 7"},
        )
    )
    # 3 right, 12 taken for 2, 10 lost; 7 made up. Claimed: 3, 2 and 7, of which 3 is right.
    assert result.counts == Counts(1, 1, 1, 1)
    assert result.tally == Tally(3, 1, 3, 1)
    assert (result.rate, result.recall, result.precision) == (1.0, 1 / 3, 1 / 3)
    assert result.by_term["12"] == Tally(1, 0, 0, 0)
    assert result.by_term["7"] == Tally(0, 0, 1, 0)
    assert [term for term, _ in result.most_missed()] == ["10", "12"]


def test_runs_of_digits_where_there_are_no_words() -> None:
    result = score_numbers(
        score({"1": "125人と3匹。"}, {"1": "125人と30匹"}, normaliser="unspaced"), "cer"
    )
    assert result.by_term == {"125": Tally(1, 1, 1, 1), "3": Tally(1, 1), "30": Tally(claimed=1)}
    assert result.counts == Counts(4, 0, 0, 1)


def test_listed_terms_by_hand() -> None:
    scored = score(
        {
            "1": "acute myocardial infarction today",  # right
            "2": "old myocardial infarction",  # one word lost
            "3": "an infarction",  # right, the shorter term
            "4": "the spleen hurts",  # another word
            "5": "no fever",  # no term; one is made up
            "6": "myocardial infarction",  # a word put in between: words right, term not
        },
        {
            "1": "acute myocardial infarction today",
            "2": "old infarction",
            "3": "an infarction",
            "4": "the plane hurts",
            "5": "no spleen fever",
            "6": "myocardial the infarction",
        },
    )
    result = score_terms(scored, ["Myocardial infarction", "infarction", "spleen"])
    assert result.counts == Counts(6, 1, 1, 1)
    assert result.by_term == {
        "myocardial infarction": Tally(3, 1, 1, 1),
        "infarction": Tally(1, 1, 3, 3),  # 2 and 6 have it, and it is in the reference there
        "spleen": Tally(1, 0, 1, 0),
    }
    assert (result.recall, result.precision) == (2 / 5, 4 / 5)
    assert result.rate == 3 / 8


def test_terms_are_whole_words_and_may_follow_each_other() -> None:
    scored = score({"1": "spleens spleen spleen"}, {"1": "spleens spleen spleen"})
    assert score_terms(scored, ["spleen"]).tally == Tally(2, 2, 2, 2)
    longer = score({"1": "hot dog, hot"}, {"1": "hot dog hot"})
    found = score_terms(longer, ["hot", "hot dog"]).by_term  # the longest counts, and it alone
    assert found == {"hot dog": Tally(1, 1, 1, 1), "hot": Tally(1, 1, 1, 1)}
    unspaced = score({"1": "急性脳炎です"}, {"1": "急性農園です"}, normaliser="unspaced")
    result = score_terms(unspaced, ["脳炎"], metric="cer")
    assert (result.tally, result.counts) == (Tally(1, 0, 0, 0), Counts(0, 2, 0, 0))
    assert score_terms(unspaced, ["脳炎"]).tally == Tally()  # the sentence is one "word"


def test_names_are_found_by_their_capital_in_mid_sentence() -> None:
    names = find_names(
        [
            "Včera přijel Karel z Prahy, Karel Novák.",
            "Ten karel je malý karel.",  # small as often as with a capital: a common word
            "Jana a Praha-Západ.",  # the first word says nothing
            "Řekl: Pojď! Prý. Nevím. „Ano.“",  # after marks a sentence begins
            "POZOR NA PSA",  # all in capitals says nothing
            "jde martin domů",  # all in small letters neither
            "Už jde Martin.",
            "Je l'Italie i O'Brien, NASA, I'm a LC-10.",
        ]
    )
    assert names == {"prahy", "novák", "praha", "západ", "martin"} | {
        "l'italie",
        "o'brien",
        "nasa",
        "lc",
    }
    assert "karel" in find_names(["Je to Karel.", "Je to Karel.", "Ten je karel."])
    assert find_names(["हम दिल्ली में हैं", "他是北京人"]) == set()


def test_names_by_hand() -> None:
    raw = {"1": "Je to Karel?", "2": "Karel je z Prahy.", "3": "Ano."}
    scored = score(raw, {"1": "je to karel", "2": "karal je prahy", "3": "ano karel"})
    result = score_names(scored, raw)
    # "Karel" opens line 2 and is a name there too.
    assert result.name == "names"
    assert result.by_term == {"karel": Tally(2, 1, 2, 1), "prahy": Tally(1, 1, 1, 1)}
    assert result.counts == Counts(2, 1, 0, 1)
    assert (result.recall, result.precision) == (2 / 3, 2 / 3)
    with pytest.raises(DataError, match=r"'3': names need the reference as it was written.*none"):
        score_names(scored, {"1": raw["1"], "2": raw["2"]})
    with pytest.raises(DataError, match="it is 'Je to Pavel'"):
        score_names(scored, {**raw, "1": "Je to Pavel"})


def test_without_any_and_as_json() -> None:
    none = score_numbers(score({"1": "a"}, {"1": "b"}))
    assert none.counts == Counts() and math.isnan(none.recall) and math.isnan(none.precision)
    content = json.loads(json.dumps(none.to_dict(), allow_nan=False))
    assert (content["rate"], content["recall"], content["occurrences"]) == (None, None, 0)
    with pytest.raises(DataError, match=r"term '\?!' has no letter"):
        score_terms(score({"1": "a"}, {"1": "b"}), ["a", "?!"])
