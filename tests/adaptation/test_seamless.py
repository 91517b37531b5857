"""What can be trained of SeamlessM4T, and how much it is at the published sizes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tests import tiny
from tests.adaptation.test_trainable import build, step

from xlasr.adaptation.trainable import count_trainable, make_trainable, set_dropout
from xlasr.adaptation.vocabulary import cut_to_text, extend_to_text
from xlasr.config import (
    AdapterSettings,
    LoraSettings,
    ObjectiveSettings,
    TrainSettings,
)
from xlasr.errors import UsageError
from xlasr.models.hub import find_base
from xlasr.models.parts import layers_of
from xlasr.models.run import SpeechModel, from_base
from xlasr.models.seamless import SeamlessModel, seamless_class, seamless_encoder
from xlasr.models.seamless_tokens import SeamlessTokens
from xlasr.models.tokenizer import CharTokenizer
from xlasr.objectives.cross_entropy import cross_entropy
from xlasr.training.frozen import FrozenCache

kinds = pytest.mark.parametrize("kind", [f"seq2seq/{kind}" for kind in tiny.SEAMLESS])
SPEECH, ADAPTER = "hf.speech_encoder.", "hf.speech_encoder.adapter."
LENGTH_ADAPTER = 46_156_800
"""Weights of the length adapter at width 1024: two convolutions of 8 positions to 2 * 1024, an
attention, a feed-forward layer of 4096, three norms."""


def names_of(model: SpeechModel) -> set[str]:
    return {name for name, _ in model.named_parameters()}


# ---- the published sizes, without their weights


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> SeamlessTokens:
    folder = tmp_path_factory.mktemp("tokens")
    n_tokens = tiny.seamless_tokenizer_files(folder)
    (folder / "config.json").write_text('{"model_type": "seamless_m4t"}')
    return SeamlessTokens.load(folder, n_tokens, "cs")


def published(name: str, tokens: SeamlessTokens) -> SeamlessModel:
    """The architecture of a published checkpoint, no memory."""
    medium = {
        **dict.fromkeys(("speech_encoder_layers", "encoder_layers", "decoder_layers"), 12),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 4096),
    }
    config: Any = {
        "medium": transformers.SeamlessM4TConfig(**medium),
        "large": transformers.SeamlessM4TConfig(),
        "v2-large": transformers.SeamlessM4Tv2Config(),
    }[name]
    with torch.device("meta"):
        hf = seamless_class(config.model_type, with_text=True)(config)
    base = {"name": name, "model_type": config.model_type}
    return SeamlessModel(hf, seamless_encoder(hf, None), tokens, {"language": "cs", "base": base})


@pytest.mark.parametrize("name", ["medium", "large", "v2-large"])
def test_the_length_adapter_is_not_small(name: str, tokens: SeamlessTokens) -> None:
    model = published(name, tokens)
    found = make_trainable(model, TrainSettings(part="length_adapter"))
    assert count_trainable(model) == LENGTH_ADAPTER
    assert all(name.startswith(ADAPTER) for name in found.names)
    by_hand = 2 * (1024 * 2048 * 8 + 2048) + 4 * (1024 + 1) * 1024  # convolutions, attention
    by_hand += (1024 + 1) * 4096 + (4096 + 1) * 1024 + 3 * 2 * 1024  # feed-forward, norms
    assert by_hand == LENGTH_ADAPTER


@pytest.mark.parametrize(
    ("width", "where", "count"),
    [
        (256, "encoder", 6_291_456),
        (2048, "encoder", 50_331_648),
        (2048, "decoder", 50_331_648),
        (256, "both", 2 * 6_291_456),
        (2048, "length", 2 * 1024 * 2048),
    ],
)
def test_the_counts_of_the_paper(
    width: int, where: str, count: int, tokens: SeamlessTokens
) -> None:
    """6.29 M and 50.33 M (arXiv 2410.13445): 12 layers, 2 * 1024 * width, no norms, no biases."""
    model = published("medium", tokens)
    settings = AdapterSettings.model_validate({"width": width, "where": where})
    found = make_trainable(model, TrainSettings(part="adapter", adapter=settings))
    assert count_trainable(model) == count
    shapes = [tuple(p.shape) for n, p in model.named_parameters() if n in found.names]
    assert set(shapes) == {(width, 1024), (1024, width)}
    if where == "encoder":
        assert round(count / 1e6, 2) == {256: 6.29, 2048: 50.33}[width]


# ---- which names


@kinds
def test_the_length_adapter_alone(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path, kind)
    found = make_trainable(model, TrainSettings(part="length_adapter"))
    assert set(found.names) == {n for n in names_of(model) if n.startswith(ADAPTER)}
    assert not any("intermediate_ffn" in name for name in found.names)
    assert found.frozen_layers == 3  # all that is below is computed once
    before = {n: v.clone() for n, v in model.state_dict().items()}
    model.train()
    step(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in found.names), name


@kinds
def test_it_rests_beside_bottlenecks_of_its_own(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path, kind)
    inside = AdapterSettings(width=4, where="length")
    own = make_trainable(model, TrainSettings(part="adapter", adapter=inside))
    assert len(own.names) == 2 and own.frozen_layers == 3
    assert all(name.startswith(f"{ADAPTER}layers.0.slot.") for name in own.names)
    assert layers_of(model, "length") == list(model.encoder.hf.adapter.layers)
    later = make_trainable(model, TrainSettings(part="length_adapter"))
    assert later.names and not set(own.names) & set(later.names)


@kinds
def test_what_else_can_be_trained(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path, kind)
    everything = names_of(model)
    text = {n for n in everything if n.startswith("hf.text_encoder.")}
    assert text
    decoder = {n for n in everything if n.startswith(("hf.text_decoder.", "hf.shared."))}
    behind = {n for n in everything if n.startswith(SPEECH)} - {
        n for n in everything if n.startswith((f"{SPEECH}encoder.", f"{SPEECH}feature_pro"))
    }
    closing = {f"{SPEECH}encoder.layer_norm.weight", f"{SPEECH}encoder.layer_norm.bias"}
    top = {n for n in everything if n.startswith(f"{SPEECH}encoder.layers.2.")}
    for settings, wanted, frozen in (
        ({"part": "full"}, everything - text, -1),
        ({"part": "head"}, decoder, 3),
        ({"part": "layers", "top_layers": 1}, decoder | behind | closing | top, 2),
    ):
        found = make_trainable(model, TrainSettings.model_validate(settings))
        assert set(found.names) == wanted
        assert found.frozen_layers == frozen
    # the norm that closes the layers is trained: states behind it must not be kept
    resting = {"part": "layers", "top_layers": 1, "freeze": {"encoder": [2]}}
    assert make_trainable(model, TrainSettings.model_validate(resting)).frozen_layers == 2


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_lora_leaves_the_text_encoder_alone(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "seq2seq/seamless")
    lora = LoraSettings(r=2, targets=["q_proj", "linear_q"])
    found = make_trainable(model, TrainSettings(part="lora", lora=lora))
    injected = {name for name in names_of(model) if "lora_" in name}
    assert injected == set(found.names)
    places = {name.split(".layers.")[0] for name in injected}
    assert places == {
        *(f"hf.{part}" for part in ("text_decoder", "speech_encoder.encoder")),
        "hf.speech_encoder.adapter",
    }
    with pytest.raises(UsageError, match=r"no effect on \['lm_head'\]"):
        targets = LoraSettings(r=2, targets=["lm_head"])
        other = build(tmp_path / "other", "seq2seq/seamless")
        make_trainable(other, TrainSettings(part="lora", lora=targets))


@pytest.mark.parametrize("kind", ["seq2seq/whisper", "ctc/wav2vec2", "ctc/w2v-bert"])
def test_bases_without_a_length_adapter(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path, kind)
    with pytest.raises(UsageError, match=r"base .* has no length adapter: SeamlessM4T has one"):
        make_trainable(model, TrainSettings(part="length_adapter"))
    inside = AdapterSettings(width=4, where="length")
    with pytest.raises(UsageError, match=r"no length adapter|where: length is for SeamlessM4T"):
        make_trainable(model, TrainSettings(part="adapter", adapter=inside))


def test_the_length_adapter_of_a_self_supervised_base(tmp_path: Path) -> None:
    path = tiny.speech_dir(tmp_path, "wav2vec2", add_adapter=True)
    letters = CharTokenizer(list("abhojk de"))
    base = find_base(str(path))
    model = from_base(base, "ctc", context=None, language="cs", alphabet=letters)
    found = make_trainable(model, TrainSettings(part="length_adapter"))
    own = {n for n in found.names if n.startswith("encoder.hf.adapter.")}
    assert own and set(found.names) - own == {"head.weight", "head.bias"}
    assert found.frozen_layers < 3  # its states can be kept behind the length adapter only


# ---- how it trains


@torch.no_grad()
def test_what_lies_below_the_length_adapter_is_computed_once(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "seq2seq/seamless").eval()
    found = make_trainable(model, TrainSettings(part="length_adapter"))
    clips = [tiny.clip(s, i) for i, s in enumerate((0.5, 1.013, 0.733))]
    features = model.features(clips)
    cache = FrozenCache(tmp_path / "cache", {}, found.frozen_layers, 1 << 20)
    plain = model.encoder(features)
    for hits in (0, 3):
        states = cache.states(model, features, ["a", "b", "c"])
        assert cache.hits == hits and cache.misses == 3
        kept = model.encoder.upper(states, found.frozen_layers, features)
        assert kept.shape == plain.shape
        assert (kept - plain).abs().max() < 0.02 * plain.abs().max()  # kept in half precision


@kinds
def test_the_loss_of_a_batch_is_that_of_its_clips(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path, kind).eval()
    assert isinstance(model, SeamlessModel)
    settings = ObjectiveSettings(kind="cross_entropy")
    texts = ["ahoj rybo", "kde", "plave tady voda"]
    clips = [tiny.clip(s, i) for i, s in enumerate((0.5, 1.9, 0.733))]
    sources = ["hello fish", "you", "where are you"]

    def loss(features: Any, wanted: list[str]) -> float:
        states = model.encoder(features)
        return float(cross_entropy(model, states, features.input_lens, wanted, settings))

    with torch.no_grad():
        for inputs, collate in ((clips, model.features), (sources, model.text_features)):
            together = loss(collate(inputs), texts)  # type: ignore[operator]
            sizes = [len(model.tokenizer.encode(text)) + 1 for text in texts]
            alone = [
                loss(collate([one]), [text])  # type: ignore[operator]
                for one, text in zip(inputs, texts, strict=True)
            ]
            mean = math.fsum(n * one for n, one in zip(sizes, alone, strict=True)) / sum(sizes)
            assert together == pytest.approx(mean, abs=1e-4)


def test_batch_norms_keep_what_the_base_has_seen(tmp_path: Path) -> None:
    model = build(tmp_path, "seq2seq/seamless")
    make_trainable(model, TrainSettings())
    statistics = {n: b.clone() for n, b in model.named_buffers() if ".batch_norm." in n}
    assert len(statistics) == 9
    features = model.features([tiny.clip(0.5), tiny.clip(0.9, 1)])
    model.train()
    with torch.no_grad():
        heard = model.encoder(features)
    step(model)
    assert all(torch.equal(dict(model.named_buffers())[n], b) for n, b in statistics.items())
    fresh = build(tmp_path, "seq2seq/seamless").eval()
    with torch.no_grad():
        torch.testing.assert_close(heard, fresh.encoder(features))  # tiny has no dropout


def test_dropout_of_every_sublayer_but_not_of_attention(tmp_path: Path) -> None:
    model = build(tmp_path, "seq2seq/seamless")
    set_dropout(model, 0.3)
    rates = {
        name.removeprefix("hf."): module.p
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Dropout)
    }
    changed = {name.rsplit(".", 1)[-1] for name, rate in rates.items() if rate == 0.3}
    assert changed == {
        *("attn_dropout", "self_attn_dropout", "ffn_dropout", "output_dropout", "dropout"),
    }
    assert rates["speech_encoder.encoder.layers.0.self_attn.dropout"] == 0.0
    assert rates["speech_encoder.encoder.layers.0.conv_module.dropout"] == 0.3
    assert model.hf.text_decoder.dropout == 0.3
    assert model.hf.text_decoder.layers[0].self_attn.dropout == 0.0


def test_its_pieces_are_kept(tmp_path: Path) -> None:
    model = build(tmp_path, "seq2seq/seamless")
    with pytest.raises(UsageError, match="cut is for Whisper"):
        cut_to_text(model, ["ahoj"])
    with pytest.raises(UsageError, match="models that write letters"):
        extend_to_text(model, ["ahoj"])
