"""What every additive method owes, on every family and every kind of base.

Nothing happens at step 0; the base stays bit-equal; the count is exact; what is saved is its own,
opens on a fresh base, and says the same; it works with gradient checkpointing.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tests import tiny
from tests.adaptation.test_trainable import build, step

from xlasr.adaptation.lora import merged_state
from xlasr.adaptation.trainable import (
    count_trainable,
    make_trainable,
    recompute_activations,
)
from xlasr.config import AdapterSettings, LoraSettings, TrainSettings
from xlasr.errors import BaseError, UsageError
from xlasr.models.hub import find_base
from xlasr.models.parts import (
    MARK,
    base_fingerprint,
    hold_part,
    layers_of,
    load_part,
    save_part,
    use_part,
)
from xlasr.models.run import SpeechModel, from_base, load_model, save_model
from xlasr.models.seamless import TEXT_ENCODER
from xlasr.models.seq2seq import Seq2SeqModel, WhisperModel
from xlasr.models.transducer import Transducer

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
WHISPER = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
SEAMLESS = ["linear_q", "linear_v", "output_dense", "q_proj", "v_proj", "fc1"]
LORA_TARGETS = {
    "seq2seq/whisper": WHISPER,
    "seq2seq/seamless": SEAMLESS,
    "seq2seq/seamless-v2": SEAMLESS,
    "seq2seq/attention": ["q_proj", "v_proj", "intermediate_dense", "fc1"],
    "seq2seq/multimodal": [*WHISPER, "linear_q", "output_dense"],
    "ctc/whisper": WHISPER,
    "ctc/wav2vec2": ["q_proj", "intermediate_dense"],
    "ctc/wav2vec2-post": ["v_proj"],
    "ctc/wav2vec2-group": ["k_proj", "output_dense"],
    "ctc/hubert": ["q_proj", "v_proj"],
    "ctc/wavlm": ["intermediate_dense", "output_dense"],
    "ctc/w2v-bert": ["linear_q", "linear_v"],
    "ctc/emformer": WHISPER,
    "ctc/audiovisual": WHISPER,
}
D, ENCODER, DECODER, HEAD = 32, 3, 2, 32 * 12 + 12
"""Width and layers of the tiny models; weights of their CTC head."""


@dataclass
class Method:
    """One additive method: its settings, what names its weights have, how many there are."""

    train: TrainSettings
    mark: str
    weights: int | None


def adapter(where: str, width: int = 6) -> Method:
    layers = {"encoder": ENCODER, "decoder": DECODER, "both": ENCODER + DECODER, "length": 1}[where]
    settings: dict[str, Any] = {"width": width, "where": where}
    train = TrainSettings(part="adapter", adapter=AdapterSettings(**settings))
    return Method(train, MARK, layers * 2 * D * width)


def lora(kind: str, **more: Any) -> Method:
    settings = LoraSettings(r=4, alpha=8.0, dropout=0.0, targets=LORA_TARGETS[kind], **more)
    return Method(TrainSettings(part="lora", lora=settings), "lora_", None)


def methods(kind: str) -> dict[str, Method]:
    found = {
        "lora": lora(kind),
        "rslora": lora(kind, rslora=True),
        "dora": lora(kind, dora=True),
        "lora of one layer": lora(kind, layers=[1]),
        "encoder adapters": adapter("encoder"),
    }
    if kind.startswith("seq2seq"):
        found |= {"decoder adapters": adapter("decoder"), "both adapters": adapter("both")}
    if "seamless" in kind or "multimodal" in kind:
        found["length adapters"] = adapter("length")
    return found


CASES = [(kind, name) for kind in LORA_TARGETS for name in methods(kind)]
cases = pytest.mark.parametrize(("kind", "name"), CASES)


def lora_weights(model: SpeechModel, settings: LoraSettings) -> int:
    """Weights that LoRA adds to a model that has none yet, counted from its matrices."""
    hf: Any = model.hf if isinstance(model, Seq2SeqModel) else model.encoder.hf
    only = None if settings.layers is None else f"layers.{settings.layers[0]}."
    shapes = [
        m.weight.shape
        for n, m in hf.named_modules()
        if isinstance(m, torch.nn.Linear)
        and n.rsplit(".", 1)[-1] in settings.targets
        and not n.startswith(TEXT_ENCODER)
        and (only is None or n.startswith(only) or f".{only}" in n)
    ]
    return sum(settings.r * (a + b) + (a if settings.dora else 0) for a, b in shapes)


def outputs(model: SpeechModel) -> torch.Tensor:
    model.eval()
    features = model.features([tiny.clip(0.5)])
    with torch.no_grad():
        if isinstance(model, Seq2SeqModel):
            inputs, _ = model.target_ids(["ahoj"])
            return model(features, inputs)  # type: ignore[no-any-return]
        if isinstance(model, Transducer):
            return model(features, torch.tensor([model.tokenizer.encode("ahoj")]))[0]
        return model(features)[0]  # type: ignore[no-any-return]


def taught(folder: Path, kind: str, method: Method) -> SpeechModel:
    model = build(folder, kind)
    make_trainable(model, method.train)
    model.train()
    for _ in range(2):
        step(model)
    return model


@cases
def test_it_begins_as_the_base_and_leaves_it_alone(tmp_path: Path, kind: str, name: str) -> None:
    method = methods(kind)[name]
    model = build(tmp_path / "base", kind)
    plain = outputs(model)
    base = {n: v.clone() for n, v in model.state_dict().items()}
    weights = method.weights or lora_weights(model, method.train.lora)
    found = make_trainable(model, method.train)
    torch.testing.assert_close(outputs(model), plain, atol=1e-6, rtol=0)  # dora divides by a norm
    if name != "dora":
        assert torch.equal(outputs(model), plain)
    head = 0 if isinstance(model, Seq2SeqModel) else HEAD
    own = {n for n in found.names if method.mark in n}
    assert set(found.names) - own == ({"head.weight", "head.bias"} if head else set())
    assert count_trainable(model) == weights + head
    if name == "lora of one layer":
        assert {n.split("layers.")[1][0] for n in own} == {"1"}
    model.train()
    step(model)
    step(model)
    after = {n.replace(".base_layer.", "."): v for n, v in model.state_dict().items()}
    for key, value in base.items():
        if not key.startswith("head."):
            assert torch.equal(after[key], value), key
    assert all(dict(model.named_parameters())[n].grad is not None for n in own)
    assert (outputs(model) - plain).abs().max() > 0.005


@pytest.mark.parametrize("name", ["lora", "dora", "encoder adapters"])
@pytest.mark.parametrize("base", ["emformer", "whisper"])
def test_transducers(tmp_path: Path, base: str, name: str) -> None:
    """Predictor and joiner are trained beside; they are no part, so a run is saved whole."""
    method, kind = methods(f"ctc/{base}")[name], f"transducer/{base}"
    model = build(tmp_path / "base", kind)
    plain = outputs(model)
    before = {n: v.clone() for n, v in model.encoder.state_dict().items()}
    weights = method.weights or lora_weights(model, method.train.lora)
    found = make_trainable(model, method.train)
    torch.testing.assert_close(outputs(model), plain, atol=1e-6, rtol=0)
    own = {n for n in found.names if method.mark in n}
    writing = {n for n in found.names if n.startswith(("predictor.", "joiner.", "simple."))}
    assert set(found.names) == own | writing and own and writing
    assert sum(model.get_parameter(n).numel() for n in own) == weights
    model.train()
    step(model)
    step(model)
    after = {n.replace(".base_layer.", "."): v for n, v in model.encoder.state_dict().items()}
    assert all(torch.equal(after[key], value) for key, value in before.items())
    wanted = outputs(model)
    assert (wanted - plain).abs().max() > 0.005
    (folder := tmp_path / "model").mkdir()
    state = merged_state(model) if method.mark == "lora_" else None
    save_model(model, folder, tmp_path / "base", state)
    torch.testing.assert_close(outputs(load_model(folder)), wanted, atol=1e-4, rtol=0)


@cases
def test_what_is_saved_says_the_same(tmp_path: Path, kind: str, name: str) -> None:
    method = methods(kind)[name]
    model = taught(tmp_path / "base", kind, method)
    wanted = outputs(model)
    folder = tmp_path / "model"
    folder.mkdir()
    state = None
    if method.mark == "lora_":
        state = merged_state(model)
        again = merged_state(model)
        assert all(torch.equal(state[k], again[k]) for k in state)  # merging changes nothing here
        assert torch.equal(outputs(model), wanted)
    save_model(model, folder, tmp_path / "base", state)
    torch.testing.assert_close(outputs(load_model(folder)), wanted, atol=1e-4, rtol=0)

    if method.mark == "lora_":
        weights = load_file(folder / "adapter" / "adapter_model.safetensors")
        assert weights and all("lora_" in key for key in weights)
        fresh_base = build(tmp_path / "base", kind)
        hf = fresh_base.hf if isinstance(fresh_base, Seq2SeqModel) else fresh_base.encoder.hf
        with warnings.catch_warnings():  # theirs, as in adaptation/lora.py
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
            PeftModel.from_pretrained(hf, folder / "adapter").eval()
        if not isinstance(model, Seq2SeqModel):
            fresh_base.head.load_state_dict(model.head.state_dict())  # type: ignore[union-attr]
        assert torch.equal(outputs(fresh_base), wanted)
        return
    assert not any(MARK in key for key in load_file(folder / "model.safetensors"))
    own = load_file(folder / "part" / "part.safetensors")
    head = set() if isinstance(model, Seq2SeqModel) else {"head.weight", "head.bias"}
    assert sum(v.numel() for k, v in own.items() if k not in head) == method.weights
    fresh = build(tmp_path / "base", kind)
    assert load_part(fresh, folder / "part", "x") == "x"
    torch.testing.assert_close(outputs(fresh), wanted, atol=1e-6, rtol=0)


@cases
def test_gradient_checkpointing_changes_nothing(tmp_path: Path, kind: str, name: str) -> None:
    models = []
    for checkpointed in (False, True):
        model = build(tmp_path / "base", kind)
        make_trainable(model, methods(kind)[name].train)
        for module in model.modules():
            if hasattr(module, "layerdrop"):
                module.layerdrop = 0.0
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointed:
            recompute_activations(model)
        calls: list[int] = []
        behind = name in ("decoder adapters", "length adapters")  # no gradient in the encoder
        layers = layers_of(model, "decoder" if behind else "encoder")
        first = layers[1]
        inner = next(m for m in first.modules() if isinstance(m, torch.nn.LayerNorm))
        inner.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        model.train()
        step(model)
        assert len(calls) == (2 if checkpointed else 1)
        models.append(model)
    plain, checkpointed_ = (dict(m.named_parameters()) for m in models)
    trained = [n for n, p in plain.items() if p.requires_grad]
    assert trained
    for key in trained:
        torch.testing.assert_close(checkpointed_[key], plain[key], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", sorted(LORA_TARGETS))
def test_two_parts_on_one_base(tmp_path: Path, kind: str) -> None:
    narrow, wide = adapter("encoder", 4), adapter("encoder", 9)
    wanted = {}
    for number, (tag, method) in enumerate({"cs": narrow, "nl": wide}.items()):
        model = build(tmp_path / "base", kind)
        model.info["language"] = tag
        if isinstance(model, Seq2SeqModel):
            model.set_language(tag)
        make_trainable(model, method.train)
        model.train()
        for _ in range(number + 1):
            step(model)
        wanted[tag] = outputs(model)
        save_part(model, tmp_path / tag)
    base = build(tmp_path / "base", kind)
    plain = outputs(base)
    assert [load_part(base, tmp_path / tag) for tag in wanted] == ["cs", "nl"]
    assert base.active_part == "nl"
    before = {n: p.data_ptr() for n, p in base.named_parameters()}
    for tag in ("cs", "nl", "cs"):
        use_part(base, tag)
        torch.testing.assert_close(outputs(base), wanted[tag], atol=1e-6, rtol=0)
        assert base.info["language"] == tag
    after = {n: p.data_ptr() for n, p in base.named_parameters() if not n.startswith("head.")}
    assert all(before[n] == at for n, at in after.items())  # nothing was loaded or copied
    use_part(base, None)
    if isinstance(base, Seq2SeqModel):
        base.set_language("cs")
        assert torch.equal(outputs(base), plain)
    with pytest.raises(UsageError, match="no part 'fr'; it has cs, nl"):
        use_part(base, "fr")
    with pytest.raises(UsageError, match="'cs' already"):
        load_part(base, tmp_path / "cs")


def test_the_prompt_follows_the_part(tmp_path: Path) -> None:
    for tag, prompt in (("nl", None), ("mai", "hi")):
        model = build(tmp_path / "base", "seq2seq/seamless")
        assert isinstance(model, Seq2SeqModel)
        model.set_language(tag, prompt)
        make_trainable(model, adapter("decoder").train)
        save_part(model, tmp_path / tag)
    base = build(tmp_path / "base", "seq2seq/seamless")
    assert isinstance(base, Seq2SeqModel)
    languages = base.tokenizer.languages
    for tag in ("mai", "nl"):
        load_part(base, tmp_path / tag)
    for tag, code, prompt in (("mai", "hin", "hi"), ("nl", "nld", None), ("mai", "hin", "hi")):
        use_part(base, tag)
        assert base.tokenizer.prompt[1] == languages[code]
        assert base.info["language"] == tag and base.info.get("prompt_language") == prompt
    whisper = from_base(
        find_base(str(tiny.whisper_dir(tmp_path / "whisper", multilingual=True))),
        "seq2seq",
        context=None,
        language="en",
    )
    assert isinstance(whisper, Seq2SeqModel)
    english = whisper.tokenizer.prompt
    hold_part(whisper, "en")
    whisper.set_language("de")
    hold_part(whisper, "other")
    use_part(whisper, "en")
    assert whisper.tokenizer.prompt == english
    use_part(whisper, "other")
    assert whisper.tokenizer.prompt != english


@pytest.mark.parametrize(
    "kind", ["seq2seq/whisper", "seq2seq/seamless", "seq2seq/multimodal", "ctc/wav2vec2"]
)
def test_parts_that_do_not_belong(tmp_path: Path, kind: str) -> None:
    model = taught(tmp_path / "base", kind, adapter("encoder"))
    save_part(model, tmp_path / "part")
    other = build(tmp_path / "base", kind)
    plain = base_fingerprint(other)
    with torch.no_grad():
        next(p for p in other.encoder.hf.parameters() if p.ndim > 1).view(-1)[0] += 1e-3
    assert base_fingerprint(other) != plain
    with pytest.raises(BaseError, match=r"trained on another base: .*weights " + plain[:12]):
        load_part(other, tmp_path / "part")
    family = build(tmp_path / "w", "ctc/whisper" if kind.startswith("seq") else "seq2seq/whisper")
    with pytest.raises(BaseError, match="is a part of family"):
        load_part(family, tmp_path / "part")
    with pytest.raises(BaseError, match="holds no part"):
        load_part(model, tmp_path)
    meta = json.loads((tmp_path / "part" / "part.json").read_text())
    meta["shapes"][0]["width"] = 3
    (tmp_path / "part" / "part.json").write_text(json.dumps(meta))
    fresh = build(tmp_path / "base", kind)
    names = list(fresh.state_dict())
    with pytest.raises(BaseError, match="do not fit this base"):
        load_part(fresh, tmp_path / "part")
    assert fresh.parts == {} and list(fresh.state_dict()) == names


def test_the_cut_vocabulary_of_a_language_does_not_matter(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "seq2seq/whisper")
    assert isinstance(model, WhisperModel)
    model.cut_vocabulary(*model.tokenizer.cut(["ahoj rybo"]))
    make_trainable(model, adapter("both").train)
    model.train()
    step(model)
    save_part(model, tmp_path / "part")
    whole = build(tmp_path / "base", "seq2seq/whisper")
    load_part(whole, tmp_path / "part")
    features = whole.features([tiny.clip(0.5)])
    model.eval(), whole.eval()
    with torch.no_grad():
        torch.testing.assert_close(whole.encoder(features), model.encoder(features))


def test_adapters_join_those_of_an_earlier_stage(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "seq2seq/whisper")
    first = make_trainable(model, adapter("decoder").train)
    model.train()
    step(model)
    rested = {n: dict(model.named_parameters())[n].clone() for n in first.names}
    second = make_trainable(model, adapter("encoder").train)
    assert len(second.names) == 2 * ENCODER and not set(first.names) & set(second.names)
    model.train()
    step(model)
    assert all(torch.equal(dict(model.named_parameters())[n], v) for n, v in rested.items())
    third = make_trainable(model, adapter("decoder").train)
    assert set(third.names) == set(first.names)  # trained further, not doubled
    with pytest.raises(UsageError, match="adapters behind layers of the decoder already"):
        make_trainable(model, adapter("decoder", 7).train)


def test_a_decoder_is_needed_behind_which_to_stand(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need a decoder"):
        make_trainable(build(tmp_path / "b", "ctc/hubert"), adapter("both").train)
