"""Crops of pictures: by hand, within bounds, the same for the same generator."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlasr.features.video import Crop, centre_crop, cropped, draw_crop, sample_times


def test_times() -> None:
    assert sample_times(1.0, 4.0) == [0.0, 0.25, 0.5, 0.75]
    assert sample_times(1.01, 4.0) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert sample_times(0.7, 10.0) == [i / 10 for i in range(7)]  # not 8 by rounding
    assert sample_times(0.0, 4.0) == [0.0] and sample_times(0.0, 4.0, 3) == [0.0, 0.25, 0.5]
    assert len(sample_times(1.3, 4.0, 4)) == 8


def test_crops_by_hand() -> None:
    pictures = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3).astype(np.uint8)
    assert centre_crop(4, 6) == Crop(0, 1, 4, 4) and centre_crop(7, 4) == Crop(1, 0, 4, 4)
    np.testing.assert_array_equal(cropped(pictures, Crop(1, 2, 3, 3), 3), pictures[:, 1:4, 2:5])
    turned = cropped(pictures, Crop(1, 2, 3, 3, flip=True), 3)
    np.testing.assert_array_equal(turned, pictures[:, 1:4, 4:1:-1])
    halves = np.zeros((1, 8, 8, 3), np.uint8)
    halves[:, :, 4:] = 200
    small = cropped(halves, Crop(0, 0, 8, 8), 2)
    assert small.shape == (1, 2, 2, 3) and small.dtype == np.uint8
    assert small[0, 0, 0, 0] < 60 and small[0, 0, 1, 0] > 140  # smoothed over the edge
    assert cropped(halves, Crop(2, 5, 4, 3), 8).mean() == 200


@given(
    height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 1000),
    least=st.floats(0.05, 1.0), flip=st.floats(0, 1),
)  # fmt: skip
def test_crops_lie_inside(height: int, width: int, seed: int, least: float, flip: float) -> None:
    def draw() -> Crop:
        rng = np.random.default_rng(seed)
        return draw_crop(rng, height, width, scale=(least, 1.0), ratio=(0.75, 4 / 3), flip=flip)

    crop = draw()
    assert crop == draw()
    assert 0 <= crop.top <= crop.top + crop.height <= height and crop.height > 0
    assert 0 <= crop.left <= crop.left + crop.width <= width and crop.width > 0


def test_what_is_drawn_is_as_asked() -> None:
    rng = np.random.default_rng(0)
    found = [
        draw_crop(rng, 200, 200, scale=(0.2, 0.4), ratio=(0.5, 2.0), flip=0.3) for _ in range(2000)
    ]
    areas = np.array([c.height * c.width / 200**2 for c in found])
    shapes = np.array([math.log(c.width / c.height) for c in found])
    assert (
        areas.min() > 0.19 and areas.max() < 0.41 and areas.mean() == pytest.approx(0.3, abs=0.01)
    )
    assert abs(shapes).max() < math.log(2) + 0.03 and abs(shapes.mean()) < 0.03
    assert np.mean([c.flip for c in found]) == pytest.approx(0.3, abs=0.03)
    assert max(c.top + c.height for c in found) == 200 and min(c.left for c in found) == 0
