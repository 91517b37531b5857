"""Exactly the named part is trained; everything else stays bit-equal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import tiny

from xlasr.adaptation.trainable import Trainable, count_trainable, make_trainable
from xlasr.config import ObjectiveSettings, TrainSettings
from xlasr.errors import UsageError
from xlasr.features.streaming import FrameStatistics
from xlasr.models.aids import set_aids
from xlasr.models.attention import AttentionModel, DecoderShape
from xlasr.models.encoders import Context
from xlasr.models.frames import MeasuredEncoder
from xlasr.models.hub import find_base
from xlasr.models.run import SpeechModel, from_base
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import TransducerShape
from xlasr.objectives import OBJECTIVES

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
KINDS = [
    "seq2seq/whisper",
    "ctc/whisper",
    "ctc/wav2vec2",
    "ctc/wav2vec2-post",
    "ctc/w2v-bert",
    "ctc/emformer",
    "ctc/audiovisual",
]
N_LAYERS = 3


def build(folder: Path, kind: str) -> SpeechModel:
    family, base = kind.split("/")
    if base == "whisper":
        path = tiny.whisper_dir(folder, max_positions=100)
    elif base == "multimodal":
        path = tiny.multimodal_dir(folder) if not folder.exists() else folder
    elif base in tiny.SEAMLESS:
        path = tiny.seamless_dir(folder, base)
    elif base == "emformer":
        path = tiny.emformer_dir(folder)
    elif base == "audiovisual":
        path = tiny.audiovisual_dir(folder)
    elif base == "attention":  # a decoder of its own behind an encoder that has none
        path = tiny.speech_dir(folder, "wav2vec2")
    else:
        path = tiny.speech_dir(folder, base)
    torch.manual_seed(0)
    model = from_base(
        find_base(str(path)),
        family,
        context=Context(8, 8),
        language="cs",
        alphabet=CharTokenizer(list(" ahojrybkde")),
        decoder=DecoderShape(layers=2, ffn_dim=48) if base == "attention" else None,
        shape=TransducerShape(predictor_dim=16, joiner_dim=16) if family == "transducer" else None,
    )
    if isinstance(model, AttentionModel):  # as drawn, it hardly listens
        for weight in (p for p in model.decoder.parameters() if p.ndim > 1):
            torch.nn.init.normal_(weight, std=0.2)
    if isinstance(model.encoder, MeasuredEncoder):
        model.encoder.measure(FrameStatistics.of_clips([tiny.clip(0.5)]))
    return model


def step(model: SpeechModel) -> None:
    """One update with a rate that moves every weight it may move."""
    texts = ["ahoj", "kde"]
    torch.manual_seed(0)
    features = model.features([tiny.clip(0.5), tiny.clip(0.5, 1)])
    kind = {"seq2seq": "cross_entropy"}.get(model.family, model.family)
    loss = OBJECTIVES[kind](
        model, model.encoder(features), features.input_lens, texts, ObjectiveSettings(kind=kind)
    )
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    loss.backward()
    optimizer.step()


def expected(model: SpeechModel, kind: str, part: str, top: int) -> set[str]:
    """The trained names, written down from the models' own module trees."""
    everything = {name for name, _ in model.named_parameters()}
    whisper = "hf.model.encoder." if kind.startswith("seq2seq") else "encoder.hf."
    if kind.startswith("seq2seq"):
        head = {n for n in everything if n.startswith("hf.model.decoder.")}
    else:
        head = {"head.weight", "head.bias"}
    never = {"encoder.hf.masked_spec_embed", f"{whisper}embed_positions.weight"}
    if part == "full":
        return everything - never
    if part == "head":
        return head
    layers = whisper + ("encoder.layers" if "w2v" in kind or "wav2vec2" in kind else "layers")
    trained = tuple(f"{layers}.{N_LAYERS - 1 - i}." for i in range(top))
    closing = {
        "seq2seq/whisper": ("hf.model.encoder.layer_norm.",),
        "ctc/whisper": ("encoder.hf.layer_norm.",),
        "ctc/wav2vec2": ("encoder.hf.encoder.layer_norm.",),
        "ctc/emformer": ("encoder.hf.layer_norm.", "encoder.hf.projection."),
    }.get(kind, ())
    return head | {n for n in everything if n.startswith((*trained, *closing))}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("part", "top", "frozen"),
    [("full", 0, -1), ("head", 0, 3), ("layers", 1, 2), ("layers", 3, 0)],
)
def test_exactly_the_named_part_is_trained(
    tmp_path: Path, kind: str, part: str, top: int, frozen: int
) -> None:
    model = build(tmp_path / "base", kind)
    settings = TrainSettings.model_validate({"part": part, "top_layers": top})
    found = make_trainable(model, settings)
    wanted = expected(model, kind, part, top)
    assert sorted(found.names) == sorted(wanted)  # each once
    assert {n for n, p in model.named_parameters() if p.requires_grad} == wanted
    assert found.frozen_layers == frozen
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    assert count_trainable(model) == sum(sizes[n] for n in wanted)

    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.train()
    step(model)
    for name, parameter in model.named_parameters():
        same = torch.equal(parameter, before[name])
        assert same == (name not in wanted), name


