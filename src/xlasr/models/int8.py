"""Encoders with weights of 8 bits, for CPUs: smaller, and faster where the machine has products.

The matrices of the encoder's layers are rounded once, a scale for each row; what goes into a layer
is rounded when it comes, a scale for each position. The product is exact in 32-bit integers.
Everything else (norms, attention, convolutions, heads, predictor and joiner, text decoders) stays
float32.

This is what torchao's ``Int8DynamicActivationInt8WeightConfig`` computes, without torchao: outside
of ``torch.compile`` its tensors spend more time in dispatch than a small product takes (with 0.18,
5 positions, 512 to 2048: 995 microseconds, float32 347, this 200; docs/RESULTS.md), and PyTorch's
own ``quantize_dynamic`` stands on tensor types that are to be removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xlasr.errors import UsageError

if TYPE_CHECKING:
    from xlasr.models.run import SpeechModel

LARGEST = 127


class Int8Linear(nn.Module):
    """A linear layer of 8-bit weights.

    Args:
        linear: The layer to round.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = _scale(weight)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale[:, 0])
        bias = linear.bias
        self.register_buffer("bias", None if bias is None else bias.detach().float())

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        rows = x.reshape(-1, self.in_features).float()
        scale = _scale(rows)
        product = torch._int_mm((rows / scale).round().to(torch.int8), self.weight.t())
        out = product.float() * (scale * self.scale)
        if self.bias is not None:
            out = out + self.bias
        return out.reshape(*x.shape[:-1], self.out_features)


def _scale(rows: Tensor) -> Tensor:
    """What the largest value of each row is divided by to be 127: (N, 1)."""
    return (rows.abs().amax(1, keepdim=True) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)


def to_int8(model: SpeechModel) -> SpeechModel:
    """Round the matrices of the encoder's layers, in place; it cannot be trained or saved after.

    Args:
        model: In evaluation mode, on a CPU.

    Raises:
        UsageError: It is not.
    """
    device = next(model.parameters()).device
    if model.training or device.type != "cpu":
        raise UsageError(
            f"int8 is for a finished model on a CPU; this one is on {device.type} and in "
            f"{'training' if model.training else 'evaluation'} mode"
        )
    for layer in model.encoder.layer_modules():
        for name, module in list(layer.named_modules()):
            if type(module) is nn.Linear:
                parent, _, attribute = name.rpartition(".")
                setattr(layer.get_submodule(parent), attribute, Int8Linear(module))
    return model


def size_mb(model: nn.Module) -> float:
    """Megabytes (10^6 bytes) of parameters and buffers."""
    held = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in held.values()) / 1e6


@dataclass(frozen=True)
class Int8Cost:
    """What 8 bits change.

    Args:
        float_mb: Megabytes of the model before.
        int8_mb: And after.
        error: Of the encoder's outputs (``output_error``).
        clips: It was measured on so many.
    """

    float_mb: float
    int8_mb: float
    error: float
    clips: int

    def __str__(self) -> str:
        """A line for people."""
        return (
            f"8-bit weights: {self.float_mb:.1f} -> {self.int8_mb:.1f} MB; what comes out of the "
            f"encoder differs by {100 * self.error:.1f} % on average ({self.clips} clips)"
        )


def compared_outputs(
    exact: SpeechModel, rounded: SpeechModel, clips: Sequence[NDArray[np.float32]]
) -> Int8Cost:
    """Compare a model with itself in 8 bits.

    Args:
        exact: In float32.
        rounded: The same after ``to_int8``.
        clips: Samples at 16 kHz, at least one.
    """
    one, other = (encoder_outputs(model, clips) for model in (exact, rounded))
    return Int8Cost(size_mb(exact), size_mb(rounded), output_error(one, other), len(clips))


def output_error(exact: Tensor, rounded: Tensor) -> float:
    """Mean |difference| of two models' outputs over the mean |value| of the first's."""
    return float((rounded - exact).abs().mean() / exact.abs().mean())


@torch.inference_mode()
def encoder_outputs(model: SpeechModel, clips: Sequence[NDArray[np.float32]]) -> Tensor:
    """Encoder states (N, D) of all clips, one behind the other, each computed alone."""
    found = []
    for clip in clips:
        features = model.features([clip])
        n = int(model.encoder.out_lens(features.input_lens)[0])
        found.append(model.encoder(features)[0, :n])
    return torch.cat(found)
