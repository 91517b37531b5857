"""Small real video files: a picture's grey says when it is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from tests import tiny

from xlasr.data.faces import write_video

Frames = list[NDArray[np.uint8]]


def greys(n: int, size: int = 32, first: int = 20, step: int = 8) -> Frames:
    """Pictures of one grey each: first, first + step, ..."""
    return [np.full((size, size, 3), first + step * i, np.uint8) for i in range(n)]


def av_clip(path: Path, seconds: float = 1.0, *, seed: int = 0, size: int = 32) -> Path:
    """A clip of sound and pictures: noise with a melody, greys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = greys(round(seconds * 25), size, step=2)
    write_video(path, frames, tiny.clip(seconds, seed))
    return path


def timed(path: Path, frames: Frames, times_ms: Sequence[int]) -> Path:
    """A Matroska file without sound, whose pictures stand at given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for picture, at in zip(frames, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def delayed(path: Path, whole: Path, track: str, shift_s: float, after: int = 0) -> Path:
    """A Matroska copy in which one track comes ``shift_s`` later, behind its first packets."""
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        seen = 0
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == track:
                seen += 1
                if seen > after:
                    shift = int(shift_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    return path


def turn(path: Path, quarters: int) -> None:
    """Tell players of an MP4 to turn its pictures clockwise, as a telephone does."""
    content = bytearray(path.read_bytes())
    heads = [m.end() + 4 + 8 + 4 + 4 + 4 + 8 + 2 + 2 + 2 + 2 for m in re.finditer(b"tkhd", content)]
    at = next(at for at in heads if any(content[at + 36 : at + 44]))  # sound has no width
    one = 1 << 16
    a, b, c, d = {0: (1, 0, 0, 1), 1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}[quarters]
    values = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]
    content[at : at + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in values)
    path.write_bytes(content)
