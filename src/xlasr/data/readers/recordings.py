"""Recordings alone, without any transcript: for learning from sound (``masked_contrastive``).

A folder (subfolders too) or one file. What is longer than a model can hear is cut where nobody
speaks, and what is no speech in it is left out; shorter files are taken whole. The id is the path
without its suffix, with the number of the stretch where it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from xlasr.data import audio
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import AUDIO_SUFFIXES, walk
from xlasr.data.voice import Cutting, segments
from xlasr.errors import AudioError, DataError


def read(source: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a folder of audio files, or one.

    Raises:
        DataError: No audio file in it.
        BaseError: A recording has to be cut, and the voice detector is not installed.
    """
    root = source if source.is_dir() else source.parent
    files = list(walk(source)) if source.is_dir() else [source]
    sounds = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    if not sounds:
        raise DataError(
            f"{source}: no audio file in it. Known suffixes: {' '.join(sorted(AUDIO_SUFFIXES))}."
        )
    for path in sounds:
        record = path.relative_to(root).with_suffix("").as_posix()
        try:
            found = list(_stretches(path, options.limits))
        except AudioError as error:
            quarantine.add(record, "bad audio", str(error))
            continue
        if not found:
            quarantine.add(record, "no speech", f"nobody speaks in {path}")
        for number, (start_s, duration_s) in enumerate(found):
            name = record if duration_s is None else f"{record}-{number:05d}"
            yield RawRecord(name, path, "", start_s=start_s, duration_s=duration_s)


def _stretches(path: Path, limits: audio.Limits) -> Iterator[tuple[float, float | None]]:
    """Yield (start, duration) of each stretch of speech in seconds; (0, None) is the whole file."""
    cutting = Cutting()
    blocks = audio.stream(path, block_s=cutting.max_segment_s + 1, limits=limits)
    first = next(blocks)
    if len(first) <= cutting.max_segment_s * audio.SAMPLE_RATE:
        yield 0.0, None
        return
    for segment in segments(chain([first], blocks), cutting):
        yield segment.start_s, segment.end_s - segment.start_s
