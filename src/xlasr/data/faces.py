"""SYNTHETIC talking faces for real speech, as real video files in the layout of LRS3.

There is no free corpus of talking heads that a package registry hands out. So a face is drawn for
each clip of a prepared corpus: its mouth follows the speech as far as ``tie`` says (opening from
energy, shape from where the formants lie), and everything else is nuisance that has nothing to do
with it: pose, light, blinks, gaze, colours, things that pass by. The sound is the corpus's own.
What is learnt from these clips says nothing about real faces; every file says that it is synthetic.

::

    OUT/
      faces.json             what was rendered of what, with which tie and seed
      trainval/GROUP/00000.mp4   H.264 and AAC
      trainval/GROUP/00000.txt   Text:, Conf:, Ref: as LRS3 has them; Synthetic: and Of:
      dev/ ... test/ ...     the corpus's own sides (LRS3 itself has no dev)

A clip is a pure function of (seed, id of the utterance, tie, size), byte for byte, as far as the
encoder is one: the same build of FFmpeg.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlasr.data.audio import SAMPLE_RATE
from xlasr.data.clips import safe_name
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.mouths import FOLLOWS, Floats, drift, move
from xlasr.data.show import Display
from xlasr.data.writing import staging
from xlasr.errors import DataError, UnknownName, UsageError

FPS = 25
SIDES = {"train": "trainval", "dev": "dev", "test": "test"}
MARK = "SYNTHETIC face rendered by xlasr for real speech"
_AT_ONCE = 32  # frames drawn together


@dataclass(frozen=True)
class Canvas:
    """Coordinates of every pixel, from -1 to 1, and so the size of a picture.

    Args:
        size: Width and height in pixels.
    """

    size: int

    def ellipse(
        self, x: Floats, y: Floats, rx: Floats, ry: Floats, roll: Floats
    ) -> tuple[tuple[slice, slice, slice], NDArray[np.float32]]:
        """How much of each pixel lies inside an ellipse, 0 to 1, soft edges.

        Args:
            x: (n,) of the centre.
            y: (n,) of the centre, downwards.
            rx: (n,) half-width.
            ry: (n,) half-height.
            roll: (n,) radians, clockwise.

        Returns:
            The box of (n, size, size) outside of which no frame has any of it, and its shares.
        """
        reach = np.maximum(rx, ry) * (1 + 1 / (np.minimum(rx, ry) * self.size))
        rows, columns = (self._span(centre, reach) for centre in (y, x))
        line = (np.arange(self.size, dtype=np.float32) + 0.5) * 2 / self.size - 1
        dx = line[None, None, columns] - _each(x)
        dy = line[None, rows, None] - _each(y)
        cos, sin = _each(np.cos(roll)), _each(np.sin(roll))
        across, down = dx * cos + dy * sin, dy * cos - dx * sin
        far = np.sqrt((across / _each(rx)) ** 2 + (down / _each(ry)) ** 2)
        thin = _each(np.minimum(rx, ry)) * self.size / 2  # pixels
        return (slice(None), rows, columns), np.clip((1 - far) * thin + 0.5, 0.0, 1.0)

    def _span(self, centre: Floats, reach: Floats) -> slice:
        """Rows, or columns, between the ends of what reaches so far around the centres."""
        first = int((float((centre - reach).min()) + 1) * self.size / 2) - 1
        last = int((float((centre + reach).max()) + 1) * self.size / 2) + 2
        return slice(min(self.size, max(0, first)), max(0, min(self.size, last)))


def render(
    samples: NDArray[np.float32], rng: np.random.Generator, tie: str = "strong", size: int = 96
) -> Iterator[NDArray[np.uint8]]:
    """Draw a talking face, frame by frame.

    Args:
        samples: (n,) float32, 16 kHz: what the mouth follows.
        rng: Of the face and of everything that has nothing to do with the speech.
        tie: How much the mouth follows.
        size: Width and height in pixels.

    Yields:
        (size, size, 3) uint8 RGB, ``FPS`` a second, at least one.
    """
    n = max(1, round(len(samples) / SAMPLE_RATE * FPS))
    mouth = move(samples, n, FPS, tie, rng)
    plan = _plan(rng, n)
    colours = {name: rng.uniform(low, high, 3) for name, (low, high) in _COLOURS.items()}
    skin = np.array([1.0, 0.78, 0.62]) * rng.uniform(90, 235)
    canvas = Canvas(size)
    for first in range(0, n, _AT_ONCE):
        part = slice(first, min(n, first + _AT_ONCE))
        now = {name: track[part] for name, track in plan.items()}
        frames = _draw(canvas, now, mouth[part], colours, skin)
        grain = rng.normal(0.0, 2.0, frames.shape).astype(np.float32)
        yield from np.clip(frames + grain, 0, 255).astype(np.uint8)


_COLOURS = {"wall": (40, 200), "hair": (10, 120), "lips": (0, 25), "ball": (0, 255)}


def _plan(rng: np.random.Generator, n: int) -> dict[str, Floats]:
    """What moves without regard to the speech: one value a frame."""
    open_eyes = np.ones(n)
    at = int(rng.integers(5, 100))
    while at < n:
        open_eyes[at : at + 4] = 0.1
        at += int(rng.integers(40, 130))
    place = rng.uniform(-0.12, 0.12, 2)
    return {
        "x": place[0] + 0.08 * drift(rng, n, FPS, 0.9),
        "y": place[1] + 0.06 * drift(rng, n, FPS, 0.8),
        "scale": rng.uniform(0.8, 1.05) + 0.04 * drift(rng, n, FPS, 1.5),
        "roll": rng.uniform(-0.15, 0.15) + 0.12 * drift(rng, n, FPS, 1.0),
        "turn": 0.07 * drift(rng, n, FPS, 1.2),
        "gaze": 0.4 * drift(rng, n, FPS, 0.6),
        "light": 1 + 0.12 * drift(rng, n, FPS, 1.0),
        "side": rng.uniform(-0.25, 0.25) + 0.1 * drift(rng, n, FPS, 2.0),
        "eyes": open_eyes,
        "ball_x": 1.2 * drift(rng, n, FPS, 1.0),
        "ball_y": 1.2 * drift(rng, n, FPS, 1.0),
        "wide": np.full(n, rng.uniform(0.85, 1.1)),
    }


def _draw(
    canvas: Canvas,
    now: dict[str, Floats],
    mouth: Floats,
    colours: dict[str, Floats],
    skin: Floats,
) -> NDArray[np.float32]:
    """Paint some frames: (n, size, size, 3) float32, 0 to 255."""
    n, size = len(mouth), canvas.size
    scale, roll, still = now["scale"], now["roll"], np.zeros(n)
    ramp = np.linspace(0.8, 1.2, size, dtype=np.float32)[:, None, None]
    picture = np.broadcast_to((ramp * colours["wall"]).astype(np.float32), (n, size, size, 3))
    picture = picture.copy()

    def paint(colour: Floats, x: Floats, y: Floats, rx: Floats, ry: Floats) -> None:
        """An ellipse at (x, y) of the face, which is placed, rolled and scaled."""
        at_x = now["x"] + scale * (x * np.cos(roll) - y * np.sin(roll))
        at_y = now["y"] + scale * (x * np.sin(roll) + y * np.cos(roll))
        box, share = canvas.ellipse(at_x, at_y, rx * scale, ry * scale, roll)
        picture[box] += share[..., None] * (colour.astype(np.float32) - picture[box])

    box, ball = canvas.ellipse(now["ball_x"], now["ball_y"], still + 0.14, still + 0.14, still)
    picture[box] += ball[..., None] * (colours["ball"].astype(np.float32) - picture[box])
    wide, turn = now["wide"], now["turn"]
    paint(colours["hair"], still, still - 0.14, 0.62 * wide, still + 0.74)
    paint(skin, still, still, 0.54 * wide, still + 0.70)
    for side in (-1, 1):
        eye_x = side * 0.2 * wide + turn
        paint(np.full(3, 240.0), eye_x, still - 0.18, still + 0.105, 0.065 * now["eyes"])
        pupil = eye_x + 0.05 * now["gaze"]
        paint(np.full(3, 25.0), pupil, still - 0.18, still + 0.045, 0.05 * now["eyes"])
        paint(colours["hair"], eye_x, still - 0.3, still + 0.12, still + 0.025)
    paint(0.85 * skin, 1.4 * turn, still + 0.05, still + 0.05, still + 0.12)
    opening, spread = mouth[:, 0], mouth[:, 1]
    at_x, half = turn, 0.15 + 0.12 * spread
    lips = skin * np.array([0.85, 0.45, 0.45]) + colours["lips"]
    paint(lips, at_x, still + 0.38, half, 0.045 + 0.17 * opening)
    inner = 0.012 + 0.14 * opening
    paint(np.array([45.0, 8.0, 8.0]), at_x, still + 0.38, 0.8 * half, inner)
    paint(np.full(3, 225.0), at_x, 0.38 - 0.7 * inner, 0.55 * half, 0.006 + 0.22 * inner * spread)
    line = np.linspace(-1, 1, size)
    shade = now["light"][:, None] * (1 + now["side"][:, None] * line[None])
    picture *= shade.astype(np.float32)[:, None, :, None]
    return np.asarray(picture, dtype=np.float32)


def _each(values: Floats) -> NDArray[np.float32]:
    """(n,) against (n, height, width)."""
    return np.asarray(values, dtype=np.float32)[:, None, None]


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    samples: NDArray[np.float32] | None,
    *,
    fps: int = FPS,
    comment: str = "",
) -> None:
    """Write an MP4: H.264, and AAC where there is sound.

    Args:
        path: The file.
        frames: (height, width, 3) uint8 RGB, even sizes; none: sound alone.
        samples: (n,) float32, 16 kHz.
        fps: Frames a second.
        comment: Kept in the file.
    """
    import av
    from av.video.reformatter import VideoReformatter

    # one for all frames: a new one plans the conversion anew; left to encode(), bytes may differ
    reformatter = VideoReformatter()
    container: Any = av.open(str(path), "w", format="mp4")
    with container:
        container.metadata["comment"] = comment
        video: Any = None
        sound = None
        if samples is not None:
            sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for number, frame in enumerate(frames):
            if video is None:
                video = container.add_stream("libx264", rate=fps)
                video.height, video.width = frame.shape[:2]
                video.pix_fmt = "yuv420p"
                video.options = {"crf": "20", "preset": "veryfast"}
                video.codec_context.thread_count = 1  # more of them give other bytes
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = reformatter.reformat(picture, format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(video.encode(picture))
        if video is not None:
            container.mux(video.encode(None))
        if sound is not None and samples is not None:
            whole = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            whole.sample_rate, whole.pts = SAMPLE_RATE, 0
            container.mux(sound.encode(whole))
            container.mux(sound.encode(None))


def render_faces(
    corpus: str | Path,
    out: str | Path,
    *,
    tie: str = "strong",
    seed: int = 0,
    size: int = 96,
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """Draw a SYNTHETIC talking face for every clip of a corpus, in the layout of LRS3.

    Args:
        corpus: A prepared corpus; it is only read.
        out: The folder to make; it appears complete or not at all. ``prepare`` reads it.
        tie: How much the mouth follows the speech: "strong", "medium" or "weak".
        seed: Of everything else in the picture.
        size: Width and height in pixels, even.
        workers: Threads.
        progress: Show a bar on standard error.

    Returns:
        ``out``.

    Raises:
        UsageError: An unknown tie, an odd or tiny size, or ``out`` is taken.
        DataError: The corpus cannot be opened.
    """
    if tie not in FOLLOWS:
        raise UnknownName("tie of mouth and speech", tie, FOLLOWS)
    if size < 32 or size % 2:
        raise UsageError(f"pictures of {size} pixels; an even number, at least 32, is needed")
    source, out = Corpus.open(corpus), Path(out).absolute()
    with staging(out, overwrite=False) as folder:
        jobs = list(_jobs(source, folder))
        display = Display(quiet=not progress)
        display.say(f"{MARK}: {len(jobs)} clips, tie {tie}, seed {seed}")

        def work(job: tuple[Utterance, Path]) -> None:
            utterance, stem = job
            samples = utterance.load()
            frames = render(samples, face_rng(seed, utterance.id), tie, size)
            write_video(stem.with_suffix(".mp4"), frames, samples, comment=MARK)
            text = (
                f"Text:  {utterance.text}\nConf:  5\nRef:   {stem.parent.name}\n"
                f"Synthetic:  {MARK}, tie {tie}, seed {seed}\nOf:  {utterance.id}\n"
            )
            stem.with_suffix(".txt").write_text(text, encoding="utf-8")

        pool = ThreadPoolExecutor(max(1, workers))
        try:
            with display.bar("rendering", len(jobs)) as advance:
                for _ in pool.map(work, jobs):
                    advance(1)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        about = {
            "synthetic": MARK,
            "tie": tie,
            "seed": seed,
            "size": size,
            "fps": FPS,
            "corpus": source.path.name,
            "corpus_sha256": source.sha256,
            "clips": len(jobs),
            "licence_of_the_speech": source.card.licence,
            "attribution_of_the_speech": source.card.attribution,
        }
        (folder / "faces.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return out


def face_rng(seed: int, utterance: str) -> np.random.Generator:
    """Generator of the face of one utterance."""
    digest = hashlib.sha256(f"{seed}\n{utterance}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _jobs(corpus: Corpus, folder: Path) -> Iterator[tuple[Utterance, Path]]:
    """Each utterance and the file, without suffix, of its clip."""
    numbers: Counter[tuple[str, str]] = Counter()
    for side in corpus.splits:
        for utterance in corpus.split(side):
            group = safe_name(utterance.group)
            place = folder / SIDES[side] / group
            if not numbers[side, group]:
                place.mkdir(parents=True)
            yield utterance, place / f"{numbers[side, group]:05d}"
            numbers[side, group] += 1
    if not numbers:
        raise DataError(f"{corpus.path}: no clip to render a face for")
