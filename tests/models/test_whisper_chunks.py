"""Whisper in chunks: one large chunk is Whisper itself, and the limits are said."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests import tiny

from xlasr.errors import BaseError, UsageError
from xlasr.features.logmel import whisper_log_mel
from xlasr.features.streaming import log_mel_frames
from xlasr.models.encoders import Features, WhisperSpeechEncoder
from xlasr.models.hub import load_whisper
from xlasr.models.streaming import FrameStream
from xlasr.models.whisper_chunks import ChunkedWhisperEncoder, Chunks


def check_one_chunk_is_whisper(folder: Path, clip: tiny.Clip, atol: float) -> None:
    hf = load_whisper(folder).model.encoder
    chunked = ChunkedWhisperEncoder(hf, Chunks(500, 0)).eval()
    plain = WhisperSpeechEncoder(hf, None).eval()
    features = chunked.features([clip])
    with torch.no_grad():
        found = chunked(features)
        wanted = plain(Features(features.values.transpose(1, 2), features.input_lens))
    assert wanted.std() > 0.1
    torch.testing.assert_close(found, wanted, atol=atol, rtol=0)


def check_streams(encoder: ChunkedWhisperEncoder, clip: tiny.Clip) -> None:
    stream = encoder.stream()
    pieces = [stream.push(clip[i : i + 777]) for i in range(0, len(clip), 777)]
    with torch.no_grad():
        wanted = encoder(encoder.features([clip]))[0]
    torch.testing.assert_close(torch.cat([*pieces, stream.flush()]), wanted, atol=1e-4, rtol=0)


def test_one_large_chunk_is_whisper(tmp_path: Path) -> None:
    check_one_chunk_is_whisper(tiny.whisper_dir(tmp_path / "w"), tiny.clip(1.7), 1e-5)


@pytest.mark.real
def test_the_real_whisper(tiny_en_dir: Path, english_clips: list[NDArray[np.float32]]) -> None:
    check_one_chunk_is_whisper(tiny_en_dir, english_clips[0], 1e-3)
    # its activations are large, so rounding alone makes 1e-4 of difference; in float64 it does not
    encoder = ChunkedWhisperEncoder(load_whisper(tiny_en_dir).model.encoder, Chunks(16, 50)).eval()
    frames = encoder.double().normalised(log_mel_frames(english_clips[1], encoder.lead)).double()
    stream = FrameStream(encoder)
    found = torch.cat([stream.push(frames[:101]), stream.push(frames[101:]), stream.flush()])
    with torch.no_grad():
        wanted = encoder.encode(frames[None], torch.tensor([len(frames)]))[0]
    torch.testing.assert_close(found, wanted, atol=1e-9, rtol=0)


def test_the_clamp_is_whispers_where_the_maximum_is_what_was_said(tmp_path: Path) -> None:
    clip = tiny.clip(1.0)
    clip[8000:] *= 1e-7  # below the floor
    loudest = float(log_mel_frames(clip, 200).max()) / math.log(10)
    hf = load_whisper(tiny.whisper_dir(tmp_path / "w")).model.encoder
    mine = ChunkedWhisperEncoder(hf, Chunks(loudest=loudest)).features([clip]).values[0]
    theirs = whisper_log_mel(torch.from_numpy(clip)[None])[0].T
    torch.testing.assert_close(mine[2:], theirs[2:], atol=1e-3, rtol=0)
    quieter = ChunkedWhisperEncoder(hf, Chunks(loudest=loudest - 2)).features([clip]).values[0]
    assert float(quieter.min()) == pytest.approx(float(mine.min()) - 0.5, abs=1e-5)


def test_thirty_seconds_are_the_limit_of_a_stream(tmp_path: Path) -> None:
    hf = load_whisper(tiny.whisper_dir(tmp_path / "w", max_positions=20)).model.encoder
    encoder = ChunkedWhisperEncoder(hf, Chunks(8, 4)).eval()
    assert encoder.max_samples == 20 * 320
    check_streams(encoder, tiny.clip(0.4))
    stream = encoder.stream()
    with pytest.raises(UsageError, match=r"20 positions .*new stream at a pause"):
        stream.push(tiny.clip(1.0))
    with pytest.raises(BaseError, match="takes 1 to 6400"):
        encoder.features([tiny.clip(0.401)])


def test_what_is_kept_of_the_left_is_looked_at(tmp_path: Path) -> None:
    hf = load_whisper(tiny.whisper_dir(tmp_path / "w")).model.encoder
    encoder = ChunkedWhisperEncoder(hf, Chunks(4, 8)).eval()
    features = encoder.features([tiny.clip(1.2)])
    values = features.values.requires_grad_()
    out = encoder(Features(values, features.input_lens, features.is_pad))[0] @ torch.randn(32)
    (gradient,) = torch.autograd.grad(out[41], values)
    heard = torch.nonzero(gradient[0].abs().sum(1))[:, 0]
    # chunk from 40 on; three layers of 8 positions; the first chunk begins at its fourth part;
    # two frames before it belong to the convolutions
    assert (int(heard.min()), int(heard.max())) == (2 * (40 - 3 * 8) - 2, 2 * 44)


@pytest.mark.parametrize(("chunk", "left"), [(0, 4), (4, -1)])
def test_chunks_that_are_none(chunk: int, left: int) -> None:
    with pytest.raises(BaseError, match="give at least 1 and 0"):
        Chunks(chunk, left)
