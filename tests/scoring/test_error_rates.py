"""Counts against jiwer, against a plain dynamic programme and against counts made by hand."""

from __future__ import annotations

import json
import math

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlasr.errors import DataError, UnknownName
from xlasr.scoring import Counts, Score, align, char_counts, score, word_counts

# Real lines and what Whisper tiny.en, or a half-trained model, makes of such lines.
LINES = [
    ("Co je to za divnou loď?", "Sou je to za divnou lot."),
    ("To je vrak dopravního letadla LC-10 Lemura.", "To je vrak dopravniho letadla el c deset"),
    ("Vidíš to oko? Němý svědek tragédie...", "Videš to oko, němi svědek, tragedie"),
    ("Ano.", "Ano"),
    ("Žluťoučký kůň úpěl ďábelské ódy.", "the little horse the little horse the little horse"),
    ("A zůstalo z něho jen skleněné oko.", ""),
    ("Nehýbej se!", "Nehýbej se se se se se se se se se se"),
    ("Bude-li pršet, nezmoknem.", "budeli pršet ne zmoknem"),
]
IDS = {str(i): pair for i, pair in enumerate(LINES)}

# Few letters, with a combining one: collisions and normalisation happen.
WORDS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "ř", "r\u030c", "l'eau", "x"]), max_size=12)


