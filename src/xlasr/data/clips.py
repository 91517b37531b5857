"""Decode every record once: validate, count, write the 16 kHz copies, quarantine what fails."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xlasr.data import audio
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord
from xlasr.data.video import VideoFacts, measure
from xlasr.errors import AudioError, OutOfRange, VideoError

LENGTHS_S = 0.5
"""Sound and video of a clip may end so many seconds apart without a word."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A record whose sound was decoded.

    Attributes:
        record: What the reader found.
        path: The copy, or the source file.
        start_s: Where it begins in ``path``, in seconds.
        n_samples: Its length at 16 kHz.
        recording: (sample rate in Hz, samples per channel) of the whole file ``path``.
        sha256: Hash of the samples as 16-bit integers.
        video: What decoding the pictures found, where there are any.
    """

    record: RawRecord
    path: Path
    start_s: float
    n_samples: int
    recording: tuple[int, int]
    sha256: str
    video: VideoFacts | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    record: RawRecord
    reason: str
    detail: str


def safe_name(record_id: str) -> str:
    """Return a file name for an id: portable, and different for different ids.

    Ids that are portable already keep their name; the others get a hash, which also tells "A"
    from "a" on disks that do not.
    """
    name = re.sub(r"[^a-z0-9._-]+", "_", record_id.lower()).strip("._-")[:80]
    if name == record_id:
        return name
    return f"{name}-{hashlib.sha256(record_id.encode()).hexdigest()[:10]}"


def make_clips(
    records: Sequence[RawRecord],
    quarantine: Quarantine,
    *,
    copies: Path | None,
    limits: audio.Limits,
    workers: int,
    advance: Callable[[int], None],
    dry: bool = False,
) -> list[Clip]:
    """Decode all records, each file in one pass, in a few threads.

    Args:
        records: What the readers found.
        quarantine: Where failures go.
        copies: Folder for 16 kHz copies; None refers to the sources.
        limits: Bounds for one file.
        workers: Number of threads (libsndfile, FFmpeg and soxr all release the lock).
        advance: Called with the number of records done since the last call.
        dry: Only find out what making copies would find; needs no ``copies``.

    Returns:
        The usable ones, in the order of ``records``.
    """
    files: dict[tuple[Path, int | None], list[RawRecord]] = {}
    for record in records:
        files.setdefault((record.audio, record.channel), []).append(record)

    def work(group: list[RawRecord]) -> list[Clip | _Failure]:
        return list(_file_clips(group, copies, limits, measured=copies is None and not dry))

    done: dict[str, Clip] = {}
    pool = ThreadPoolExecutor(max_workers=max(1, workers))
    try:
        for results in pool.map(work, files.values()):
            for result in results:
                if isinstance(result, Clip):
                    done[result.record.id] = result
                    _note_lengths(result, quarantine)
                else:
                    quarantine.add(result.record.id, result.reason, result.detail)
            advance(len(results))
    finally:
        # Ctrl-C must not wait for the whole queue.
        pool.shutdown(wait=True, cancel_futures=True)
    return [done[record.id] for record in records if record.id in done]


def _file_clips(
    records: list[RawRecord], copies: Path | None, limits: audio.Limits, *, measured: bool
) -> Iterator[Clip | _Failure]:
    """Yield the clips of one file and channel."""
    path, channel = records[0].audio, records[0].channel
    recording: tuple[int, int] | None = None
    if measured:
        try:
            recording = audio.measure(path, limits=limits)
        except AudioError as error:
            yield from (_Failure(record, "bad audio", str(error)) for record in records)
            return
    spans = sorted((r for r in records if r.duration_s is not None), key=lambda r: r.start_s)
    done: set[str] = set()
    # One pass over the file, and a second one where a part lies outside it: then the end is known.
    # What is left when the file itself is at fault is tried one by one below.
    while len(spans) > 1:
        parts = audio.cut(path, [_span(r) for r in spans], channel=channel, limits=limits)
        try:
            for record, samples in zip(spans, parts, strict=True):
                yield _clip(record, samples, copies, recording)
                done.add(record.id)
            break
        except OutOfRange as error:
            first, *rest = (record for record in spans if record.id not in done)
            ends_s = error.ends_s + audio.SLACK_S
            for record in [first, *(r for r in rest if sum(_span(r)) > ends_s)]:
                detail = str(audio.out_of_range(path, *_span(record), error.ends_s))
                yield _Failure(record, "out of range", detail)
                done.add(record.id)
            spans = [record for record in rest if record.id not in done]
        except AudioError:
            break
    for record in records:
        if record.id in done:
            continue
        try:
            samples = audio.decode(
                path,
                start_s=record.start_s,
                duration_s=record.duration_s,
                channel=channel,
                limits=limits,
            )
        except OutOfRange as error:
            yield _Failure(record, "out of range", str(error))
        except AudioError as error:
            yield _Failure(record, "bad audio", str(error))
        else:
            yield _clip(record, samples, copies, recording)


def _note_lengths(clip: Clip, quarantine: Quarantine) -> None:
    if clip.video is None:
        return
    sound_s, video_s = clip.n_samples / audio.SAMPLE_RATE, clip.video.seconds - clip.record.start_s
    if abs(sound_s - video_s) > LENGTHS_S:
        detail = f"{sound_s:.2f} s of sound and {video_s:.2f} s of pictures in {clip.record.video}"
        quarantine.note(clip.record.id, "unequal length", detail)


def _span(record: RawRecord) -> tuple[float, float]:
    return record.start_s, record.duration_s or 0.0


def _clip(
    record: RawRecord, samples: np.ndarray, copies: Path | None, recording: tuple[int, int] | None
) -> Clip | _Failure:
    integers = audio.to_int16(samples)
    if not integers.any():
        detail = f"{record.audio}: nothing but zeros from {record.start_s} s on. Was it muted?"
        return _Failure(record, "silent audio", detail)
    video: VideoFacts | None = None
    if record.video is not None:
        try:
            video = measure(record.video)
        except VideoError as error:
            return _Failure(record, "bad video", str(error))
        if video.seconds <= record.start_s:
            detail = f"{record.video}: its pictures end at {video.seconds:.2f} s, before the clip"
            return _Failure(record, "bad video", f"{detail} begins at {record.start_s:.2f} s")
    digest = hashlib.sha256(integers.tobytes()).hexdigest()
    if copies is None:
        whole = recording or (audio.SAMPLE_RATE, len(samples))
        return Clip(record, record.audio, record.start_s, len(samples), whole, digest, video)
    path = copies / f"{safe_name(record.id)}.wav"
    audio.write_wav(path, samples)
    whole = (audio.SAMPLE_RATE, len(samples))
    return Clip(record, path, 0.0, len(samples), whole, digest, video)
