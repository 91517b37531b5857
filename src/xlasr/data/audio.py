"""One bounded decoder for every audio file: any rate, channels, depth and container.

``stream`` yields float32 mono blocks at 16 kHz in flat memory; ``decode``, ``cut`` and every other
reader of sound in the project stand on the same few lines. What is refused is refused by *counted*
samples and bytes, never by what a header claims.
"""

from __future__ import annotations

import math
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from xlasr.data.containers import Native, open_native
from xlasr.errors import AudioError, OutOfRange, UsageError

SAMPLE_RATE = 16_000
"""Samples per second (Hz) everywhere inside the project."""

_MARGIN_S = 0.1  # longer than half the resampling filter, so a cut equals a slice
SLACK_S = 0.05
"""Times in transcripts are rounded: a segment may end this many seconds after its file."""


@dataclass(frozen=True)
class Limits:
    """What one file may hold, counted while it is decoded.

    Attributes:
        max_seconds: Duration in seconds.
        max_bytes: Decoded size in bytes, as float32 in the file's own rate and channels.
    """

    max_seconds: float = 4 * 3600.0
    max_bytes: float = 8 << 30

    @classmethod
    def of_hours(cls, hours: float | None) -> Limits:
        """Return the limits for recordings of so many hours; None is no limit.

        The bytes grow along: 2 GiB an hour hold three channels at 48 kHz.

        Raises:
            UsageError: Nothing would be allowed.
        """
        if hours is None:
            return UNLIMITED
        if not hours > 0:
            raise UsageError(f"recordings of at most {hours} hours are none; allow more than 0")
        return cls(hours * 3600.0, max(cls.max_bytes, hours * (2 << 30)))


DEFAULT_LIMITS = Limits()
UNLIMITED = Limits(math.inf, math.inf)
"""For what is used while it is decoded and never held as a whole."""


