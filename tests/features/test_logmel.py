"""Whisper's log-mel against transformers' own extractor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xlasr.features.logmel import HOP, pad_clips, whisper_log_mel


def speechlike(seconds: float, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * 16_000)) / 16_000
    voice = np.sin(2 * np.pi * (120 + 40 * np.sin(2 * np.pi * 1.5 * t)) * t) ** 3
    loudness = 0.2 * (1 + np.sin(2 * np.pi * 3 * t))
    return (voice * loudness + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_equals_transformers_at_30_s(n_mels: int) -> None:
    from transformers import WhisperFeatureExtractor

    clips = [speechlike(3.1), speechlike(0.2, 1), speechlike(30.0, 2), np.zeros(800, np.float32)]
    theirs = WhisperFeatureExtractor(feature_size=n_mels)(
        clips, sampling_rate=16_000, return_tensors="pt"
    ).input_features
    ours = whisper_log_mel(pad_clips(clips, 480_000), n_mels)
    assert ours.shape == theirs.shape == (4, n_mels, 3000)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)


def test_short_features_are_the_beginning_of_long_ones() -> None:
    """Padding with zeros before the transform: frames of speech do not see where the batch ends."""
    clip = speechlike(2.0)
    short = whisper_log_mel(pad_clips([clip], 2 * 16_000 + 64 * 320))
    full = whisper_log_mel(pad_clips([clip], 480_000))
    assert short.shape[-1] == (2 * 16_000 + 64 * 320) // HOP
    # the last frames reflect at the edge, into zeros: equal too
    torch.testing.assert_close(short, full[..., : short.shape[-1]], atol=1e-6, rtol=0)


def test_stays_in_float32_under_autocast() -> None:
    samples = pad_clips([speechlike(1.0)], 16_000)
    with torch.autocast("cpu", torch.bfloat16):
        inside = whisper_log_mel(samples)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, whisper_log_mel(samples))


def test_a_clip_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="clip 1 has 101 samples, more than 100"):
        pad_clips([np.zeros(100, np.float32), np.zeros(101, np.float32)], 100)
