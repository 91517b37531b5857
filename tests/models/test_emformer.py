"""Emformer: torchaudio's numbers, masked pass = streaming pass, no look too far ahead."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.data import make_emformer_golden as golden

from xlasr.errors import BaseError, UsageError
from xlasr.models.emformer import Emformer
from xlasr.models.emformer_config import EMFORMERS, EmformerConfig

GOLDEN: dict[str, Any] = json.loads(
    (Path(golden.__file__).with_name("emformer.json")).read_text(encoding="utf-8")
)
OURS = {
    "attention.emb_to_query": "self_attn.q_proj",
    "attention.out_proj": "self_attn.out_proj",
    "layer_norm_input": "input_layer_norm",
    "layer_norm_output": "output_layer_norm",
    "pos_ff.0": "final_layer_norm",
    "pos_ff.1": "fc1",
    "pos_ff.4": "fc2",
}
SMALL = EmformerConfig(
    n_layers=3, n_heads=2, ffn_dim=24, input_dim=4, output_dim=6, stack=4, segment_frames=8,
    right_frames=4, left_positions=3, dropout=0.0, n_mels=5,
)  # fmt: skip
SHAPES = [
    SMALL,
    replace(SMALL, memory_segments=2),
    replace(SMALL, right_frames=12, left_positions=0, memory_segments=1, tanh_on_memory=False),
    replace(SMALL, right_frames=0, left_positions=7, segment_frames=4),
]
shapes = pytest.mark.parametrize("config", SHAPES, ids=["plain", "memory", "far", "blind"])


def small(config: EmformerConfig = SMALL, seed: int = 0) -> Emformer:
    torch.manual_seed(seed)
    model = Emformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)
    return model


def from_reference(case: dict[str, Any]) -> Emformer:
    config = EmformerConfig(
        n_layers=golden.LAYERS,
        n_heads=golden.HEADS,
        ffn_dim=golden.FFN,
        input_dim=golden.DIM,
        output_dim=golden.DIM,
        stack=1,
        segment_frames=case["segment"],
        right_frames=case["right"],
        left_positions=case["left"],
        memory_segments=case["memory"],
        tanh_on_memory=case.get("tanh", True),
        n_mels=golden.DIM,
    )
    model = Emformer(config).eval()
    dim = config.hidden_size
    theirs: dict[str, torch.Size] = {}
    for name, value in model.state_dict().items():
        if not name.startswith("layers."):
            continue
        for their, our in OURS.items():
            if f".{our}." in name:
                prefix = name.replace("layers.", "emformer_layers.", 1)
                theirs[prefix.replace(our, their)] = value.shape
    for n in range(config.n_layers):
        key_value = f"emformer_layers.{n}.attention.emb_to_key_value"
        theirs |= {
            f"{key_value}.weight": torch.Size((2 * dim, dim)),
            f"{key_value}.bias": torch.Size((2 * dim,)),
        }
    state = dict(model.state_dict())
    for name, value in golden.weights(theirs, case.get("scale", 1.0)).items():
        ours = name.replace("emformer_layers.", "layers.", 1)
        if ".emb_to_key_value." in name:
            for half, part in zip(("k_proj", "v_proj"), value.split(dim), strict=True):
                state[ours.replace("attention.emb_to_key_value", f"self_attn.{half}")] = part
            continue
        for their, our in OURS.items():
            ours = ours.replace(f".{their}.", f".{our}.")
        state[ours] = value
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("name", list(golden.CASES))
def test_torchaudios_masked_pass(name: str) -> None:
    case = golden.CASES[name]
    whole, _ = golden.inputs(case)
    lens = torch.tensor(case["lens"])
    with torch.no_grad():
        found = from_reference(case).transform(whole, lens, ahead=case["right"])
    for row, n in enumerate(case["lens"]):
        wanted = torch.tensor(GOLDEN[name]["forward"][row]).reshape(-1, golden.DIM)
        torch.testing.assert_close(found[row, :n], wanted[:n], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", list(golden.CASES))
def test_torchaudios_streaming_pass(name: str) -> None:
    case = golden.CASES[name]
    _, stream = golden.inputs(case)
    model = from_reference(case)
    size, right = case["segment"], case["right"]
    state, found = model.begin(len(stream)), []
    lens = torch.tensor([size + right] * len(stream))
    with torch.no_grad():
        for at in range(0, golden.SEGMENTS * size, size):
            out, state = model.transform_segment(stream[:, at : at + size + right], lens, state)
            found.append(out)
    wanted = torch.tensor(GOLDEN[name]["infer"]).reshape(len(stream), -1, golden.DIM)
    torch.testing.assert_close(torch.cat(found, 1), wanted, atol=2e-5, rtol=0)


def test_the_limit_of_memory_is_reached_in_a_golden_case() -> None:
    """Or the case would not tell whether memory vectors are cut at 10."""
    case = golden.CASES["clamped memory"]
    model = from_reference(case)
    found: list[torch.Tensor] = []
    model.layers[0].register_forward_hook(lambda _, __, out: found.append(out[1]))
    whole, _ = golden.inputs(case)
    with torch.no_grad():
        model.transform(whole, torch.tensor(case["lens"]), ahead=case["right"])
    assert float(found[0].abs().max()) == 10.0


def stepwise(model: Emformer, frames: torch.Tensor) -> torch.Tensor:
    """One clip (T, F), segment by segment: (U, D)."""
    config = model.config
    n = -(-len(frames) // config.stack)
    room = torch.zeros(config.segment_frames + config.right_frames, frames.shape[1])
    padded = torch.cat((frames, room))
    state, found = model.begin(), []
    with torch.no_grad():
        for at in range(0, n, config.segment):
            first = at * config.stack
            piece = padded[first : first + len(room)][None]
            left = torch.tensor([min(len(frames) - first, len(room))])
            out, state = model.step(piece, left, state)
            found.append(out[0])
    return torch.cat(found)[:n]


def masked(model: Emformer, clips: list[torch.Tensor]) -> list[torch.Tensor]:
    """Clips (T, F) as one padded batch."""
    lens = torch.tensor([len(c) for c in clips])
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    with torch.no_grad():
        found = model(batch, lens)
    return [row[: -(-n // model.config.stack)] for row, n in zip(found, lens.tolist(), strict=True)]


@shapes
@given(lens=st.lists(st.integers(1, 90), min_size=1, max_size=4), seed=st.integers(0, 3))
@settings(deadline=None, max_examples=25)
def test_a_padded_batch_equals_streams(config: EmformerConfig, lens: list[int], seed: int) -> None:
    model = small(config)
    rng = torch.Generator().manual_seed(seed)
    clips = [torch.randn(n, config.n_mels, generator=rng) for n in lens]
    for clip, found in zip(clips, masked(model, clips), strict=True):
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found, stepwise(model, clip), atol=1e-4, rtol=0)
        torch.testing.assert_close(found, masked(model, [clip])[0], atol=1e-4, rtol=0)


def test_streams_at_different_places_go_on_together() -> None:
    config = SHAPES[1]
    model = small(config)
    clips = [torch.randn(40, config.n_mels), torch.randn(24, config.n_mels)]
    size, span = config.segment_frames, config.segment_frames + config.right_frames
    full = torch.tensor([span])
    with torch.no_grad():
        early = model.begin()
        for at in (0, size):
            _, early = model.step(clips[0][None, at : at + span], full, early)
        both = replace(
            early,
            keys=torch.cat((early.keys, model.begin().keys), 1),
            values=torch.cat((early.values, model.begin().values), 1),
            memory=torch.cat((early.memory, model.begin().memory), 1),
            positions=torch.tensor([int(early.positions[0]), 0]),
        )
        pieces = torch.stack([clips[0][2 * size : 2 * size + span], clips[1][:span]])
        out, _ = model.step(pieces, full.repeat(2), both)
    n = config.segment
    torch.testing.assert_close(out[0], masked(model, clips)[0][2 * n : 3 * n], atol=1e-4, rtol=0)
    torch.testing.assert_close(out[1], masked(model, clips)[1][:n], atol=1e-4, rtol=0)


@shapes
def test_no_layer_looks_beyond_the_right_context(config: EmformerConfig) -> None:
    """By gradient: which frames have a part in which position, counted by hand."""
    model = small(config)
    n = 6 * config.segment_frames
    frames = torch.randn(1, n, config.n_mels, requires_grad=True)
    out, probe = model(frames, torch.tensor([n]))[0], torch.randn(6)
    for segment in range(6):
        for at in (segment * config.segment, (segment + 1) * config.segment - 1):
            # not the plain sum: behind a layer norm that is constant
            (gradient,) = torch.autograd.grad(out[at] @ probe, frames, retain_graph=True)
            heard = torch.nonzero(gradient[0].abs().sum(1))[:, 0]
            end = min(n, (segment + 1) * config.segment_frames + config.right_frames)
            assert int(heard.max()) == end - 1
            # every layer looks back at the left context, or at memory, of the layer below
            reach = config.n_layers * -(-config.left_positions // config.segment)
            reach = max(reach, config.n_layers * config.memory_segments)
            first = max(0, segment - reach) * config.segment_frames
            assert int(heard.min()) >= first
            if config.left_positions or config.memory_segments:
                assert int(heard.min()) < max(1, segment * config.segment_frames)


def test_padding_gets_no_gradient() -> None:
    model = small()
    frames = torch.randn(2, 48, SMALL.n_mels, requires_grad=True)
    out = model(frames, torch.tensor([48, 20]))
    (out[1, :5] @ torch.randn(6)).sum().backward()
    assert frames.grad is not None
    assert float(frames.grad[1, 20:].abs().max()) == 0.0
    assert float(frames.grad[1, :20].abs().min()) > 0.0
    assert float(frames.grad[0].abs().max()) == 0.0


@shapes
def test_even_padding_may_look_at_something(config: EmformerConfig) -> None:
    """A softmax over nothing is NaN in some attention kernels, and zero in others."""
    model = small(config)
    seen: list[torch.Tensor] = []
    model.layers[0].self_attn.register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    masked(model, [torch.randn(90, config.n_mels), torch.randn(3, config.n_mels)])
    stepwise(model, torch.randn(3, config.n_mels))
    assert len(seen) == 2 and all(bool(allowed.any(2).all()) for allowed in seen)


def test_no_positions_at_all() -> None:
    assert small()(torch.zeros(1, 0, SMALL.n_mels), torch.tensor([0])).shape == (1, 0, 6)


def test_frames_are_narrowed_then_stacked() -> None:
    model = small()
    frames = torch.randn(1, 6, SMALL.n_mels)
    weight = model.input.weight
    wanted = torch.cat([weight @ frames[0, i] for i in range(4)])
    with torch.no_grad():
        found = model.stem(frames)
    torch.testing.assert_close(found[0, 0], wanted)
    torch.testing.assert_close(found[0, 1, :8], torch.cat([weight @ frames[0, i] for i in (4, 5)]))
    assert found.shape == (1, 2, 16) and not found[0, 1, 8:].any()


def test_weights_get_smaller_with_depth() -> None:
    torch.manual_seed(0)
    config = replace(SMALL, input_dim=16)
    model = Emformer(config)
    for number, layer in enumerate(model.layers):
        bound = (6 / (2 * 64)) ** 0.5 / (number + 1) ** 0.5
        assert 0.97 * bound < float(layer.self_attn.q_proj.weight.detach().abs().max()) <= bound
        joint = (6 / (3 * 64)) ** 0.5 / (number + 1) ** 0.5
        assert 0.97 * joint < float(layer.self_attn.k_proj.weight.detach().abs().max()) <= joint
    before = model.layers[2].fc1.weight.clone()
    for module in model.layers[2].modules():
        model._init_weights(module)
    assert not torch.equal(model.layers[2].fc1.weight, before)


def test_states_that_do_not_belong() -> None:
    model = small()
    frames = torch.zeros(1, 12, SMALL.n_mels)
    lens = torch.tensor([12])
    other = small(replace(SMALL, left_positions=5)).begin()
    with pytest.raises(UsageError, match=r"another model: left_positions 5 \(here 3\)"):
        model.step(frames, lens, other)
    with pytest.raises(UsageError, match="2 streams, and 1 segments"):
        model.step(frames, lens, model.begin(2))
    with pytest.raises(UsageError, match="has 12 frames; 8 were given"):
        model.step(frames[:, :8], lens, model.begin())
    _, ended = model.step(frames, torch.tensor([4]), model.begin())
    with pytest.raises(UsageError, match="begin a new one"):
        model.step(frames, lens, ended)


def test_a_state_is_not_changed_by_what_follows() -> None:
    model = small(SHAPES[1])
    frames = torch.randn(1, 12, SMALL.n_mels)
    state = model.begin()
    before = [t.clone() for t in (state.keys, state.values, state.memory, state.positions)]
    with torch.no_grad():
        first, _ = model.step(frames, torch.tensor([12]), state)
        again, _ = model.step(frames, torch.tensor([12]), state)
    assert torch.equal(first, again)
    after = (state.keys, state.values, state.memory, state.positions)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def count(config: EmformerConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Emformer(config).parameters())


def test_the_named_shapes() -> None:
    large, little = EMFORMERS["emformer-20"], EMFORMERS["emformer-small"]
    assert large.hidden_size == golden.FULL[0]
    assert count(large) == GOLDEN["parameters"] + 80 * 128 + (512 * 1024 + 1024) + 2 * 1024
    assert (large.segment, large.right, large.left_positions) == (4, 1, 30)
    assert 5e6 < count(little) < 10e6
    for config in (large, little):
        assert (config.latency_ms, config.mean_latency_ms) == (200, 120)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_layers": 0}, "n_layers is 0, at least 1"),
        ({"right_frames": -1}, "right_frames is -1, at least 0"),
        ({"segment_frames": 6}, r"segment_frames must be a multiple of stack \(4\)"),
        ({"n_heads": 3}, "3 heads do not divide a width of 16"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_shapes_that_do_not_fit(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BaseError, match=said):
        replace(SMALL, **changes)


def test_config_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(SMALL.dumps(), encoding="utf-8")
    assert EmformerConfig.read(path) == SMALL
    path.write_text('{"n_layers": 3, "n_leyers": 3}', encoding="utf-8")
    with pytest.raises(BaseError, match="unknown fields: n_leyers"):
        EmformerConfig.read(path)
    path.write_text('{"n_layers": 3', encoding="utf-8")
    with pytest.raises(BaseError, match="no Emformer's config"):
        EmformerConfig.read(path)
