"""Greedy and beam decoding of a Whisper decoder, against transformers and against enumeration."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xlasr.decoding.beam import beam
from xlasr.decoding.hypothesis import find_loop
from xlasr.decoding.ngram import NGram, build
from xlasr.decoding.seq2seq import greedy
from xlasr.errors import UsageError

VOCAB, PROMPT, END = 40, [3, 5], 7


def tiny_whisper(seed: int = 0, end_bias: float = 0.0) -> Any:
    """A random Whisper whose output really depends on what it hears and has said."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=VOCAB,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=50,
        max_target_positions=48,
        num_mel_bins=8,
        init_std=0.6,
        pad_token_id=END,
        bos_token_id=END,
        eos_token_id=END,
        decoder_start_token_id=PROMPT[0],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config).eval()
    if end_bias:
        biased = nn.Linear(16, VOCAB)
        biased.weight = model.proj_out.weight
        with torch.no_grad():
            biased.bias.zero_()
            biased.bias[END] = end_bias
        model.proj_out = biased
    return model


def encoder_states(n_clips: int, seed: int = 1) -> Tensor:
    return torch.randn(n_clips, 20, 16, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def generated(model: Any, states: Tensor, prompt: list[int], max_tokens: int) -> list[list[int]]:
    """Token ids by transformers' own generation loop, one clip at a time."""
    from transformers import GenerationConfig
    from transformers.generation.utils import GenerationMixin
    from transformers.modeling_outputs import BaseModelOutput

    end = int(model.config.eos_token_id)
    config = GenerationConfig(
        max_new_tokens=max_tokens,
        num_beams=1,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=prompt[0],
    )
    rows = []
    for clip in states:
        out = GenerationMixin.generate(
            model,
            encoder_outputs=BaseModelOutput(last_hidden_state=clip[None]),
            decoder_input_ids=torch.tensor([prompt]),
            generation_config=config,
        )
        ids = out[0, len(prompt) :].tolist()
        rows.append(ids[: ids.index(end)] if end in ids else ids)
    return rows


@torch.inference_mode()
def step_log_probs(model: Any, states: Tensor, tokens: list[int], allowed: list[int]) -> Tensor:
    """(len(tokens) + 1, A): one full pass, no cache, over the allowed tokens."""
    out = model.model.decoder(
        input_ids=torch.tensor([PROMPT + tokens]), encoder_hidden_states=states, use_cache=False
    )
    logits = model.proj_out(out.last_hidden_state)[0, len(PROMPT) - 1 :]
    return logits[:, allowed].double().log_softmax(dim=-1)


def test_greedy_equals_generate() -> None:
    lengths, loops = set(), 0
    for seed in range(4):
        model = tiny_whisper(seed, end_bias=3.0)
        states = encoder_states(9, seed)
        expected = generated(model, states, PROMPT, 40)
        found = greedy(model, states, PROMPT, END, max_tokens=40)
        for clip, (row, hypothesis) in enumerate(zip(expected, found, strict=True)):
            cut = find_loop(row)
            assert hypothesis.tokens == row[:cut]
            assert hypothesis.looped == (cut is not None)
            assert hypothesis.complete == (cut is None and len(row) < 40)
            lengths.add(len(hypothesis.tokens))
            loops += hypothesis.looped
            if hypothesis.complete:
                own = states[clip : clip + 1]
                log_probs = step_log_probs(model, own, row, list(range(VOCAB)))
                said = log_probs[torch.arange(len(row) + 1), torch.tensor([*row, END])]
                assert hypothesis.log_prob == pytest.approx(float(said.sum()), abs=1e-3)
    assert len(lengths) > 4  # clips that end at different times, and loops, were among them
    assert 0 < loops < 30


def test_allowed_tokens_as_ids_mask_range_and_behind_a_wrapped_layer() -> None:
    model, states = tiny_whisper(2), encoder_states(5)
    ids = [2, 9, 11, 30]
    mask = torch.zeros(VOCAB, dtype=torch.bool)
    mask[ids] = True
    by_ids = greedy(model, states, PROMPT, END, max_tokens=20, allowed=ids)
    assert {t for h in by_ids for t in h.tokens} <= set(ids)
    assert len({t for h in by_ids for t in h.tokens}) > 1
    assert greedy(model, states, PROMPT, END, max_tokens=20, allowed=mask) == by_ids
    model.proj_out = nn.Sequential(model.proj_out)
    wrapped = greedy(model, states, PROMPT, END, max_tokens=20, allowed=ids)
    assert [h.tokens for h in wrapped] == [h.tokens for h in by_ids]
    some = greedy(model, states, PROMPT, END, max_tokens=20, allowed=range(12))
    assert max(t for h in some for t in h.tokens) < 12
    everything = greedy(model, states, PROMPT, END, max_tokens=20, allowed=range(VOCAB))
    assert [h.tokens for h in everything] == [
        h.tokens for h in greedy(model, states, PROMPT, END, max_tokens=20)
    ]


def test_tokens_that_may_not_come_first() -> None:
    model, states = tiny_whisper(1, end_bias=60.0), encoder_states(3)
    assert [h.tokens for h in greedy(model, states, PROMPT, END, max_tokens=5)] == [[], [], []]
    begun = greedy(model, states, PROMPT, END, max_tokens=5, begin_suppressed=[END])
    assert [len(h.tokens) for h in begun] == [1, 1, 1]


def test_keys_are_computed_once_and_finished_clips_leave() -> None:
    model, states = tiny_whisper(0, end_bias=3.0), encoder_states(9, 0)
    keys, rows = [], []
    layer = model.model.decoder.layers[1]
    layer.encoder_attn.k_proj.register_forward_hook(lambda *a: keys.append(a[2].shape[0]))
    layer.fc1.register_forward_hook(lambda *a: rows.append(a[2].shape[0]))
    greedy(model, states, PROMPT, END, max_tokens=40)
    assert keys == [9]
    assert rows[0] == 9
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] <= 0.75 * 9
    keys.clear()
    beam(model, states, PROMPT, END, max_tokens=10, beam=3)
    assert keys == [9]


