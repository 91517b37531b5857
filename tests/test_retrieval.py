"""``benchmarks/retrieval.py``: who is found, and what is no finding."""

from __future__ import annotations

import math

import pytest
import torch
from benchmarks.retrieval import Recall, comparable, recalls


def test_recall_by_hand() -> None:
    sound = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    video = torch.tensor([[2.0, 0.1], [1.0, 1.0], [0.0, 1.0]])
    # cosines: 1.00 0.71 0.00; 0.05 0.71 1.00; 0.74 1.00 0.71: the own one is first, second, third
    assert [recalls(sound, video, k).hits for k in (1, 2, 3)] == [1, 2, 3]
    assert recalls(sound, video, 1).n == 3


def test_one_point_for_everything_finds_nothing() -> None:
    same = torch.ones(5, 3)
    assert recalls(same, same, 1).hits == 0
    with pytest.raises(SystemExit, match="diverged"):
        recalls(same * math.nan, same, 1)


def test_interval_by_hand() -> None:
    # Wilson 1927: 20 of 100 gives 13.3 to 28.9
    assert str(Recall(20, 100)) == "20.0 [13.3, 28.9]"


def test_windows_are_compared_by_what_moves() -> None:
    torch.manual_seed(0)
    moves, still = torch.randn(2, 30, 6, 8).unbind(0)
    sound = comparable(moves + 50 * still[:, :1])
    video = comparable(moves + 50 * still[:, 1:2])  # another face beside another voice
    assert recalls(sound, video, 1).hits == 30
    plain = recalls((moves + 50 * still[:, :1]).flatten(1), moves.flatten(1), 1)
    assert plain.hits < 30
