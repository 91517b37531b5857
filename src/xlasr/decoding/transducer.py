"""Transducer decoding: greedy, and a beam that sums the alignments of a text.

Both are searches that take encoder states (n, D) in pieces, for streams; ``greedy`` and ``beam``
give them a whole clip at once. They know no vocabulary: the blank is 0.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xlasr.decoding.ctc import log_add
from xlasr.decoding.hypothesis import (
    Hypothesis,
    LanguageModel,
    LoopGuard,
    Written,
    find_loop,
    frames_of,
)
from xlasr.errors import UsageError

Prefix = tuple[int, ...]
Text = tuple[float, float, Written]
"""What a beam knows of a prefix in a frame: log-probability, its largest part, and its frames."""
BLANK = 0
BLOCK = 32
"""Frames that greedy decoding looks at together: most of them are blank."""


class GreedySearch:
    """Writes the best symbol until the blank is best, then goes to the next frame.

    Args:
        model: With ``predictor`` and ``joiner``, as ``models.transducer.Transducer``, in eval mode.
        max_per_frame: Symbols after which the next frame is taken anyway.
        modified: Every symbol takes a frame.

    Raises:
        UsageError: The model is in training mode.

    Source: Graves 2012 (arXiv 1211.3711), section 2.4, with a beam of one.
    """

    @torch.inference_mode()
    def __init__(self, model: Any, *, max_per_frame: int = 10, modified: bool = False) -> None:
        _check(model)
        self.model, self.max_per_frame, self.modified = model, max_per_frame, modified
        self.n_frames = 0
        self.stuck = False
        self._tokens: list[int] = []
        self._frames: list[int] = []
        self._guard = LoopGuard(1)
        self._total = 0.0
        self._predicted, self._state = _read(model, [[BLANK]], None)

    @torch.inference_mode()
    def push(self, states: Tensor) -> None:
        """Take the next encoder states (n, D), any number; nothing more once it is ``stuck``.

        Raises:
            UsageError: The shape is wrong.
        """
        encoder = _projected(self.model, states)
        t, written = 0, 0
        while t < len(encoder) and not self.stuck:
            block = encoder[t : t + BLOCK]
            log_probs = self.model.joiner(block, self._predicted).float().log_softmax(1)
            best = log_probs.argmax(1)
            if written == self.max_per_frame:
                best[0] = BLANK
            symbols = torch.nonzero(best != BLANK)
            n_blanks = int(symbols[0, 0]) if len(symbols) else len(block)
            self._total += float(log_probs[:n_blanks, BLANK].sum())
            if n_blanks:
                t, written = t + n_blanks, 0
            if not len(symbols):
                continue
            token = int(best[n_blanks])
            self._total += float(log_probs[n_blanks, token])
            self._tokens.append(token)
            self._frames.append(self.n_frames + t)
            self.stuck = bool(self._guard.push(np.array([token]))[0])
            t, written = (t + 1, 0) if self.modified else (t, written + 1)
            self._predicted, self._state = _read(self.model, [[token]], self._state)
        self.n_frames += len(encoder)

    def hypotheses(self, n_best: int = 1, *, ended: bool = True) -> list[Hypothesis]:
        """The one text, as far as it was heard; a repetition is cut (``find_loop``) and marked."""
        cut = find_loop(self._tokens) if self.stuck else None
        return [
            Hypothesis(
                self._tokens[:cut],
                self._total,
                self._total,
                self.stuck,
                not self.stuck,
                self._frames[:cut],
            )
        ]


def greedy(
    model: Any, states: Tensor, *, max_per_frame: int = 10, modified: bool = False
) -> Hypothesis:
    """Decode a whole clip; see ``GreedySearch``.

    Args:
        model: See ``GreedySearch``.
        states: (T', D) encoder states of one clip, without padding.
        max_per_frame: See ``GreedySearch``.
        modified: See ``GreedySearch``.

    Returns:
        Tokens; score = log_prob = log-probability of the one alignment that was found. A repetition
        ends the decoding (``find_loop``), is cut and marked.

    Raises:
        UsageError: The model is in training mode, or the shape is wrong.
    """
    search = GreedySearch(model, max_per_frame=max_per_frame, modified=modified)
    search.push(states)
    return search.hypotheses()[0]


class BeamSearch:
    """Frame by frame; alignments of one text are added up.

    ``score = log_prob + lm_weight * lm_log_prob + length_bonus * n_tokens``; the language model's
    end of text is added last. The full search writes up to ``max_per_frame`` symbols in a frame,
    the modified one at most one, which takes the frame: a model of the modified topology needs it,
    for one of the regular topology it is quick and hardly worse. With a beam as wide as the
    number of texts, no limit on tokens and room in a frame, ``log_prob`` is exact. The frame of a
    symbol is the last one in which more probability came to its text by writing it than by having
    it already.

    Args:
        model: See ``GreedySearch``.
        beam: Texts kept after each frame (and after each symbol inside of one).
        lm: Language model over the same token ids, or None.
        lm_weight: Weight of its log-probabilities.
        length_bonus: Added for every token.
        max_per_frame: Symbols a text may grow by in a frame; full search only.
        modified: Every symbol takes a frame.
        token_top: So many best symbols extend a text at a time; None is all.

    Raises:
        UsageError: The model is in training mode, or an argument does not fit.

    Source: Graves 2012 (arXiv 1211.3711), section 2.4; at most one symbol a frame: Kang et al. 2022
        (arXiv 2211.00484), section 3; shallow fusion: Gulcehre et al. 2015.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: Any,
        *,
        beam: int = 8,
        lm: LanguageModel | None = None,
        lm_weight: float = 0.0,
        length_bonus: float = 0.0,
        max_per_frame: int = 3,
        modified: bool = False,
        token_top: int | None = 16,
    ) -> None:
        _check(model)
        if beam < 1:
            raise UsageError(f"a beam keeps at least 1 text; found {beam}")
        if max_per_frame < 1:
            raise UsageError(f"max_per_frame must be at least 1; found {max_per_frame}")
        self.model, self.beam, self.token_top = model, beam, token_top
        self.n_frames = 0
        self._levels = None if modified else max_per_frame + 1
        self._known = _Search(model, lm if lm_weight else None, lm_weight, length_bonus)
        self._alive: dict[Prefix, Text] = {(): (0.0, 0.0, None)}
        self._looped: dict[Prefix, Text] = {}

    @property
    def stuck(self) -> bool:
        """Whether every text has begun to loop."""
        return not self._alive

    @torch.inference_mode()
    def push(self, states: Tensor) -> None:
        """Take the next encoder states (n, D), any number; nothing more once it is ``stuck``.

        Raises:
            UsageError: The shape is wrong.
        """
        for frame in _projected(self.model, states):
            if self._alive:
                self._step(frame)
            self.n_frames += 1

    def _step(self, frame: Tensor) -> None:
        after: dict[Prefix, Text] = {}
        level = self._alive
        for _ in range(self._levels or 1):
            grown: dict[Prefix, Text] = {}
            into = after if self._levels is None else grown
            for prefix, blank, tokens in self._known.next(level, frame, self.token_top):
                log_prob, _, written = level[prefix]
                _add(after, prefix, log_prob + blank, written)
                now = (written, self.n_frames)
                for token, more in tokens:
                    _add(into, (*prefix, token), log_prob + more, now)
            level = self._known.best(grown, self.beam, self._looped)
            if not level:
                break
        self._alive = self._known.best(after, self.beam, self._looped)
        self._known.forget_all_but(self._alive)

    @torch.inference_mode()
    def hypotheses(self, n_best: int = 1, *, ended: bool = True) -> list[Hypothesis]:
        """The best texts so far.

        Args:
            n_best: At most so many.
            ended: The language model is asked whether the text ends here.

        Returns:
            Hypotheses, best first; looping ones, cut, behind the others.

        Raises:
            UsageError: ``n_best`` is not between 1 and the beam.
        """
        if not 1 <= n_best <= self.beam:
            raise UsageError(f"n_best must be between 1 and beam ({self.beam}); found {n_best}")
        # one token short of a loop
        stuck = {prefix[:-1]: find_loop(prefix) for prefix in self._looped}
        find = self._known.hypothesis
        found = [find(p, text, stuck.get(p), ended) for p, text in self._alive.items()]
        found += [find(p, text, find_loop(p), ended) for p, text in self._looped.items()]
        return sorted(found, key=lambda h: (h.looped, -h.score))[:n_best]


