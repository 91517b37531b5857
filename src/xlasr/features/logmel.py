"""Whisper's log-mel spectrogram, of exactly as much audio as is asked for.

Source: Radford et al. 2022 (arXiv 2212.04356), section 2.2; parity with
``transformers.WhisperFeatureExtractor`` at 30 s is tested. The clamp at (maximum - 8) looks at the
whole clip, so these features are not causal and do not serve streaming.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
"""Samples from one mel frame to the next (10 ms)."""


@lru_cache(maxsize=4)
def mel_filters(n_mels: int) -> Tensor:
    """Slaney mel filter bank, shape (n_mels, N_FFT // 2 + 1)."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(
        num_frequency_bins=N_FFT // 2 + 1,
        num_mel_filters=n_mels,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(bank.T.astype(np.float32)).contiguous()


def pad_clips(clips: Sequence[NDArray[np.float32]], n_samples: int) -> Tensor:
    """Zero-pad clips to one length.

    Args:
        clips: float32 arrays, each at most ``n_samples`` long.
        n_samples: The common length.

    Returns:
        (B, n_samples) float32.

    Raises:
        ValueError: A clip is longer than ``n_samples``.
    """
    batch = torch.zeros(len(clips), n_samples)
    for row, clip in enumerate(clips):
        if len(clip) > n_samples:
            raise ValueError(f"clip {row} has {len(clip)} samples, more than {n_samples}")
        batch[row, : len(clip)] = torch.from_numpy(clip)
    return batch


def whisper_log_mel(samples: Tensor, n_mels: int = 80) -> Tensor:
    """Compute log-mel frames of padded audio.

    Args:
        samples: (B, n_samples) float32 at 16 kHz, zero-padded *before* this call, so that the
            padding looks as it does in a 30 s window.
        n_mels: Filters.

    Returns:
        (B, n_mels, n_samples // HOP) float32, about -1 .. 1.
    """
    window = torch.hann_window(N_FFT, device=samples.device)
    with torch.autocast(samples.device.type, enabled=False):  # bfloat16 would blur the logarithm
        spectrum = torch.stft(samples, N_FFT, HOP, window=window, return_complex=True)
        power = spectrum[..., :-1].abs() ** 2
        mel = mel_filters(n_mels).to(samples.device) @ power
    log_mel = torch.clamp(mel, min=1e-10).log10()
    loudest = log_mel.amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(log_mel, loudest - 8.0) + 4.0) / 4.0
