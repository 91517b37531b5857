"""States of all layers: transformers' own where it gives them, and the ordinary pass at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from torch import Tensor, nn

from xlasr.models.encoders import Context
from xlasr.models.hidden import layer_states
from xlasr.models.hub import empty_encoder, find_base, load_self_supervised, load_whisper
from xlasr.models.hub import whisper_encoder as wrapped
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.whisper_chunks import Chunks

CLIP = tiny.clip(1.3)
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
KINDS = (*tiny.KINDS, *tiny.GROUP_NORM)


def states_of(encoder: Any) -> tuple[list[Tensor], Tensor, Any]:
    features = encoder.eval().features([CLIP])
    with torch.no_grad():
        return layer_states(encoder, features), encoder(features), features


def n_hooks(encoder: Any) -> int:
    layers = encoder.layer_modules()
    return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in layers)


@pytest.mark.parametrize("kind", KINDS)
def test_self_supervised(tmp_path: Path, kind: str) -> None:
    encoder = load_self_supervised(tiny.speech_dir(tmp_path / kind, kind))
    before = n_hooks(encoder)
    found, last, features = states_of(encoder)
    assert n_hooks(encoder) == before
    name = "input_features" if encoder.is_mel else "input_values"
    unmasked = {"mask_time_indices": (None, None)} if encoder.can_mask else {}
    with torch.no_grad():
        out = encoder.hf(**{name: features.values}, **unmasked, output_hidden_states=True)
    # where a closing norm follows, transformers gives the last layer's states without it
    theirs = [*out.hidden_states[:-1], out.last_hidden_state]
    assert len(found) == len(theirs) == 4
    assert torch.equal(found[-1], last)
    for ours, other in zip(found, theirs, strict=True):
        torch.testing.assert_close(ours, other, atol=1e-5, rtol=1e-4)


def test_whisper(tmp_path: Path) -> None:
    hf = load_whisper(tiny.whisper_dir(tmp_path / "w")).model.encoder
    found, last, features = states_of(wrapped(hf, None))
    with torch.no_grad():
        theirs = hf(features.values, output_hidden_states=True).hidden_states
    assert len(found) == len(theirs) == 4 and torch.equal(found[-1], last)
    for ours, other in zip(found, theirs, strict=True):
        torch.testing.assert_close(ours, other, atol=1e-5, rtol=1e-4)
    short, last, _ = states_of(wrapped(hf, Context(16, 16)))
    assert torch.equal(short[-1], last) and {s.shape for s in short} == {last.shape}
    chunked, last, _ = states_of(wrapped(hf, Chunks(8, 16)))
    assert torch.equal(chunked[-1], last) and len(chunked) == 4


def test_conformer_layer_by_layer(tmp_path: Path) -> None:
    # a Conformer that ends behind its n-th layer is the oracle: it has no closing norm
    encoder: Any = empty_encoder(tiny.audiovisual_dir(tmp_path / "a"), "audiovisual")
    encoder.hf.frame_count.fill_(1)  # mean 0, spread 1
    found, last, features = states_of(encoder)
    assert len(found) == 4 and torch.equal(found[-1], last)
    layers = encoder.hf.layers
    for n in range(4):
        encoder.hf.layers = nn.ModuleList(layers[:n])
        with torch.no_grad():
            assert torch.equal(encoder(features), found[n])


def test_what_hangs_behind_a_layer_is_in_its_states(tmp_path: Path) -> None:
    encoder: Any = empty_encoder(tiny.audiovisual_dir(tmp_path / "a"), "audiovisual")
    encoder.hf.frame_count.fill_(1)
    plain, _, _ = states_of(encoder)
    encoder.layer_modules()[1].register_forward_hook(lambda _, __, out: out + 1.0)  # an adapter
    found, last, _ = states_of(encoder)
    assert torch.equal(found[1], plain[1]) and torch.equal(found[2], plain[2] + 1.0)
    assert torch.equal(found[-1], last) and not torch.equal(last, plain[-1])


@pytest.mark.parametrize("kind", ["emformer", "multimodal", "adapter"])
def test_layers_of_another_length_are_left_out(tmp_path: Path, kind: str) -> None:
    made = {
        "emformer": lambda: tiny.emformer_dir(tmp_path / "e"),
        "multimodal": lambda: tiny.multimodal_dir(tmp_path / "m"),
        "adapter": lambda: tiny.speech_dir(tmp_path / "s", "wav2vec2", add_adapter=True),
    }
    base = find_base(str(made[kind]()))
    model: Any = from_base(
        base, base.families[0], context=None, language="en", alphabet=CharTokenizer(["a"])
    )
    if kind == "emformer":
        model.encoder.hf.frame_count.fill_(1)
    found, last, _ = states_of(model.encoder)
    assert len(found) == 1 and torch.equal(found[0], last)