def fewest_errors(ref: list[str] | str, hyp: list[str] | str) -> int:
    row = list(range(len(hyp) + 1))
    for i, left in enumerate(ref, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(hyp, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return row[-1]


def scored(normaliser: str = "headline") -> Score:
    return score(
        {k: r for k, (r, _) in IDS.items()},
        {k: h for k, (_, h) in reversed(IDS.items())},
        {k: f"scene{int(k) // 3}" for k in IDS},
        normaliser,
    )


def test_real_lines_equal_jiwer_in_every_count() -> None:
    result = scored("headline")
    refs = [u.reference for u in result.utterances]
    hyps = [u.hypothesis for u in result.utterances]
    words, characters = jiwer.process_words(refs, hyps), jiwer.process_characters(refs, hyps)
    for ours, theirs in ((result.words, words), (result.characters, characters)):
        assert ours == Counts(
            theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions
        )
    assert result.wer == pytest.approx(words.wer, abs=1e-12)
    assert result.cer == pytest.approx(characters.cer, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_any_pairs_equal_jiwer_and_have_the_fewest_errors(
    pairs: list[tuple[list[str], list[str]]],
) -> None:
    pairs = [pair for pair in pairs if pair[0]]  # jiwer's corpus rate has no rule for the others
    if not pairs:
        return
    result = score(
        {str(i): " ".join(ref) for i, (ref, _) in enumerate(pairs)},
        {str(i): " ".join(hyp) for i, (_, hyp) in enumerate(pairs)},
        normaliser="raw",
    )
    refs = [u.reference for u in result.utterances]
    hyps = [u.hypothesis for u in result.utterances]
    words, characters = jiwer.process_words(refs, hyps), jiwer.process_characters(refs, hyps)
    for ours, theirs in ((result.words, words), (result.characters, characters)):
        assert ours == Counts(
            theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions
        )
    for u in result.utterances:
        assert u.words.errors == fewest_errors(u.reference.split(), u.hypothesis.split())
        assert u.characters.errors == fewest_errors(u.reference, u.hypothesis)


@settings(max_examples=150, deadline=None)
@given(WORDS, WORDS, st.sampled_from(["levenshtein", "sclite"]))
def test_an_alignment_spells_both_sides_and_agrees_with_the_counts(
    ref: list[str], hyp: list[str], costs: str
) -> None:
    ops = align(ref, hyp, costs)  # type: ignore[arg-type]
    assert [op.ref for op in ops if op.kind != "insertion"] == ref
    assert [op.hyp for op in ops if op.kind != "deletion"] == hyp
    assert all((op.ref == op.hyp) == (op.kind == "hit") for op in ops)
    kinds = [op.kind for op in ops]
    expected = word_counts(" ".join(ref), " ".join(hyp), costs)  # type: ignore[arg-type]
    assert expected == Counts(
        *(kinds.count(kind) for kind in ("hit", "substitution", "deletion", "insertion"))
    )
    assert expected.reference == len(ref)


def test_sclite_costs_prefer_hits_where_the_fewest_errors_do_not() -> None:
    # One hit between two gaps on each side costs 4 * 3; three substitutions and a gap, or four
    # substitutions, cost as much or more: found by search, checked by hand and by sclite.
    ref, hyp = "a b c d e", "d e x y z w"
    assert word_counts(ref, hyp) == Counts(0, 5, 0, 1)
    assert word_counts(ref, hyp, "sclite") == Counts(2, 0, 3, 4)


def test_counts_by_hand() -> None:
    assert word_counts("a b c d", "a x c e f") == Counts(2, 2, 0, 1)
    assert word_counts("to je vrak", "je vrak letadla") == Counts(2, 0, 1, 1)
    assert char_counts("to je", "toje") == Counts(4, 0, 1, 0)  # the space is a character
    assert word_counts("a b", "a b").rate == 0.0
    assert word_counts("a", "b c d").rate == 3.0


def test_an_empty_reference_is_defined() -> None:
    assert Counts().rate == 0.0
    assert word_counts("", "a b") == Counts(0, 0, 0, 2)
    assert word_counts("", "a b").rate == math.inf
    result = score({"1": "a b", "2": "...", "3": "!"}, {"1": "a b", "2": "x", "3": ""})
    assert result.words == Counts(2, 0, 0, 1)
    assert result.wer == 0.5
    assert [u.id for u in result.worst(1)] == ["2"]
    assert result.utterances[2].wer == 0.0


def test_raw_counts_what_headline_forgives() -> None:
    refs, hyps = {"1": "Ano, ano."}, {"1": "ano  ano"}
    assert score(refs, hyps).words.errors == 0
    raw = score(refs, hyps, normaliser="raw")
    assert raw.words == Counts(0, 2, 0, 0)
    assert raw.characters == Counts(6, 1, 2, 0)
    composed = score({"1": "r\u030ceka"}, {"1": "\u0159eka"}, normaliser="raw")
    assert composed.characters == Counts(4, 0, 0, 0)


def test_ids_that_do_not_match_are_named() -> None:
    refs = {f"clip{i}": "a" for i in range(9)}
    with pytest.raises(DataError, match=r"8 without a hypothesis: 'clip1', 'clip2'.* and 3 more"):
        score(refs, {"clip0": "a"})
    with pytest.raises(DataError, match=r"1 hypotheses without a reference: 'typo'"):
        score(refs, {**refs, "typo": "a"})
    with pytest.raises(DataError, match=r"9 without a group"):
        score(refs, refs, {})
    with pytest.raises(DataError, match="nothing to score"):
        score({}, {})
    with pytest.raises(UnknownName, match="headline"):
        score({"1": "a"}, {"1": "a"}, normaliser="headlin")


def test_worst_and_best_lines() -> None:
    result = scored()
    worst = [u.id for u in result.worst(2)]
    assert worst == ["6", "4"]  # a loop first, then another language
    assert [u.id for u in result.best(1)] == ["3"]
    assert len(result.worst(100)) == len(LINES)
    tied = score({"1": "a", "2": "a b c", "3": "q"}, {"1": "a", "2": "a b c", "3": "z"})
    assert [u.id for u in tied.best(3)] == ["2", "1", "3"]


def test_per_group_sums_are_the_corpus() -> None:
    result = scored()
    for metric in ("wer", "cer"):
        names, table = result.per_group(metric)  # type: ignore[arg-type]
        assert names == ["scene0", "scene1", "scene2"]
        counts = result.counts(metric)  # type: ignore[arg-type]
        assert table.sum(axis=0).tolist() == [counts.errors, counts.reference]


def test_json_round_trip_and_damage() -> None:
    result = scored("raw")
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert Score.from_dict(content) == result
    infinite = score({"1": ""}, {"1": "a"})
    assert json.loads(json.dumps(infinite.to_dict(), allow_nan=False))["wer"] is None
    for damage in (
        {"words": {**content["words"], "hits": content["words"]["hits"] + 1}},
        {"words": {**content["words"], "hits": -1}},
        {"utterances": content["utterances"][1:]},
        {"utterances": None},
    ):
        with pytest.raises(DataError, match="damaged"):
            Score.from_dict({**content, **damage})
    with pytest.raises(DataError, match="normaliser"):
        Score.from_dict({k: v for k, v in content.items() if k != "normaliser"})
