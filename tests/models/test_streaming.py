"""Streaming encoders: a batch equals its clips, and streams of any chunking; nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny

from xlasr.config import SpecAugmentSettings
from xlasr.errors import BaseError, DataError, UsageError
from xlasr.features.streaming import FrameStatistics, log_mel_frames
from xlasr.models.encoders import Features
from xlasr.models.hub import empty_encoder, load_whisper
from xlasr.models.streaming import EmformerEncoder, FrameStream, StreamingEncoder
from xlasr.models.whisper_chunks import ChunkedWhisperEncoder, Chunks

KINDS = ["emformer", "whisper", "whisper, nothing before"]
LONG = tiny.clip(2.0)
all_kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StreamingEncoder]:
    root = tmp_path_factory.mktemp("bases")
    torch.manual_seed(0)
    emformer = empty_encoder(tiny.emformer_dir(root / "emformer"), "emformer")
    assert isinstance(emformer, EmformerEncoder)
    emformer.measure(FrameStatistics.of_clips([LONG]))
    with torch.no_grad():
        for parameter in emformer.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    folder = tiny.whisper_dir(root / "whisper", max_positions=150)
    found: dict[str, StreamingEncoder] = {"emformer": emformer.eval()}
    for name, chunks in (
        ("whisper", Chunks(8, 12)),
        ("whisper, nothing before", Chunks(5, 0, 1.0)),
    ):
        whisper = load_whisper(folder).model.encoder
        found[name] = ChunkedWhisperEncoder(whisper, chunks).eval()
    return found


def whole(encoder: StreamingEncoder, clips: list[tiny.Clip]) -> list[torch.Tensor]:
    features = encoder.features(clips)
    with torch.no_grad():
        states = encoder(features)
    lens = encoder.out_lens(features.input_lens).tolist()
    assert states.shape == (len(clips), max(lens), encoder.dim)
    return [row[:n] for row, n in zip(states, lens, strict=True)]


def streamed(encoder: StreamingEncoder, clip: tiny.Clip, cuts: list[int]) -> torch.Tensor:
    stream = encoder.stream()
    pieces = [stream.push(piece) for piece in np.split(clip, sorted(cuts))]
    return torch.cat([*pieces, stream.flush()])


@all_kinds
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_streams_of_any_chunking_equal_the_whole(
    encoders: dict[str, StreamingEncoder], kind: str, data: st.DataObject
) -> None:
    encoder = encoders[kind]
    n = data.draw(st.integers(1, len(LONG)))
    cuts = data.draw(st.lists(st.integers(0, n), max_size=8))
    wanted = whole(encoder, [LONG[:n]])[0]
    found = streamed(encoder, LONG[:n], cuts)
    assert len(found) == encoder.positions(n) == len(wanted)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


@all_kinds
def test_single_frames(encoders: dict[str, StreamingEncoder], kind: str) -> None:
    encoder = encoders[kind]
    frames = encoder.normalised(log_mel_frames(LONG[:20_000], encoder.lead))
    stream = FrameStream(encoder)
    pieces = [stream.push(frames[i : i + 1]) for i in range(len(frames))]
    found = torch.cat([*pieces, stream.push(frames[:0]), stream.flush()])
    torch.testing.assert_close(found, whole(encoder, [LONG[:20_000]])[0], atol=1e-4, rtol=0)
    segment = encoder.shape.segment_frames // encoder.shape.stack
    assert {len(p) for p in pieces} == {0, segment}


@all_kinds
@given(lens=st.lists(st.integers(1, len(LONG)), min_size=2, max_size=4))
@settings(deadline=None, max_examples=15)
def test_a_batch_equals_its_clips_alone(
    encoders: dict[str, StreamingEncoder], kind: str, lens: list[int]
) -> None:
    encoder = encoders[kind]
    clips = [LONG[-n:] for n in lens]
    for clip, found in zip(clips, whole(encoder, clips), strict=True):
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found, whole(encoder, [clip])[0], atol=1e-4, rtol=0)


@all_kinds
def test_latency_is_what_is_waited_for(encoders: dict[str, StreamingEncoder], kind: str) -> None:
    encoder = encoders[kind]
    needed = round(encoder.latency_s * 16_000)
    stream = encoder.stream()
    assert len(stream.push(LONG[: needed - 1])) == 0
    assert len(stream.push(LONG[needed - 1 : needed])) > 0
    assert len(stream.push(LONG[:10])) == 0


@all_kinds
def test_a_segment_hears_nothing_behind_its_latency(
    encoders: dict[str, StreamingEncoder], kind: str
) -> None:
    encoder = encoders[kind]
    segment = encoder.shape.segment_frames // encoder.shape.stack
    samples = encoder.shape.segment_frames * 160
    for number in (0, 2):
        needed = number * samples + round(encoder.latency_s * 16_000)
        later, sooner = LONG.copy(), LONG.copy()
        later[needed:] = 0.5
        sooner[needed - 100 :] = 0.5
        end = (number + 1) * segment
        same, other, plain = (whole(encoder, [c])[0][:end] for c in (later, sooner, LONG))
        torch.testing.assert_close(same, plain, atol=1e-5, rtol=0)
        assert (other - plain).abs().max() > 1e-3


@all_kinds
def test_gradient_reaches_no_frame_behind_the_right_context(
    encoders: dict[str, StreamingEncoder], kind: str
) -> None:
    encoder = encoders[kind]
    features = encoder.features([LONG])
    values = features.values.requires_grad_()
    probe = torch.randn(encoder.dim)
    out = encoder(Features(values, features.input_lens, features.is_pad))[0] @ probe
    shape = encoder.shape
    segment = shape.segment_frames // shape.stack
    for at in (0, segment - 1, 3 * segment, 4 * segment - 1):
        (gradient,) = torch.autograd.grad(out[at], values, retain_graph=True)
        heard = torch.nonzero(gradient[0].abs().sum(1))[:, 0]
        end = (at // segment + 1) * shape.segment_frames + shape.right_frames
        assert int(heard.max()) == end - 1


@all_kinds
def test_what_is_no_number_is_refused(encoders: dict[str, StreamingEncoder], kind: str) -> None:
    encoder = encoders[kind]
    bad = LONG[:4000].copy()
    bad[17] = np.nan
    stream = encoder.stream()
    with pytest.raises(DataError, match="sample 17 of the audio is nan"):
        stream.push(bad)
    pieces = [stream.push(LONG[:4000]), stream.flush()]
    wanted = whole(encoder, [LONG[:4000]])[0]
    torch.testing.assert_close(torch.cat(pieces), wanted, atol=1e-4, rtol=0)
    with pytest.raises(DataError, match="sample 17"):
        encoder.features([LONG[:4000], bad])
    frames = torch.zeros(2, 80)
    frames[1, 3] = torch.inf
    with pytest.raises(DataError, match="NaN or infinity"):
        FrameStream(encoder).push(frames)


@all_kinds
def test_misuse(encoders: dict[str, StreamingEncoder], kind: str) -> None:
    encoder = encoders[kind]
    stream = encoder.stream()
    assert len(stream.flush()) == 0  # nothing was heard
    with pytest.raises(UsageError, match="begin a new one"):
        stream.push(LONG[:5])
    frames = FrameStream(encoder)
    frames.flush()
    for late in (frames.flush, lambda: frames.push(torch.zeros(1, 80))):
        with pytest.raises(UsageError, match="begin a new one"):
            late()
    span = encoder.shape.segment_frames + encoder.shape.right_frames
    segment, full = torch.zeros(1, span, 80), torch.tensor([span])
    for other in set(KINDS) - {kind}:
        with pytest.raises(UsageError, match="of another model"):
            encoder.step(segment, full, encoders[other].begin())
    with pytest.raises(UsageError, match="state is of 3 streams, and 1 segments"):
        encoder.step(segment, full, encoder.begin(3))
    with pytest.raises(UsageError, match=f"has {span} frames; {span - 1} were"):
        encoder.step(segment[:, 1:], full, encoder.begin())
    _, ended = encoder.step(segment, torch.tensor([2]), encoder.begin())
    with pytest.raises(UsageError, match="begin a new one"):
        encoder.step(segment, full, ended)
    for lens, said in (([0, 800], "0 to 800 samples"), ([encoder.max_samples + 1], "takes 1 to")):
        with pytest.raises(BaseError, match=said):
            encoder.features([np.zeros(n, np.float32) for n in lens])
    features = encoder.features([LONG])
    with pytest.raises(BaseError, match="behind its last layer only"):
        encoder.lower(features, 1)
    encoder.train()
    with pytest.raises(UsageError, match=r"encoder\.eval\(\)"):
        encoder.stream()
    encoder.eval()


@all_kinds
def test_the_whole_encoder_can_be_cached(encoders: dict[str, StreamingEncoder], kind: str) -> None:
    encoder = encoders[kind]
    features = encoder.features([LONG])
    with torch.no_grad():
        states = encoder.lower(features, encoder.n_layers)
        assert torch.equal(encoder.upper(states, encoder.n_layers, features), encoder(features))
    assert len(encoder.layer_modules()) == encoder.n_layers == 3


@all_kinds
def test_spec_augment_masks_the_frames_of_each_clip(
    encoders: dict[str, StreamingEncoder], kind: str
) -> None:
    encoder = encoders[kind]
    features = encoder.features([LONG, LONG[:8000]])
    spec = SpecAugmentSettings(
        time_masks=1, time_width=20, time_share=1.0, freq_masks=1, freq_width=20
    )
    rngs = [np.random.default_rng(seed) for seed in (3, 4)]
    masked = encoder.augmented(features, spec, rngs)
    changed = masked.values != features.values
    assert changed[0].any() and changed[1, :50].any() and not changed[1, 50:].any()
    assert changed[0].all(0).sum() > 0 or changed[0].all(1).sum() > 0
    assert masked.is_pad is features.is_pad


def test_frames_are_normalised_by_the_training_set(
    encoders: dict[str, StreamingEncoder],
) -> None:
    values = encoders["emformer"].features([LONG]).values[0]
    torch.testing.assert_close(values.mean(0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(values.std(0, correction=0), torch.ones(80), atol=1e-4, rtol=0)


def test_an_encoder_that_was_not_measured(tmp_path: Path) -> None:
    encoder = empty_encoder(tiny.emformer_dir(tmp_path / "e"), "emformer")
    assert isinstance(encoder, EmformerEncoder)
    with pytest.raises(BaseError, match="random weights and does not know"):
        encoder.features([LONG])
    with pytest.raises(DataError, match="not one frame"):
        encoder.measure(FrameStatistics.of_clips([]))


def test_frames_without_padding_marks_are_refused(encoders: dict[str, StreamingEncoder]) -> None:
    features = encoders["emformer"].features([LONG])
    with pytest.raises(BaseError, match="is_pad"):
        encoders["emformer"](Features(features.values, features.input_lens))