@pytest.mark.parametrize("part", ["lora", "adapter"])
def test_a_ctc_head_beside_a_decoder_is_trained_where_the_decoder_rests(
    tmp_path: Path, part: str
) -> None:
    model = build(tmp_path / "base", "seq2seq/attention")
    assert isinstance(model, AttentionModel)
    set_aids(model, ["ctc"], None)
    bare = {n for n, _ in model.named_parameters()}
    found = make_trainable(model, TrainSettings.model_validate({"part": part, "lora": {"r": 2}}))
    assert bare & set(found.names) == {"aids.ctc.weight", "aids.ctc.bias"}
    assert set(found.names) - bare


def groups(found: Trainable) -> dict[tuple[bool, int], set[str]]:
    return {(g.is_head, g.depth): set(g.names) for g in found.groups}


def test_depth_counts_layers_from_the_top(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "ctc/wav2vec2")
    by_depth = groups(make_trainable(model, TrainSettings(part="full")))
    assert by_depth[True, 0] == {"head.weight", "head.bias"}
    assert "encoder.hf.encoder.layer_norm.weight" in by_depth[False, 0]
    assert "encoder.hf.encoder.layers.2.attention.k_proj.weight" in by_depth[False, 0]
    assert all(".layers.1." in n for n in by_depth[False, 1])
    assert all(".layers.0." in n for n in by_depth[False, 2])
    stem = by_depth[False, 3]
    assert "encoder.hf.feature_projection.projection.weight" in stem
    assert "encoder.hf.feature_extractor.conv_layers.0.layer_norm.weight" in stem
    assert len(by_depth) == 5

    model = build(tmp_path / "whisper", "seq2seq/whisper")
    by_depth = groups(make_trainable(model, TrainSettings(part="full")))
    assert all(n.startswith("hf.model.decoder.") for n in by_depth[True, 0])
    assert "hf.model.encoder.conv1.weight" in by_depth[False, 3]


def test_a_length_adapter_lies_behind_the_last_layer(tmp_path: Path) -> None:
    path = tiny.speech_dir(tmp_path / "base", "wav2vec2", add_adapter=True)
    letters = CharTokenizer(list("ab"))
    base = find_base(str(path))
    model = from_base(base, "ctc", context=None, language="cs", alphabet=letters)
    found = make_trainable(model, TrainSettings(part="layers", top_layers=1))
    assert "encoder.hf.adapter.layers.0.conv.weight" in found.names
    assert found.frozen_layers == 2
    assert not any(".encoder.layers.0." in n for n in found.names)
    make_trainable(model, TrainSettings(part="head"))
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "head.weight",
        "head.bias",
    }


def test_the_part_can_be_changed_from_stage_to_stage(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "ctc/whisper")
    full = make_trainable(model, TrainSettings(part="full")).names
    make_trainable(model, TrainSettings(part="head"))
    assert count_trainable(model) == 32 * 12 + 12
    assert make_trainable(model, TrainSettings(part="full")).names == full


@pytest.mark.parametrize("top", [0, 4])
def test_more_layers_than_there_are(tmp_path: Path, top: int) -> None:
    model = build(tmp_path / "base", "ctc/whisper")
    with pytest.raises(UsageError, match=f"top_layers is {top}; .* 3 layers, so give 1 to 3"):
        make_trainable(model, TrainSettings.model_construct(part="layers", top_layers=top))


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_the_base_is_set_and_acts_in_training_only(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path, kind)
    features = model.features([tiny.clip(0.5)])

    def differs() -> bool:
        return not torch.equal(model.encoder(features), model.encoder(features))

    make_trainable(model, TrainSettings(part="full", dropout=0.5))
    model.train()
    assert differs()
    model.eval()
    assert not differs()
    make_trainable(model, TrainSettings(part="full", dropout=0.0))
    model.train()
    if kind.endswith("whisper"):  # the others keep their dropout of attention weights
        assert not differs()
