"""The confidence of a transcript, beside the model's own probabilities computed another way."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import tiny

from xlasr.data.annotations import AnnotatedRecording, render
from xlasr.data.audio import write_wav
from xlasr.decoding import recognise as module
from xlasr.decoding.ctc import prefix_beam
from xlasr.decoding.hypothesis import Hypothesis
from xlasr.decoding.recognise import DecodeOptions, recognise, token_confidence
from xlasr.decoding.transcribe import transcribe_file
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")


def collapse(path: tuple[int, ...]) -> list[int]:
    return [t for t, _ in itertools.groupby(path) if t]


def test_ctc_sums_every_alignment_of_every_clip() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(3, 5, 3).log_softmax(-1)
    lens, texts = torch.tensor([5, 4, 5]), [[1, 2, 2], [2], []]
    summed = module._summed(log_probs, lens, texts).tolist()
    for row, n, text, found in zip(log_probs, lens.tolist(), texts, summed, strict=True):
        paths = (p for p in itertools.product(range(3), repeat=n) if collapse(p) == text)
        exact = sum(math.exp(sum(float(row[t, k]) for t, k in enumerate(p))) for p in paths)
        assert found == pytest.approx(math.log(exact), abs=1e-5)
    empty = module._summed(log_probs, lens, [[], [], []])  # on the all-blank plateau
    assert empty[1].item() == pytest.approx(float(log_probs[1, :4, 0].sum()), abs=1e-5)


def build(folder: Path, family: str) -> Any:
    torch.manual_seed(0)
    model = from_base(
        find_base(str(tiny.whisper_dir(folder / family))),
        family,
        context=Context(slack=8, multiple=64),
        language="cs",
        alphabet=CharTokenizer(list(" abcdeř")) if family == "ctc" else None,
    )
    if family == "ctc":
        with torch.no_grad():
            model.head.weight.normal_(std=3.0)
    return model.eval()


CLIPS = [tiny.clip(s, i) for i, s in enumerate((0.3, 0.6, 0.45))]


def run(model: Any, **how: Any) -> list[module.Recognised]:
    return recognise(model, CLIPS, [len(c) / 16_000 for c in CLIPS], DecodeOptions(**how))


@pytest.mark.parametrize("beam", [1, 60])
def test_ctc_confidence_is_the_probability_of_the_text_per_letter(
    tmp_path: Path, beam: int
) -> None:
    model = build(tmp_path, "ctc")
    found = run(model, beam=beam)
    assert any(r.confidence is not None for r in found)
    for clip, result in zip(CLIPS, found, strict=True):
        with torch.no_grad():
            log_probs, lens = model(model.features([clip]))
        exact = {
            model.tokenizer.decode(h.tokens).strip(): h
            for h in prefix_beam(
                log_probs[0, : int(lens[0])].numpy(),
                beam=400,
                n_best=400,
                token_min_log_prob=-math.inf,
            )[::-1]
        }[result.text]
        if not exact.tokens:
            assert result.confidence is None
            continue
        wanted = math.exp(exact.log_prob / len(exact.tokens))
        assert result.confidence == pytest.approx(wanted, rel=2e-2 if beam > 1 else 1e-2)
        assert 0 < wanted < 1


@pytest.mark.parametrize("beam", [1, 2])
@torch.inference_mode()
def test_whisper_confidence_is_the_mean_probability_of_its_tokens_and_the_end(
    tmp_path: Path, beam: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(tmp_path, "seq2seq")
    # a random model seldom ends by itself
    monkeypatch.setattr(type(model), "max_tokens", 12)
    tokens, seen = model.tokenizer, []
    inner = module.hypotheses

    def spy(*call: Any) -> list[list[Hypothesis]]:
        answer = inner(*call)
        seen.extend((row, found) for row, (found,) in zip(call[1], answer, strict=True))
        return answer

    monkeypatch.setattr(module, "hypotheses", spy)
    found = {r.log_prob: r for r in run(model, beam=beam)}
    assert len(seen) == len(CLIPS)
    for states, hypothesis in seen:
        result = found[hypothesis.log_prob]
        if hypothesis.looped:
            assert result.confidence is None
            continue
        ids = [*hypothesis.tokens, *([tokens.eot] if hypothesis.complete else [])]
        out = model.hf.model.decoder(
            input_ids=torch.tensor([[*tokens.prompt, *ids]]), encoder_hidden_states=states[None]
        )
        logits = model.hf.proj_out(out.last_hidden_state)[0, :, : tokens.eot + 1]
        steps = logits.log_softmax(-1)[len(tokens.prompt) - 1 : -1]
        mean = float(np.mean([float(row[t]) for row, t in zip(steps, ids, strict=True)]))
        assert result.confidence == pytest.approx(math.exp(mean), rel=1e-3)


def test_there_is_none_where_nothing_can_be_said() -> None:
    assert token_confidence(Hypothesis([], -2.0, -2.0), has_end=False) is None
    assert token_confidence(Hypothesis([1], -1.0, -1.0, looped=True), has_end=True) is None
    assert token_confidence(Hypothesis([1], 0.0, math.nan), has_end=False) is None
    assert token_confidence(Hypothesis([], -2.0, -2.0), has_end=True) == math.exp(-2)
    ended = token_confidence(Hypothesis([1], -2.0, -2.0), has_end=True)
    cut_short = token_confidence(Hypothesis([1], -2.0, -2.0, complete=False), has_end=True)
    assert (ended, cut_short) == (math.exp(-1), math.exp(-2))
    assert token_confidence(Hypothesis([1], 1e-7, 1e-7), has_end=False) == 1.0  # rounding


@pytest.mark.real
def test_a_real_transcript_in_elan_with_its_confidence(
    tmp_path: Path, tiny_en_dir: Path, english_clips: list[tiny.Clip]
) -> None:
    elan = pytest.importorskip("pympi.Elan")
    model = from_base(find_base(str(tiny_en_dir)), "seq2seq", context=None, language="en").eval()
    path = tmp_path / "a.wav"
    noise = 0.2 * np.random.default_rng(0).standard_normal(len(english_clips[0]))
    found = {}
    for name, samples in (("clean", 0), ("noisy", noise)):
        write_wav(path, english_clips[0] + samples)
        found[name] = list(transcribe_file(model, path, DecodeOptions(full_context=True)))
    (clean,) = found["clean"]
    assert clean.confidence is not None
    assert 0.5 < clean.confidence < 1
    assert all(s.confidence is None or s.confidence < clean.confidence for s in found["noisy"])
    eaf_path = tmp_path / "a.eaf"
    recording = AnnotatedRecording(path, [clean], by_machine=True)
    eaf_path.write_text(render("eaf", [recording], tmp_path), encoding="utf-8")
    eaf = elan.Eaf(str(eaf_path))
    start, end = round(clean.start_s * 1000), round(clean.end_s * 1000)
    assert eaf.get_annotation_data_for_tier("text") == [(start, end, clean.text)]
    (sure,) = eaf.get_annotation_data_for_tier("confidence")
    assert sure[:3] == (start, end, f"{clean.confidence:.3f}")
