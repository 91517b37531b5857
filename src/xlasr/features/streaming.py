"""Causal log-mel frames, the same whether the audio comes at once or in pieces.

A frame looks at its own window of 25 ms and at nothing else: no reflection at the beginning, no
maximum of the whole clip. What loudness does to the frames is taken out by the mean and standard
deviation of a training set (``FrameStatistics``), which are saved with the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlasr.errors import DataError, UsageError
from xlasr.features.logmel import HOP, N_FFT, mel_filters

N_MELS = 80
FLOOR = 1e-10
"""Smallest mel energy; the logarithm of digital silence is that of the floor."""
SMALLEST_STD = 1e-3
"""In units of the natural logarithm: a band in which nothing happens is not blown up."""


def frames_of(n_samples: int) -> int:
    """Frames of so many samples: one for every hop of 10 ms that has begun."""
    return -(-n_samples // HOP)


class LogMelStream:
    """Log-mel frames of audio that comes in pieces.

    Frame t covers the samples from ``160 t - lead`` on, 400 of them. The last frames are complete
    only with zeros behind the end, so they come with ``flush``.

    Args:
        lead: Samples by which a window begins before its hop. 0: a frame looks back at nothing and
            240 samples (15 ms) behind its own hop; 200: it is centred, as Whisper's frames are.
    """

    def __init__(self, lead: int = 0) -> None:
        self._buffer = torch.zeros(lead)
        self._n_samples = 0
        self._n_frames = 0
        self._ended = False

    def push(self, samples: NDArray[np.float32]) -> Tensor:
        """Take the next samples, any number of them.

        Args:
            samples: (n,) float32 at 16 kHz.

        Returns:
            (T, 80) float32: natural logarithms of mel energies, all frames that are complete now.

        Raises:
            DataError: A sample is not a finite number, or the array is not one channel of floats.
            UsageError: The stream was flushed.
        """
        if self._ended:
            raise UsageError("the stream was flushed and has ended; begin a new one")
        self._buffer = torch.cat((self._buffer, _checked(samples, self._n_samples)))
        self._n_samples += len(samples)
        return self._take(max(0, (len(self._buffer) - N_FFT) // HOP + 1))

    def flush(self) -> Tensor:
        """End the stream: the frames that look behind the end (there: zeros), (T, 80).

        Raises:
            UsageError: The stream was flushed before.
        """
        if self._ended:
            raise UsageError("the stream was flushed and has ended; begin a new one")
        self._ended = True
        n = frames_of(self._n_samples) - self._n_frames
        room = max(0, (n - 1) * HOP + N_FFT - len(self._buffer))
        self._buffer = torch.cat((self._buffer, torch.zeros(room)))
        return self._take(n)

    def _take(self, n: int) -> Tensor:
        frames = _log_mel(self._buffer[: (n - 1) * HOP + N_FFT]) if n else torch.zeros(0, N_MELS)
        self._buffer = self._buffer[n * HOP :]
        self._n_frames += n
        return frames


def log_mel_frames(samples: NDArray[np.float32], lead: int = 0) -> Tensor:
    """Frames (T, 80) of a whole clip: what a ``LogMelStream`` gives, all together."""
    stream = LogMelStream(lead)
    return torch.cat((stream.push(samples), stream.flush()))


def _checked(samples: NDArray[np.float32], before: int) -> Tensor:
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise DataError(
            f"audio must be one channel of floats, -1 to 1, at 16 kHz; found an array of shape "
            f"{samples.shape} and type {samples.dtype}"
        )
    finite = np.isfinite(samples)
    if not finite.all():
        at = int(np.argmin(finite))
        raise DataError(
            f"sample {before + at} of the audio is {samples[at]}; {int((~finite).sum())} of "
            f"{len(samples)} samples are not finite numbers. Repair the recording (xlasr prepare "
            "decodes and checks it)"
        )
    return torch.from_numpy(samples.astype(np.float32))


def _log_mel(samples: Tensor) -> Tensor:
    """Frames (T, 80) of exactly the windows that fit into the samples."""
    windows = samples.unfold(0, N_FFT, HOP) * torch.hann_window(N_FFT)
    # The sum over bands in float64: then it does not matter in how many pieces a matrix product
    # is cut, and pieces of audio give the bits that the whole gives.
    power = torch.fft.rfft(windows).abs().double() ** 2
    mel = power @ mel_filters(N_MELS).double().T
    return torch.log(mel.clamp(min=FLOOR)).float()


@dataclass(frozen=True)
class FrameStatistics:
    """Mean and spread of each band over many frames, added up piece by piece.

    Source: Chan, Golub and LeVeque 1983 (merging of means and squared deviations).

    Args:
        count: Frames.
        mean: (80,) float64.
        deviations: (80,) float64: sum of squared deviations from the mean.
    """

    count: int
    mean: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, frames: Tensor) -> FrameStatistics:
        """Count (T, 80) frames; none at all are allowed."""
        wide = frames.double()
        mean = wide.mean(0) if len(wide) else torch.zeros(frames.shape[1], dtype=torch.float64)
        return cls(len(wide), mean, ((wide - mean) ** 2).sum(0))

    @classmethod
    def of_clips(cls, clips: Iterable[NDArray[np.float32]]) -> FrameStatistics:
        """Count the frames of clips (float32, 16 kHz)."""
        found = cls.of(torch.zeros(0, N_MELS))
        for clip in clips:
            found = found.merged(cls.of(log_mel_frames(clip)))
        return found

    def merged(self, other: FrameStatistics) -> FrameStatistics:
        """Statistics of both."""
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = apart**2 * (self.count * other.count / count)
        return FrameStatistics(count, mean, self.deviations + other.deviations + between)

    @property
    def std(self) -> Tensor:
        """Standard deviation (80,), float64, at least ``SMALLEST_STD``."""
        return (self.deviations / max(1, self.count)).sqrt().clamp(min=SMALLEST_STD)
