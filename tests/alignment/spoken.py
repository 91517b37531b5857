"""Sound that a fake model hears perfectly: each letter is a tone of its own height."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Features
from xlasr.models.tokenizer import CharTokenizer

LETTERS = " abcdefghijklmnoprstuvyz"
HOP = 320
_BASE, _STEP = 0.3, 0.01


class FakeEncoder(nn.Module):
    """Says which letter each 20 ms hold: (B, n_samples) -> (B, T', V), almost one-hot."""

    samples_per_position = HOP
    context = None
    max_positions = None
    max_samples = 30 * 16_000
    n_layers = 0
    dim = len(LETTERS) + 1

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0

    def positions(self, n_samples: int) -> int:
        return -(-n_samples // HOP)

    def out_lens(self, input_lens: Tensor) -> Tensor:
        return -(-input_lens // HOP)

    def features(self, clips: Any, positions: int | None = None) -> Features:
        self.longest = max(self.longest, *(len(c) for c in clips))
        width = -(-max(len(c) for c in clips) // HOP) * HOP
        values = np.zeros((len(clips), width), dtype=np.float32)
        for row, clip in zip(values, clips, strict=True):
            row[: len(clip)] = clip
        return Features(torch.from_numpy(values), torch.tensor([len(c) for c in clips]))

    def forward(self, features: Features) -> Tensor:
        level = features.values.reshape(len(features.values), -1, HOP).mean(-1)
        ids = torch.where(level > 0.2, ((level - _BASE) / _STEP).round(), 0.0).long()
        return 8.0 * nn.functional.one_hot(ids.clamp(0, self.dim - 1), self.dim).float()


def fake_model() -> CTCModel:
    encoder: Any = FakeEncoder()
    info = {"family": "ctc", "language": "cs", "text": "headline"}
    model = CTCModel(encoder, CharTokenizer(LETTERS), info)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(encoder.dim))
        model.head.bias.zero_()
    return model.eval()


def say(text: str, frames: int = 3) -> NDArray[np.float32]:
    """A letter is ``frames`` x 20 ms of its tone, then 20 ms of silence."""
    ids = CharTokenizer(LETTERS).encode(text)
    parts = []
    for i in ids:
        parts += [np.full(frames * HOP, _BASE + _STEP * i), np.zeros(HOP)]
    return np.concatenate(parts).astype(np.float32)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * 50) * HOP, dtype=np.float32)
