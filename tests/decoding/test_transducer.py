"""Transducer decoding against every text and every alignment of tiny models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from tests.objectives.transducer_paths import paths
from torch import Tensor, nn

from xlasr.decoding import transducer
from xlasr.errors import UsageError
from xlasr.models.transducer import Joiner, Predictor, TransducerShape

N_SYMBOLS = 2
TOPOLOGIES = pytest.mark.parametrize("modified", [False, True])


class Tiny(nn.Module):
    """Real predictor and joiner on states of width 3."""

    def __init__(self, seed: int, spread: float = 1.5) -> None:
        super().__init__()
        torch.manual_seed(seed)
        shape = TransducerShape(2, 4, 5)
        self.predictor = Predictor(N_SYMBOLS + 1, shape)
        self.joiner = Joiner(3, N_SYMBOLS + 1, shape)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(std=spread)
        self.eval()

    def log_probs(self, states: Tensor, tokens: Sequence[int]) -> list[list[list[float]]]:
        """(T, U+1, V) by teacher forcing, all at once."""
        with torch.no_grad():
            predicted = self.predictor(torch.tensor([[0, *tokens]]))[0][0]
            logits = self.joiner(
                self.joiner.encoder(states)[:, None], self.joiner.predictor(predicted)[None]
            )
            found: list[list[list[float]]] = logits.double().log_softmax(-1).tolist()
            return found


def clip(n_frames: int, seed: int = 0) -> Tensor:
    return torch.randn(n_frames, 3, generator=torch.Generator().manual_seed(seed))


def texts(longest: int) -> Iterator[tuple[int, ...]]:
    for n in range(longest + 1):
        yield from itertools.product(range(1, N_SYMBOLS + 1), repeat=n)


def by_hand(
    model: Tiny, states: Tensor, text: Sequence[int], *, modified: bool, per_frame: int
) -> float:
    """Log of the summed probability of its alignments with at most so many symbols a frame."""
    log_probs = model.log_probs(states, text)
    total = 0.0
    for path in paths(text, len(states), modified=modified):
        crowded = max(sum(t == at and v > 0 for t, _, v in path) for at in range(len(states)))
        if crowded <= per_frame:
            total += math.exp(sum(log_probs[t][u][v] for t, u, v in path))
    return math.log(total) if total else -math.inf


@TOPOLOGIES
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_wide_beam_is_the_enumeration_of_all_texts(modified: bool, seed: int) -> None:
    model, states = Tiny(seed), clip(3, seed)
    per_frame = 1 if modified else 2
    every = {
        text: by_hand(model, states, text, modified=modified, per_frame=per_frame)
        for text in texts(3 * per_frame)
    }
    found = transducer.beam(
        model, states, beam=500, n_best=500, max_per_frame=per_frame, modified=modified,
        token_top=None,
    )  # fmt: skip
    assert {tuple(h.tokens) for h in found} == set(every)
    for hypothesis in found:
        assert hypothesis.log_prob == pytest.approx(every[tuple(hypothesis.tokens)], abs=1e-4)
    scores = [h.score for h in found]
    assert scores == sorted(scores, reverse=True)
    if modified:  # nothing is left out
        assert sum(math.exp(h.log_prob) for h in found) == pytest.approx(1.0, abs=1e-5)


class Counting:
    """A language model that likes symbol 2, dislikes repetitions, and ends on 1."""

    def start(self) -> int:
        return 0

    def score(self, state: Any, token: int) -> tuple[float, int]:
        return (0.7 if token == 2 else -0.4) - 1.1 * (state == token), token

    def finish(self, state: Any) -> float:
        return -0.2 if state == 1 else -1.3

    def whole(self, text: Sequence[int]) -> float:
        state, total = self.start(), 0.0
        for token in text:
            score, state = self.score(state, token)
            total += score
        return total + self.finish(state)


@TOPOLOGIES
def test_fusion_ranks_by_the_sum_it_says(modified: bool) -> None:
    lm, changed = Counting(), 0
    for seed in range(8):
        model, states = Tiny(seed, 1.0), clip(3, seed)
        options = {"beam": 300, "n_best": 300, "max_per_frame": 2, "modified": modified}
        plain = {tuple(h.tokens): h for h in transducer.beam(model, states, **options)}
        fused = transducer.beam(model, states, lm=lm, lm_weight=2.0, length_bonus=1.5, **options)
        wanted = {t: h.log_prob + 2.0 * lm.whole(t) + 1.5 * len(t) for t, h in plain.items()}
        assert [tuple(h.tokens) for h in fused] == sorted(wanted, key=lambda t: -wanted[t])
        for h in fused:
            assert h.score == pytest.approx(wanted[tuple(h.tokens)])
            assert h.log_prob == pytest.approx(plain[tuple(h.tokens)].log_prob)
        changed += tuple(fused[0].tokens) != next(iter(plain))
    assert changed


def greedy_by_hand(
    model: Tiny, states: Tensor, *, modified: bool, per_frame: int
) -> tuple[list[int], float]:
    """Frame by frame, symbol by symbol, everything computed anew."""
    tokens: list[int] = []
    total = 0.0
    for t in range(len(states)):
        for written in range(per_frame + 1):
            row = model.log_probs(states, tokens)[t][-1]
            best = 0 if written == per_frame else max(range(len(row)), key=row.__getitem__)
            if written and modified:
                break
            total += row[best]
            if best == 0:
                break
            tokens.append(best)
    return tokens, total


@TOPOLOGIES
@pytest.mark.parametrize("per_frame", [1, 2, 3])
def test_greedy_by_hand(modified: bool, per_frame: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = set()
    for block in (1, 3, 32):
        monkeypatch.setattr(transducer, "BLOCK", block)
        for seed in range(12):
            model, states = Tiny(seed, 1.0), clip(7, seed)
            tokens, total = greedy_by_hand(model, states, modified=modified, per_frame=per_frame)
            found = transducer.greedy(model, states, max_per_frame=per_frame, modified=modified)
            if found.looped:
                continue
            assert found.tokens == tokens
            assert found.log_prob == found.score == pytest.approx(total, abs=1e-4)
            lengths.add(len(tokens))
    assert len(lengths) > 3


def test_a_beam_finds_what_greedy_misses() -> None:
    better = 0
    for seed in range(12):
        model, states = Tiny(seed, 1.0), clip(6, seed)
        greedy = transducer.greedy(model, states, modified=True)
        beam = transducer.beam(model, states, beam=8, modified=True)[0]
        exact = by_hand(model, states, greedy.tokens, modified=True, per_frame=1)
        assert greedy.log_prob <= exact + 1e-5  # one alignment of many
        assert beam.log_prob >= exact - 0.5  # what a beam drops
        better += beam.tokens != greedy.tokens and beam.log_prob > exact
    assert better


def babbling() -> Tiny:
    model = Tiny(0)
    with torch.no_grad():
        model.joiner.output.weight.mul_(0.01)
        model.joiner.output.bias.copy_(torch.tensor([0.0, 6.0, -6.0]))
    return model


@TOPOLOGIES
def test_a_loop_is_noticed_cut_and_marked(modified: bool) -> None:
    found = transducer.greedy(babbling(), clip(60), modified=modified)
    assert found.looped and not found.complete
    assert found.tokens == [1]
    found = transducer.beam(babbling(), clip(60), beam=1, length_bonus=1.0, modified=modified)[0]
    assert found.looped
    assert found.tokens == [1]
    wider = transducer.beam(
        babbling(), clip(60), beam=4, n_best=4, length_bonus=1.0, modified=modified
    )
    assert [h.looped for h in wider] == sorted(h.looped for h in wider)  # behind the others


def test_no_more_symbols_in_a_frame_than_allowed() -> None:
    found = transducer.greedy(babbling(), clip(2), max_per_frame=3)
    assert found.tokens == [1] * 6
    assert not found.looped
    found = transducer.beam(babbling(), clip(2), max_per_frame=3, length_bonus=1.0)[0]
    assert found.tokens == [1] * 6


@TOPOLOGIES
def test_states_of_dropped_texts_are_dropped(
    modified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    real = transducer._Search.forget_all_but

    def spy(self: Any, alive: Any) -> None:
        real(self, alive)
        held.append(len(self.known))

    monkeypatch.setattr(transducer._Search, "forget_all_but", spy)
    transducer.beam(Tiny(1, 0.3), clip(40), beam=3, modified=modified)
    assert len(held) == 40
    assert max(held) <= 2 * 3 + 1


def test_no_frames_is_no_text() -> None:
    assert transducer.greedy(Tiny(0), clip(0)).tokens == []
    assert transducer.beam(Tiny(0), clip(0))[0].tokens == []


def test_what_is_refused() -> None:
    model = Tiny(0)
    with pytest.raises(UsageError, match="n_best"):
        transducer.beam(model, clip(2), beam=2, n_best=3)
    with pytest.raises(UsageError, match="max_per_frame"):
        transducer.beam(model, clip(2), max_per_frame=0)
    with pytest.raises(UsageError, match=r"\(T', D\)"):
        transducer.greedy(model, clip(2)[None])
    with pytest.raises(UsageError, match="training mode"):
        transducer.greedy(model.train(), clip(2))


@TOPOLOGIES
@pytest.mark.parametrize("cuts", [(1, 2, 3, 9), (5,), (0, 4, 4, 16)])
def test_pieces_give_what_the_whole_gives(modified: bool, cuts: tuple[int, ...]) -> None:
    for seed in range(4):
        model, states = Tiny(seed, 1.0), clip(16, seed)
        searches = (
            (transducer.GreedySearch, transducer.greedy, {}),
            (transducer.BeamSearch, transducer.beam, {"beam": 3, "lm": Counting(), "lm_weight": 1}),
        )
        for kind, function, options in searches:
            whole = function(model, states, modified=modified, **options)
            whole = whole if isinstance(whole, list) else [whole]
            search = kind(model, modified=modified, **options)
            for piece in torch.tensor_split(states, cuts):
                search.push(piece)
            assert search.n_frames == 16
            assert [h.tokens for h in search.hypotheses()] == [h.tokens for h in whole]
            assert [h.frames for h in search.hypotheses()] == [h.frames for h in whole]
            assert search.hypotheses()[0].score == pytest.approx(whole[0].score, abs=1e-4)


def frames_by_hand(
    model: Tiny, states: Tensor, text: Sequence[int], *, modified: bool, per_frame: int
) -> list[int]:
    """Frames of a text: what stood there or was written in a frame, whichever brought more."""
    log_probs = model.log_probs(states, text)
    held: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for t, at in enumerate(log_probs):
        parts: dict[int, list[tuple[float, list[int]]]] = {}
        for u, (before, frames) in held.items():
            for k in range(min(per_frame, len(text) - u) + 1):
                end = 0.0 if modified and k else at[u + k][0]
                score = before + sum(at[u + i][text[u + i]] for i in range(k)) + end
                parts.setdefault(u + k, []).append((score, frames + [t] * k))
        held = {
            u: (math.log(sum(math.exp(p) for p, _ in found)), max(found)[1])
            for u, found in parts.items()
        }
    return held[len(text)][1]


@TOPOLOGIES
def test_a_symbol_has_the_frame_in_which_it_was_written(modified: bool) -> None:
    per_frame, different = 1 if modified else 2, set()
    for seed in range(3):
        model, states = Tiny(seed), clip(4, seed)
        found = transducer.beam(
            model, states, beam=800, n_best=30, max_per_frame=per_frame, modified=modified,
            token_top=None,
        )  # fmt: skip
        for h in found:
            assert h.frames == frames_by_hand(
                model, states, h.tokens, modified=modified, per_frame=per_frame
            )
            different.add(tuple(h.frames))
    assert len(different) > 8


def test_scores_of_the_language_model_are_forgotten_with_their_texts() -> None:
    search = transducer.BeamSearch(Tiny(1, 0.3), beam=3, lm=Counting(), lm_weight=1.0)
    for frame in clip(40):
        search.push(frame[None])
        assert len(search._known._lm) <= 2 * 3 + 1 + len(search._looped)
    assert search.hypotheses()[0].tokens
