"""Pictures of a clip as a model wants them: when they are taken, cut out, resized, turned over.

Every function is a pure function of its input and the generator that the caller seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Crop:
    """What is kept of every picture of a clip.

    Args:
        top: First row, in pixels.
        left: First column.
        height: Rows.
        width: Columns.
        flip: Left becomes right.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


def sample_times(seconds: float, fps: float, multiple: int = 1) -> list[float]:
    """Times in seconds at which pictures are taken: 0, 1 / fps, ... as long as ``seconds``.

    Args:
        seconds: How long there are pictures and sound.
        fps: Pictures a second.
        multiple: So many, or twice as many, ...: the last ones may lie behind ``seconds``.

    Returns:
        ``multiple`` at least.
    """
    n = math.ceil(round(seconds * fps, 6) / multiple) * multiple
    return [i / fps for i in range(max(multiple, n))]


def centre_crop(height: int, width: int) -> Crop:
    """The largest square in the middle of a picture."""
    side = min(height, width)
    return Crop((height - side) // 2, (width - side) // 2, side, side)


def draw_crop(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
) -> Crop:
    """A random part of a picture.

    Source: Szegedy et al. 2014 (arXiv 1409.4842), section 6; ten draws, then the middle, as
    torchvision does.

    Args:
        rng: Source of the part.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        scale: Least and most of its area.
        ratio: Least and most width / height; drawn evenly in its logarithm.
        flip: Probability of left becoming right.
    """
    flipped = bool(rng.random() < flip)
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        rows, columns = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
        if 0 < rows <= height and 0 < columns <= width:
            top = int(rng.integers(0, height - rows + 1))
            left = int(rng.integers(0, width - columns + 1))
            return Crop(top, left, rows, columns, flipped)
    middle = centre_crop(height, width)
    return Crop(middle.top, middle.left, middle.height, middle.width, flipped)


def cropped(pictures: Pictures, crop: Crop, size: int) -> Pictures:
    """Cut out, make square, turn over: (n, height, width, 3) -> (n, size, size, 3), uint8."""
    part = pictures[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    if part.shape[1:3] != (size, size):
        planes = torch.from_numpy(part.copy()).permute(0, 3, 1, 2).float()
        planes = torch.nn.functional.interpolate(
            planes, (size, size), mode="bilinear", antialias=True, align_corners=False
        )
        part = planes.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return np.ascontiguousarray(part[:, :, ::-1] if crop.flip else part)
