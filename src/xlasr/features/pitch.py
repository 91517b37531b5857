"""Fundamental frequency by YIN, and how it moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
HOP = 160
"""Samples from one value to the next (10 ms)."""
LOWEST_HZ, HIGHEST_HZ = 65.0, 450.0
_WINDOW = 512  # 32 ms: two periods of the lowest voice
_THRESHOLD = 0.15
_QUIET_DB = 30.0  # below the loudest frame; murmur and room are no voice
_BLOCK = 2000  # frames at a time: 25 MB

Floats = NDArray[np.float64]


def pitch(samples: NDArray[np.float32]) -> Floats:
    """Estimate the fundamental frequency of a voice.

    Args:
        samples: float32 (n_samples,), mono, 16 kHz.

    Returns:
        (n_frames,) Hz, every 10 ms; NaN where nothing is voiced. Empty for less than 50 ms.

    Source: A. de Cheveigné and H. Kawahara, "YIN, a fundamental frequency estimator for speech and
        music", JASA 111(4), 2002: steps 1 to 5.
    """
    longest = int(SAMPLE_RATE / LOWEST_HZ)
    shortest = int(SAMPLE_RATE / HIGHEST_HZ)
    size = _WINDOW + longest + 1
    if len(samples) < size:
        return np.zeros(0)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), size)[::HOP]
    energy = np.square(frames).mean(axis=1)
    loud = energy > max(energy.max() * 10 ** (-_QUIET_DB / 10), 1e-10)
    found = [
        _periods(frames[first : first + _BLOCK], shortest, longest)
        for first in range(0, len(frames), _BLOCK)
    ]
    periods = np.concatenate(found)
    return np.where(loud, SAMPLE_RATE / periods, np.nan)


def _periods(frames: Floats, shortest: int, longest: int) -> Floats:
    """Period of each frame in samples; NaN where there is none."""
    n = 1 << (frames.shape[1] + _WINDOW - 1).bit_length()
    spectrum = np.fft.rfft(frames, n)
    head = np.fft.rfft(frames[:, :_WINDOW], n)
    product = np.fft.irfft(spectrum * head.conj(), n)[:, : longest + 2]
    power = np.cumsum(np.pad(np.square(frames), ((0, 0), (1, 0))), axis=1)
    lagged = power[:, _WINDOW : _WINDOW + longest + 2] - power[:, : longest + 2]
    difference = np.maximum(lagged[:, :1] + lagged - 2 * product, 0.0)  # (F, lags)
    sums = np.cumsum(difference[:, 1:], axis=1)
    normal = np.ones_like(difference)
    lags = np.arange(1, difference.shape[1])
    normal[:, 1:] = difference[:, 1:] * lags / np.maximum(sums, 1e-12)
    inner = normal[:, shortest : longest + 1]
    dips = inner < _THRESHOLD
    dips &= inner <= normal[:, shortest + 1 : longest + 2]
    dips &= inner < normal[:, shortest - 1 : longest]
    lag = dips.argmax(axis=1) + shortest
    rows = np.arange(len(frames))
    left, here, right = (normal[rows, lag + step] for step in (-1, 0, 1))
    bend = left - 2 * here + right
    shift = np.where(bend > 1e-12, 0.5 * (left - right) / np.maximum(bend, 1e-12), 0.0)
    return np.where(dips.any(axis=1), lag + shift, np.nan)


def contour(hertz: Floats) -> tuple[Floats, Floats]:
    """Describe the melody of one clip, whoever speaks.

    Args:
        hertz: (n_frames,) of ``pitch``.

    Returns:
        Semitones above the clip's median, of every voiced frame; and the slope, in semitones a
        second, of every stretch that is voiced for at least 100 ms without a leap.
    """
    voiced = np.flatnonzero(~np.isnan(hertz))
    if not len(voiced):
        return np.zeros(0), np.zeros(0)
    semitones = 12 * np.log2(hertz[voiced] / np.median(hertz[voiced]))
    breaks = (np.diff(voiced) > 1) | (np.abs(np.diff(semitones)) > 2)
    slopes = []
    for stretch in np.split(np.arange(len(voiced)), np.flatnonzero(breaks) + 1):
        if len(stretch) >= 10:
            times = stretch * HOP / SAMPLE_RATE
            slopes.append(float(np.polyfit(times - times.mean(), semitones[stretch], 1)[0]))
    return semitones, np.array(slopes)
