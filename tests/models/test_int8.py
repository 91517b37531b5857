"""8-bit weights: what is computed, what it does to encoders, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import tiny
from torch import nn

from xlasr.errors import UsageError
from xlasr.features.streaming import FrameStatistics
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.int8 import Int8Cost, Int8Linear, compared_outputs, size_mb, to_int8
from xlasr.models.run import SpeechModel, from_base
from xlasr.models.streaming import EmformerEncoder
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.whisper_chunks import Chunks

CLIP = tiny.clip(1.5)


def rounded(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = np.abs(x).max(1, keepdims=True) / np.float32(127)
    return np.round(x / np.where(scale == 0, 1, scale)).astype(np.int64), scale


@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_that_of_rounded_numbers(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(24, 10, bias=bias)
    x = torch.randn(2, 3, 24) * torch.tensor([1.0, 100.0, 0.0])[:, None]
    inputs, in_scale = rounded(x.reshape(-1, 24).numpy())
    weights, out_scale = rounded(linear.weight.detach().numpy())
    wanted = (inputs @ weights.T) * in_scale * out_scale.T
    wanted = wanted + (linear.bias.detach().numpy() if bias else 0)
    with torch.inference_mode():
        found = Int8Linear(linear)(x)
        plain = linear(x)
    np.testing.assert_allclose(found.reshape(-1, 10).numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert 0 < (found - plain).abs().mean() < 0.02 * plain.abs().mean()


def model_of(kind: str, folder: Path) -> SpeechModel:
    base = tiny.emformer_dir(folder, ffn_dim=256, input_dim=16)
    context: Chunks | Context | None = None
    if kind != "emformer":
        base = tiny.speech_dir(folder, kind) if kind == "wav2vec2" else tiny.whisper_dir(folder)
        context = Chunks(8, 12) if kind == "chunks" else Context(16, 16)
    torch.manual_seed(0)
    found = from_base(
        find_base(str(base)), "seq2seq" if kind == "seq2seq" else "ctc", context=context,
        language="en", alphabet=CharTokenizer(["a"]),
    )  # fmt: skip
    if isinstance(found.encoder, EmformerEncoder):
        found.encoder.measure(FrameStatistics.of_clips([CLIP]))
    return found.eval()


@pytest.mark.parametrize("kind", ["emformer", "chunks", "wav2vec2", "seq2seq"])
def test_encoders_of_8_bits_say_nearly_the_same(kind: str, tmp_path: Path) -> None:
    model = model_of(kind, tmp_path / "base")
    names = {name for layer in model.encoder.layer_modules() for name, _ in layer.named_modules()}
    features = model.features([CLIP])
    with torch.inference_mode():
        plain = model.encoder(features)
        before = size_mb(model)
        assert to_int8(model) is model
        found = model.encoder(features)
    layers = [m for layer in model.encoder.layer_modules() for m in layer.modules()]
    assert sum(isinstance(m, Int8Linear) for m in layers) >= 6 * model.encoder.n_layers
    assert not any(type(m) is nn.Linear for m in layers)
    assert names == {n for layer in model.encoder.layer_modules() for n, _ in layer.named_modules()}
    assert size_mb(model) < before
    assert 0 < (found - plain).abs().mean() < 0.05 * plain.abs().mean()


def test_what_8_bits_change(tmp_path: Path) -> None:
    exact = model_of("wav2vec2", tmp_path / "base")
    rounded = to_int8(copy.deepcopy(exact))
    clips = [CLIP, CLIP[: len(CLIP) // 2]]
    cost = compared_outputs(exact, rounded, clips)
    with torch.inference_mode():
        parts = [[m.encoder(m.features([c]))[0] for c in clips] for m in (exact, rounded)]
    one, other = (torch.cat(found) for found in parts)
    assert cost.error == pytest.approx(float((one - other).abs().sum() / one.abs().sum()), rel=1e-5)
    assert (cost.float_mb, cost.int8_mb) == (size_mb(exact), size_mb(rounded))
    assert cost.clips == 2 and cost.int8_mb < cost.float_mb and 0 < cost.error < 0.05
    assert str(Int8Cost(28.31, 9.46, 0.0114, 5)) == (
        "8-bit weights: 28.3 -> 9.5 MB; what comes out of the encoder differs by 1.1 % on average "
        "(5 clips)"
    )


def test_what_is_counted(tmp_path: Path) -> None:
    linear = nn.Linear(100, 50)
    assert size_mb(linear) == pytest.approx((100 * 50 + 50) * 4 / 1e6)
    assert size_mb(Int8Linear(linear)) == pytest.approx((100 * 50 + 2 * 50 * 4) / 1e6)
    tied = nn.ModuleList([linear, nn.Linear(100, 50)])
    tied[1].weight = linear.weight
    assert size_mb(tied) == pytest.approx((100 * 50 + 2 * 50) * 4 / 1e6)


def test_a_model_in_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="training mode"):
        to_int8(model_of("emformer", tmp_path / "e").train())
