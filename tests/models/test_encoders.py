"""Encoders: what a clip gives does not depend on its batch, and Whisper's equals transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import tiny

from xlasr.config import SpecAugmentSettings
from xlasr.errors import BaseError
from xlasr.models.encoders import Context, Features, SelfSupervisedEncoder, WhisperSpeechEncoder
from xlasr.models.hub import load_self_supervised, load_whisper

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
SECONDS = (0.3, 1.0, 0.613, 0.7301)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    found = {kind: tiny.speech_dir(root / kind, kind) for kind in tiny.KINDS + tiny.GROUP_NORM}
    found["wav2vec2-adapter"] = tiny.speech_dir(root / "wa", "wav2vec2", add_adapter=True)
    found["w2v-bert-adapter"] = tiny.speech_dir(root / "ba", "w2v-bert", add_adapter=True)
    return found | {"whisper": tiny.whisper_dir(root / "whisper")}


def whisper(folders: dict[str, Path], context: Context | None = None) -> WhisperSpeechEncoder:
    encoder = WhisperSpeechEncoder(load_whisper(folders["whisper"]).model.encoder, context)
    return encoder.eval()


def encode(encoder: Any, clips: list[tiny.Clip]) -> tuple[torch.Tensor, torch.Tensor]:
    features = encoder.features(clips)
    with torch.no_grad():
        states = encoder(features)
    return states, encoder.out_lens(features.input_lens)


@pytest.mark.parametrize("kind", [*tiny.KINDS, "whisper"])
def test_a_batch_equals_its_clips_alone(folders: dict[str, Path], kind: str) -> None:
    encoder: Any
    if kind == "whisper":
        encoder = whisper(folders, Context(slack=8, multiple=64))
        assert len({encoder.positions(int(s * 16_000)) for s in SECONDS}) == 1
    else:
        encoder = load_self_supervised(folders[kind]).eval()
    clips = [tiny.clip(s, seed) for seed, s in enumerate(SECONDS)]
    states, lens = encode(encoder, clips)
    assert states.shape[2] == encoder.dim
    assert states.std() > 0.1
    for row, clip in enumerate(clips):
        alone, len_alone = encode(encoder, [clip])
        n = int(lens[row])
        assert int(len_alone) == n
        torch.testing.assert_close(states[row, :n], alone[0, :n], atol=1e-4, rtol=0)
        # and the length is what really comes out: one position more would be padding
        assert alone.shape[1] - n in ((0, 1) if kind == "w2v-bert" else (0,)) or kind == "whisper"
    assert not torch.allclose(states[0, 1], states[1, 1], atol=1e-2)


@pytest.mark.parametrize("kind", [*tiny.GROUP_NORM, "wav2vec2-adapter", "w2v-bert-adapter"])
def test_bases_that_feel_padding_are_given_none(folders: dict[str, Path], kind: str) -> None:
    encoder = load_self_supervised(folders[kind]).eval()
    clips = [tiny.clip(seconds, i) for i, seconds in enumerate((1.0125, 0.6, 1.0125, 0.8))]
    states, lens = encode(encoder, clips)
    assert states.shape == (4, int(lens.max()), encoder.dim)
    for row, clip in enumerate(clips):
        alone = encode(encoder, [clip])[0][0]
        assert abs(len(alone) - int(lens[row])) <= 1
        n = min(len(alone), int(lens[row]))
        torch.testing.assert_close(states[row, :n], alone[:n], atol=1e-4, rtol=0)
    assert not encoder.feels_padding or not torch.allclose(states[0, :9], states[1, :9], atol=1e-2)


def test_out_lens_are_the_real_lengths(folders: dict[str, Path]) -> None:
    """Over many lengths, also where a convolution just does or does not fit once more."""
    for kind in (*tiny.KINDS, *tiny.GROUP_NORM, "wav2vec2-adapter", "w2v-bert-adapter"):
        encoder = load_self_supervised(folders[kind]).eval()
        for n in [721, 1040, 1041, *range(3900, 4600, 79)]:
            states, lens = encode(encoder, [tiny.clip(1.0)[:n]])
            extra = states.shape[1] - int(lens[0])
            odd_mel_frames = "bert" in kind and ((n - 400) // 160 + 1) % 2
            allowed = (0, 1) if odd_mel_frames else (0,)  # half a pair of frames is masked
            assert extra in allowed, (kind, n, states.shape[1], lens)
            if kind == "w2v-bert":
                is_pad = encoder.features([tiny.clip(1.0)[:n]]).is_pad
                assert is_pad is not None
                assert int(lens[0]) == int((~is_pad).sum())
        assert encoder.positions(5000) == int(encoder.out_lens(torch.tensor([5000]))[0])


@pytest.mark.parametrize(
    ("kind", "stride"),
    [("wav2vec2", 320), ("w2v-bert", 320), ("wav2vec2-adapter", 2560), ("w2v-bert-adapter", 640)],
)
def test_samples_per_position(folders: dict[str, Path], kind: str, stride: int) -> None:
    assert load_self_supervised(folders[kind], weights=False).samples_per_position == stride


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_too_short_is_refused(folders: dict[str, Path], kind: str) -> None:
    encoder = load_self_supervised(folders[kind])
    with pytest.raises(BaseError, match="a clip of 100 samples gives no encoder position"):
        encoder.features([tiny.clip(1.0), tiny.clip(1.0)[:100]])


def test_random_masking_and_dropped_layers_are_off(folders: dict[str, Path]) -> None:
    encoder = load_self_supervised(folders["wav2vec2"]).train()
    assert encoder.hf.config.layerdrop == 0
    assert not encoder.hf.config.apply_spec_augment
    assert next(encoder.parameters()).dtype == torch.float32


def test_frozen_parts_of_self_supervised_encoders_are_whole(folders: dict[str, Path]) -> None:
    encoder = load_self_supervised(folders["hubert"]).eval()
    features = encoder.features([tiny.clip(0.5)])
    with torch.no_grad():
        states = encoder.lower(features, 3)
        assert torch.equal(encoder.upper(states, 3, features), encoder(features))
    with pytest.raises(BaseError, match="behind its last layer only"):
        encoder.lower(features, 2)
    assert len(encoder.layer_modules()) == encoder.n_layers == 3


def test_whisper_at_30_s_equals_transformers(folders: dict[str, Path]) -> None:
    encoder = whisper(folders)
    clips = [tiny.clip(1.0), tiny.clip(2.5, 1)]
    features = encoder.features(clips)
    assert features.values.shape == (2, 80, 3000)
    with torch.no_grad():
        ours = encoder(features)
        theirs = encoder.hf(features.values).last_hidden_state
    assert torch.equal(ours, theirs)
    assert ours.std() > 0.1


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_whisper_in_two_parts_is_whisper(folders: dict[str, Path], layer: int) -> None:
    encoder = whisper(folders, Context(8, 4))
    features = encoder.features([tiny.clip(0.4)])
    with torch.no_grad():
        lower = encoder.lower(features, layer)
        assert torch.equal(encoder.upper(lower, layer, features), encoder(features))
        if layer:
            assert not torch.equal(lower, encoder.stem(features))
    assert len(encoder.layer_modules()) == encoder.n_layers == 3


def test_whisper_takes_no_more_than_its_window(folders: dict[str, Path]) -> None:
    encoder = whisper(folders, Context())
    assert encoder.positions(480_000) == encoder.positions(479_000) == 1500
    assert encoder.features([tiny.clip(30.0)]).values.shape[-1] == 3000
    with pytest.raises(BaseError, match=r"a clip of 30\.0 s is longer than Whisper's 30 s"):
        encoder.features([tiny.clip(0.1), np.zeros(480_001, np.float32)])
    assert encoder.out_lens(torch.tensor([1, 320, 321, 480_000, 500_000])).tolist() == [
        1,
        1,
        2,
        1500,
        1500,
    ]


def test_a_given_context_is_taken(folders: dict[str, Path]) -> None:
    encoder = whisper(folders, Context(8, 4))
    assert encoder.features([tiny.clip(0.4)], 100).values.shape[-1] == 200
    assert encoder.features([tiny.clip(0.4)]).values.shape[-1] == 2 * encoder.positions(6400) == 56
    assert whisper(folders, None).positions(6400) == 1500


@given(n_samples=st.integers(1, 480_000), slack=st.integers(0, 200), multiple=st.integers(1, 128))
def test_context_is_speech_and_slack_rounded_up(n_samples: int, slack: int, multiple: int) -> None:
    context = Context(slack, multiple)
    positions = context.positions(n_samples, 1500, 320)
    assert positions == 1500 or positions % multiple == 0
    assert positions * 320 >= n_samples
    assert positions == 1500 or 0 <= positions - slack - -(-n_samples // 320) < multiple
    assert positions <= context.positions(n_samples + 320, 1500, 320)


def test_features_move_together(folders: dict[str, Path]) -> None:
    encoder = load_self_supervised(folders["wav2vec2"])
    assert isinstance(encoder, SelfSupervisedEncoder)
    moved = encoder.features([tiny.clip(0.2), tiny.clip(0.1)]).to(torch.device("meta"))
    assert moved.is_pad is not None
    assert {moved.values.device, moved.input_lens.device, moved.is_pad.device} == {
        torch.device("meta")
    }
    assert whisper(folders).features([tiny.clip(0.1)]).to(torch.device("meta")).is_pad is None


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "wav2vec2-group"])
def test_spec_augment_behind_the_convolutions(folders: dict[str, Path], kind: str) -> None:
    encoder = load_self_supervised(folders[kind]).eval()
    given: list[torch.Tensor] = []  # to the layers
    encoder.hf.encoder.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].clone()))
    clips = [tiny.clip(1.0), tiny.clip(0.6, 1)]
    spec = SpecAugmentSettings(time_width=40, time_share=0.5, freq_masks=1, freq_width=20)

    def augmented(rows: list[int]) -> Features:
        rngs = [np.random.default_rng(3 + row) for row in rows]
        return encoder.augmented(encoder.features([clips[row] for row in rows]), spec, rngs)

    one = augmented([0])
    encoder(encoder.features(clips[:1]))
    encoder(one)
    masked, channels = one.is_masked, one.is_masked_channel
    assert masked is not None and channels is not None
    assert 0 < int(masked.sum()) <= 2 * 20
    assert 0 < int(channels.sum()) <= 8  # 20 of 80 mel bins are 8 of 32 channels
    wanted = torch.where(masked[..., None], encoder.hf.masked_spec_embed, given[0])
    torch.testing.assert_close(given[1], torch.where(channels[:, None], 0.0, wanted))
    both = augmented([0, 1])  # a clip is masked as it is alone, and no padding is
    assert both.is_masked is not None and both.is_masked_channel is not None
    assert torch.equal(both.is_masked[:1], masked)
    assert torch.equal(both.is_masked_channel[:1], channels)
    n = int(encoder.out_lens(both.input_lens)[1])
    assert both.is_masked[1, :n].any() and not both.is_masked[1, n:].any()


def test_bases_that_cannot_be_masked_are_left_as_they_are(folders: dict[str, Path]) -> None:
    for kind in ("w2v-bert", "wav2vec2-adapter"):
        encoder = load_self_supervised(folders[kind]).eval()
        features = encoder.features([tiny.clip(0.5)])
        rngs = [np.random.default_rng(0)]
        assert not encoder.can_mask
        assert encoder.augmented(features, SpecAugmentSettings(), rngs) is features
