"""Transducer decoding: greedy, and a beam that sums the alignments of a text.

Both work on one clip's projected encoder states (T', J), and know no vocabulary: the blank is 0.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xlasr.decoding.ctc import log_add
from xlasr.decoding.hypothesis import Hypothesis, LanguageModel, LoopGuard, find_loop
from xlasr.errors import UsageError

Prefix = tuple[int, ...]
BLANK = 0
BLOCK = 32
"""Frames that greedy decoding looks at together: most of them are blank."""


@torch.inference_mode()
def greedy(
    model: Any, states: Tensor, *, max_per_frame: int = 10, modified: bool = False
) -> Hypothesis:
    """Write the best symbol until the blank is best, then go to the next frame.

    Args:
        model: With ``predictor`` and ``joiner``, as ``models.transducer.Transducer``, in eval mode.
        states: (T', D) encoder states of one clip, without padding.
        max_per_frame: Symbols after which the next frame is taken anyway.
        modified: Every symbol takes a frame.

    Returns:
        Tokens; score = log_prob = log-probability of the one alignment that was found. A repetition
        ends the decoding (``find_loop``), is cut and marked.

    Raises:
        UsageError: The model is in training mode, or the shape is wrong.

    Source: Graves 2012 (arXiv 1211.3711), section 2.4, with a beam of one.
    """
    _check(model, states)
    encoder = model.joiner.encoder(states)
    predicted, state = _read(model, states, [[BLANK]], None)
    tokens: list[int] = []
    guard = LoopGuard(1)
    total, t, written = 0.0, 0, 0
    while t < len(encoder):
        block = encoder[t : t + BLOCK]
        log_probs = model.joiner(block, predicted).float().log_softmax(1)
        best = log_probs.argmax(1)
        if written == max_per_frame:
            best[0] = BLANK
        symbols = torch.nonzero(best != BLANK)
        n_blanks = int(symbols[0, 0]) if len(symbols) else len(block)
        total += float(log_probs[:n_blanks, BLANK].sum())
        if n_blanks:
            t, written = t + n_blanks, 0
        if not len(symbols):
            continue
        token = int(best[n_blanks])
        total += float(log_probs[n_blanks, token])
        tokens.append(token)
        if guard.push(np.array([token]))[0]:
            return Hypothesis(tokens[: find_loop(tokens)], total, total, True, False)
        t, written = (t + 1, 0) if modified else (t, written + 1)
        predicted, state = _read(model, states, [[token]], state)
    return Hypothesis(tokens, total, total)


@torch.inference_mode()
def beam(
    model: Any,
    states: Tensor,
    *,
    beam: int = 8,
    lm: LanguageModel | None = None,
    lm_weight: float = 0.0,
    length_bonus: float = 0.0,
    n_best: int = 1,
    max_per_frame: int = 3,
    modified: bool = False,
    token_top: int | None = 16,
) -> list[Hypothesis]:
    """Frame by frame; alignments of one text are added up.

    ``score = log_prob + lm_weight * lm_log_prob + length_bonus * n_tokens``; the language model's
    end of text is added last. The full search writes up to ``max_per_frame`` symbols in a frame,
    the modified one at most one, which takes the frame: a model of the modified topology needs it,
    for one of the regular topology it is quick and hardly worse. With a beam as wide as the
    number of texts, no limit on tokens and room in a frame, ``log_prob`` is exact.

    Args:
        model: See ``greedy``.
        states: (T', D) encoder states of one clip, without padding.
        beam: Texts kept after each frame (and after each symbol inside of one).
        lm: Language model over the same token ids, or None.
        lm_weight: Weight of its log-probabilities.
        length_bonus: Added for every token.
        n_best: Hypotheses returned, at most ``beam``.
        max_per_frame: Symbols a text may grow by in a frame; full search only.
        modified: Every symbol takes a frame.
        token_top: So many best symbols extend a text at a time; None is all.

    Returns:
        Hypotheses, best first; looping ones, cut, behind the others.

    Raises:
        UsageError: The model is in training mode, or an argument does not fit.

    Source: Graves 2012 (arXiv 1211.3711), section 2.4; at most one symbol a frame: Kang et al. 2022
        (arXiv 2211.00484), section 3; shallow fusion: Gulcehre et al. 2015.
    """
    _check(model, states)
    if not 1 <= n_best <= beam:
        raise UsageError(f"n_best must be between 1 and beam ({beam}); found {n_best}")
    if max_per_frame < 1:
        raise UsageError(f"max_per_frame must be at least 1; found {max_per_frame}")
    search = _Search(model, states, lm if lm_weight else None, lm_weight, length_bonus)
    alive: dict[Prefix, float] = {(): 0.0}
    looped: dict[Prefix, float] = {}
    for frame in model.joiner.encoder(states):
        after: dict[Prefix, float] = {}
        level = alive
        for _ in range(1 if modified else max_per_frame + 1):
            grown: dict[Prefix, float] = {}
            for prefix, blank, tokens in search.next(level, frame, token_top):
                after[prefix] = log_add(after.get(prefix, -inf), level[prefix] + blank)
                for token, log_prob in tokens:
                    longer = (*prefix, token)
                    into = after if modified else grown
                    into[longer] = log_add(into.get(longer, -inf), level[prefix] + log_prob)
            level = search.best(grown, beam, looped)
            if not level:
                break
        alive = search.best(after, beam, looped)
        if not alive:  # every text has begun to loop
            break
        search.forget_all_but(alive)
    stuck = {prefix[:-1]: find_loop(prefix) for prefix in looped}  # one token short of a loop
    results = [
        search.hypothesis(prefix, log_prob, stuck.get(prefix)) for prefix, log_prob in alive.items()
    ]
    results += [search.hypothesis(p, log_prob, find_loop(p)) for p, log_prob in looped.items()]
    return sorted(results, key=lambda h: (h.looped, -h.score))[:n_best]


class _Search:
    """What a beam knows of its prefixes."""

    def __init__(
        self,
        model: Any,
        states: Tensor,
        lm: LanguageModel | None,
        lm_weight: float,
        length_bonus: float,
    ) -> None:
        self.model, self.lm = model, lm
        self.lm_weight, self.length_bonus = lm_weight, length_bonus
        predicted, state = _read(model, states, [[BLANK]], None)
        # behind each prefix: the projected predictor state (J,), and the state of its layers
        self.known: dict[Prefix, tuple[Tensor, Any]] = {(): (predicted[0], state)}
        self._lm: dict[Prefix, tuple[float, Any]] = {
            (): (0.0, lm.start() if lm is not None else None)
        }

    def _lm_score(self, prefix: Prefix) -> tuple[float, Any]:
        """The language model's score and state behind a prefix; it is asked once for each."""
        if self.lm is None:
            return self._lm[()]
        if prefix not in self._lm:
            before, state = self._lm_score(prefix[:-1])
            score, after = self.lm.score(state, prefix[-1])
            self._lm[prefix] = (before + score, after)
        return self._lm[prefix]

    def _score(self, prefix: Prefix, log_prob: float) -> float:
        bonus = self.length_bonus * len(prefix)
        return log_prob + self.lm_weight * self._lm_score(prefix)[0] + bonus

    def next(
        self, level: dict[Prefix, float], frame: Tensor, top: int | None
    ) -> list[tuple[Prefix, float, list[tuple[int, float]]]]:
        """For each prefix: log-probability of the blank, and of the symbols that may follow."""
        self._learn([prefix for prefix in level if prefix not in self.known])
        predicted = torch.stack([self.known[prefix][0] for prefix in level])
        log_probs = self.model.joiner(frame, predicted).double().log_softmax(1)
        symbols = log_probs[:, BLANK + 1 :]
        values, ids = symbols.topk(min(top or symbols.shape[1], symbols.shape[1]), dim=1)
        found = zip(
            level, log_probs[:, BLANK].tolist(), (ids + 1).tolist(), values.tolist(), strict=True
        )
        return [(p, blank, list(zip(i, v, strict=True))) for p, blank, i, v in found]

    def _learn(self, prefixes: list[Prefix]) -> None:
        """Run the predictor over the last token of each, all at once."""
        if not prefixes:
            return
        before = [self.known[prefix[:-1]][1] for prefix in prefixes]
        state = tuple(torch.cat([s[i] for s in before], dim=1) for i in (0, 1))
        first = self.known[()][0]
        predicted, (h, c) = _read(self.model, first, [[p[-1]] for p in prefixes], state)
        for at, prefix in enumerate(prefixes):
            own = (h[:, at : at + 1], c[:, at : at + 1])
            self.known[prefix] = (predicted[at], own)

    def forget_all_but(self, alive: Iterable[Prefix]) -> None:
        """Drop the states of prefixes that no kept one goes on from."""
        needed = {(), *alive, *(prefix[:-1] for prefix in alive)}
        self.known = {p: held for p, held in self.known.items() if p in needed}

    def best(
        self,
        grown: dict[Prefix, float],
        beam: int,
        looped: dict[Prefix, float],
    ) -> dict[Prefix, float]:
        """The best prefixes; those that have begun to loop are put aside."""
        kept = heapq.nlargest(beam, grown.items(), key=lambda entry: self._score(*entry))
        alive = {}
        for prefix, log_prob in kept:
            if find_loop(prefix) is None:
                alive[prefix] = log_prob
            else:
                looped[prefix] = log_add(looped.get(prefix, -inf), log_prob)
        return alive

    def hypothesis(self, prefix: Prefix, log_prob: float, cut: int | None) -> Hypothesis:
        """A text at the end of the clip, or one that loops and keeps ``cut`` tokens."""
        if cut is not None:
            tokens = list(prefix[:cut])
            return Hypothesis(tokens, self._score(prefix, log_prob), log_prob, True, False)
        score = self._score(prefix, log_prob)
        if self.lm is not None:
            score += self.lm_weight * self.lm.finish(self._lm_score(prefix)[1])
        return Hypothesis(list(prefix), score, log_prob)


def _check(model: Any, states: Tensor) -> None:
    if model.training:
        raise UsageError("the model is in training mode: dropout would decode noise; .eval()")
    if states.ndim != 2:
        raise UsageError(f"one clip's states are (T', D); found shape {tuple(states.shape)}")


def _read(model: Any, like: Tensor, ids: Sequence[Sequence[int]], state: Any) -> tuple[Tensor, Any]:
    """Projected predictor states (N, J) behind one more token each, and its state."""
    predicted, after = model.predictor(torch.tensor(ids, device=like.device), state)
    return model.joiner.predictor(predicted[:, -1]), after
