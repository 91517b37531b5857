"""The dev split during training: loss and error rates on a fixed sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from xlasr.config import Stage
from xlasr.data.batches import PlanSettings, epoch_plan
from xlasr.decoding.recognise import DecodeOptions, recognise
from xlasr.models.run import SpeechModel
from xlasr.objectives import OBJECTIVES
from xlasr.scoring.error_rates import Score, score
from xlasr.training.sets import TrainingSet, bucket_function


@dataclass(frozen=True)
class DevResult:
    """What dev says about the weights of the moment.

    Args:
        loss: Mean of the stage's objectives.
        cer: Character error rate, greedy.
        wer: Word error rate, greedy.
        empty: Share of clips decoded as nothing.
        loops: Hypotheses the loop guard cut.
        score: With every utterance.
    """

    loss: float
    cer: float
    wer: float
    empty: float
    loops: int
    score: Score


class Development:
    """A fixed sample of dev clips.

    Args:
        data: The dev split, usable clips only.
        seconds: About how much of it; drawn over the whole split, the same at every evaluation.
    """

    def __init__(self, data: TrainingSet, seconds: float) -> None:
        order = np.random.default_rng(0).permutation(len(data.rows))
        total = np.cumsum(data.durations_s[order])
        rows = order[: int(np.searchsorted(total, seconds)) + 1]
        self.data = TrainingSet(data.split, data.rows[np.sort(rows)], data.form, {})
        self.clips = [self.data.samples(i) for i in range(len(self.data.rows))]
        self.texts = self.data.texts()

    def evaluate(self, model: SpeechModel, stage: Stage, bfloat16: bool) -> DevResult:
        """Decode greedily and compute the loss; leaves the model in evaluation mode."""
        model.eval()
        device = next(model.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            durations = [len(c) / 16_000 for c in self.clips]
            found = recognise(model, self.clips, durations, DecodeOptions())
            loss = self._loss(model, stage)
        ids = [str(i) for i in range(len(self.texts))]
        result = score(
            dict(zip(ids, self.texts, strict=True)),
            {i: r.text for i, r in zip(ids, found, strict=True)},
        )
        empty = sum(not r.text for r in found) / len(found)
        loops = sum(r.looped for r in found)
        return DevResult(loss, result.cer, result.wer, empty, loops, result)

    @torch.inference_mode()
    def _loss(self, model: SpeechModel, stage: Stage) -> float:
        settings = PlanSettings(batch_s=60.0)
        durations = [np.array([len(c) / 16_000 for c in self.clips], dtype=np.float32)]
        total, count = 0.0, 0
        device = next(model.parameters()).device
        for batch in epoch_plan(durations, bucket_function(model), settings, seed=0, epoch=0):
            rows = batch.rows.tolist()
            positions = batch.positions if model.encoder.max_positions else None
            features = model.features([self.clips[i] for i in rows], positions).to(device)
            states = model.encoder(features)
            texts = [self.texts[i] for i in rows]
            for objective in (o for o in stage.objectives if o.kind != "ewc"):
                loss = OBJECTIVES[objective.kind](
                    model, states, features.input_lens, texts, objective
                )
                total += objective.weight * float(loss) * len(rows)
            count += len(rows)
        return total / max(1, count)
