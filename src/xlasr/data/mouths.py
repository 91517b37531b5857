"""How a mouth moves while somebody speaks, read off the sound; for rendered faces only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xlasr.data.audio import SAMPLE_RATE

Floats = NDArray[np.float64]
FOLLOWS: dict[str, float] = {"strong": 1.0, "medium": 0.6, "weak": 0.25}
"""How much of the mouth follows the speech; the rest wanders by itself."""
_RANGE_DB = 35.0  # from a closed mouth to an open one
_WINDOW_S = 0.04


def mouth_of_speech(samples: NDArray[np.float32], n_frames: int, fps: float) -> Floats:
    """Opening and width of the mouth at every frame of a video.

    Opening is the energy between 100 and 4000 Hz, in decibels below the clip's loudest. Width says
    where the second formant lies: the share of 1500 to 3200 Hz in the energy above 600 Hz is high
    for spread vowels (i, e) and low for rounded ones (o, u).

    Source: Fant 1960, Acoustic Theory of Speech Production (formants and the shape of the lips);
    the two proxies are ours.

    Args:
        samples: (n,) float32, 16 kHz.
        n_frames: Of the video.
        fps: Frames a second.

    Returns:
        (n_frames, 2) from 0 to 1: opening (0 closed), width (0 rounded, 1 spread).
    """
    size = round(_WINDOW_S * SAMPLE_RATE)
    centres = np.round(np.arange(n_frames) / fps * SAMPLE_RATE).astype(np.int64)
    padded = np.pad(samples.astype(np.float64), (size // 2, size))
    starts = np.minimum(centres, max(0, len(padded) - size))
    windows = padded[starts[:, None] + np.arange(size)] * np.hanning(size)
    power = np.abs(np.fft.rfft(windows)) ** 2
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)

    def band(low: float, high: float) -> Floats:
        return np.asarray(power[:, (hertz >= low) & (hertz < high)].sum(1))

    decibels = 10 * np.log10(band(100, 4000) + 1e-9)
    loudest = float(np.percentile(decibels, 95)) if n_frames else 0.0
    opening = np.clip((decibels - loudest + _RANGE_DB) / _RANGE_DB, 0.0, 1.0)
    spread = np.clip(2 * band(1500, 3200) / (band(600, 3200) + 1e-9), 0.0, 1.0)
    spread = 0.5 + (spread - 0.5) * opening  # nobody hears the shape of a closed mouth
    return np.stack([_smooth(opening), _smooth(spread)], axis=1)


def move(
    samples: NDArray[np.float32], n_frames: int, fps: float, tie: str, rng: np.random.Generator
) -> Floats:
    """The mouth of a rendered face: as ``mouth_of_speech``, as far as the tie says.

    Args:
        samples: (n,) float32, 16 kHz.
        n_frames: Of the video.
        fps: Frames a second.
        tie: A key of ``FOLLOWS``.
        rng: Of what does not follow.
    """
    share = FOLLOWS[tie]
    spoken = mouth_of_speech(samples, n_frames, fps)
    own = np.stack([drift(rng, n_frames, fps, 0.2), drift(rng, n_frames, fps, 0.2)], axis=1)
    moved: Floats = share * spoken + (1 - share) * np.clip(0.5 + 0.5 * own, 0.0, 1.0)
    return moved


def drift(rng: np.random.Generator, n_frames: int, fps: float, every_s: float) -> Floats:
    """A smooth random walk around 0 within about 1: knots at ``every_s`` seconds, cosines between.

    Args:
        rng: Source of the knots.
        n_frames: How many values.
        fps: Frames a second.
        every_s: Seconds between two knots.
    """
    at = np.arange(n_frames) / (fps * every_s)
    knots = np.clip(0.6 * rng.standard_normal(int(at[-1]) + 2 if n_frames else 2), -1.5, 1.5)
    before = at.astype(np.int64)
    way = (1 - np.cos(np.pi * (at - before))) / 2
    return np.asarray(knots[before] * (1 - way) + knots[before + 1] * way)


def _smooth(track: Floats) -> Floats:
    """Lips have mass: weights 1, 2, 1 over neighbouring frames."""
    padded = np.pad(track, 1, mode="edge")
    return np.asarray((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4)
