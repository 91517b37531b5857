"""Training objectives: one file per loss, one registry.

An objective is a function of (model, encoder states (B, T', D), input lengths in samples (B,),
transcripts, settings) that returns the mean loss of the batch as a float32 scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from xlasr.config import ObjectiveSettings
from xlasr.registry import Registry

Objective = Callable[[Any, Tensor, Tensor, Sequence[str], ObjectiveSettings], Tensor]
OBJECTIVES: Registry[Objective] = Registry("objective")

from xlasr.objectives import cross_entropy, ctc, ewc  # noqa: E402, F401
