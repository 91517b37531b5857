"""CTC decoders against plain enumeration of every alignment."""

from __future__ import annotations

import itertools
from collections import defaultdict
from math import exp, inf, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xlasr.decoding import ctc
from xlasr.decoding.ngram import build
from xlasr.errors import UsageError

Array = NDArray[np.float64]


def log_softmax(x: Array) -> Array:
    return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def every_text(log_probs: Array) -> dict[tuple[int, ...], float]:
    """Text -> log of the sum over all of its alignments."""
    total: dict[tuple[int, ...], float] = defaultdict(float)
    n_frames, n_classes = log_probs.shape
    for path in itertools.product(range(n_classes), repeat=n_frames):
        total[collapse(path)] += exp(sum(log_probs[t, c] for t, c in enumerate(path)))
    return {text: log(p) for text, p in total.items()}


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_a_wide_prefix_beam_is_exact(seed: int, n_frames: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.normal(scale=2, size=(n_frames, 4)))
    expected = every_text(log_probs)
    found = ctc.prefix_beam(log_probs, beam=2000, n_best=2000, token_min_log_prob=-inf)
    assert {tuple(h.tokens) for h in found} == set(expected)
    for h in found:
        assert h.log_prob == pytest.approx(expected[tuple(h.tokens)], abs=1e-9)
        assert h.score == h.log_prob
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_beam_that_drops_prefixes_loses_next_to_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.normal(scale=1.5, size=(6, 4)))
    expected = every_text(log_probs)
    found = ctc.prefix_beam(log_probs, beam=100, n_best=3, token_min_log_prob=-inf)
    best = sorted(expected, key=lambda text: -expected[text])[:3]
    assert [tuple(h.tokens) for h in found] == best
    for h in found:
        assert h.log_prob == pytest.approx(expected[tuple(h.tokens)], abs=0.01)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_with_a_language_model_it_is_exact_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.normal(scale=2, size=(5, 4)))
    lm = build([rng.integers(1, 4, size=6).tolist() for _ in range(8)], 3, 4)
    expected = {
        text: p + 0.7 * lm.log_probability(text) + 0.4 * len(text)
        for text, p in every_text(log_probs).items()
    }
    found = ctc.prefix_beam(
        log_probs,
        beam=2000,
        n_best=5,
        lm=lm,
        lm_weight=0.7,
        length_bonus=0.4,
        token_min_log_prob=-inf,
    )
    best = sorted(expected, key=lambda text: -expected[text])[:5]
    assert [tuple(h.tokens) for h in found] == best
    assert [h.score for h in found] == pytest.approx([expected[text] for text in best])


def test_the_sum_of_alignments_beats_the_best_path() -> None:
    # the textbook case: blank wins both frames, yet the letter has more mass in all
    log_probs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert ctc.greedy(torch.tensor(log_probs)[None], torch.tensor([2])) == [[]]
    assert ctc.prefix_beam(log_probs, beam=4)[0].tokens == [1]


def test_the_language_model_decides_where_the_sound_does_not() -> None:
    frames = np.full((5, 4), 1e-4)
    frames[[0, 2, 4], [1, 1, 3]] = 1.0
    frames[[1, 3], 0] = 1.0
    frames[2, [1, 2]] = [0.55, 0.45]  # heard: 1 1 3, or a little less likely 1 2 3
    log_probs = np.log(frames / frames.sum(axis=1, keepdims=True))
    lm = build([[1, 2, 3]] * 5, 3, 4)
    assert ctc.prefix_beam(log_probs, beam=8)[0].tokens == [1, 1, 3]
    assert ctc.prefix_beam(log_probs, beam=8, lm=lm, lm_weight=0.5)[0].tokens == [1, 2, 3]
    assert ctc.prefix_beam(log_probs, beam=8, length_bonus=-50)[0].tokens != [1, 1, 3]


def test_pruning_keeps_the_answer_on_peaky_output() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(200, 30))
    logits[:, 0] += 14
    spoken = rng.integers(1, 30, size=50)
    logits[np.arange(50) * 4, spoken] += 17
    log_probs = log_softmax(logits)
    exact = ctc.prefix_beam(log_probs, beam=64, token_min_log_prob=-inf)[0]
    for options in ({}, {"token_top": 3}):
        fast = ctc.prefix_beam(log_probs, beam=16, **options)[0]
        assert fast.tokens == exact.tokens
        assert fast.log_prob == pytest.approx(exact.log_prob, abs=0.05)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_greedy_is_the_collapsed_best_path_of_each_length(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = rng.normal(size=(3, 12, 4)).astype(np.float32)
    lens = rng.integers(0, 13, size=3)
    expected = [
        list(collapse(tuple(row[:n].argmax(axis=-1))))
        for row, n in zip(log_probs, lens, strict=True)
    ]
    assert ctc.greedy(torch.tensor(log_probs), torch.tensor(lens)) == expected


def test_no_frames_give_an_empty_text() -> None:
    assert ctc.prefix_beam(np.zeros((0, 5)), beam=4)[0].tokens == []


def test_broken_input_is_refused() -> None:
    with pytest.raises(UsageError, match="one clip"):
        ctc.prefix_beam(np.zeros((2, 3, 4)))
    with pytest.raises(UsageError, match="NaN"):
        ctc.prefix_beam(np.full((3, 4), np.nan))
    with pytest.raises(UsageError, match="n_best"):
        ctc.prefix_beam(np.zeros((3, 4)), beam=2, n_best=3)
    with pytest.raises(UsageError, match="between 0 and 3"):
        ctc.greedy(torch.zeros(1, 3, 4), torch.tensor([4]))


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 30), max_size=5))
@settings(max_examples=25, deadline=None)
def test_pieces_give_what_the_whole_gives(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.normal(scale=3, size=(30, 4)))
    greedy, wide = ctc.GreedySearch(), ctc.BeamSearch(beam=5)
    for piece in np.split(log_probs, sorted(cuts)):
        greedy.push(torch.from_numpy(piece))
        wide.push(piece)
    (whole,) = ctc.greedy(torch.from_numpy(log_probs)[None], torch.tensor([30]))
    (found,) = greedy.hypotheses()
    assert found.tokens == whole
    path = log_probs.argmax(1)
    begins = [t for t in range(30) if path[t] and (t == 0 or path[t] != path[t - 1])]
    assert found.frames == begins
    assert found.log_prob == pytest.approx(log_probs.max(1).sum())
    (beamed,) = ctc.prefix_beam(log_probs, beam=5)
    assert wide.hypotheses() == [beamed]
    assert wide.hypotheses()[0].frames == beamed.frames
    assert wide.n_frames == greedy.n_frames == 30


def test_a_letter_has_the_frame_in_which_it_was_written() -> None:
    """Planted: sure, doubtful and silent frames; the same letter twice, and one that lasts."""
    spikes = {2: (1, 0.95), 4: (2, 0.1), 5: (2, 0.9), 6: (2, 0.9), 9: (2, 0.99), 11: (1, 0.6)}
    probs = np.full((13, 3), 1e-6)
    for t in range(13):
        token, p = spikes.get(t, (1, 1e-6))
        probs[t, token] = p
        probs[t, 0] = 1 - probs[t, 1:].sum()
    (found,) = ctc.prefix_beam(np.log(probs), beam=8, token_min_log_prob=-20.0)
    assert (found.tokens, found.frames) == ([1, 2, 2, 1], [2, 5, 9, 11])
    greedy = ctc.GreedySearch()
    greedy.push(torch.from_numpy(np.log(probs)))
    assert greedy.hypotheses()[0].frames == [2, 5, 9, 11]
