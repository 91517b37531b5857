"""Augmentation of waveforms and spectrograms, driven by a generator the caller seeds.

Every function is a pure function of its input and the generator, so that a resumed run makes the
same batch again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import soxr
from numpy.typing import NDArray
from torch import Tensor

Samples = NDArray[np.float32]


def speed(samples: Samples, factor: float) -> Samples:
    """Play a clip ``factor`` times as fast (tempo and pitch together).

    Source: Ko et al. 2015, Audio augmentation for speech recognition.

    Args:
        samples: (n,) float32.
        factor: 1.1 gives n / 1.1 samples.
    """
    if factor == 1.0:
        return samples
    changed: Samples = soxr.resample(samples, factor * 16_000, 16_000, quality="MQ")
    return changed.astype(np.float32, copy=False)


def add_noise(samples: Samples, snr_db: float, rng: np.random.Generator) -> Samples:
    """Add pink noise at a signal-to-noise ratio measured over the clip.

    Args:
        samples: (n,) float32. Digital silence is returned as it is: it has no ratio.
        snr_db: 10 log10(signal power / noise power).
        rng: Source of the noise.
    """
    power = float(np.mean(samples.astype(np.float64) ** 2))
    if power == 0.0:
        return samples
    spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1.0))  # 1/f power: like room noise
    noise = np.fft.irfft(spectrum, n=len(samples))
    wanted = power / 10 ** (snr_db / 10)
    noise *= np.sqrt(wanted / max(float(np.mean(noise**2)), 1e-20))
    return (samples + noise).astype(np.float32)


def spec_augment(
    features: Tensor,
    lens: list[int],
    rngs: list[np.random.Generator],
    *,
    time_masks: int,
    time_width: int,
    time_share: float,
    freq_masks: int,
    freq_width: int,
) -> Tensor:
    """Mask bands of time and frequency with each clip's mean.

    Source: Park et al. 2019 (SpecAugment, arXiv 1904.08779), with the adaptive bound on the
    masked time of arXiv 1912.05533 so that short clips keep most of their frames.

    Args:
        features: (B, F, T); a changed copy is returned.
        lens: Frames of speech of each clip; only those are masked.
        rngs: One generator a clip.
        time_masks: Masks along time.
        time_width: Widest of them, in frames.
        time_share: Upper bound of one mask's width as a share of the clip.
        freq_masks: Masks along frequency.
        freq_width: Widest of them, in bins.
    """
    out = features.clone()
    n_bins = features.shape[1]
    for row, (n_frames, rng) in enumerate(zip(lens, rngs, strict=True)):
        fill = features[row, :, :n_frames].mean()
        for band in spans(rng, freq_masks, freq_width, n_bins):
            out[row, band, :n_frames] = fill
        for stretch in spans(
            rng, time_masks, min(time_width, int(n_frames * time_share)), n_frames
        ):
            out[row, :, stretch] = fill
    return out


def spans(rng: np.random.Generator, count: int, widest: int, length: int) -> Iterator[slice]:
    """Yield random stretches of an axis, each 0 to ``widest`` wide."""
    for _ in range(count):
        width = int(rng.integers(0, min(widest, length) + 1))
        first = int(rng.integers(0, length - width + 1))
        yield slice(first, first + width)