def test_a_clip_does_not_depend_on_its_batch() -> None:
    model, states = tiny_whisper(3, end_bias=3.0), encoder_states(6)
    together = beam(model, states, PROMPT, END, max_tokens=15, beam=3, n_best=3)
    for clip, hypotheses in zip(states, together, strict=True):
        (alone,) = beam(model, clip[None], PROMPT, END, max_tokens=15, beam=3, n_best=3)
        assert [h.tokens for h in alone] == [h.tokens for h in hypotheses]
        assert [h.score for h in alone] == pytest.approx([h.score for h in hypotheses], abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    model, states = tiny_whisper(seed, end_bias=2.0), encoder_states(8, seed)
    one = [h for (h,) in beam(model, states, PROMPT, END, max_tokens=40, beam=1)]
    found = greedy(model, states, PROMPT, END, max_tokens=40)
    for a, b in zip(one, found, strict=True):
        assert (a.tokens, a.looped, a.complete) == (b.tokens, b.looped, b.complete)
        assert a.log_prob == pytest.approx(b.log_prob, abs=1e-3)


def every_sequence(
    model: Any, states: Tensor, letters: list[int], limit: int, lm: NGram | None, weight: float
) -> dict[tuple[int, ...], tuple[float, float]]:
    """All texts up to the limit -> (model's log-probability, sum with the language model)."""
    allowed = sorted([*letters, END])
    found = {}
    for n in range(limit + 1):
        for tokens in itertools.product(letters, repeat=n):
            log_probs = step_log_probs(model, states, list(tokens), allowed)
            said = [*tokens, END] if n < limit else list(tokens)  # no room left for the end
            score = sum(float(log_probs[i, allowed.index(t)]) for i, t in enumerate(said))
            fused = score
            if lm is not None:
                state = lm.start()
                for token in tokens:
                    log_prob, state = lm.score(state, token)
                    fused += weight * log_prob
                fused += weight * lm.finish(state) if n < limit else 0.0
            found[tokens] = (score, fused)
    return found


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_a_wide_beam_finds_what_enumeration_finds(fused: bool, penalty: float) -> None:
    model, states = tiny_whisper(5), encoder_states(2, 5) * 0.3
    with torch.no_grad():
        model.proj_out.weight *= 0.2  # less sure of itself: the order depends on everything
    letters, limit = [1, 9, 30], 3
    rng = np.random.default_rng(0)
    lm = build([rng.choice(letters, size=3).tolist() for _ in range(9)], 3, VOCAB)
    results = beam(
        model,
        states,
        PROMPT,
        END,
        max_tokens=limit,
        beam=60,
        n_best=40,
        allowed=letters,
        lm=lm if fused else None,
        lm_weight=0.6,
        length_penalty=penalty,
    )
    for clip, hypotheses in enumerate(results):
        table = every_sequence(
            model, states[clip : clip + 1], letters, limit, lm if fused else None, 0.6
        )
        rank = {t: f / min(len(t) + 1, limit) ** penalty for t, (_, f) in table.items()}
        best = sorted(rank, key=lambda t: -rank[t])
        assert [tuple(h.tokens) for h in hypotheses] == best
        for h in hypotheses:
            tokens = tuple(h.tokens)
            assert h.log_prob == pytest.approx(table[tokens][0], abs=1e-4)
            assert h.score == pytest.approx(rank[tokens], abs=1e-4)
            assert h.complete == (len(tokens) < limit)


def test_the_language_model_decides_where_the_sound_does_not() -> None:
    model, states = tiny_whisper(4), encoder_states(1)
    with torch.no_grad():
        model.proj_out.weight *= 1e-3  # hears next to nothing
    lm = build([[9, 1, 30]] * 10, 3, VOCAB)
    options: dict[str, Any] = {"max_tokens": 6, "beam": 4, "allowed": [1, 9, 30]}
    (best,) = beam(model, states, PROMPT, END, lm=lm, lm_weight=1.0, **options)[0]
    assert best.tokens == [9, 1, 30]
    assert beam(model, states, PROMPT, END, **options)[0][0].tokens != [9, 1, 30]


class Loops(nn.Module):
    """An output layer that says 11 12 13 for ever, and the end only second."""

    def forward(self, hidden: Tensor) -> Tensor:
        self.said = getattr(self, "said", -1) + 1
        logits = torch.zeros(*hidden.shape[:-1], VOCAB)
        logits[..., 11 + self.said % 3] = 9.0
        logits[..., END] = 5.0
        return logits


@pytest.mark.parametrize("width", [0, 1])
def test_a_repetition_loop_is_stopped_cut_and_marked(width: int) -> None:
    model, states = tiny_whisper(), encoder_states(2)
    model.proj_out = Loops()
    if width:
        lists = beam(model, states, PROMPT, END, max_tokens=40, beam=width)
        found = [hypotheses[0] for hypotheses in lists]
    else:
        found = greedy(model, states, PROMPT, END, max_tokens=40)
    for hypothesis in found:
        assert hypothesis.tokens == [11, 12, 13]
        assert hypothesis.looped
        assert not hypothesis.complete
    assert model.proj_out.said == 11  # stopped at the twelfth token


def test_a_beam_prefers_what_did_not_loop() -> None:
    model, states = tiny_whisper(), encoder_states(1)
    model.proj_out = Loops()
    hypotheses = beam(
        model, states, PROMPT, END, max_tokens=40, beam=4, n_best=4, length_penalty=5.0
    )[0]
    assert not hypotheses[0].looped
    assert [h.looped for h in hypotheses] == sorted(h.looped for h in hypotheses)


def test_bad_calls_are_refused() -> None:
    model, states = tiny_whisper(), encoder_states(2)
    with pytest.raises(UsageError, match="n_best"):
        beam(model, states, PROMPT, END, max_tokens=5, beam=2, n_best=3)
    with pytest.raises(UsageError, match="prompt"):
        greedy(model, states, [], END, max_tokens=5)
    with pytest.raises(UsageError, match="mask"):
        greedy(model, states, PROMPT, END, max_tokens=5, allowed=torch.ones(9, dtype=torch.bool))
    assert greedy(model, states[:0], PROMPT, END, max_tokens=5) == []
    assert beam(model, states[:0], PROMPT, END, max_tokens=5) == []
    with pytest.raises(UsageError, match="training mode"):
        greedy(model.train(), states, PROMPT, END, max_tokens=5)


@pytest.mark.real
def test_real_whisper_equals_generate(
    tiny_en_dir: Path, english_clips: list[NDArray[np.float32]]
) -> None:
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration.from_pretrained(tiny_en_dir, dtype=torch.float32).eval()
    clips = english_clips[:3]
    features = WhisperFeatureExtractor()(clips, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        states = model.model.encoder(features.input_features).last_hidden_state
    prompt, end = [50257, 50362], 50256
    expected = generated(model, states, prompt, 50)
    found = greedy(model, states, prompt, end, max_tokens=50)
    assert [h.tokens for h in found] == expected
    assert all(h.complete for h in found)
    wide = beam(model, states, prompt, end, max_tokens=50, beam=4, allowed=range(end + 1))
    for (best,), first in zip(wide, found, strict=True):
        length, first_length = len(best.tokens) + 1, len(first.tokens) + 1
        assert best.score >= first.log_prob / first_length - 0.01
        assert best.score == pytest.approx(best.log_prob / length)
