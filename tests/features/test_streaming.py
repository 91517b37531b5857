"""Streaming log-mel: pieces equal the whole, nothing looks ahead, statistics equal NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny

from xlasr.errors import DataError, UsageError
from xlasr.features.logmel import mel_filters, whisper_log_mel
from xlasr.features.streaming import (
    FLOOR,
    SMALLEST_STD,
    FrameStatistics,
    LogMelStream,
    frames_of,
    log_mel_frames,
)

CLIP = tiny.clip(0.7)


def in_pieces(clip: tiny.Clip, cuts: list[int], lead: int = 0) -> torch.Tensor:
    stream = LogMelStream(lead)
    pieces = np.split(clip, sorted(cuts))
    return torch.cat([*(stream.push(piece) for piece in pieces), stream.flush()])


@given(
    n=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    lead=st.sampled_from([0, 200]),
)
@settings(deadline=None, max_examples=60)
def test_pieces_equal_the_whole(n: int, cuts: list[int], lead: int) -> None:
    clip = CLIP[:n]
    whole = log_mel_frames(clip, lead)
    assert whole.shape == (frames_of(n), 80)
    found = in_pieces(clip, [min(c, n) for c in cuts], lead)
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=0)


def test_single_samples_equal_the_whole() -> None:
    found = in_pieces(CLIP[:1000], list(range(1, 1000)))
    torch.testing.assert_close(found, log_mel_frames(CLIP[:1000]), atol=1e-6, rtol=0)


def test_a_frame_by_hand() -> None:
    """Frame 3, from a discrete Fourier transform written out."""
    window = CLIP[480:880] * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400))
    turns = np.exp(-2j * np.pi * np.outer(np.arange(201), np.arange(400)) / 400)
    mel = mel_filters(80).numpy() @ np.abs(turns @ window) ** 2
    wanted = np.log(np.maximum(mel, FLOOR)).astype(np.float32)
    np.testing.assert_allclose(log_mel_frames(CLIP)[3].numpy(), wanted, atol=1e-4)


def test_a_centred_window_gives_whispers_frames() -> None:
    """But for the first two, into which Whisper mirrors the beginning, and its clamp."""
    quiet = CLIP[: 160 * 60]
    mine = log_mel_frames(quiet, lead=200) / np.log(10)
    theirs = whisper_log_mel(torch.from_numpy(quiet)[None])[0].T
    loudest = float(mine.max())
    scaled = (torch.maximum(mine, torch.tensor(loudest - 8.0)) + 4.0) / 4.0
    assert scaled.shape == theirs.shape
    torch.testing.assert_close(scaled[2:-1], theirs[2:-1], atol=1e-3, rtol=0)


def test_a_frame_does_not_depend_on_what_comes_later() -> None:
    other = CLIP.copy()
    other[160 * 10 + 400 :] = 0.9
    mine, changed = log_mel_frames(CLIP), log_mel_frames(other)
    assert torch.equal(mine[:11], changed[:11])
    assert not torch.equal(mine[11], changed[11])


def test_silence_has_the_floor() -> None:
    assert log_mel_frames(np.zeros(800, np.float32)).unique().tolist() == [
        torch.tensor(FLOOR, dtype=torch.float64).log().float().item()
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    stream = LogMelStream()
    stream.push(CLIP[:100])
    piece = CLIP[:50].copy()
    piece[[7, 9]] = bad
    with pytest.raises(DataError, match=r"sample 107 of the audio is .*2 of 50 samples"):
        stream.push(piece)
    assert len(stream.push(CLIP[:300])) == 1  # what was refused did not get in


@pytest.mark.parametrize("bad", [np.zeros((2, 400), np.float32), np.zeros(400, np.int16)])
def test_what_is_no_channel_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="one channel of floats"):
        LogMelStream().push(bad)


def test_a_flushed_stream_has_ended() -> None:
    stream = LogMelStream()
    assert len(stream.push(CLIP[:0])) == 0
    assert len(stream.flush()) == 0
    for late in (stream.flush, lambda: stream.push(CLIP[:5])):
        with pytest.raises(UsageError, match="begin a new one"):
            late()


@given(cuts=st.lists(st.integers(0, 50), max_size=6))
@settings(deadline=None, max_examples=30)
def test_statistics_of_pieces_are_those_of_the_whole(cuts: list[int]) -> None:
    frames = torch.from_numpy(np.random.default_rng(0).normal(-20, 3, (50, 80))).float()
    found = FrameStatistics.of(frames[:0])
    for piece in np.split(frames.numpy(), sorted(cuts)):
        found = found.merged(FrameStatistics.of(torch.from_numpy(piece)))
    assert found.count == 50
    wide = frames.double().numpy()
    np.testing.assert_allclose(found.mean.numpy(), wide.mean(0), atol=1e-12)
    np.testing.assert_allclose(found.std.numpy(), wide.std(0), atol=1e-12)


def test_statistics_of_clips() -> None:
    clips = [tiny.clip(0.2), tiny.clip(0.3, 1)]
    frames = torch.cat([log_mel_frames(c) for c in clips])
    found = FrameStatistics.of_clips(clips)
    assert found.count == len(frames) == 50
    torch.testing.assert_close(found.mean, frames.double().mean(0))
    silent = FrameStatistics.of_clips([np.zeros(1600, np.float32)])
    assert silent.std.unique().tolist() == [SMALLEST_STD]
    assert FrameStatistics.of_clips([]).count == 0
