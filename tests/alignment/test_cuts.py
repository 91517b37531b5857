"""A text that is one long line: cut at sentence ends and pauses, and nothing is too long."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.alignment.spoken import LETTERS, FakeEncoder, fake_model, say, silence
from tests.alignment.test_segment import WORDS, blocks, lines, recording

from xlasr.alignment.cuts import cheapest_cuts
from xlasr.alignment.segment import Matching, Segmentation, segment
from xlasr.alignment.text import Unknown, ends_sentence, join_words, make_units, make_words
from xlasr.errors import DataError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.tokenizer import CharTokenizer


def spoken_words(
    n: int, seed: int, pause_after: dict[int, float]
) -> tuple[str, NDArray[np.float32]]:
    """Words in a row, 60 ms apart, with longer pauses behind some of them."""
    rng = np.random.default_rng(seed)
    words = rng.choice(WORDS, n).tolist()
    parts = [silence(0.5)]
    for i, word in enumerate(words):
        parts += [say(word), silence(pause_after.get(i, 0.06))]
    return " ".join(words), np.concatenate([*parts, silence(0.5)])


def check_whole(found: Segmentation, text: str) -> None:
    """Utterances and left-out text are the words of the transcript again, in order, once each."""
    items = [(u.start_s, 1, u.text) for u in found.utterances]
    items += [(item.start_s, 0, item.text) for item in found.left_out if item.what == "text"]
    assert " ".join(content for _, _, content in sorted(items)).split() == text.split()
    for before, after in itertools.pairwise(found.utterances):
        assert before.end_s <= after.start_s


def test_one_line_without_punctuation_is_cut_at_its_pauses() -> None:
    """32 s, one line, no full stop: what made an utterance of 32 s before."""
    text, samples = spoken_words(80, 0, {9: 0.5, 26: 0.5, 30: 0.3, 53: 0.6, 55: 0.2, 70: 0.5})
    assert len(samples) / 16_000 > 30
    found = segment(fake_model(), blocks(samples), text)
    check_whole(found, text)
    assert found.left_out == []
    counts = np.cumsum([len(u.text.split()) for u in found.utterances])
    assert counts.tolist() == [27, 54, 80]  # two borders, in the two longest pauses that serve
    assert max(u.end_s - u.start_s for u in found.utterances) <= 15 + 1e-6
    assert all(-0.1 < u.worst <= u.score < 0 for u in found.utterances)
    found = segment(fake_model(), blocks(samples), text, Matching(longest_s=10))
    counts = np.cumsum([len(u.text.split()) for u in found.utterances])
    assert counts.tolist() == [10, 31, 54, 71, 80]  # in pauses again


@pytest.mark.parametrize("longest_s", [2.0, 3.0, 7.5, 30.0])
def test_nothing_is_longer_than_allowed_nor_than_the_base_hears(longest_s: float) -> None:
    text, samples = spoken_words(150, 1, {})
    model = fake_model()
    found = segment(model, blocks(samples), text, Matching(longest_s=longest_s))
    check_whole(found, text)
    lengths = [u.end_s - u.start_s for u in found.utterances]
    assert max(lengths) <= longest_s + 1e-6
    assert np.mean(lengths) > 0.6 * longest_s  # and not cut more often than that takes
    assert isinstance(model.encoder, FakeEncoder)
    model.encoder.max_samples = 5 * 16_000
    found = segment(model, blocks(samples), text, Matching(longest_s=longest_s))
    assert max(u.end_s - u.start_s for u in found.utterances) <= min(5, longest_s) + 1e-6


def test_a_line_that_is_longer_than_the_base_hears_is_left_out() -> None:
    text, samples = spoken_words(90, 2, {})
    with pytest.raises(DataError, match="nothing of the 1 lines"):
        segment(fake_model(), blocks(samples), text, Matching(unit="line"))
    more = np.concatenate([samples, say("ahoj rybo")])
    found = segment(fake_model(), blocks(more), f"{text}\nahoj rybo", Matching(unit="line"))
    assert [u.text for u in found.utterances] == ["ahoj rybo"]
    assert "30 s are allowed" in found.left_out[0].reason


def test_wrapped_prose_is_cut_at_sentences_not_at_line_ends() -> None:
    spoken = [f"{line}." for line in lines(20, 3)]
    samples, spans = recording(spoken)
    words = " ".join(spoken).split()
    wrapped = "\n".join(" ".join(words[i : i + 5]) for i in range(0, len(words), 5))
    found = segment(fake_model(), blocks(samples), wrapped)
    assert [u.text for u in found.utterances] == spoken
    assert [(u.start_s, u.end_s) for u in found.utterances] == [
        (pytest.approx(start, abs=0.11), pytest.approx(end, abs=0.13)) for start, end in spans
    ]
    first = np.cumsum([0, *(len(line.split()) for line in spoken[:-1])]) // 5 + 1
    assert [u.line for u in found.utterances] == first.tolist()


def test_a_full_stop_without_a_pause_does_not_cut() -> None:
    samples = np.concatenate([say("ahoj rybo kde"), silence(0.4), say("jsi tady"), silence(0.2)])
    found = segment(fake_model(), blocks(samples), "Ahoj. Rybo! Kde? Jsi tady.")
    assert [u.text for u in found.utterances] == ["Ahoj. Rybo! Kde?", "Jsi tady."]


def test_words_nobody_says_divide_and_are_listed() -> None:
    spoken = " ".join(lines(8, 4))
    samples = np.concatenate([silence(0.3), say(spoken), silence(0.3)])
    words = spoken.split()
    missing = " ".join(lines(2, 5))
    found = segment(fake_model(), blocks(samples), " ".join([*words[:9], missing, *words[9:]]))
    check_whole(found, " ".join([*words[:9], missing, *words[9:]]))
    assert [u.text for u in found.utterances] == [" ".join(words[:9]), " ".join(words[9:])]
    assert [(item.what, item.reason) for item in found.left_out] == [("text", "not heard here")]


@pytest.mark.parametrize("extra", ["zuvupy", "kapitan potapec"])
def test_sound_without_text_divides_and_is_in_no_utterance(extra: str) -> None:
    words = " ".join(lines(8, 6)).split()
    here, there = " ".join(words[:9]), " ".join(words[9:])
    samples = say(f"{here} {extra} {there}")
    found = segment(fake_model(), blocks(samples), f"{here} {there}")
    assert [u.text for u in found.utterances] == [here, there]
    (item,) = found.left_out
    assert (item.what, item.text) == ("audio", extra)
    assert found.utterances[0].end_s < item.start_s + 0.15
    assert found.utterances[1].start_s > item.end_s - 0.15


def test_a_little_sound_without_text_does_not_divide_but_counts_against_the_utterance() -> None:
    words = " ".join(lines(8, 6)).split()
    text = " ".join(words)
    samples = say(" ".join([*words[:9], "zu", *words[9:]]))
    (only,) = segment(fake_model(), blocks(samples), text).utterances
    assert only.text == text
    # six frames of two letters that no text explains, each about e ** -8 for a blank
    assert only.worst == pytest.approx(-8 * 6 / 30, abs=0.1)


def test_a_misheard_word_stays_in_its_sentence_and_lowers_its_score() -> None:
    spoken = "ahoj rybo kde jsi tady voda"
    samples = np.concatenate([silence(0.3), say(spoken.replace("jsi", "jci")), silence(0.3)])
    found = segment(fake_model(), blocks(samples), spoken, Matching(min_score=-9))
    (only,) = found.utterances
    assert only.text == spoken
    assert only.score < -0.05


def test_a_few_letters_between_mismatches_are_not_believed() -> None:
    """A word that is in both the text and the sound by chance, inside of other text and sound."""
    before, after = " ".join(lines(3, 7)), " ".join(lines(3, 8))
    heard, read = "zizka zizka zizka kde zizka zizka", "puvu puvu puvu kde puvu puvu puvu"
    samples = say(f"{before} {heard} {after}")
    cheap = Matching(skip_open=0.0)  # or the word would not be found at all
    found = segment(fake_model(), blocks(samples), f"{before} {read} {after}", cheap)
    assert [u.text for u in found.utterances] == [before, after]
    assert ("kde", "too short") in [(i.text, i.reason[:9]) for i in found.left_out]
    long = heard.replace("kde", "kapitan potapec"), read.replace("kde", "kapitan potapec")
    samples = say(f"{before} {long[0]} {after}")
    found = segment(fake_model(), blocks(samples), f"{before} {long[1]} {after}", cheap)
    assert [u.text for u in found.utterances] == [before, "kapitan potapec", after]


def test_a_word_without_a_known_letter_is_left_out_where_it_stands() -> None:
    samples = np.concatenate([say("v roce"), say("kapitan"), say("jed tady"), silence(0.2)])
    found = segment(fake_model(), blocks(samples), "v roce 1984 jed tady")
    assert [u.text for u in found.utterances] == ["v roce", "jed tady"]
    assert ("1984", "no letter that the model knows") in [
        (i.text, i.reason) for i in found.left_out
    ]
    assert found.unknown == {"1": 1, "9": 1, "8": 1, "4": 1}


def best_by_trying(spans: list[tuple[float, float]], ends: list[bool], longest_s: float) -> float:
    """The cost of the best of all 2 ** (n - 1) divisions."""
    best = np.inf
    for chosen in itertools.product([False, True], repeat=len(spans) - 1):
        borders = [0, *(i + 1 for i, cut in enumerate(chosen) if cut), len(spans)]
        if all(
            spans[b - 1][1] - spans[a][0] <= longest_s or b - a == 1
            for a, b in itertools.pairwise(borders)
        ):
            best = min(best, cost_of(borders, spans, ends))
    return best


def cost_of(borders: list[int], spans: list[tuple[float, float]], ends: list[bool]) -> float:
    total = 0.0
    for b in borders[1:-1]:
        pause = spans[b][0] - spans[b - 1][1]
        if pause >= (0.15 if ends[b - 1] else 1.0):
            total -= 1
        else:
            total += np.exp(-pause / 0.15) * (0.5 if ends[b - 1] else 1)
    return total


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1.5), st.floats(0.1, 3.0), st.booleans()), min_size=1, max_size=9
    ),
    st.floats(0.5, 8.0),
)
def test_the_cuts_are_the_best_of_all(
    words: list[tuple[float, float, bool]], longest_s: float
) -> None:
    spans, at = [], 0.0
    for pause, length, _ in words:
        spans.append((at + pause, at + pause + length))
        at = spans[-1][1]
    ends = [end for _, _, end in words]
    borders = cheapest_cuts(spans, ends, longest_s)
    assert borders[0] == 0 and borders[-1] == len(words)
    for a, b in itertools.pairwise(borders):
        assert a < b
        assert spans[b - 1][1] - spans[a][0] <= longest_s or b - a == 1
    assert cost_of(borders, spans, ends) == pytest.approx(best_by_trying(spans, ends, longest_s))


def test_too_little_room_for_an_utterance_is_refused() -> None:
    with pytest.raises(UsageError, match=r"at most 1 s leave no room"):
        Matching(longest_s=1)
    with pytest.raises(UsageError, match=r"text or line; found 'sentence'"):
        make_units(fake_model(), "ahoj", "sentence", Unknown())


def test_words_of_a_text_whatever_its_lines_are() -> None:
    text = "  – Ahoj, rybo –\n\n\n*** kde\njsi?"
    words = make_words(fake_model(), text)
    assert [(w.text, w.line) for w in words] == [
        ("– Ahoj,", 1), ("rybo – ***", 1), ("kde", 4), ("jsi?", 5),
    ]  # fmt: skip
    joined = join_words(words[1:])
    assert joined.text == "rybo – *** kde jsi?"
    assert joined.words == ["rybo – ***", "kde", "jsi?"]
    assert fake_model().tokenizer.decode(joined.symbols.tolist()) == "rybokdejsi"
    assert joined.word_of.tolist() == [0] * 4 + [1] * 3 + [2] * 3


def chinese_model() -> CTCModel:
    model = fake_model()
    letters = LETTERS[: -len("你好再见กา")] + "你好再见กา"
    return CTCModel(model.encoder, CharTokenizer(letters), model.info).eval()


def test_scripts_without_spaces_are_cut_between_letters() -> None:
    words = make_words(chinese_model(), "你好，a b。再\n见 abc见 กา่ก")
    assert [w.text for w in words] == [
        "你",
        "好，",
        "a",
        "b。",
        "再",
        "见",
        "abc",
        "见",
        "ก",
        "า่",
        "ก",
    ]
    whole = join_words(words)
    assert whole.text == "你好，a b。再见 abc见 กา่ก"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Ano.", True), ("„Vážně?“", True), ("ano!)", True), ("再见。", True), ("است؟", True),
     ("प्रथम।", True), ("tady… –", True), ("3.5", False), ("ano,", False), ("ano", False)],
)  # fmt: skip
def test_where_a_sentence_ends(text: str, expected: bool) -> None:
    assert ends_sentence(text) == expected


def test_lines_and_text_agree_where_each_line_is_a_sentence() -> None:
    spoken = [f"{line}." for line in lines(12, 9)]
    samples, _ = recording(spoken)
    model = fake_model()
    by_line = segment(model, blocks(samples), "\n".join(spoken), Matching(unit="line"))
    by_text = segment(model, blocks(samples), "\n".join(spoken))
    assert [u.text for u in by_text.utterances] == [u.text for u in by_line.utterances]
    times = [[(u.start_s, u.end_s) for u in f.utterances] for f in (by_line, by_text)]
    assert np.allclose(*times, atol=0.03)
    assert replace(by_text.utterances[3], words=[]).line == 4
