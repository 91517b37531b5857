"""Greedy decoding of a transformers Whisper decoder: batched, cached, loop-guarded.

This and ``beam.py`` work on encoder states (B, T', D) of clips that share T', and know no
vocabulary: prompt, end token and allowed tokens are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xlasr.decoding.hypothesis import Hypothesis, LoopGuard, find_loop
from xlasr.decoding.steps import DROP_SHARE, DecoderSteps


@torch.inference_mode()
def greedy(
    model: Any,
    states: Tensor,
    prompt_ids: Sequence[int],
    eos_id: int,
    *,
    max_tokens: int,
    allowed: Tensor | Sequence[int] | None = None,
    begin_suppressed: Sequence[int] = (),
    is_pad: Tensor | None = None,
) -> list[Hypothesis]:
    """Decode the best token at every step.

    Finished clips leave the batch once a quarter of it has finished. A clip that repeats itself
    (``find_loop``) is stopped, cut and marked.

    Args:
        model: transformers' ``WhisperForConditionalGeneration`` or ``SeamlessM4TForSpeechToText``
            in eval mode.
        states: (B, T', D) encoder states, all of the same T'.
        prompt_ids: Start tokens, the same for all clips.
        eos_id: End token.
        max_tokens: Longest hypothesis; the decoder's positions limit it as well.
        allowed: Ids, or a boolean mask (V,), of tokens that may come out; the end token always
            may. Only their rows of the output layer are multiplied.
        begin_suppressed: Tokens that may not come first (Whisper: the space and the end).
        is_pad: (B, T') states that are padding; None where none is.

    Returns:
        One hypothesis per clip; score = log_prob = summed log-probabilities over the allowed
        tokens, end token included. Those of a cut loop count up to the moment it was noticed.

    Raises:
        UsageError: The model is in training mode, or an argument does not fit it.
    """
    steps = DecoderSteps(
        model, states, prompt_ids, eos_id, allowed, max_tokens, begin_suppressed, is_pad
    )
    n_clips = len(states)
    if not n_clips:
        return []
    history = np.full((n_clips, steps.max_tokens), eos_id, dtype=np.int64)
    total = torch.zeros(n_clips, device=states.device)
    length = np.zeros(n_clips, dtype=np.int64)
    looped = np.zeros(n_clips, dtype=bool)
    rows = np.arange(n_clips)  # clip of each row of the batch
    alive = np.ones(n_clips, dtype=bool)  # per row
    guard = LoopGuard(n_clips)
    logits = steps.first()
    for at in range(steps.max_tokens):
        best, column = logits.max(dim=-1)
        total[rows[alive]] += (best - logits.logsumexp(dim=-1))[alive]
        chosen = steps.tokens(column)
        new = chosen.cpu().numpy()
        loops = guard.push(new) & alive
        looped[rows[loops]] = True
        alive &= new != eos_id
        length[rows[alive]] = at + 1
        history[rows[alive], at] = new[alive]
        alive &= ~loops
        if not alive.any() or at + 1 == steps.max_tokens:
            break
        if (~alive).sum() >= DROP_SHARE * len(rows):
            kept = np.flatnonzero(alive)
            keep = torch.from_numpy(kept).to(states.device)
            steps.select(keep)
            guard = guard.select(kept)
            chosen, rows, alive = chosen[keep], rows[kept], alive[kept]
        logits = steps.step(chosen[:, None])
    still = set(rows[alive].tolist())
    results = []
    for clip, log_prob in enumerate(total.tolist()):
        ids = history[clip, : length[clip]].tolist()
        cut = find_loop(ids) if looped[clip] else None
        complete = clip not in still and not looped[clip]
        results.append(Hypothesis(ids[:cut], log_prob, log_prob, bool(looped[clip]), complete))
    return results
