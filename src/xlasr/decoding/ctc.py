"""CTC decoding: the best path, and a prefix beam with a language model.

Both are searches that take log-probabilities (n, V) in pieces, for streams; ``greedy`` and
``prefix_beam`` give them whole clips at once.
"""

from __future__ import annotations

import heapq
from math import exp, inf, log1p
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlasr.decoding.hypothesis import Hypothesis, LanguageModel, Written, frames_of
from xlasr.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


class GreedySearch:
    """Best path: the best class of every frame, repeats merged, blanks dropped.

    Args:
        blank: Id of the blank.

    Source: Graves et al. 2006, section 3.2.
    """

    stuck = False
    """Letters have no loop guard."""

    def __init__(self, blank: int = 0) -> None:
        self.blank = blank
        self.n_frames = 0
        self._tokens: list[int] = []
        self._frames: list[int] = []
        self._last = blank
        self._total = 0.0

    def push(self, log_probs: Tensor) -> None:
        """Take the next log-probabilities (n, V), any number."""
        values, best = log_probs.max(dim=-1)
        self._total += float(values.sum())
        self.follow(best.cpu().numpy())

    def follow(self, path: NDArray[np.int64]) -> None:
        """Take the next classes (n,) of the best path."""
        new = path != self.blank
        new &= path != np.concatenate([[self._last], path[:-1]])
        self._tokens += path[new].tolist()
        self._frames += (self.n_frames + np.flatnonzero(new)).tolist()
        self._last = int(path[-1]) if len(path) else self._last
        self.n_frames += len(path)

    def hypotheses(self, n_best: int = 1, *, ended: bool = True) -> list[Hypothesis]:
        """The one text so far; its log-probability is that of the best path alone."""
        tokens, frames = list(self._tokens), list(self._frames)
        return [Hypothesis(tokens, self._total, self._total, frames=frames)]


def greedy(log_probs: Tensor, lens: Tensor, *, blank: int = 0) -> list[list[int]]:
    """Best paths of whole clips; see ``GreedySearch``.

    Args:
        log_probs: (B, T', V) log-probabilities (logits do as well).
        lens: (B,) frames that belong to each clip.
        blank: Id of the blank.

    Returns:
        Token ids of each clip.

    Raises:
        UsageError: ``lens`` does not fit ``log_probs``.
    """
    n_clips, n_frames = log_probs.shape[:2]
    lengths = [int(n) for n in lens.tolist()]
    if len(lengths) != n_clips or any(not 0 <= n <= n_frames for n in lengths):
        raise UsageError(
            f"lens must hold {n_clips} values between 0 and {n_frames}; found {lengths}"
        )
    best = log_probs.argmax(dim=-1).cpu().numpy()
    decoded: list[list[int]] = []
    for row, length in zip(best, lengths, strict=True):
        search = GreedySearch(blank)
        search.follow(row[:length])
        decoded.append(search.hypotheses()[0].tokens)
    return decoded


class _Prefixes:
    """Trie of token sequences: one integer a prefix, with what is known of it for good."""

    def __init__(self, lm: LanguageModel | None) -> None:
        self.lm = lm
        self.parent = [-1]
        self.token = [-1]
        self.length = [0]
        self.lm_score = [0.0]
        self.lm_state: list[Any] = [lm.start() if lm is not None else None]
        self.written: list[Written] = [None]
        self._child: dict[tuple[int, int], int] = {}

    def child(self, node: int, token: int) -> int:
        """Prefix ``node`` plus ``token``; the language model is asked once for each."""
        found = self._child.get((node, token))
        if found is not None:
            return found
        new = len(self.parent)
        self._child[node, token] = new
        self.parent.append(node)
        self.token.append(token)
        self.length.append(self.length[node] + 1)
        score, state = 0.0, None
        if self.lm is not None:
            score, state = self.lm.score(self.lm_state[node], token)
        self.lm_score.append(self.lm_score[node] + score)
        self.lm_state.append(state)
        self.written.append(None)
        return new

    def tokens(self, node: int) -> list[int]:
        """Token ids of a prefix."""
        reverse = []
        while node:
            reverse.append(self.token[node])
            node = self.parent[node]
        return reverse[::-1]


