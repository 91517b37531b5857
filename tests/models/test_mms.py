"""MMS's language adapters: only they are trained, and transformers opens what is saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny
from tests.adaptation.test_trainable import step

from xlasr.adaptation.trainable import count_trainable, make_trainable
from xlasr.config import AdapterSettings, TrainSettings
from xlasr.errors import BaseError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.hub import find_base
from xlasr.models.mms import load_mms_adapter
from xlasr.models.run import SpeechModel, from_base, load_model, save_model
from xlasr.models.tokenizer import CharTokenizer

SETTINGS = TrainSettings(part="adapter", adapter=AdapterSettings(kind="mms"))
LETTERS = list(" ahojrybkde")


def build(folder: Path, **changes: int) -> CTCModel:
    if not folder.exists():
        tiny.speech_dir(folder, "wav2vec2", **changes)
    torch.manual_seed(0)
    base, letters = find_base(str(folder)), CharTokenizer(LETTERS)
    model = from_base(base, "ctc", context=None, language="cs", alphabet=letters)
    assert isinstance(model, CTCModel)
    return model


def log_probs(model: SpeechModel) -> torch.Tensor:
    assert isinstance(model, CTCModel)
    model.eval()
    with torch.no_grad():
        return model(model.features([tiny.clip(0.5)]))[0]


def test_they_are_trained_alone_and_open_in_transformers(tmp_path: Path) -> None:
    from transformers import Wav2Vec2ForCTC

    model = build(tmp_path / "base", adapter_attn_dim=4)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    found = make_trainable(model, SETTINGS)
    one = 2 * 32 + (32 * 4 + 4) + (4 * 32 + 32)  # norm, down, up
    assert count_trainable(model) == 3 * one + 32 * 12 + 12
    model.train()
    step(model)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == set(found.names)
    wanted = log_probs(model)
    (tmp_path / "model").mkdir()
    save_model(model, tmp_path / "model", tmp_path / "base")
    torch.testing.assert_close(log_probs(load_model(tmp_path / "model")), wanted)

    saved = tmp_path / "model" / "adapter.ces.safetensors"
    assert all("adapter_layer" in k or k.startswith("lm_head.") for k in load_file(saved))
    for name in (saved.name, "vocab.json"):
        (tmp_path / "base" / name).write_bytes((tmp_path / "model" / name).read_bytes())
    theirs = Wav2Vec2ForCTC.from_pretrained(tmp_path / "base", attn_implementation="eager")
    theirs.load_adapter("ces")
    theirs.eval()
    features = model.features([tiny.clip(0.5)])
    with torch.no_grad():
        logits = theirs(features.values).logits
    torch.testing.assert_close(logits.log_softmax(-1), wanted, atol=1e-4, rtol=0)

    again = build(tmp_path / "base")
    load_mms_adapter(again, saved)
    assert again.tokenizer.symbols == LETTERS and again.info["language"] == "ces"
    torch.testing.assert_close(log_probs(again), wanted)


def test_a_published_layout_has_symbols_that_are_never_said(tmp_path: Path) -> None:
    from transformers import Wav2Vec2ForCTC

    build(tmp_path / "base", adapter_attn_dim=4)
    theirs = Wav2Vec2ForCTC.from_pretrained(tmp_path / "base")
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "|", "a", "o"]
    theirs.lm_head = torch.nn.Linear(32, len(symbols))
    path = tmp_path / "base" / "adapter.ces.safetensors"
    weights = theirs._get_adapters()
    save_file({k: v.detach().contiguous() for k, v in weights.items()}, str(path))
    table = {"ces": {s: i for i, s in enumerate(symbols)}, "nld": {"<pad>": 0, "x": 1}}
    (path.parent / "vocab.json").write_text(json.dumps(table))
    model = build(tmp_path / "base")
    load_mms_adapter(model, path)
    assert model.tokenizer.symbols == [" ", "a", "o"]
    assert torch.equal(model.head.weight, theirs.lm_head.weight[[0, 4, 5, 6]])
    table["ces"]["y"] = 7
    (path.parent / "vocab.json").write_text(json.dumps(table))
    with pytest.raises(BaseError, match="a head of 7, against 18 and 8 symbols"):
        load_mms_adapter(model, path)
    with pytest.raises(BaseError, match="no language adapter"):
        load_mms_adapter(model, tmp_path / "adapter.fra.safetensors")


def test_a_base_without_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has none\. Use kind: bottleneck"):
        make_trainable(build(tmp_path / "base"), SETTINGS)
