"""Where letters end, by a model that hears perfectly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.alignment.spoken import fake_model, say, silence

from xlasr.alignment.reference import letter_timer
from xlasr.data.learnt_text import LearntText

LETTER_S = 0.08  # three frames of sound and one of silence


def test_every_letter_ends_where_it_was_said() -> None:
    samples = np.concatenate([silence(1), say("ahoj rybo"), silence(2), say(" kde"), silence(1)])
    text = "ahoj rybo kde"
    ends = letter_timer(fake_model())(samples, text)
    assert ends is not None
    assert len(ends) == len(text)
    assert all(a <= b for a, b in itertools.pairwise(ends))
    said = (
        [1 + LETTER_S * (i + 1) for i in range(9)] + [3.8] + [3.8 + LETTER_S * i for i in (1, 2, 3)]
    )
    for at, (found, wanted) in enumerate(zip(ends, said, strict=True)):
        if text[at] != " ":
            assert found == pytest.approx(wanted, abs=0.1), (at, text[at])


def test_letters_that_are_not_known_end_with_what_is_before() -> None:
    ends = letter_timer(fake_model())(say("ahoj kde"), "xx ahoj qq kde")
    assert ends is not None
    assert len(ends) == 14
    assert ends[0] == ends[1] == ends[2] <= ends[3]
    assert ends[6] == ends[7] == ends[8] == ends[9] == ends[10] < ends[11]


def test_text_that_cannot_be_that_of_the_sound() -> None:
    timer = letter_timer(fake_model())
    assert timer(say("ahoj"), "xxq") is None
    assert timer(say("a"), "ahoj rybo kde jsi") is None


def test_another_speed() -> None:
    text = LearntText("ab", (1.0, 3.0), ("a", "ba"))
    assert text == "ab"
    fast = text.faster(2.0)
    assert (str(fast), fast.ends_s, fast.hypotheses) == ("ab", (0.5, 1.5), ("a", "ba"))
    assert (LearntText("").faster(2.0).ends_s, LearntText("ab", ()).faster(2.0).ends_s) == (
        None,
        (),
    )
