"""A transformers decoder (Whisper's, SeamlessM4T's), one token a step, with its cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xlasr.errors import UsageError

# Dropping a finished clip copies the cross-attention keys and values of all others, which costs
# about as much as two steps; at this share of finished clips it has paid for itself soon.
DROP_SHARE = 0.25


class DecoderSteps:
    """A decoder, one token a step; cross-attention keys are computed once.

    Args:
        model: transformers' ``WhisperForConditionalGeneration`` or ``SeamlessM4TForSpeechToText``
            (any with ``get_decoder`` and ``get_output_embeddings``), in eval mode.
        states: (B, T', D) encoder states.
        prompt_ids: Tokens before the first decoded one, the same for all clips.
        eos_id: End token.
        allowed: Tokens that may be decoded: ids, or a boolean mask (V,); None = all. The end
            token always may.
        max_tokens: Limit asked for; ``self.max_tokens`` is also limited by the decoder's positions.
        begin_suppressed: Tokens that may not come first.
        is_pad: (B, T') states that are padding; None where none is.

    Raises:
        UsageError: The model is in training mode, or an argument does not fit it.
    """

    def __init__(
        self,
        model: Any,
        states: Tensor,
        prompt_ids: Sequence[int],
        eos_id: int,
        allowed: Tensor | Sequence[int] | None,
        max_tokens: int,
        begin_suppressed: Sequence[int] = (),
        is_pad: Tensor | None = None,
    ) -> None:
        from transformers.cache_utils import DynamicCache, EncoderDecoderCache

        self.decoder = model.get_decoder()
        self.eos_id = eos_id
        if self.decoder.training:
            raise UsageError("the model is in training mode: dropout would decode noise; .eval()")
        if states.ndim != 3 or not len(prompt_ids):
            raise UsageError(
                f"decoding needs states (B, T', D) and a prompt; found {tuple(states.shape)} "
                f"and {len(prompt_ids)} prompt tokens"
            )
        limit = int(self.decoder.max_target_positions) - len(prompt_ids)
        self.max_tokens = min(max_tokens, limit)
        self.states = states
        self._heard = None if is_pad is None else ~is_pad
        self._cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self._prompt = torch.tensor(list(prompt_ids), device=states.device)
        self._project, self.ids = _projection(
            model.get_output_embeddings(), allowed, eos_id, states.device
        )
        self.end_column = eos_id if self.ids is None else int(torch.searchsorted(self.ids, eos_id))
        self._not_first = [c for c in map(self.column, begin_suppressed) if c is not None]

    def column(self, token: int) -> int | None:
        """Column of ``token`` in the log-probabilities, None if it is not allowed."""
        if self.ids is None:
            return token
        at = int(torch.searchsorted(self.ids, token))
        return at if at < len(self.ids) and int(self.ids[at]) == token else None

    def tokens(self, columns: Tensor) -> Tensor:
        """Token ids of columns of the log-probabilities, any shape."""
        return columns if self.ids is None else self.ids[columns]

    def first(self) -> Tensor:
        """Feed the prompt; logits (B, A) of the first token, A = number of allowed tokens."""
        logits = self.step(self._prompt.expand(len(self.states), -1))
        logits[:, self._not_first] = -torch.inf
        self.states = self.states[:1]  # only its shape is looked at from here on
        return logits

    def step(self, token_ids: Tensor) -> Tensor:
        """Feed (R, U) token ids; float32 logits (R, A) of the token behind the last."""
        mask = {} if self._heard is None else {"encoder_attention_mask": self._heard}
        out = self.decoder(
            input_ids=token_ids,
            encoder_hidden_states=self.states.expand(len(token_ids), -1, -1),
            past_key_values=self._cache,
            use_cache=True,
            **mask,
        )
        return self._project(out.last_hidden_state[:, -1]).float()  # type: ignore[no-any-return]

    def select(self, rows: Tensor) -> None:
        """Keep only ``rows`` (int64) of everything cached; they may repeat."""
        self._cache.batch_select_indices(rows)
        if self._heard is not None:
            self._heard = self._heard[rows]

    def reorder(self, rows: Tensor) -> None:
        """Move histories between rows that hear the same clip: cross-attention stays."""
        self._cache.self_attention_cache.reorder_cache(rows)


def _projection(
    layer: nn.Module, allowed: Tensor | Sequence[int] | None, eos_id: int, device: torch.device
) -> tuple[Any, Tensor | None]:
    """Output layer over the allowed tokens only, and their sorted ids (None = all)."""
    if allowed is None:
        return layer, None
    given = torch.as_tensor(allowed, device=device)
    ids = given.nonzero()[:, 0] if given.dtype == torch.bool else given.long()
    ids = torch.unique(torch.cat([ids, ids.new_tensor([eos_id])]))  # sorted
    if type(layer) is not nn.Linear:  # wrapped (LoRA, quantised): it must see the whole matrix
        return (lambda hidden: layer(hidden)[..., ids]), ids
    if given.dtype == torch.bool and len(given) != layer.out_features:
        raise UsageError(
            f"the mask of allowed tokens has {len(given)} entries; the model's vocabulary has "
            f"{layer.out_features}"
        )
    first, last = int(ids[0]), int(ids[-1])
    rows = slice(first, last + 1) if last - first + 1 == len(ids) else ids  # a slice is no copy
    weight = layer.weight[rows]
    bias = None if layer.bias is None else layer.bias[rows]
    return (lambda hidden: functional.linear(hidden, weight, bias)), ids
