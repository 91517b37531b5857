"""Rare and common words: counted by hand, and as parts that add up to the whole."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlasr.errors import DataError, UsageError
from xlasr.scoring import Counts, score
from xlasr.scoring.rare_words import RareWords, rare_words

# Training counts: je 10, to 4, pes 2, kůň 1; "vrak" and everything else are unseen.
TRAINING = ["Je to pes.", "Je to pes!", "je to, je to", "kůň je", "je je je", "je, je"]

REFERENCES = {
    "1": "To je pes.",  # heard: to je les       -> pes (2) substituted
    "2": "Kůň je vrak.",  # heard: kůň vrak       -> je (10) deleted
    "3": "Je to vrak?",  # heard: je to ten vrak -> "ten" (0) inserted
    "4": "Kůň.",  # heard: kůň je         -> "je" (10) inserted
}
HYPOTHESES = {"1": "to je les", "2": "kůň vrak", "3": "je to ten vrak", "4": "kůň je"}


def found(threshold: int = 3) -> RareWords:
    return rare_words(score(REFERENCES, HYPOTHESES), TRAINING, threshold, edges=(1, 2, 5))


def test_bins_by_hand() -> None:
    rows = [(b.name, b.low, b.high, b.types, b.counts) for b in found().bins]
    assert rows == [
        ("unseen", 0, 0, 1, Counts(2, 0, 0, 1)),  # vrak twice right; "ten" too much
        ("1", 1, 1, 1, Counts(2, 0, 0, 0)),  # kůň twice right
        ("2", 2, 2, 1, Counts(0, 1, 0, 0)),  # pes taken for les
        ("3-4", 3, 4, 1, Counts(2, 0, 0, 0)),  # to, twice right
        ("5+", 5, None, 1, Counts(2, 0, 1, 1)),  # je: twice right, once lost, once too much
    ]


def test_rare_is_below_the_threshold_and_unseen_is_a_part_of_it() -> None:
    result = found()
    assert (result.training_words, result.training_types) == (17, 4)
    assert result.unseen == Counts(2, 0, 0, 1)
    assert result.rare == Counts(4, 1, 0, 1)
    assert result.common == Counts(4, 0, 1, 1)
    assert result.rare.rate == pytest.approx(2 / 5)
    assert result.bins[0].rate == 0.5
    assert result.bins[0].miss_rate == 0.0  # nothing of it was missed, one was made up
    assert found(1).rare == found().unseen
    assert found(11).common == Counts()
    # The threshold becomes an edge, so that it is kept exactly.
    assert [b.name for b in found(4).bins] == ["unseen", "1", "2-3", "4", "5+"]
    assert found(4).rare == found().rare and found(5).rare == Counts(6, 1, 0, 1)


def test_training_text_goes_through_the_score_s_normaliser() -> None:
    raw = rare_words(score(REFERENCES, REFERENCES, normaliser="raw"), TRAINING, 2)
    # As written: Je, to, pes., pes!, je, "to,", kůň and "je," stand in training.
    assert raw.training_types == 8
    assert raw.unseen.hits == 5  # To, Kůň, vrak., vrak? and Kůň.


def test_characters_of_scripts_without_spaces() -> None:
    result = rare_words(
        score({"1": "脳炎です。"}, {"1": "農炎です"}, normaliser="unspaced"),
        ["炎です", "です"],
        2,
        metric="cer",
    )
    assert result.unseen == Counts(0, 1, 0, 0)  # 脳
    assert result.rare == Counts(1, 1, 0, 0)  # 炎 was seen once
    assert result.common == Counts(2, 0, 0, 0)


WORDS = st.lists(st.sampled_from("je to pes les kůň vrak ten a".split()), max_size=7)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5),
    st.lists(st.sampled_from("je to pes kůň".split()), min_size=1, max_size=40),
    st.integers(1, 12),
    st.sampled_from(["levenshtein", "sclite"]),
)
def test_every_word_and_every_error_counts_exactly_once(
    pairs: list[tuple[list[str], list[str]]], training: list[str], threshold: int, costs: str
) -> None:
    result = score(
        {str(i): " ".join(r) for i, (r, _) in enumerate(pairs)},
        {str(i): " ".join(h) for i, (_, h) in enumerate(pairs)},
        costs=costs,  # type: ignore[arg-type]
    )
    parts = rare_words(result, training, threshold)
    assert sum((b.counts for b in parts.bins), Counts()) == result.words
    assert parts.rare + parts.common == result.words


def test_json_and_what_is_refused() -> None:
    content = json.loads(json.dumps(found().to_dict(), allow_nan=False))
    assert content["rare"]["rate"] == pytest.approx(0.4)
    assert content["bins"][4] == {
        "name": "5+",
        "low": 5,
        "high": None,
        "types": 1,
        "hits": 2,
        "substitutions": 0,
        "deletions": 1,
        "insertions": 1,
        "rate": pytest.approx(2 / 3),
        "miss_rate": pytest.approx(1 / 3),
    }
    only = rare_words(score({"1": "je"}, {"1": "je xy"}), TRAINING)
    assert math.isnan(only.bins[0].miss_rate)
    assert only.to_dict()["unseen"]["rate"] is None  # one made up, none there
    with pytest.raises(DataError, match="training text has no words"):
        rare_words(score(REFERENCES, HYPOTHESES), ["...", ""])
    with pytest.raises(UsageError, match="1 or more, got 0"):
        found(0)
    for edges in ((0, 5), (5, 2), (2, 2)):
        with pytest.raises(UsageError, match="edges must rise"):
            rare_words(score(REFERENCES, HYPOTHESES), TRAINING, edges=edges)
