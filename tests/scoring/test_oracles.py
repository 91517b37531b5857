"""Twenty pairs counted by hand, and a thousand random ones: equal to jiwer and to sclite."""

from __future__ import annotations

import random
from pathlib import Path

import jiwer
import pytest
from tests.scoring.test_sclite import cases, program, run_sclite  # noqa: F401

from xlasr.scoring import Counts, char_counts, word_counts

# Reference, hypothesis, words and characters (H, S, D, I), counted on paper.
BY_HAND = [
    ("a", "a", (1, 0, 0, 0), (1, 0, 0, 0)),
    ("a", "b", (0, 1, 0, 0), (0, 1, 0, 0)),
    ("a b", "a", (1, 0, 1, 0), (1, 0, 2, 0)),
    ("a", "a b", (1, 0, 0, 1), (1, 0, 0, 2)),
    ("a b c", "a x c", (2, 1, 0, 0), (4, 1, 0, 0)),
    ("a b c", "b c", (2, 0, 1, 0), (3, 0, 2, 0)),
    ("a b c", "c", (1, 0, 2, 0), (1, 0, 4, 0)),
    ("to je pes", "to je les", (2, 1, 0, 0), (8, 1, 0, 0)),
    ("to je pes", "toje pes", (1, 1, 1, 0), (8, 0, 1, 0)),
    ("toje pes", "to je pes", (1, 1, 0, 1), (8, 0, 0, 1)),
    ("ano", "ano ano ano", (1, 0, 0, 2), (3, 0, 0, 8)),
    ("loď", "lod", (0, 1, 0, 0), (2, 1, 0, 0)),
    ("žluťoučký kůň", "zlutoucky kun", (0, 2, 0, 0), (7, 6, 0, 0)),
    ("kdo to je", "kdo to byl", (2, 1, 0, 0), (7, 2, 0, 1)),
    ("ab ab ab", "ab ab", (2, 0, 1, 0), (5, 0, 3, 0)),
    ("x y z", "p q", (0, 2, 1, 0), (1, 2, 2, 0)),
    ("jedna dvě tři", "jedna a dvě tři", (3, 0, 0, 1), (13, 0, 0, 2)),
    ("vidíš to oko", "videš oko", (1, 1, 1, 0), (8, 1, 3, 0)),
    ("ne", "nene", (0, 1, 0, 0), (2, 0, 0, 2)),
    ("mám dva psy", "dva psy mám", (2, 0, 1, 1), (7, 0, 4, 4)),
]
PAIRS = [(ref, hyp) for ref, hyp, _, _ in BY_HAND]


def of_jiwer(found: jiwer.WordOutput | jiwer.CharacterOutput) -> Counts:
    return Counts(found.hits, found.substitutions, found.deletions, found.insertions)


@pytest.mark.parametrize(("ref", "hyp", "words", "characters"), BY_HAND)
def test_by_hand(ref: str, hyp: str, words: tuple[int, ...], characters: tuple[int, ...]) -> None:
    assert len(BY_HAND) == 20
    assert word_counts(ref, hyp) == Counts(*words) == of_jiwer(jiwer.process_words(ref, hyp))
    theirs = of_jiwer(jiwer.process_characters(ref, hyp))
    assert char_counts(ref, hyp) == Counts(*characters) == theirs


def test_by_hand_and_by_sclite(program: Path, tmp_path: Path) -> None:  # noqa: F811
    expected = [Counts(*words) for _, _, words, _ in BY_HAND]
    assert run_sclite(program, tmp_path, PAIRS) == expected
    assert [word_counts(ref, hyp, "sclite") for ref, hyp in PAIRS] == expected


def test_a_thousand_random_pairs_equal_jiwer() -> None:
    rng = random.Random(1)
    pairs = [pair for pair in cases() if pair[0]]  # jiwer takes no empty reference
    for _ in range(500):
        letters = rng.choice(["ab", "abc", "aáb"])
        ref, hyp = (
            " ".join("".join(rng.choices(letters, k=rng.randint(1, 3))) for _ in range(n))
            for n in (rng.randint(1, 15), rng.randint(0, 15))
        )
        pairs.append((ref, hyp))
    assert len(pairs) >= 1000
    for ref, hyp in pairs:
        assert word_counts(ref, hyp) == of_jiwer(jiwer.process_words(ref, hyp)), (ref, hyp)
        theirs = of_jiwer(jiwer.process_characters(ref, hyp))
        assert char_counts(ref, hyp) == theirs, (ref, hyp)
