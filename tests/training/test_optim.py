"""Learning rates by hand: groups, layer decay, warm-up, decay, staged unfreezing."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from xlasr import api
from xlasr.adaptation.trainable import Trainable, make_trainable
from xlasr.config import OptimSettings, TrainSettings
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import SpeechModel, from_base
from xlasr.models.tokenizer import CharTokenizer
from xlasr.training import machine
from xlasr.training.engine import Trainer
from xlasr.training.machine import use_bfloat16
from xlasr.training.optim import make_optimizer, rate, set_rates


def built(base: Path, family: str, **train: Any) -> tuple[SpeechModel, Trainable]:
    letters = CharTokenizer(list(small.LETTERS))
    torch.manual_seed(0)
    model = from_base(
        find_base(str(base)), family, context=Context(8, 8), language="cs", alphabet=letters
    )
    return model, make_trainable(model, TrainSettings(**train))


def rates_by_name(
    model: SpeechModel, optimizer: torch.optim.Optimizer, key: str = "lr"
) -> dict[str, float]:
    names = {id(p): n for n, p in model.named_parameters()}
    found: dict[str, float] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert names[id(parameter)] not in found  # each once
            found[names[id(parameter)]] = group[key]
    return found


def test_group_rates_and_layer_decay_by_hand(whisper_dir: Path) -> None:
    model, trainable = built(whisper_dir, "ctc", part="full")
    settings = OptimSettings(lr=1e-3, head_lr=5e-3, layer_decay=0.5)
    optimizer = make_optimizer(model, trainable, settings)
    set_rates(optimizer, 0.1, head_only=False)
    found = rates_by_name(model, optimizer)
    by_hand = {
        "head.weight": 5e-4,
        "head.bias": 5e-4,
        "encoder.hf.layer_norm.weight": 1e-4,  # the closing norm goes with the top layer
        "encoder.hf.layers.1.fc1.weight": 1e-4,
        "encoder.hf.layers.0.self_attn.k_proj.weight": 0.5e-4,
        "encoder.hf.conv1.weight": 0.25e-4,
        "encoder.hf.conv2.bias": 0.25e-4,
    }
    for name, value in by_hand.items():
        assert found[name] == pytest.approx(value), name
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(found) == trained == set(trainable.names)
    assert "encoder.hf.embed_positions.weight" not in found


def test_norms_and_biases_are_not_decayed(whisper_dir: Path) -> None:
    model, trainable = built(whisper_dir, "seq2seq", part="full")
    optimizer = make_optimizer(model, trainable, OptimSettings(weight_decay=0.2))
    found = rates_by_name(model, optimizer, "weight_decay")
    shapes = {n: p.ndim for n, p in model.named_parameters()}
    assert found["hf.model.encoder.layers.0.fc1.weight"] == 0.2
    assert found["hf.model.encoder.layers.0.fc1.bias"] == 0.0
    assert found["hf.model.decoder.layer_norm.weight"] == 0.0
    assert {n for n, d in found.items() if d == 0.0} == {n for n in found if shapes[n] == 1}


def test_head_follows_lr_where_no_rate_of_its_own_is_given(whisper_dir: Path) -> None:
    model, trainable = built(whisper_dir, "seq2seq", part="full")
    optimizer = make_optimizer(model, trainable, OptimSettings(lr=2e-3, layer_decay=0.1))
    set_rates(optimizer, 1.0, head_only=False)
    found = rates_by_name(model, optimizer)
    assert found["hf.model.decoder.layers.0.fc1.weight"] == 2e-3
    assert found["hf.model.encoder.layers.0.fc1.weight"] == pytest.approx(2e-4)


def test_schedules_by_hand() -> None:
    linear = OptimSettings(warmup=4, schedule="linear", final=0.2)
    by_hand = [0.25, 0.5, 0.75, 1.0, 1.0, 0.84, 0.68, 0.52, 0.36]
    assert [rate(u, 9, linear) for u in range(9)] == pytest.approx(by_hand)
    cosine = OptimSettings(warmup=0, schedule="cosine")
    by_hand = [1.0, 0.5 + 0.25 * math.sqrt(2), 0.5, 0.5 - 0.25 * math.sqrt(2)]
    assert [rate(u, 4, cosine) for u in range(4)] == pytest.approx(by_hand)
    constant = OptimSettings(warmup=2, schedule="constant")
    assert [rate(u, 5, constant) for u in range(5)] == [0.5, 1, 1, 1, 1]


@given(
    st.integers(0, 60),
    st.integers(1, 200),
    st.sampled_from(["linear", "cosine", "constant"]),
    st.floats(0, 1),
)
def test_rates_rise_then_fall_and_stay_positive(
    warmup: int, total: int, schedule: Any, final: float
) -> None:
    settings = OptimSettings(warmup=warmup, schedule=schedule, final=final)
    found = [rate(u, total, settings) for u in range(total)]
    assert all(0 < r <= 1 + 1e-12 for r in found)
    rising, falling = found[: warmup + 1], found[warmup:]
    assert rising == sorted(rising)
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(falling))


def test_a_rate_of_zero_freezes_bit_by_bit(whisper_dir: Path) -> None:
    """Weight decay and warm moments must not move what is frozen."""
    model, trainable = built(whisper_dir, "ctc", part="full")
    optimizer = make_optimizer(model, trainable, OptimSettings(lr=0.1, weight_decay=0.5))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for _ in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
        set_rates(optimizer, 1.0, head_only=True)
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (not name.startswith("head.")), name


@pytest.mark.parametrize(("family", "head"), [("ctc", "head."), ("seq2seq", "hf.model.decoder.")])
def test_staged_unfreezing(
    whisper_dir: Path,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    head: str,
) -> None:
    seen: list[dict[str, Tensor]] = []
    real = Trainer._update

    def spy(self: Trainer, batch: Any) -> None:
        if not seen:
            seen.append({n: p.detach().clone() for n, p in self.model.named_parameters()})
        real(self, batch)
        seen.append({n: p.detach().clone() for n, p in self.model.named_parameters()})

    monkeypatch.setattr(Trainer, "_update", spy)
    plan = small.recipe(
        family, small.stage(family, train={"unfreeze_at": 0.5}, optim={"weight_decay": 0.5})
    )
    api.adapt(speech, base=str(whisper_dir), recipe=plan, out=tmp_path / "run", threads=1)
    encoder = [n for n in seen[0] if "encoder" in n.split(".") and "decoder" not in n.split(".")]
    frozen = {n: [torch.equal(seen[0][n], s[n]) for s in seen] for n in encoder}
    assert len(frozen) > 20
    sinusoids = [n for n in encoder if n.endswith("embed_positions.weight")]
    for name, same in frozen.items():
        if name in sinusoids:
            assert all(same)
        else:
            assert same[:7] == [True] * 7, name  # 6 of 12 updates
            if not name.endswith("k_proj.bias"):
                assert same[7:] == [False] * 6, name
    heads = [n for n in seen[0] if n.startswith(head) and n.endswith(("weight", "bias"))]
    assert any(not torch.equal(seen[0][n], seen[1][n]) for n in heads)


def test_bfloat16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert use_bfloat16("bfloat16", cpu)
    assert not use_bfloat16("float32", cuda)
    for capability, flag, wanted in [
        ("AVX512", True, True),
        ("AVX512", False, False),  # avx512 without its bfloat16: slower than float32
        ("AVX2", True, False),  # torch would not use it
        ("DEFAULT", False, False),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda value=capability: value)
            patch.setattr(machine, "_has_bfloat16_instructions", lambda value=flag: value)
            assert use_bfloat16("auto", cpu) is wanted
    for supported in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda value=supported: value)
        assert use_bfloat16("auto", cuda) is supported
    assert not use_bfloat16("auto", torch.device("mps"))


def test_flags_are_read_from_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, wanted in [("flags : avx512f avx512_bf16", True), ("flags : avx512f", False)]:
        monkeypatch.setattr(Path, "read_text", lambda *_, value=text, **__: value)
        assert machine._has_bfloat16_instructions() is wanted

    def missing(*_: Any, **__: Any) -> str:
        raise OSError("no such file")

    monkeypatch.setattr(Path, "read_text", missing)
    assert not machine._has_bfloat16_instructions()