def stream(
    path: str | Path,
    *,
    block_s: float = 30.0,
    channel: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[np.ndarray]:
    """Decode a file block by block; memory does not grow with its length.

    Args:
        path: Any file that libsndfile or FFmpeg reads.
        block_s: Length of the blocks in seconds; the last one is shorter.
        channel: Which channel, from 0; None is the mean of all.
        limits: What is refused, by counted samples and bytes.

    Yields:
        float32 (n_samples,), mono, 16 kHz, nominally within [-1, 1].

    Raises:
        AudioError: Missing, empty, truncated, text, NaN or infinite, over a limit, or unreadable.
    """
    path = Path(path)
    with open_native(path) as native:
        yield from _rechunk(
            resample(_mono(path, native, channel, limits, whole=True), native.sample_rate),
            max(1, round(block_s * SAMPLE_RATE)),
        )


def decode(
    path: str | Path,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    channel: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> np.ndarray:
    """Decode a file, or a part of it, to float32 mono at 16 kHz.

    A part equals the same slice of the whole (the resampler gets a margin before the part).

    Args:
        path: Any file that libsndfile or FFmpeg reads.
        start_s: Where the part begins, in seconds.
        duration_s: How long it is, in seconds; None is to the end.
        channel: Which channel, from 0; None is the mean of all.
        limits: What is refused, by counted samples and bytes.

    Returns:
        float32 (n_samples,).

    Raises:
        OutOfRange: The part does not lie inside the file.
        AudioError: As ``stream``.
    """
    path = Path(path)
    _check_span(path, start_s, duration_s)
    first = round(start_s * SAMPLE_RATE)
    wanted = None if duration_s is None else round(duration_s * SAMPLE_RATE)
    with open_native(path) as native:
        at = 0
        if start_s > _MARGIN_S:
            # Only at multiples of this step do native and 16 kHz samples coincide.
            step = native.sample_rate // math.gcd(native.sample_rate, SAMPLE_RATE)
            at = native.seek(int((start_s - _MARGIN_S) * native.sample_rate) // step * step)
        skip = first - at * SAMPLE_RATE // native.sample_rate
        mono = _mono(path, native, channel, limits, whole=at == 0)
        parts: list[np.ndarray] = []
        n_parts = 0
        for block in resample(mono, native.sample_rate):
            dropped = min(skip, len(block))
            skip -= dropped
            stop = None if wanted is None else dropped + wanted - n_parts
            parts.append(block[dropped:stop])
            n_parts += len(parts[-1])
            if wanted is not None and n_parts >= wanted:
                break
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    _check_got(path, start_s, duration_s, len(samples))
    return samples


def cut(
    path: str | Path,
    spans: Sequence[tuple[float, float]],
    *,
    channel: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[np.ndarray]:
    """Cut many parts out of one file in a single pass.

    Args:
        path: Any file that libsndfile or FFmpeg reads.
        spans: (start_s, duration_s) of each part, sorted by start; they may overlap.
        channel: Which channel, from 0; None is the mean of all.
        limits: What is refused, by counted samples and bytes.

    Yields:
        float32 (n_samples,) for each span, in order.

    Raises:
        OutOfRange, AudioError: As ``decode``, when the pass reaches the fault; earlier parts have
            been given.
    """
    path = Path(path)
    blocks = stream(path, block_s=10.0, channel=channel, limits=limits)
    buffer, at, ended = np.zeros(0, np.float32), 0, False
    for start_s, duration_s in spans:
        _check_span(path, start_s, duration_s)
        first = round(start_s * SAMPLE_RATE)
        last = first + round(duration_s * SAMPLE_RATE)
        while not ended and at + len(buffer) < last:
            if at + len(buffer) <= first:
                at, buffer = at + len(buffer), buffer[:0]
            elif at < first:
                at, buffer = first, buffer[first - at :]
            block = next(blocks, None)
            if block is None:
                ended = True
            else:
                buffer = np.concatenate([buffer, block])
        part = buffer[max(0, first - at) : max(0, last - at)].copy()
        try:
            _check_got(path, start_s, duration_s, len(part))
        except OutOfRange:  # by now the whole file was seen
            ends_s = (at + len(buffer)) / SAMPLE_RATE
            raise out_of_range(path, start_s, duration_s, ends_s) from None
        yield part


def measure(path: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """Return (sample rate in Hz, counted samples per channel) of a file in its own rate.

    Raises:
        AudioError: As ``stream``.
    """
    path = Path(path)
    with open_native(path) as native:
        n_samples = sum(len(block) for block in _mono(path, native, None, limits, whole=True))
        return native.sample_rate, n_samples


def write_wav(path: str | Path, samples: np.ndarray) -> None:
    """Write 16 kHz mono as a 16-bit WAV file.

    A clip that goes beyond full scale (resampling overshoots a little, float files may a lot) is
    turned down as a whole, not clipped.

    Args:
        path: The file to write.
        samples: float (n_samples,).
    """
    # The standard library's writer says OSError when the disk is full; libsndfile's does not.
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(to_int16(samples).astype("<i2").tobytes())


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Return float samples as int16, turned down as a whole where they exceed full scale."""
    peak = float(np.abs(samples).max(initial=0.0))
    scaled = samples * np.float32(32768.0 / max(1.0, peak))
    integers: np.ndarray = np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
    return integers


def _check_span(path: Path, start_s: float, duration_s: float | None) -> None:
    ok = math.isfinite(start_s) and start_s >= 0
    if ok and duration_s is not None:
        ok = math.isfinite(duration_s) and round(duration_s * SAMPLE_RATE) > 0
    if not ok:
        raise AudioError(
            f"{path}: a part that starts at {start_s} s and lasts {duration_s} s;"
            f" the start must be 0 or more and the duration at least 1/{SAMPLE_RATE} s."
        )


def _check_got(path: Path, start_s: float, duration_s: float | None, n_samples: int) -> None:
    missing = 0 if duration_s is None else round(duration_s * SAMPLE_RATE) - n_samples
    if n_samples == 0 or missing > SLACK_S * SAMPLE_RATE:
        raise out_of_range(path, start_s, duration_s, start_s + n_samples / SAMPLE_RATE)


def out_of_range(path: Path, start_s: float, duration_s: float | None, ends_s: float) -> OutOfRange:
    """Return the error for a part of a file that ends at ``ends_s`` or before."""
    end = "its end" if duration_s is None else f"{start_s + duration_s:.3f} s"
    return OutOfRange(
        f"{path}: the part from {start_s:.3f} s to {end} does not lie inside the file, which"
        f" ends at about {ends_s:.3f} s or before."
        " Check the times (are they seconds, not milliseconds?).",
        ends_s,
    )


def _mono(
    path: Path, native: Native, channel: int | None, limits: Limits, *, whole: bool
) -> Iterator[np.ndarray]:
    """Yield mono blocks in the native rate; count, and compare with the header at the end."""
    n_samples = n_bytes = 0
    for block in native.blocks():
        n_samples += len(block)
        n_bytes += block.nbytes
        seconds = n_samples / native.sample_rate
        if seconds > limits.max_seconds or n_bytes > limits.max_bytes:
            raise AudioError(
                f"{path}: too long, {seconds:.0f} s and {n_bytes >> 20} MiB decoded so far; allowed"
                f" are {limits.max_seconds:.0f} s and {limits.max_bytes / 2**20:.0f} MiB. Cut the"
                " file, or allow more (--max-hours) if it is really that long."
            )
        if not np.isfinite(block).all():
            raise AudioError(
                f"{path}: NaN or infinite samples before {seconds:.2f} s. The file was exported"
                " wrongly as floating point; export it again."
            )
        if channel is None:
            yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        elif 0 <= channel < block.shape[1]:
            yield np.ascontiguousarray(block[:, channel])
        else:
            raise AudioError(
                f"{path}: channel {channel} was asked for and the file has {block.shape[1]},"
                f" numbered from 0."
            )
    if not whole:
        return
    if n_samples == 0:
        raise AudioError(f"{path}: holds no sound at all (0 samples). Copy or record it again.")
    claimed = native.claimed_samples
    if claimed is not None and n_samples + native.tolerance_samples < claimed:
        raise AudioError(
            f"{path}: truncated, its header announces {claimed / native.sample_rate:.2f} s and"
            f" {n_samples / native.sample_rate:.2f} s are there. Copy or export the file again."
        )


def resample(blocks: Iterator[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """Bring mono blocks of any length to 16 kHz as they come."""
    if sample_rate == SAMPLE_RATE:
        yield from blocks
        return
    resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(np.ascontiguousarray(block))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _rechunk(blocks: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    waiting: list[np.ndarray] = []
    n_waiting = 0
    for block in blocks:
        waiting.append(block)
        n_waiting += len(block)
        if n_waiting >= size:
            joined = np.concatenate(waiting)
            whole = n_waiting // size * size
            for start in range(0, whole, size):
                yield joined[start : start + size]
            waiting, n_waiting = [joined[whole:]], n_waiting - whole
    if n_waiting:
        yield np.concatenate(waiting)