class BeamSearch:
    """Prefix beam search: sums the alignments of a text instead of taking the best one.

    ``score = log_prob + lm_weight * lm_log_prob + length_bonus * n_tokens``; the language model's
    end of text is added last. Where the blank takes all but ``token_min_log_prob`` of a frame,
    nothing is extended and the frame costs next to nothing. With ``token_min_log_prob=-inf`` and a
    beam as wide as the number of texts, ``log_prob`` is exact. The frame of a token is the last one
    in which more probability came to its text by writing it than by having it already.

    Args:
        beam: Prefixes kept after each frame.
        lm: Language model over the same token ids, or None.
        lm_weight: Weight of its log-probabilities.
        length_bonus: Added for every token; balances what the language model takes.
        blank: Id of the blank.
        token_min_log_prob: Tokens below it do not extend a prefix in that frame.
        token_top: At most so many tokens extend a prefix in a frame; None = no limit.

    Raises:
        UsageError: The beam keeps nothing.

    Source: Graves & Jaitly 2014, algorithm 1; Hannun et al. 2014, algorithm 1.
    """

    stuck = False

    def __init__(
        self,
        *,
        beam: int = 16,
        lm: LanguageModel | None = None,
        lm_weight: float = 0.0,
        length_bonus: float = 0.0,
        blank: int = 0,
        token_min_log_prob: float = -7.0,
        token_top: int | None = None,
    ) -> None:
        if beam < 1:
            raise UsageError(f"a beam keeps at least 1 text; found {beam}")
        self.beam, self.blank = beam, blank
        self.n_frames = 0
        self._lm_weight, self._length_bonus = lm_weight, length_bonus
        self._least, self._top = token_min_log_prob, token_top
        self._trie = _Prefixes(lm if lm_weight else None)
        # prefix -> (log-probability of ending in the blank, in the last token)
        self._alive: dict[int, tuple[float, float]] = {0: (0.0, -inf)}

    def push(self, log_probs: NDArray[np.floating[Any]] | Tensor) -> None:
        """Take the next log-probabilities (n, V), on the CPU, any number.

        Raises:
            UsageError: The shape is wrong, or a value is NaN or positive infinity.
        """
        scores = np.asarray(log_probs, dtype=np.float64)
        if scores.ndim != 2 or not 0 <= self.blank < max(1, scores.shape[1]):
            raise UsageError(f"a prefix beam needs (T', V) of one clip; found shape {scores.shape}")
        if np.isnan(scores).any() or np.isposinf(scores).any():
            raise UsageError("the log-probabilities hold NaN or infinity: the model is broken")
        may_follow = _extensions(scores, self.blank, self._least, self._top)
        for frame, candidates in zip(scores.tolist(), may_follow, strict=True):
            self._step(frame, candidates)
            self.n_frames += 1

    def _step(self, frame: list[float], candidates: list[int]) -> None:
        trie, blank_score = self._trie, frame[self.blank]
        last_token, written = trie.token, trie.written
        grown: dict[int, tuple[float, float]] = {}
        newly: dict[int, tuple[float, Written]] = {}
        for node, (in_blank, in_token) in self._alive.items():
            total = log_add(in_blank, in_token)
            last = last_token[node]
            repeat = in_token + frame[last] if node else -inf
            known = grown.get(node)
            if known is not None:  # an extension of another prefix was here first
                repeat = log_add(known[1], repeat)
            grown[node] = (total + blank_score, repeat)
            for token in candidates:
                # the same letter twice needs a blank between
                score = (in_blank if token == last else total) + frame[token]
                if score == -inf:
                    continue
                child = trie.child(node, token)
                newly[child] = (score, written[node])
                known = grown.get(child)
                if known is not None:
                    grown[child] = (known[0], log_add(known[1], score))
                else:
                    grown[child] = (-inf, score)
        self._alive = grown
        if len(grown) > self.beam:
            self._alive = dict(heapq.nlargest(self.beam, grown.items(), key=self._rank))
        for node, (score, before) in newly.items():
            # a child has one parent, so all but ``score`` was there before this frame
            if node in self._alive and 2 * exp(score - log_add(*grown[node])) > 1:
                written[node] = (before, self.n_frames)

    def _rank(self, entry: tuple[int, tuple[float, float]]) -> float:
        node, (in_blank, in_token) = entry
        total = log_add(in_blank, in_token)
        lm_score, length = self._trie.lm_score[node], self._trie.length[node]
        return total + self._lm_weight * lm_score + self._length_bonus * length

    def hypotheses(self, n_best: int = 1, *, ended: bool = True) -> list[Hypothesis]:
        """The best texts so far.

        Args:
            n_best: At most so many.
            ended: The language model is asked whether the text ends here.

        Returns:
            Hypotheses, best first; at least one.

        Raises:
            UsageError: ``n_best`` is not between 1 and the beam.
        """
        if not 1 <= n_best <= self.beam:
            raise UsageError(f"n_best must be between 1 and beam ({self.beam}); found {n_best}")
        trie = self._trie
        results = []
        for node, (in_blank, in_token) in self._alive.items():
            score = self._rank((node, (in_blank, in_token)))
            if trie.lm is not None and ended:
                score += self._lm_weight * trie.lm.finish(trie.lm_state[node])
            results.append((score, log_add(in_blank, in_token), node))
        return [
            Hypothesis(trie.tokens(node), score, log_prob, frames=frames_of(trie.written[node]))
            for score, log_prob, node in heapq.nlargest(n_best, results, key=lambda r: r[0])
        ]


def prefix_beam(
    log_probs: NDArray[np.floating[Any]], *, n_best: int = 1, **options: Any
) -> list[Hypothesis]:
    """Decode a whole clip; see ``BeamSearch``.

    Args:
        log_probs: (T', V) log-probabilities of one clip, without padding.
        n_best: Hypotheses returned, at most ``beam``.
        options: See ``BeamSearch``.

    Returns:
        Hypotheses, best first; at least one.

    Raises:
        UsageError: The shape is wrong, a value is NaN or positive infinity, or ``n_best`` is
            not between 1 and ``beam``.
    """
    search = BeamSearch(**options)
    search.push(log_probs)
    return search.hypotheses(n_best)


def _extensions(
    scores: NDArray[np.float64], blank: int, min_log_prob: float, top: int | None
) -> list[list[int]]:
    """Tokens of each frame that may extend a prefix, best first where ``top`` limits them."""
    possible = scores >= min_log_prob
    possible[:, blank] = False
    if top is None:
        return [np.flatnonzero(row).tolist() for row in possible]
    order = np.argsort(-scores, axis=1, kind="stable")
    return [
        [token for token in ranked.tolist() if row[token]][:top]
        for ranked, row in zip(order, possible, strict=True)
    ]


def log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -inf else a + log1p(exp(b - a))
