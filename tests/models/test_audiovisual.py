"""Conformer, ViT and decoder: parity, masks, padding, patches counted by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from xlasr.errors import BaseError
from xlasr.models.audiovisual import (
    CommonDecoder,
    Seen,
    VideoEncoder,
    patch_lens,
    sound_patches,
    video_patches,
    video_places,
)
from xlasr.models.audiovisual_config import AUDIOVISUAL, AudioVisualConfig
from xlasr.models.catalogue import BUILT_IN
from xlasr.models.conformer import Conformer, ConformerLayer
from xlasr.models.vit import Block, places, rotated, rotation_of, space_time

SMALL = AudioVisualConfig(
    n_layers=2, hidden_size=16, n_heads=2, ffn_dim=24, kernel=5,
    video_layers=2, video_dim=16, video_heads=2,
    decoder_layers=2, decoder_dim=16, decoder_heads=2, joint_dim=8,
    frame_size=8, patch=4, tubelet=2, fps=12.5, dropout=0.0, n_mels=80,
)  # fmt: skip


def loud(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights large enough that what is looked at shows."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return module.eval()


def conformer(config: AudioVisualConfig = SMALL) -> Conformer:
    found = loud(Conformer(config))
    assert isinstance(found, Conformer)
    return found


# --- the Conformer --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_layer_is_that_of_transformers() -> None:
    """But for the norm inside the convolution (batch norm there) and rotation, both left out."""
    from transformers import Wav2Vec2ConformerConfig
    from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
        Wav2Vec2ConformerEncoderLayer,
    )

    theirs = Wav2Vec2ConformerEncoderLayer(
        Wav2Vec2ConformerConfig(
            hidden_size=16, num_attention_heads=2, intermediate_size=24, hidden_act="swish",
            conv_depthwise_kernel_size=5, position_embeddings_type=None,
        )
    )  # fmt: skip
    loud(theirs)
    ours = ConformerLayer(SMALL).eval()
    names = {
        "ffn1.": "ffn1.", "ffn2.": "ffn2.", "conv_module.layer_norm": "conv.layer_norm",
        "ffn1_layer_norm": "ffn1.layer_norm", "ffn2_layer_norm": "ffn2.layer_norm",
        "intermediate_dense": "fc1", "output_dense": "fc2", "self_attn_layer_norm": "layer_norm",
        "linear_q": "q_proj", "linear_k": "k_proj", "linear_v": "v_proj", "linear_out": "out_proj",
        "conv_module.depthwise_conv": "conv.depthwise", "conv_module.pointwise_conv1": "conv.gate",
        "conv_module.pointwise_conv2": "conv.out",
    }  # fmt: skip
    state = {}
    for name, value in theirs.state_dict().items():
        if "batch_norm" in name:
            continue
        for their, our in names.items():
            name = name.replace(their, our)
        state[name] = value.squeeze(-1) if "conv.gate" in name or "conv.out" in name else value
    ours.conv.norm = theirs.conv_module.batch_norm = nn.Identity()
    if "conv.gate.bias" not in state:  # theirs has no biases there
        ours.conv.gate.register_parameter("bias", None)
        ours.conv.out.register_parameter("bias", None)
    ours.load_state_dict(state)
    x = torch.randn(2, 11, 16)
    nobody = torch.zeros(2, 11, dtype=torch.bool)
    found = theirs(x)
    found = found[0] if isinstance(found, tuple) else found
    torch.testing.assert_close(ours(x, nobody), found, rtol=1e-4, atol=1e-5)


def test_a_thousand_frames_are_250_positions() -> None:
    model = conformer()
    assert model(torch.randn(1, 1000, 80), torch.tensor([1000])).shape == (1, 250, 16)
    for n in range(1, 10):
        assert model(torch.randn(1, n, 80), torch.tensor([n])).shape[1] == -(-n // 4)


@settings(deadline=None, max_examples=15)
@given(lens=st.lists(st.integers(1, 60), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_a_batch_equals_its_clips(lens: list[int], seed: int) -> None:
    model = conformer()
    torch.manual_seed(seed)
    clips = [torch.randn(n, 80) for n in lens]
    padded = nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=7.0)
    together = model(padded, torch.tensor(lens))
    for row, clip in enumerate(clips):
        alone = model(clip[None], torch.tensor([len(clip)]))[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_frames", [40, 37])
def test_masked_sound_is_not_seen(n_frames: int) -> None:
    model = conformer()
    frames = torch.randn(2, n_frames, 80, requires_grad=True)
    is_masked = torch.zeros(2, 10, dtype=torch.bool)
    is_masked[0, [0, 3, 4, 9]] = is_masked[1, 1:9] = True
    lens = torch.tensor([n_frames, 30])
    states = model(frames, lens, is_masked)
    behind = torch.arange(10) * 4 >= lens[:, None]
    (gradient,) = torch.autograd.grad(states[~is_masked & ~behind].pow(2).sum(), frames)
    felt = gradient.abs().sum(-1)
    masked_frames = is_masked.repeat_interleave(4, 1)[:, :n_frames]
    assert not felt[masked_frames].any()
    assert not felt[1, 30:].any()
    seen = ~masked_frames & (torch.arange(n_frames) < lens[:, None])
    assert (felt[seen] > 0).all()  # and everything else is
    # what stands there has no say either, not even as a number that is none
    with torch.no_grad():
        other = torch.where(masked_frames[..., None], torch.nan, frames)
    again = model(other, lens, is_masked)
    torch.testing.assert_close(again[~is_masked & ~behind], states[~is_masked & ~behind])


def test_rotation_knows_distances_only() -> None:
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    cos, sin = rotation_of(30, 8, torch.device("cpu"))

    def product(at: int, other: int) -> float:
        one = rotated(q, (cos[at : at + 1], sin[at : at + 1]))
        two = rotated(k, (cos[other : other + 1], sin[other : other + 1]))
        return float((one * two).sum())

    assert product(3, 7) == pytest.approx(product(13, 17), abs=1e-4)
    assert product(3, 7) != pytest.approx(product(7, 3), abs=1e-3)
    assert product(5, 5) == pytest.approx(float((q * k).sum()), abs=1e-5)


def test_recomputing_gives_the_same_gradients() -> None:
    model = conformer().train()
    frames, lens = torch.randn(1, 20, 80), torch.tensor([20])

    def gradient() -> Tensor:
        model.zero_grad()
        model(frames, lens).pow(2).sum().backward()
        found = model.conv1.weight.grad
        assert found is not None
        return found.clone()

    before = gradient()
    model.activation_checkpointing_enable({"use_reentrant": False})
    torch.testing.assert_close(gradient(), before)


# --- pictures -------------------------------------------------------------------------------


def test_patches_of_pictures_by_hand() -> None:
    config = replace(SMALL, frame_size=4, patch=2, tubelet=2)
    video = torch.arange(4 * 4 * 4 * 3).reshape(1, 4, 4, 4, 3).to(torch.uint8)
    patches = video_patches(video, config)
    assert patches.shape == (1, 8, 24)  # 2 tubelets of 4 patches
    back = ((patches + 1) * 127.5).round().to(torch.int64)
    # patch 6: second tubelet, lower left: rows 2 and 3, columns 0 and 1 of pictures 2 and 3
    assert back[0, 6].tolist() == video[0, 2:, 2:4, 0:2].flatten().tolist()
    first = video[0, :2, 0:2, 2:4].flatten().tolist()
    assert back[0, 1].tolist() == first
    assert patch_lens(torch.tensor([1, 2, 3]), config).tolist() == [4, 4, 8]
    frames = torch.arange(6 * 80.0).reshape(1, 6, 80)
    sound = sound_patches(frames)
    assert sound.shape == (1, 2, 320)
    assert sound[0, 0].tolist() == list(range(320)) and not sound[0, 1, 160:].any()


def test_positions_are_on_one_clock() -> None:
    # at 12.5 pictures a second, a tubelet of 2 lasts as long as 4 positions of sound
    where = video_places(12, SMALL, 16, torch.device("cpu"))
    zero = torch.zeros(())
    centre = space_time(torch.tensor(2.0), zero, zero, 16)
    torch.testing.assert_close(where[0], centre)
    torch.testing.assert_close(where[4], space_time(torch.tensor(6.0), zero, zero, 16))
    assert len({tuple(row.tolist()) for row in where}) == 12
    assert places(torch.tensor([0.0]), 4).tolist() == [[0.0, 0.0, 1.0, 1.0]]


def test_masked_pictures_are_not_seen() -> None:
    viewer = loud(VideoEncoder(SMALL))
    patches = torch.randn(2, 8, SMALL.video_patch, requires_grad=True)
    is_hidden = torch.zeros(2, 8, dtype=torch.bool)
    is_hidden[0, [1, 2, 5]] = is_hidden[1, 3:] = True
    seen = viewer(patches, is_hidden)
    assert seen.states.shape == (2, 5, 16)
    assert seen.at[0].tolist() == [0, 3, 4, 6, 7] and seen.at[1, :3].tolist() == [0, 1, 2]
    assert seen.is_pad.tolist() == [[False] * 5, [False] * 3 + [True] * 2]
    (gradient,) = torch.autograd.grad(seen.states[~seen.is_pad].pow(2).sum(), patches)
    felt = gradient.abs().sum(-1)
    assert not felt[is_hidden].any() and (felt[~is_hidden] > 0).all()
    alone = viewer(patches[1:, :3], is_hidden[1:, :3])
    torch.testing.assert_close(seen.states[1, :3], alone.states[0])
    torch.testing.assert_close(seen.mean()[1], alone.states[0].mean(0))


def test_the_decoder_sees_both_and_nothing_masked() -> None:
    decoder = loud(CommonDecoder(SMALL))
    sound = torch.randn(2, 5, 16, requires_grad=True)
    states = torch.randn(2, 3, 16, requires_grad=True)
    sound_masked = torch.tensor(
        [[True, False, False, True, False], [False, True, True, False, False]]
    )
    sound_pad = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    at = torch.tensor([[0, 5, 7], [2, 3, 0]])
    is_pad = torch.tensor([[False] * 3, [False, False, True]])
    video_pad = torch.tensor([[False] * 8, [False] * 4 + [True] * 4])
    heard, shown = decoder(sound, sound_masked, sound_pad, Seen(states, at, is_pad), video_pad)
    assert heard.shape == (2, 5, 320) and shown.shape == (2, 8, SMALL.video_patch)
    for found, pad in ((heard, sound_pad), (shown, video_pad)):
        of_sound, of_video = torch.autograd.grad(
            found[~pad].pow(2).sum(), (sound, states), retain_graph=True
        )
        hidden = sound_masked | sound_pad
        assert not of_sound.abs().sum(-1)[hidden].any()
        assert (of_sound.abs().sum(-1)[~hidden] > 0).all()
        assert not of_video[is_pad].any() and (of_video.abs().sum(-1)[~is_pad] > 0).all()


def test_a_block_may_be_given_nothing_to_look_at() -> None:
    block = Block(16, 2)
    out = block(torch.randn(2, 3, 16), torch.tensor([[True] * 3, [False] * 3]))
    assert torch.isfinite(out).all()


# --- shapes ---------------------------------------------------------------------------------


def test_the_shapes_with_a_name_are_the_papers() -> None:
    base, little = AUDIOVISUAL["audiovisual-base"], AUDIOVISUAL["audiovisual-small"]
    assert (base.n_layers, base.n_heads, base.kernel) == (16, 4, 31)
    assert (base.video_layers, base.video_dim) == (12, 768)
    assert (base.decoder_layers, base.decoder_dim, base.seconds) == (4, 512, 10.0)
    for name, config in (("audiovisual-base", base), ("audiovisual-small", little)):
        with torch.device("meta"):
            found = sum(p.numel() for p in Conformer(config).parameters())
        assert BUILT_IN[name].n_parameters == found, (name, found)


def test_configs(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(SMALL.dumps())
    assert AudioVisualConfig.read(path) == SMALL
    path.write_text(json.dumps({**json.loads(SMALL.dumps()), "hidden": 3}))
    with pytest.raises(BaseError, match="unknown fields: hidden"):
        AudioVisualConfig.read(path)
    for change, told in {
        "n_heads": (3, "3 heads do not divide hidden_size"),
        "patch": (3, "patch must divide frame_size"),
        "kernel": (4, "kernel must be odd"),
        "fps": (0.0, "fps is 0.0, more than 0 is needed"),
        "video_dim": (12, "multiples of 8"),
        "dropout": (1.0, "dropout is 1.0"),
    }.items():
        with pytest.raises(BaseError, match=told[1]):
            replace(SMALL, **{change: told[0]})
