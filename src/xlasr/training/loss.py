"""The loss of a stage: its objectives, weighted and summed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xlasr.config import Stage
from xlasr.models.encoders import Features
from xlasr.models.run import SpeechModel
from xlasr.objectives import OBJECTIVES


class LossOf(nn.Module):
    """Model and objectives as one module, so that a distributed wrapper sees its forward.

    Args:
        model: Prepared.
        stage: Its ``objectives``.
    """

    def __init__(self, model: SpeechModel, stage: Stage) -> None:
        super().__init__()
        self.model = model
        self.terms = [(OBJECTIVES[o.kind], o) for o in stage.objectives]

    def forward(
        self, features: Features, texts: list[str], states: Tensor | None, layer: int
    ) -> Tensor:
        """Weighted sum of the objectives; ``states`` are those of a frozen lower part."""
        encoder = self.model.encoder
        top = encoder(features) if states is None else encoder.upper(states, layer, features)
        total = torch.zeros((), device=top.device)
        for objective, settings in self.terms:
            total = total + settings.weight * objective(
                self.model, top, features.input_lens, texts, settings
            )
        return total
