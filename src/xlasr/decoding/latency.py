"""How long a stream takes: what its shape makes it wait for, and what the machine needs on top."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from xlasr.features.logmel import HOP, SAMPLE_RATE
from xlasr.models.streaming import StreamingEncoder

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """What a stream took. Times are of whatever clock the meter had.

    Args:
        audio_s: Audio that was heard.
        compute_s: Spent on it, waiting for audio left out.
        segments: That were computed.
        p50_ms: Half of the segments took at most so long.
        p95_ms: 95 in 100 of them did.
        max_ms: The slowest one.
    """

    audio_s: float
    compute_s: float
    segments: int
    p50_ms: float
    p95_ms: float
    max_ms: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing for a second of audio."""
        return self.compute_s / self.audio_s

    def as_json(self) -> dict[str, float]:
        """All of it, rounded."""
        found = asdict(self) | {"real_time_factor": self.real_time_factor}
        return {name: round(value, 4) for name, value in found.items()}


class Meter:
    """Times the segments of a stream; eight bytes for each are kept.

    Args:
        clock: Seconds; default: a clock on the wall.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._times = array("d")
        self._compute_s = 0.0

    def timed(self, begin: Callable[[], Iterator[T]]) -> Iterator[T]:
        """Pass on what ``begin()`` gives, an item for each segment, and note how long each took."""
        started = self._clock()
        for item in begin():
            took = self._clock() - started
            self._times.append(took)
            self._compute_s += took
            yield item
            started = self._clock()
        self._compute_s += self._clock() - started

    def cost(self, audio_s: float) -> Cost:
        """What ``audio_s`` seconds of audio (more than 0) took."""
        times = np.frombuffer(self._times) if self._times else np.zeros(1)
        p50, p95, most = (float(np.quantile(times, q)) * 1000 for q in (0.5, 0.95, 1.0))
        return Cost(audio_s, self._compute_s, len(self._times), p50, p95, most)


def algorithmic_latency(encoder: StreamingEncoder) -> str:
    """Its algorithmic latency and the parts of it, in words."""
    total = encoder.latency_s * 1000
    segment, ahead = (
        n * HOP * 1000 / SAMPLE_RATE
        for n in (encoder.shape.segment_frames, encoder.shape.right_frames)
    )
    return (
        f"{total:.4g} ms (segment {segment:.4g} + look-ahead {ahead:.4g} + "
        f"window {total - segment - ahead:.4g})"
    )