def beam(model: Any, states: Tensor, *, n_best: int = 1, **options: Any) -> list[Hypothesis]:
    """Decode a whole clip; see ``BeamSearch``.

    Args:
        model: See ``GreedySearch``.
        states: (T', D) encoder states of one clip, without padding.
        n_best: Hypotheses returned, at most ``beam``.
        options: See ``BeamSearch``.

    Returns:
        Hypotheses, best first; looping ones, cut, behind the others.

    Raises:
        UsageError: The model is in training mode, or an argument does not fit.
    """
    search = BeamSearch(model, **options)
    search.push(states)
    return search.hypotheses(n_best)


def _add(texts: dict[Prefix, Text], prefix: Prefix, log_prob: float, written: Written) -> None:
    """Add a part of the probability of a text; the largest one says when it was written."""
    known = texts.get(prefix)
    if known is None:
        texts[prefix] = (log_prob, log_prob, written)
    else:
        larger = known[1:] if known[1] >= log_prob else (log_prob, written)
        texts[prefix] = (log_add(known[0], log_prob), *larger)


class _Search:
    """What a beam knows of its prefixes."""

    def __init__(
        self,
        model: Any,
        lm: LanguageModel | None,
        lm_weight: float,
        length_bonus: float,
    ) -> None:
        self.model, self.lm = model, lm
        self.lm_weight, self.length_bonus = lm_weight, length_bonus
        predicted, state = _read(model, [[BLANK]], None)
        # behind each prefix: the projected predictor state (J,), and the state of its layers
        self.known: dict[Prefix, tuple[Tensor, Any]] = {(): (predicted[0], state)}
        self._lm: dict[Prefix, tuple[float, Any]] = {
            (): (0.0, lm.start() if lm is not None else None)
        }
        self._aside: set[Prefix] = set()

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
        self, level: dict[Prefix, Text], frame: Tensor, top: int | None
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
        predicted, (h, c) = _read(self.model, [[p[-1]] for p in prefixes], state)
        for at, prefix in enumerate(prefixes):
            own = (h[:, at : at + 1], c[:, at : at + 1])
            self.known[prefix] = (predicted[at], own)

    def forget_all_but(self, alive: Iterable[Prefix]) -> None:
        """Drop the states of prefixes that no kept one goes on from; of looped ones keep scores."""
        needed = {(), *alive, *(prefix[:-1] for prefix in alive)}
        self.known = {p: held for p, held in self.known.items() if p in needed}
        needed |= self._aside
        self._lm = {p: held for p, held in self._lm.items() if p in needed}

    def best(
        self,
        grown: dict[Prefix, Text],
        beam: int,
        looped: dict[Prefix, Text],
    ) -> dict[Prefix, Text]:
        """The best prefixes; those that have begun to loop are put aside."""
        kept = heapq.nlargest(beam, grown.items(), key=lambda e: self._score(e[0], e[1][0]))
        alive = {}
        for prefix, text in kept:
            if find_loop(prefix) is None:
                alive[prefix] = text
            else:
                _add(looped, prefix, text[0], text[2])
                self._aside.add(prefix)
        return alive

    def hypothesis(self, prefix: Prefix, text: Text, cut: int | None, ended: bool) -> Hypothesis:
        """A text at the end of what was heard, or one that loops and keeps ``cut`` tokens."""
        log_prob, _, written = text
        score, frames = self._score(prefix, log_prob), frames_of(written)
        if cut is not None:
            return Hypothesis(list(prefix[:cut]), score, log_prob, True, False, frames[:cut])
        if self.lm is not None and ended:
            score += self.lm_weight * self.lm.finish(self._lm_score(prefix)[1])
        return Hypothesis(list(prefix), score, log_prob, frames=frames)


def _check(model: Any) -> None:
    if model.training:
        raise UsageError("the model is in training mode: dropout would decode noise; .eval()")


def _projected(model: Any, states: Tensor) -> Tensor:
    """Encoder states (n, D) -> (n, J)."""
    if states.ndim != 2:
        raise UsageError(f"one clip's states are (T', D); found shape {tuple(states.shape)}")
    projected: Tensor = model.joiner.encoder(states)
    return projected


def _read(model: Any, ids: Sequence[Sequence[int]], state: Any) -> tuple[Tensor, Any]:
    """Projected predictor states (N, J) behind one more token each, and its state."""
    device = model.predictor.embedding.weight.device
    predicted, after = model.predictor(torch.tensor(ids, device=device), state)
    return model.joiner.predictor(predicted[:, -1]), after
