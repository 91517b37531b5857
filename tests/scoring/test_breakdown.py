"""Parts of a score, and confusions: counted by hand, and adding up to the whole."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from xlasr.errors import DataError, UsageError
from xlasr.scoring import Counts, Score, score
from xlasr.scoring.breakdown import (
    by_duration,
    by_group,
    by_name,
    by_number,
    by_snr,
    by_speech_rate,
    confusion,
    substitutions,
)

REFERENCES = {"a": "je to pes", "b": "je to", "c": "kůň", "d": "to je ono", "e": "ano"}
HYPOTHESES = {"a": "je to les", "b": "je to", "c": "kun", "d": "je to ono", "e": "ano ne"}
GROUPS = {"a": "s1", "b": "s1", "c": "s2", "d": "s2", "e": "s3"}


def scored() -> Score:
    return score(REFERENCES, HYPOTHESES, GROUPS)


def shown(parts: list) -> list[tuple[str, list[str], Counts]]:  # type: ignore[type-arg]
    return [(p.name, [u.id for u in p.score.utterances], p.score.words) for p in parts]


def test_by_duration_by_hand() -> None:
    parts = by_duration(
        scored(), {"a": 2.0, "b": 0.4, "c": 1.99, "d": 60, "e": math.nan, "other": 3.0}
    )
    assert shown(parts) == [
        ("below 1 s", ["b"], Counts(2, 0, 0, 0)),
        ("1 to 2 s", ["c"], Counts(0, 1, 0, 0)),
        ("2 to 5 s", ["a"], Counts(2, 1, 0, 0)),  # an edge begins its bin
        ("20 s and more", ["d"], Counts(2, 0, 1, 1)),
        ("not known", ["e"], Counts(1, 0, 0, 1)),
    ]
    assert [(p.low, p.high) for p in parts[:2]] == [(None, 1.0), (1.0, 2.0)]
    assert sum((p.score.words for p in parts), Counts()) == scored().words
    assert sum((p.score.characters for p in parts), Counts()) == scored().characters
    content = json.loads(json.dumps(parts[1].to_dict(), allow_nan=False))
    assert (content["name"], content["wer"], content["n_utterances"]) == ("1 to 2 s", 1.0, 1)


def test_by_speaker_and_group() -> None:
    speakers = {"a": "Jan", "b": "Eva", "c": "Jan", "d": "Eva", "e": "Jan"}
    assert shown(by_name(scored(), speakers)) == [
        ("Eva", ["b", "d"], Counts(4, 0, 1, 1)),
        ("Jan", ["a", "c", "e"], Counts(3, 2, 0, 1)),
    ]
    assert [(p.name, len(p.score.utterances)) for p in by_group(scored())] == [
        ("s1", 2),
        ("s2", 2),
        ("s3", 1),
    ]
    # A part keeps its groups, so that it has an interval of its own.
    assert by_name(scored(), speakers)[1].score.per_group("wer")[0] == ["s1", "s2", "s3"]
    with pytest.raises(DataError, match="2 of 5 utterances have no name: 'd', 'e'"):
        by_name(scored(), {"a": "x", "b": "x", "c": "x"})


def test_by_speech_rate_and_snr() -> None:
    seconds = {"a": 1.0, "b": 1.0, "c": 3.0, "d": 0.9, "e": 0.1}
    # 9, 5, 1, 10 and 30 reference characters a second
    parts = by_speech_rate(scored(), seconds, edges=(2, 9, 20))
    assert [(p.name, [u.id for u in p.score.utterances]) for p in parts] == [
        ("below 2 symbols/s", ["c"]),
        ("2 to 9 symbols/s", ["b"]),
        ("9 to 20 symbols/s", ["a", "d"]),
        ("20 symbols/s and more", ["e"]),
    ]
    with pytest.raises(DataError, match=r"'e' has a duration of 0.0 s"):
        by_speech_rate(scored(), {**seconds, "e": 0.0})
    noisy = by_snr(scored(), {"a": -3.0, "b": 40.0, "c": 7.5, "d": math.inf, "e": 0.0})
    assert [p.name for p in noisy] == ["below 0 dB", "0 to 5 dB", "5 to 10 dB", "30 dB and more"]


def test_quantiles_where_no_edges_are_given() -> None:
    keys = [str(i) for i in range(100)]
    many = score(dict.fromkeys(keys, "a"), dict.fromkeys(keys, "a"))
    parts = by_number(many, {key: float(key) for key in keys}, unit="x", n_bins=4)
    assert [len(p.score.utterances) for p in parts] == [25, 25, 25, 25]
    assert parts[0].name == "below 24.8 x"
    same = by_number(many, dict.fromkeys(keys, 2.0), n_bins=4)
    assert [(p.name, len(p.score.utterances)) for p in same] == [("2 and more", 100)]
    unknown = by_number(many, dict.fromkeys(keys, math.nan))
    assert [p.name for p in unknown] == ["not known"]
    one = by_number(many, dict.fromkeys(keys, 2.0), n_bins=1)
    assert [p.name for p in one] == ["all"]
    with pytest.raises(UsageError, match="must rise"):
        by_number(many, dict.fromkeys(keys, 2.0), edges=(3, 2))
    with pytest.raises(UsageError, match="n_bins=0"):
        by_number(many, dict.fromkeys(keys, 2.0), n_bins=0)
    with pytest.raises(DataError, match="NaN where it is not known"):
        by_number(many, {})


def test_substitution_pairs_by_hand() -> None:
    result = score(
        {"1": "pes a pes", "2": "les", "3": "kůň pes"},
        {"1": "les a les", "2": "pes", "3": "kun"},
    )
    assert substitutions(result) == [("pes", "les", 2), ("kůň", "kun", 1), ("les", "pes", 1)]
    assert substitutions(result, n=1) == [("pes", "les", 2)]
    assert sum(n for *_, n in substitutions(result)) == result.words.substitutions
    pairs = substitutions(result, "cer")
    assert pairs[:2] == [("p", "l", 2), ("l", "p", 1)]
    assert sum(n for *_, n in pairs) == result.characters.substitutions


def test_the_confusion_matrix_by_hand() -> None:
    result = score({"1": "abba", "2": "ba"}, {"1": "abxa", "2": "bac"})
    found = confusion(result)
    assert found.symbols == ("a", "b", "c", "x", "")
    expected = np.zeros((5, 5), dtype=int)
    expected[0, 0] = 3  # a, all right
    expected[1, 1], expected[1, 3] = 2, 1  # b, once taken for x
    expected[4, 2] = 1  # c, made up
    assert (found.matrix == expected).all()
    assert found.pairs() == [("", "c", 1), ("b", "x", 1)]
    top = found.top(1)
    assert (top.symbols, top.matrix.tolist()) == (("b", ""), [[2, 0], [0, 0]])


def test_the_matrix_holds_every_count_of_the_corpus() -> None:
    result = scored()
    matrix = confusion(result).matrix
    hits, total = int(matrix.diagonal().sum()), int(matrix.sum())
    deleted, inserted = int(matrix[:, -1].sum()), int(matrix[-1].sum())
    assert Counts(hits, total - hits - deleted - inserted, deleted, inserted) == result.characters
    assert matrix[-1, -1] == 0
