"""Training objectives: one file per loss, one registry.

An objective is a function of (model, encoder states (B, T', D), input lengths in samples (B,),
transcripts, settings) that returns the mean loss of the batch as a float32 scalar. One that chooses
between hypotheses (``min_wer.py``) has the family score them (``log_prob.py``).

An objective on sound alone encodes for itself, because it hides something from the encoder, or adds
to what it hears: a function of (model, features of the batch, settings, update). What it trains
besides the encoder is an aid of the model (``models/aids.py``); its kind stands in
``config.WITHOUT_TEXT``. A stage of only such objectives needs no transcripts and is steered by its
dev loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from xlasr.config import ObjectiveSettings
from xlasr.models.encoders import Features
from xlasr.registry import Registry

Objective = Callable[[Any, Tensor, Tensor, Sequence[str], ObjectiveSettings], Tensor]
OBJECTIVES: Registry[Objective] = Registry("objective")
SoundObjective = Callable[[Any, Features, ObjectiveSettings, int], Tensor]
SOUND_OBJECTIVES: Registry[SoundObjective] = Registry("objective on sound alone")

from xlasr.objectives import (  # noqa: E402, F401
    contrastive,
    cross_entropy,
    ctc,
    ewc,
    masked_autoencoder,
    masked_contrastive,
    min_wer,
)
from xlasr.objectives.transducer import objective  # noqa: E402, F401
