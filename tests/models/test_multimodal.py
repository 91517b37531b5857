"""The small multimodal model: two encoders, one decoder; what it is built from and saved as."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny
from transformers.models.seamless_m4t.modeling_seamless_m4t import SeamlessM4TConformerAdapterLayer

from xlasr.errors import BaseError
from xlasr.features.logmel import SAMPLE_RATE
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.multimodal import (
    SHORTEST_SAMPLES,
    MultimodalModel,
    build_multimodal,
    multimodal_class,
)
from xlasr.models.run import from_base, load_model, save_model

TEXTS = ["ahoj rybo", "kde jsi", "plave tady voda"]
SOURCES = ["hello", "hello fish", "where are you fish, tell me"]
CLIPS = [tiny.clip(s, i) for i, s in enumerate((0.5, 0.6, 0.52))]


def build(folder: Path, context: Context | None = None, **options: int) -> MultimodalModel:
    base = find_base(str(tiny.multimodal_dir(folder, **options)))
    model = from_base(base, "seq2seq", context=context or Context(8, 8), language="cs")
    assert isinstance(model, MultimodalModel)
    return model.eval()


@pytest.mark.parametrize("stride", [2, 4, 3])
@torch.no_grad()
def test_a_batch_gives_what_its_inputs_give_alone(tmp_path: Path, stride: int) -> None:
    model = build(tmp_path / "base", stride=stride)
    inputs, _ = model.target_ids(TEXTS)
    for many, collate in ((CLIPS, model.features), (SOURCES, model.text_features)):
        together = model(collate(many), inputs)  # type: ignore[operator]
        assert together.std() > 0.3
        for row, one in enumerate(many):
            own, _ = model.target_ids([TEXTS[row]])
            alone = model(collate([one]), own)  # type: ignore[operator]
            torch.testing.assert_close(together[row, : own.shape[1]], alone[0], atol=1e-4, rtol=0)
        other = model(collate(many[::-1]), inputs)  # type: ignore[operator]
        assert (other[0] - together[0]).abs().max() > 0.05  # the decoder does listen
    # the sources are of two lengths, and what is added to a short one is part of it
    features = model.text_features(SOURCES)
    assert features.input_lens.tolist() == [
        len(model.tokenizer.encode(f"cs: {s.replace(',', '')}")) + 1 for s in SOURCES
    ]
    assert features.is_pad is not None
    heard = (~features.is_pad).sum(1).tolist()
    assert len(set(heard)) > 1 and all(n % 8 == 0 for n in heard)
    assert (features.values == model.tokenizer.eot).sum() > 3


@pytest.mark.parametrize("stride", [2, 4, 3])
@torch.no_grad()
def test_states_are_counted_as_the_length_adapter_makes_them(tmp_path: Path, stride: int) -> None:
    model = build(tmp_path / "base", stride=stride)
    encoder = model.encoder
    for positions in (16, 24, 100):
        n = positions * 320
        made = encoder(model.features([tiny.clip(2.0)[: n - 1]], positions)).shape[1]
        assert made == int(model.out_lens(torch.tensor([n]))[0])
        assert made == (positions + 2 * (stride // 2) - stride) // stride + 1
    layer = encoder.length_adapter.layers[0]  # type: ignore[union-attr]
    assert type(layer) is SeamlessM4TConformerAdapterLayer
    assert layer.residual_conv.kernel_size == layer.residual_conv.stride == (stride,)
    features = model.features(CLIPS)
    whole = encoder(features)
    for last in range(encoder.n_layers + 1):  # it can be cut behind any layer of Whisper
        torch.testing.assert_close(
            encoder.upper(encoder.lower(features, last), last, features), whole
        )


@torch.no_grad()
def test_speech_and_text_are_told_apart_whatever_their_lengths(tmp_path: Path) -> None:
    model = build(tmp_path / "base", stride=2)
    inputs, _ = model.target_ids(TEXTS[:1])
    click = [tiny.clip(0.5)[:40]]
    features = model.features(click, 100)  # more states than samples
    assert features.input_lens.tolist() == [SHORTEST_SAMPLES]
    states = model.encoder(features)
    assert states.shape[1] > 40
    plain = model.output_layer(model.decoder_states(states, inputs))
    assert torch.equal(model(features, inputs), plain)
    assert SHORTEST_SAMPLES > 1500 // 2 + 1  # states of 30 s at the least stride
    # a single text is as long as its own states: nothing to group, nothing to leave out
    features = model.text_features(SOURCES[:1])
    plain = model.output_layer(model.decoder_states(model.encoder(features), inputs))
    assert torch.equal(model(features, inputs), plain)


@torch.no_grad()
def test_one_decoder_and_one_embedding_serve_both(tmp_path: Path) -> None:
    model = build(tmp_path / "base")
    inputs, _ = model.target_ids(TEXTS)
    speech, text = model.features(CLIPS), model.text_features(SOURCES)
    before = [model(f, inputs) for f in (speech, text)]
    read = model.encoder(text)
    model.hf.model.decoder.layers[0].fc1.weight.mul_(1.5)
    for features, was in zip((speech, text), before, strict=True):
        assert (model(features, inputs) - was).abs().max() > 1e-3
    model.hf.model.decoder.embed_tokens.weight[model.tokenizer.encode("hello")] *= -1
    assert (model.encoder(text) - read).abs().max() > 0.01
    assert not [n for n, _ in model.named_parameters() if "text_encoder" in n and "embed" in n]


def test_the_source_says_what_is_written(tmp_path: Path) -> None:
    model = build(tmp_path / "base")

    def said(*arguments: str | None) -> str:
        ids = model.text_features(["Good MORNING!"], *arguments).values[0].tolist()  # type: ignore[arg-type]
        assert ids[-1] == model.tokenizer.eot
        return model.tokenizer.decode(ids)

    assert said() == said("en") == said("nl", "cs-CZ") == "cs: good morning"
    assert said("en", "es") == "es: good morning"
    model.info["text"] = "raw"
    assert said() == "cs: Good MORNING!"
    long = "potápěč " * 60
    with pytest.raises(BaseError, match=r"a text of \d+ tokens is too long .*reads 40: 'potápěč"):
        model.text_features(["hello", long])


@torch.no_grad()
def test_it_begins_near_what_the_decoder_knows(tmp_path: Path) -> None:
    whisper = tiny.whisper_dir(tmp_path / "whisper", max_positions=100)
    out = build_multimodal(whisper, tmp_path / "base", stride=2)
    model = from_base(find_base(str(out)), "seq2seq", context=Context(8, 8), language="cs").eval()
    assert isinstance(model, MultimodalModel)
    # every weight of the Whisper is there
    old, new = (load_file(folder / "model.safetensors") for folder in (whisper, out))
    assert all(torch.equal(new[k], v) for k, v in old.items() if k != "proj_out.weight")
    # the length adapter is a mean of two states, of a norm that lies near the base's own
    features = model.features(CLIPS)
    layer = model.encoder.length_adapter.layers[0]  # type: ignore[union-attr]
    hidden = model.encoder.lower(features, 3)
    hidden = model.hf.model.encoder.layer_norm(hidden)
    normed = layer.residual_layer_norm(hidden)
    pairs = normed[:, 1:-1].unflatten(1, (-1, 2)).mean(2)
    torch.testing.assert_close(model.encoder(features)[:, 1:-1], pairs)
    assert (normed - hidden).norm() < 0.5 * hidden.norm()
    # the text encoder is the decoder's lower layers without what they hear
    for own, lower in zip(model.hf.text_encoder.layers, model.decoder.layers, strict=True):
        kept = lower.state_dict()
        assert all(torch.equal(v, kept[k]) for k, v in own.state_dict().items())
    assert torch.equal(
        model.hf.text_encoder.layer_norm.weight, model.hf.model.encoder.layer_norm.weight
    )
    # the rest is drawn from the seed, and nobody else's generator is touched
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    again = build_multimodal(whisper, tmp_path / "again", stride=2)
    assert torch.equal(torch.rand(1), wanted)
    third = build_multimodal(whisper, tmp_path / "third", stride=2, seed=1)
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    other = load_file(third / "model.safetensors")
    drawn = {
        k.split("adapter.layers.0.")[1] for k, v in new.items() if not torch.equal(other[k], v)
    }
    assert drawn == {
        *(f"self_attn.linear_{x}.weight" for x in "qkv"),
        *("self_attn_conv.weight", "ffn.intermediate_dense.weight"),
    }


def test_what_cannot_be_built_or_opened(tmp_path: Path) -> None:
    whisper = tiny.whisper_dir(tmp_path / "whisper")
    with pytest.raises(BaseError, match=r"stride of 2 or more \(found 1\)"):
        build_multimodal(whisper, tmp_path / "out", stride=1)
    with pytest.raises(BaseError, match=r"1 to 2 layers for text \(found 3\)"):
        build_multimodal(whisper, tmp_path / "out", text_layers=3)
    assert not (tmp_path / "out").exists()
    base = tiny.multimodal_dir(tmp_path / "base")
    with pytest.raises(BaseError, match=r"families it serves: seq2seq"):
        from_base(find_base(str(base)), "ctc", context=None, language="cs")
    path = base / "model.safetensors"
    state = load_file(path)
    del state["text_encoder.layers.1.fc1.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(BaseError, match=r"lacks 1 weights .*text_encoder\.layers\.1\.fc1"):
        from_base(find_base(str(base)), "seq2seq", context=None, language="cs")
    (whisper / "model.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(BaseError, match=r"does not hold the Whisper of its config.json; .*adapter"):
        build_multimodal(whisper, tmp_path / "out")
    model = build(tmp_path / "long", Context(8, 8))
    with pytest.raises(BaseError, match="cut it first"):
        model.features([tiny.clip(2.1)])


@pytest.mark.parametrize("cut", [False, True])
@torch.no_grad()
def test_what_is_saved_opens_to_the_same_bits(tmp_path: Path, cut: bool) -> None:
    model = build(tmp_path / "base")
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.add_(0.01 * torch.randn_like(parameter))
    if cut:
        model.cut_vocabulary(*model.tokenizer.cut(TEXTS))
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(model, folder, tmp_path / "base")
    again = load_model(folder)
    assert isinstance(again, MultimodalModel)
    assert again.info == model.info and again.encoder.context == Context(8, 8)
    inputs, _ = model.target_ids(TEXTS)
    for saved, held in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(saved, held)
    for features in (model.features(CLIPS), model.text_features(SOURCES)):
        assert torch.equal(again(features, inputs), model(features, inputs))
    more = from_base(find_base(str(folder)), "seq2seq", context=Context(16, 16), language="it")
    assert isinstance(more, MultimodalModel)
    assert more.info["language"] == "it" and more.encoder.context == Context(16, 16)
    assert len(more.tokenizer) == len(model.tokenizer)
    assert multimodal_class().__name__ in (folder / "config.json").read_text()


@pytest.mark.real
def test_the_built_in_base_understands_english_at_once(
    tiny_en_dir: Path, english_clips: list[tiny.Clip]
) -> None:
    from xlasr.decoding.recognise import DecodeOptions, recognise
    from xlasr.models.catalogue import BUILT_IN

    base = find_base("multimodal-tiny")
    assert find_base("multimodal-tiny").sha256 == base.sha256
    assert base.folder.parent == tiny_en_dir.parent
    model = from_base(base, "seq2seq", context=None, language="en").eval()
    assert sum(p.numel() for p in model.parameters()) == BUILT_IN["multimodal-tiny"].n_parameters
    assert int(model.out_lens(torch.tensor([30 * SAMPLE_RATE]))[0]) == 376
    plain = from_base(find_base("whisper-tiny.en"), "seq2seq", context=None, language="en").eval()
    few = english_clips[:3]
    heard, wanted = (
        recognise(m, few, [len(c) / SAMPLE_RATE for c in few], DecodeOptions())
        for m in (model, plain)
    )
    said, whole = (
        [{w.strip(".,").lower() for w in found.text.split()} for found in results]
        for results in (heard, wanted)
    )
    shared = sum(len(a & b) for a, b in zip(said, whole, strict=True))
    assert shared > sum(map(len, whole)) / 2 > 3
