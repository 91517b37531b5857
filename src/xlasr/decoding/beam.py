"""Beam search over a transformers decoder, with a language model and the loop guard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlasr.decoding.hypothesis import Hypothesis, LanguageModel, LoopGuard, find_loop
from xlasr.decoding.steps import DROP_SHARE, DecoderSteps
from xlasr.errors import UsageError


@dataclass
class _Beams:
    """The hypotheses that one clip is working on; fewer than the beam width at the start."""

    tokens: list[list[int]]
    log_probs: list[float]
    lm_scores: list[float]
    lm_states: list[Any]
    finished: list[Hypothesis]


@torch.inference_mode()
def beam(
    model: Any,
    states: Tensor,
    prompt_ids: Sequence[int],
    eos_id: int,
    *,
    max_tokens: int,
    beam: int = 4,
    n_best: int = 1,
    allowed: Tensor | Sequence[int] | None = None,
    begin_suppressed: Sequence[int] = (),
    is_pad: Tensor | None = None,
    lm: LanguageModel | None = None,
    lm_weight: float = 0.0,
    lm_candidates: int = 32,
    length_penalty: float = 1.0,
) -> list[list[Hypothesis]]:
    """Beam search with length normalisation and shallow fusion.

    ``score = (log_prob + lm_weight * lm_log_prob) / length ** length_penalty`` with ``length``
    counting the end token. While a hypothesis grows, hypotheses of one length are compared, so
    normalisation only ranks finished ones. A clip ends when at least ``beam`` hypotheses have
    finished, each among the best ``beam`` candidates of its step, and no unfinished one as it
    stands scores better than the ``n_best``-th of them; at the token limit the unfinished ones
    fill the list up. A looping hypothesis is cut, counts as finished, and ranks behind all that did
    not loop. ``beam=1`` without a language model is ``seq2seq.greedy``.

    Args:
        model: See ``seq2seq.greedy``.
        states: (B, T', D) encoder states, all of the same T'.
        prompt_ids: See ``seq2seq.greedy``.
        eos_id: See ``seq2seq.greedy``; the language model's own ``finish`` stands for it.
        max_tokens: See ``seq2seq.greedy``.
        beam: Hypotheses kept per clip.
        n_best: Hypotheses returned per clip, at most ``beam``.
        allowed: See ``seq2seq.greedy``.
        begin_suppressed: See ``seq2seq.greedy``.
        is_pad: See ``seq2seq.greedy``.
        lm: Language model over the same token ids.
        lm_weight: Weight of its log-probabilities.
        lm_candidates: Best tokens of the model, per hypothesis and step, that the language model
            is asked about (at least ``2 * beam``); the others are out.
        length_penalty: Exponent; 0 ranks by plain sums, larger values favour longer texts.

    Returns:
        For each clip its hypotheses, best first.

    Raises:
        UsageError: The model is in training mode, or an argument does not fit it.

    Source: Graves 2012 (beam); Wu et al. 2016 section 7 (normalisation); Gulcehre et al. 2015
        (shallow fusion).
    """
    if not 1 <= n_best <= beam:
        raise UsageError(f"n_best must be between 1 and beam ({beam}); found {n_best}")
    steps = DecoderSteps(
        model, states, prompt_ids, eos_id, allowed, max_tokens, begin_suppressed, is_pad
    )
    if not len(states):
        return []
    fusion = lm if lm_weight else None
    origin = fusion.start() if fusion is not None else None
    clips = [_Beams([[]], [0.0], [0.0], [origin], []) for _ in range(len(states))]
    active = list(clips)  # the clips of the batch, ``width`` rows each
    width = 1
    guard = LoopGuard(len(clips))
    logits = steps.first()
    done: set[int] = set()
    for at in range(steps.max_tokens):
        n_tokens = max(2 * beam, lm_candidates if fusion is not None else 0)
        values, tokens, ends = _candidates(steps, logits, n_tokens)
        parents = np.zeros((len(active), beam), dtype=np.int64)
        chosen = np.full((len(active), beam), eos_id, dtype=np.int64)
        for c, clip in enumerate(active):
            if id(clip) in done:
                parents[c] = c * width
                continue
            rows = range(c * width, c * width + len(clip.tokens))
            kept = _advance(
                clip,
                values[rows],
                tokens[rows],
                ends[rows],
                guard.select(np.array(rows)),
                beam,
                fusion,
                lm_weight,
                length_penalty,
            )
            parents[c, : len(kept)] = [c * width + k for k, _ in kept]
            parents[c, len(kept) :] = c * width
            chosen[c, : len(kept)] = [token for _, token in kept]
            if not kept or _settled(clip, beam, n_best, lm_weight, length_penalty):
                done.add(id(clip))
        alive = [c for c, clip in enumerate(active) if id(clip) not in done]
        if not alive or at + 1 == steps.max_tokens:
            break
        if len(active) - len(alive) >= DROP_SHARE * len(active):
            parents, chosen = parents[alive], chosen[alive]
            active = [active[c] for c in alive]
            moved = True
        else:
            moved = width != beam
        order = parents.reshape(-1)
        index = torch.from_numpy(order).to(states.device)
        if moved:
            steps.select(index)
        elif not np.array_equal(order, np.arange(len(order))):
            steps.reorder(index)
        width = beam
        new = chosen.reshape(-1)
        guard = guard.select(order)
        guard.push(new)
        logits = steps.step(torch.from_numpy(new).to(states.device)[:, None])
    return [_ranked(clip, beam, lm_weight, length_penalty)[:n_best] for clip in clips]


def _candidates(
    steps: DecoderSteps, logits: Tensor, n_tokens: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Best tokens of each row, without the end token, and the end token's log-probability.

    Returns:
        Log-probabilities (R, M), token ids (R, M), log-probability of the end (R,).
    """
    log_probs = logits.log_softmax(dim=-1)
    end = steps.end_column
    ends = log_probs[:, end].double().cpu().numpy()
    log_probs[:, end] = -torch.inf
    values, columns = log_probs.topk(min(n_tokens, log_probs.shape[1]), dim=-1)
    ids = steps.tokens(columns).cpu().numpy()
    return values.double().cpu().numpy(), ids, ends


def _advance(
    clip: _Beams,
    values: NDArray[np.float64],
    tokens: NDArray[np.int64],
    ends: NDArray[np.float64],
    guard: LoopGuard,
    beam: int,
    lm: LanguageModel | None,
    lm_weight: float,
    length_penalty: float,
) -> list[tuple[int, int]]:
    """Extend one clip's hypotheses by a token; the kept ones as (parent, token)."""
    n_tokens = values.shape[1]
    model = np.concatenate([values, ends[:, None]], axis=1) + np.array(clip.log_probs)[:, None]
    language = np.repeat(np.array(clip.lm_scores)[:, None], n_tokens + 1, axis=1)
    after: dict[tuple[int, int], Any] = {}
    if lm is not None:
        for k, state in enumerate(clip.lm_states):
            for j, token in enumerate(tokens[k].tolist()):
                if values[k, j] > -np.inf:
                    log_prob, after[k, j] = lm.score(state, token)
                    language[k, j] += log_prob
            language[k, n_tokens] += lm.finish(state)
    total = (model + lm_weight * language).reshape(-1)
    best = np.argsort(-total, kind="stable")
    best = best[total[best] > -np.inf]
    parents, places = np.divmod(best, n_tokens + 1)
    is_end = places == n_tokens
    proposed = np.where(is_end, -2, tokens[parents, np.minimum(places, n_tokens - 1)])
    loops = guard.select(parents).push(proposed)
    kept: list[tuple[int, int]] = []
    grown = _Beams([], [], [], [], clip.finished)
    for rank, (k, j, token, looped) in enumerate(
        zip(parents.tolist(), places.tolist(), proposed.tolist(), loops.tolist(), strict=True)
    ):
        if len(kept) == beam:
            break
        history = clip.tokens[k] if j == n_tokens else [*clip.tokens[k], token]
        model_score, lm_score = float(model[k, j]), float(language[k, j])
        if looped or j == n_tokens:
            if rank < beam:
                length = len(clip.tokens[k]) + 1
                score = (model_score + lm_weight * lm_score) / length**length_penalty
                cut = find_loop(history) if looped else None
                clip.finished.append(
                    Hypothesis(history[:cut], score, model_score, looped, not looped)
                )
            continue
        kept.append((k, token))
        grown.tokens.append(history)
        grown.log_probs.append(model_score)
        grown.lm_scores.append(lm_score)
        grown.lm_states.append(after.get((k, j)))
    clip.tokens, clip.log_probs = grown.tokens, grown.log_probs
    clip.lm_scores, clip.lm_states = grown.lm_scores, grown.lm_states
    return kept


def _settled(clip: _Beams, beam: int, n_best: int, lm_weight: float, length_penalty: float) -> bool:
    """Whether enough has finished, and better than what is unfinished stands now."""
    if len(clip.finished) < beam:
        return False
    weakest = sorted((h.score for h in clip.finished), reverse=True)[n_best - 1]
    length = len(clip.tokens[0])  # the same for all that are unfinished
    best = max(
        log_prob + lm_weight * lm_score
        for log_prob, lm_score in zip(clip.log_probs, clip.lm_scores, strict=True)
    )
    return bool(best / length**length_penalty <= weakest)


def _ranked(clip: _Beams, beam: int, lm_weight: float, length_penalty: float) -> list[Hypothesis]:
    """Finished hypotheses, filled up with unfinished ones, best first."""
    results = list(clip.finished)
    for tokens, log_prob, lm_score in zip(clip.tokens, clip.log_probs, clip.lm_scores, strict=True):
        if len(results) < beam:
            score = (log_prob + lm_weight * lm_score) / max(1, len(tokens)) ** length_penalty
            results.append(Hypothesis(tokens, score, log_prob, complete=False))
    return sorted(results, key=lambda h: (h.looped, -h.score))
