"""CTC decoding: the best path, and a prefix beam with a language model."""

from __future__ import annotations

import heapq
from math import exp, inf, log1p
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlasr.decoding.hypothesis import Hypothesis, LanguageModel
from xlasr.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def greedy(log_probs: Tensor, lens: Tensor, *, blank: int = 0) -> list[list[int]]:
    """Best path: the best class of every frame, repeats merged, blanks dropped.

    Args:
        log_probs: (B, T', V) log-probabilities (logits do as well).
        lens: (B,) frames that belong to each clip.
        blank: Id of the blank.

    Returns:
        Token ids of each clip.

    Raises:
        UsageError: ``lens`` does not fit ``log_probs``.

    Source: Graves et al. 2006, section 3.2.
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
        path = row[:length]
        new = path != blank
        new[1:] &= path[1:] != path[:-1]
        decoded.append(path[new].tolist())
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
        return new

    def tokens(self, node: int) -> list[int]:
        """Token ids of a prefix."""
        reverse = []
        while node:
            reverse.append(self.token[node])
            node = self.parent[node]
        return reverse[::-1]


def prefix_beam(
    log_probs: NDArray[np.floating[Any]],
    *,
    beam: int = 16,
    lm: LanguageModel | None = None,
    lm_weight: float = 0.0,
    length_bonus: float = 0.0,
    n_best: int = 1,
    blank: int = 0,
    token_min_log_prob: float = -7.0,
    token_top: int | None = None,
) -> list[Hypothesis]:
    """Prefix beam search: sums the alignments of a text instead of taking the best one.

    ``score = log_prob + lm_weight * lm_log_prob + length_bonus * n_tokens``; the language model's
    end of text is added last. Where the blank takes all but ``token_min_log_prob`` of a frame,
    nothing is extended and the frame costs next to nothing. With ``token_min_log_prob=-inf`` and a
    beam as wide as the number of texts, ``log_prob`` is exact.

    Args:
        log_probs: (T', V) log-probabilities of one clip, without padding.
        beam: Prefixes kept after each frame.
        lm: Language model over the same token ids, or None.
        lm_weight: Weight of its log-probabilities.
        length_bonus: Added for every token; balances what the language model takes.
        n_best: Hypotheses returned, at most ``beam``.
        blank: Id of the blank.
        token_min_log_prob: Tokens below it do not extend a prefix in that frame.
        token_top: At most so many tokens extend a prefix in a frame; None = no limit.

    Returns:
        Hypotheses, best first; at least one.

    Raises:
        UsageError: The shape is wrong, a value is NaN or positive infinity, or ``n_best`` is
            not between 1 and ``beam``.

    Source: Graves & Jaitly 2014, algorithm 1; Hannun et al. 2014, algorithm 1.
    """
    scores = np.asarray(log_probs, dtype=np.float64)
    if scores.ndim != 2 or not 0 <= blank < max(1, scores.shape[1]):
        raise UsageError(f"a prefix beam needs (T', V) of one clip; found shape {scores.shape}")
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise UsageError("the log-probabilities hold NaN or infinity: the model is broken")
    if not 1 <= n_best <= beam:
        raise UsageError(f"n_best must be between 1 and beam ({beam}); found {n_best}")
    trie = _Prefixes(lm if lm_weight else None)
    lm_score, length, last_token = trie.lm_score, trie.length, trie.token
    # prefix -> (log-probability of ending in the blank, in the last token)
    alive: dict[int, tuple[float, float]] = {0: (0.0, -inf)}

    def rank(entry: tuple[int, tuple[float, float]]) -> float:
        node, (in_blank, in_token) = entry
        total = log_add(in_blank, in_token)
        return total + lm_weight * lm_score[node] + length_bonus * length[node]

    for frame, candidates in zip(
        scores.tolist(), _extensions(scores, blank, token_min_log_prob, token_top), strict=True
    ):
        blank_score = frame[blank]
        grown: dict[int, tuple[float, float]] = {}
        for node, (in_blank, in_token) in alive.items():
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
                known = grown.get(child)
                if known is not None:
                    grown[child] = (known[0], log_add(known[1], score))
                else:
                    grown[child] = (-inf, score)
        alive = grown
        if len(grown) > beam:
            alive = dict(heapq.nlargest(beam, grown.items(), key=rank))
    results = []
    for node, (in_blank, in_token) in alive.items():
        log_prob = log_add(in_blank, in_token)
        score = rank((node, (in_blank, in_token)))
        if trie.lm is not None:
            score += lm_weight * trie.lm.finish(trie.lm_state[node])
        results.append(Hypothesis(trie.tokens(node), score, log_prob))
    return heapq.nlargest(n_best, results, key=lambda h: h.score)


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
