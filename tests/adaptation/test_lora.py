"""The contract of LoRA: nothing at step 0, the base untouched, merged = unmerged, PEFT opens it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests import tiny
from tests.adaptation.test_trainable import build, step

from xlasr.adaptation.lora import add_lora, merged_state, outnumbering
from xlasr.adaptation.trainable import count_trainable, make_trainable
from xlasr.config import LoraSettings, TrainSettings
from xlasr.errors import UsageError
from xlasr.models.run import SpeechModel, load_model, save_model
from xlasr.models.seq2seq import WhisperModel

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
TARGETS = {
    "seq2seq/whisper": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
    "ctc/whisper": ["q_proj", "v_proj"],
    "ctc/wav2vec2": ["q_proj", "intermediate_dense"],
    "ctc/w2v-bert": ["linear_q", "linear_v"],
    "ctc/wavlm": ["intermediate_dense", "output_dense"],
}


def settings(kind: str, r: int = 4) -> TrainSettings:
    lora = LoraSettings(r=r, alpha=8.0, dropout=0.0, targets=TARGETS[kind])
    return TrainSettings(part="lora", lora=lora)


def outputs(model: SpeechModel) -> torch.Tensor:
    model.eval()
    features = model.features([tiny.clip(0.5)])
    with torch.no_grad():
        if isinstance(model, WhisperModel):
            inputs, _ = model.target_ids(["ahoj"])
            return model(features, inputs)  # type: ignore[no-any-return]
        return model(features)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", sorted(TARGETS))
def test_the_contract(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path / "base", kind)
    plain = outputs(model)
    base = {n: p.detach().clone() for n, p in model.named_parameters()}
    linear = {
        n: m
        for n, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and n.rsplit(".", 1)[-1] in TARGETS[kind]
    }
    wanted = sum(4 * (m.in_features + m.out_features) for m in linear.values())
    head = 0 if isinstance(model, WhisperModel) else 32 * 12 + 12

    found = make_trainable(model, settings(kind))
    assert torch.equal(outputs(model), plain)  # identity at step 0
    assert count_trainable(model) == wanted + head  # the exact count
    trained = {n for n in found.names if "lora_" in n}
    assert len(trained) == 2 * len(linear)
    assert set(found.names) - trained == (set() if head == 0 else {"head.weight", "head.bias"})
    assert found.frozen_layers == 0
    assert all(torch.equal(v, base[k]) for k, v in merged_state(model).items() if k in base)

    model.train()
    for _ in range(2):
        step(model)
    after = dict(model.named_parameters())
    for name, value in base.items():  # the base is bit-equal
        if not name.startswith("head."):
            where = name if name in after else name.replace(".weight", ".base_layer.weight")
            where = where if where in after else name.replace(".bias", ".base_layer.bias")
            assert torch.equal(after[where], value), name
    for name in trained:
        assert after[name].abs().sum() > 0, name  # every matrix was reached
    changed = outputs(model)
    assert (changed - plain).abs().max() > 0.01

    # merged = unmerged, in a model that never heard of LoRA
    fresh = build(tmp_path / "again", kind)
    state = merged_state(model)
    assert state.keys() == fresh.state_dict().keys()
    fresh.load_state_dict(state)
    torch.testing.assert_close(outputs(fresh), changed, atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs(model), changed, atol=0, rtol=0)  # the merge took a copy


@pytest.mark.parametrize("kind", ["seq2seq/whisper", "ctc/wav2vec2"])
def test_saved_merged_and_alone(tmp_path: Path, kind: str) -> None:
    from peft import PeftModel

    model = build(tmp_path / "base", kind)
    make_trainable(model, settings(kind))
    model.train()
    step(model)
    wanted = outputs(model)
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ValueError, match="merged_state"):
        save_model(model, folder, tmp_path / "base")
    save_model(model, folder, tmp_path / "base", state=merged_state(model))

    loaded = load_model(folder)
    assert loaded.adapter is None
    torch.testing.assert_close(outputs(loaded), wanted, atol=1e-4, rtol=0)

    # PEFT opens the adapter on the base it was trained on
    adapter = folder / "adapter"
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        path.name for path in adapter.iterdir()
    }
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] == 4
    again = build(tmp_path / "again", kind)
    target = again.hf if isinstance(again, WhisperModel) else again.encoder.hf
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):  # theirs, not ours
        PeftModel.from_pretrained(target, adapter)
    if not isinstance(again, WhisperModel):
        again.head.load_state_dict(model.head.state_dict())  # type: ignore[union-attr]
    assert torch.equal(outputs(again), wanted)


def test_after_a_cut_of_the_vocabulary_the_adapter_still_opens_on_the_whole_base(
    tmp_path: Path,
) -> None:
    from peft import PeftModel

    model = build(tmp_path / "base", "seq2seq/whisper")
    assert isinstance(model, WhisperModel)
    cut, old_ids = model.tokenizer.cut(["ahoj rybo"])
    model.cut_vocabulary(cut, old_ids)
    make_trainable(model, settings("seq2seq/whisper"))
    model.train()
    step(model)
    wanted = outputs(model)
    (tmp_path / "model").mkdir()
    save_model(model, tmp_path / "model", tmp_path / "base", state=merged_state(model))
    torch.testing.assert_close(outputs(load_model(tmp_path / "model")), wanted, atol=1e-4, rtol=0)
    whole = build(tmp_path / "again", "seq2seq/whisper")
    assert isinstance(whole, WhisperModel)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        PeftModel.from_pretrained(whole.hf, tmp_path / "model" / "adapter")
    torch.testing.assert_close(outputs(whole)[..., old_ids], wanted, atol=1e-5, rtol=0)


def test_dropout_of_the_adapter_is_for_training_only(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "ctc/whisper")
    add_lora(model, LoraSettings(r=2, alpha=4.0, dropout=0.5, targets=["q_proj"]))
    model.train()
    step(model)
    assert torch.equal(outputs(model), outputs(model))


def test_targets_may_be_paths(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "seq2seq/whisper")
    lora = LoraSettings(r=3, alpha=4.0, targets=["encoder_attn.q_proj"])
    found = make_trainable(model, TrainSettings(part="lora", lora=lora))
    assert len(found.names) == 2 * 2
    assert all(".decoder." in n and ".encoder_attn.q_proj." in n for n in found.names)
    assert found.frozen_layers == 3  # nothing of the encoder is trained


@pytest.mark.parametrize(
    ("kind", "targets", "message"),
    [
        ("ctc/wav2vec2", ["q_proj", "fc1"], r"\['fc1'\] match no linear layer; .*output_dense"),
        ("seq2seq/whisper", ["conv1"], r"\['conv1'\] match no linear layer; this model has fc1"),
        ("seq2seq/whisper", ["proj"], r"\['proj'\] match no linear layer"),
        ("seq2seq/whisper", ["proj_out"], r"no effect on \['proj_out'\]"),
        ("ctc/wavlm", ["q_proj", "out_proj"], r"no effect on \['q_proj', 'out_proj'\]; .*_dense"),
    ],
)
def test_targets_without_effect_are_refused(
    tmp_path: Path, kind: str, targets: list[str], message: str
) -> None:
    model = build(tmp_path / "base", kind)
    names = [n for n, _ in model.named_parameters()]
    with pytest.raises(UsageError, match=message):
        add_lora(model, LoraSettings(targets=targets))
    assert [n for n, _ in model.named_parameters()] == names  # nothing was injected


@pytest.mark.parametrize("layers", [[9], [0, 9]])
@pytest.mark.parametrize("kind", ["seq2seq/whisper", "ctc/wav2vec2"])
def test_layers_that_are_not_there_are_refused(
    tmp_path: Path, kind: str, layers: list[int]
) -> None:
    model = build(tmp_path / "base", kind)
    names = [n for n, _ in model.named_parameters()]
    with pytest.raises(UsageError, match=r"names \[9\]; the targets stand in the layers 0, 1, 2 "):
        add_lora(model, LoraSettings(targets=["q_proj"], layers=layers))
    assert [n for n, _ in model.named_parameters()] == names  # nothing was injected


@pytest.mark.parametrize(("r", "wanted"), [(15, []), (16, ["q_proj"]), (22, ["fc1", "q_proj"])])
def test_ranks_that_outnumber_the_matrix(tmp_path: Path, r: int, wanted: list[str]) -> None:
    """32 x 32 has 1024 weights and rank 16 as many; 32 x 64 has 2048, rank 22 has 2112."""
    model = build(tmp_path / "base", "seq2seq/whisper")
    add_lora(model, LoraSettings(r=r, targets=["q_proj", "fc1"]))
    assert sorted({name.rsplit(".", 1)[-1] for name in outnumbering(model)}) == wanted
