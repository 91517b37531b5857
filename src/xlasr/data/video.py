"""One bounded decoder for every video file: pictures at given times, upright, however it is coded.

A picture is found by its time stamp, never by its number, so that a variable frame rate is read
right; time 0 is where the sound of the file begins (where there is none: the video). Nothing here
trusts a header: pictures are counted while they are decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlasr.data.containers import open_container
from xlasr.data.headers import refuse_non_audio
from xlasr.errors import AudioError, VideoError

SUFFIXES = frozenset(
    ".mp4 .m4v .mov .f4v .3gp .mkv .webm .avi .mpg .mpeg .vob .flv .wmv .asf .ogv .ts .mts "
    ".m2ts".split()
)
MAX_PIXELS = 64 << 20
"""Of one picture: 8 K is half of it."""
_INDEXED = {"mov", "matroska", "avi", "flv"}  # in others seeking lands wherever a guess says
_SEEK_S = 2.0  # nearer to the beginning, decoding costs no more than seeking
_NEXT_S = 1e-4  # a time stamp is rounded to the container's clock


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What decoding a video found.

    Attributes:
        n_frames: Pictures, counted.
        seconds: When the last one ends; time 0 is where the sound begins.
        width: In pixels, upright.
        height: In pixels, upright.
    """

    n_frames: int
    seconds: float
    width: int
    height: int


def measure(path: str | Path) -> VideoFacts:
    """Decode a whole video and count.

    Raises:
        VideoError: Missing, not video, damaged, truncated, or one picture only.
    """
    path = Path(path)
    n_frames, last, lasts = 0, 0.0, 0.0
    width = height = 0
    with _opened(path) as (container, stream, origin_s):
        for frame, at_s in _pictures(path, container, stream, origin_s):
            if not n_frames:
                width, height = _upright_size(frame)
            else:
                lasts = at_s - last  # of the picture before, if this one does not say its own
            n_frames, last = n_frames + 1, at_s
            if frame.duration:
                lasts = float(frame.duration * frame.time_base)
        claimed = int(stream.frames or 0)
    if n_frames + max(2, claimed // 200) < claimed:
        raise VideoError(
            f"{path}: truncated, its header announces {claimed} pictures and {n_frames} are there."
            " Copy or export the file again."
        )
    if n_frames < 2:
        raise VideoError(
            f"{path}: {n_frames} picture{'s' * (n_frames != 1)}, and a video has two at least."
            " Is it a cover, or a still?"
        )
    return VideoFacts(n_frames, last + lasts, width, height)


def frames_at(
    path: str | Path, times_s: Sequence[float], *, short_side: int | None = None
) -> NDArray[np.uint8]:
    """Decode the pictures that are on the screen at some times.

    Args:
        path: A file with video.
        times_s: In seconds, ascending; before the first picture it is the first, after the last
            the last.
        short_side: Larger pictures are made smaller, to this many pixels on their shorter side.

    Returns:
        (n, height, width, 3) uint8 RGB, upright; all of the size of the first.

    Raises:
        VideoError: As ``measure``, as far as it is decoded.
    """
    from av.video.reformatter import VideoReformatter

    path = Path(path)
    found: list[NDArray[np.uint8]] = []
    shown: Any = None
    # one for all pictures: a new one plans the conversion anew, which takes longer than converting
    reformatter = VideoReformatter()
    size: tuple[int, int] | None = None
    with _opened(path) as (container, stream, origin_s):
        indexed = _INDEXED.intersection(container.format.name.split(","))
        if indexed and times_s and times_s[0] > _SEEK_S:
            at = int((times_s[0] + origin_s) / stream.time_base)
            container.seek(max(0, at), stream=stream)
        for frame, at_s in _pictures(path, container, stream, origin_s):
            picture: NDArray[np.uint8] | None = None
            while shown is not None and len(found) < len(times_s):
                if times_s[len(found)] + _NEXT_S >= at_s:
                    break
                if picture is None:
                    size, picture = _rgb(reformatter, shown, size, short_side)
                found.append(picture)
            if len(found) == len(times_s):
                break
            shown = frame
        if shown is None:
            raise VideoError(f"{path}: not one picture in it. Copy or export the file again.")
        if len(found) < len(times_s):
            size, picture = _rgb(reformatter, shown, size, short_side)
            found += [picture] * (len(times_s) - len(found))
    return np.stack(found)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any, float]]:
    """Yield container, video stream and the time in seconds that is called 0."""
    import av

    try:
        refuse_non_audio(path, headerless=False)
        container = open_container(path)
    except (AudioError, av.error.FFmpegError, ValueError, RuntimeError) as error:
        raise VideoError(f"{path}: no video that can be read ({error})") from error
    with container:
        if not container.streams.video:
            raise VideoError(f"{path}: holds no video track, only sound or data.")
        stream = container.streams.video[0]
        if stream.width * stream.height > MAX_PIXELS:
            raise VideoError(
                f"{path}: pictures of {stream.width} x {stream.height} pixels; allowed are"
                f" {MAX_PIXELS} together. The header is probably damaged."
            )
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        first = container.streams.audio[0] if container.streams.audio else stream
        origin = (first.start_time or 0) * first.time_base if first.time_base else 0
        yield container, stream, float(origin)


def _pictures(
    path: Path, container: Any, stream: Any, origin_s: float
) -> Iterator[tuple[Any, float]]:
    """Yield each decoded picture and its time in seconds."""
    import av

    rate = float(stream.average_rate or 25)
    at_s = -1 / rate
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise VideoError(
                    f"{path}: damaged, the picture at {at_s + 1 / rate:.2f} s cannot be decoded."
                    " Copy or export the file again."
                )
            at_s = at_s + 1 / rate if frame.time is None else float(frame.time) - origin_s
            yield frame, at_s
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path}: damaged or truncated, decoding stopped in the middle ({error.strerror})."
            " Copy or export the file again."
        ) from error


def _quarters(frame: Any) -> int:
    """Turns by 90 degrees, counter-clockwise, that make a picture upright."""
    return int(round(frame.rotation / 90) % 4)


def _upright_size(frame: Any) -> tuple[int, int]:
    turned = _quarters(frame) % 2
    return (frame.height, frame.width) if turned else (frame.width, frame.height)


def _rgb(
    reformatter: Any, frame: Any, size: tuple[int, int] | None, short_side: int | None
) -> tuple[tuple[int, int], NDArray[np.uint8]]:
    """Return (width, height) before turning, and the picture (height, width, 3), upright."""
    if size is None:
        shrink = min(1.0, (short_side or MAX_PIXELS) / min(frame.width, frame.height))
        size = max(1, round(frame.width * shrink)), max(1, round(frame.height * shrink))
    smaller = size[0] < frame.width
    how = "AREA" if smaller else "BILINEAR"
    rgb = reformatter.reformat(frame, *size, format="rgb24", interpolation=how)
    return size, np.rot90(rgb.to_ndarray(), _quarters(frame)).copy()
