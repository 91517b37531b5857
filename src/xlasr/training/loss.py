"""The loss of a stage: its objectives, weighted and summed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from xlasr.config import WITHOUT_TEXT, ObjectiveSettings, Stage
from xlasr.models.encoders import Features
from xlasr.models.run import SpeechModel
from xlasr.objectives import OBJECTIVES, SOUND_OBJECTIVES


class LossOf(nn.Module):
    """Model and objectives as one module, so that a distributed wrapper sees its forward.

    Args:
        model: Prepared.
        stage: Its ``objectives``.
        data_only: Leave out what says nothing about a clip (elastic weight consolidation).
    """

    def __init__(self, model: SpeechModel, stage: Stage, *, data_only: bool = False) -> None:
        super().__init__()
        self.model = model
        chosen = [o for o in stage.objectives if not (data_only and o.kind == "ewc")]
        self.terms = [(OBJECTIVES[o.kind], o) for o in chosen if o.kind not in WITHOUT_TEXT]
        self.on_sound = [(SOUND_OBJECTIVES[o.kind], o) for o in chosen if o.kind in WITHOUT_TEXT]

    def forward(
        self,
        features: Features,
        texts: list[str],
        states: Tensor | None = None,
        layer: int = 0,
        update: int = 0,
    ) -> Tensor:
        """Weighted sum of the objectives; ``states`` are those of a frozen lower part."""
        total = torch.zeros((), device=features.values.device)
        for settings, loss in self.each(features, texts, states, layer, update):
            total = total + settings.weight * loss
        return total

    def each(
        self,
        features: Features,
        texts: list[str],
        states: Tensor | None = None,
        layer: int = 0,
        update: int = 0,
    ) -> Iterator[tuple[ObjectiveSettings, Tensor]]:
        """Yield every objective and its loss, unweighted."""
        encoder = self.model.encoder
        if self.terms:
            top = encoder(features) if states is None else encoder.upper(states, layer, features)
            for objective, settings in self.terms:
                yield settings, objective(self.model, top, features.input_lens, texts, settings)
        for on_sound, settings in self.on_sound:
            yield settings, on_sound(self.model, features, settings, update)
