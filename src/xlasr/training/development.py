"""The dev split during training: loss and error rates on a fixed sample.

A stage is steered by one number, the smaller the better: dev CER, or the dev loss where the recipe
says so, or where nothing can be decoded because nothing of the stage learns from text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np
import torch

from xlasr.config import AugmentSettings, Stage
from xlasr.data.batches import PlanSettings, epoch_plan
from xlasr.decoding.recognise import DecodeOptions, recognise
from xlasr.models.run import SpeechModel
from xlasr.scoring.error_rates import score
from xlasr.training.loss import LossOf
from xlasr.training.sets import TrainingSet, bucket_function


@dataclass(frozen=True)
class DevResult:
    """What dev says about the weights of the moment; error rates only where text is learnt.

    Where languages have heads of their own, every number is the mean of the languages'.

    Args:
        loss: Sum of the stage's objectives, weighted.
        cer: Character error rate, greedy; the phone error rate of a stage of phones.
        wer: Word error rate, greedy; of phones the same.
        empty: Share of clips decoded as nothing.
        loops: Hypotheses the loop guard cut (their sum).
        by_language: CER of each, where there are several.
        losses: Of each objective, unweighted, where there are several.
    """

    loss: float
    cer: float | None = None
    wer: float | None = None
    empty: float | None = None
    loops: int = 0
    by_language: dict[str, float] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)

    def steering(self, by: str) -> float:
        """What the best weights are chosen by: ``Stage.steered_by``."""
        return self.loss if self.cer is None or by == "dev_loss" else self.cer

    def row(self) -> dict[str, float | int | None]:
        """For ``metrics.jsonl``."""
        losses = {"dev_loss": self.loss} | {f"dev_loss_{k}": v for k, v in self.losses.items()}
        if self.cer is None:
            return {**losses}
        return {
            **losses,
            "dev_cer": self.cer,
            "dev_wer": self.wer,
            "dev_empty": self.empty,
            "dev_loops": self.loops,
            **{f"dev_cer_{name}": cer for name, cer in self.by_language.items()},
        }

    def __str__(self) -> str:
        parts = ", ".join(f"{kind} {loss:.3f}" for kind, loss in self.losses.items())
        lost = f"dev loss {self.loss:.3f}" + (f" ({parts})" if parts else "")
        if self.cer is None or self.wer is None:
            return lost
        each = ", ".join(f"{name} {100 * cer:.1f} %" for name, cer in self.by_language.items())
        return f"{lost}, dev CER {100 * self.cer:.1f} %, WER {100 * self.wer:.1f} %" + (
            f" (mean of the languages; CER of {each})" if each else ""
        )


class Development:
    """A fixed sample of dev clips, of each language that has a head of its own.

    Args:
        data: Dev splits, usable clips only.
        seconds: About how much of each; drawn over the whole split, the same at every evaluation.
    """

    def __init__(self, data: Sequence[TrainingSet], seconds: float) -> None:
        self.samples = [_Sample(one, seconds) for one in data]

    def evaluate(self, model: SpeechModel, stage: Stage, bfloat16: bool) -> DevResult:
        """Decode greedily and compute the loss; leaves the model in evaluation mode."""
        found = [sample.evaluate(model, stage, bfloat16) for sample in self.samples]
        if len(found) == 1:
            return found[0]
        names = [str(sample.data.part) for sample in self.samples]
        loss = fmean(r.loss for r in found)
        losses = {kind: fmean(r.losses[kind] for r in found) for kind in found[0].losses}
        if not stage.needs_text:
            return DevResult(loss, losses=losses)
        return DevResult(
            loss,
            fmean(r.cer or 0.0 for r in found),
            fmean(r.wer or 0.0 for r in found),
            fmean(r.empty or 0.0 for r in found),
            sum(r.loops for r in found),
            {name: r.cer or 0.0 for name, r in zip(names, found, strict=True)},
            losses,
        )


class _Sample:
    """Some clips of one dev split."""

    def __init__(self, data: TrainingSet, seconds: float) -> None:
        order = np.random.default_rng(0).permutation(len(data.rows))
        total = np.cumsum(data.durations_s[order])
        rows = order[: int(np.searchsorted(total, seconds)) + 1]
        self.data = replace(data, rows=data.rows[np.sort(rows)], left_out={})
        rng = np.random.default_rng(0)  # not used: nothing is augmented
        self.clips = [
            self.data.item(i, 1.0, AugmentSettings(), rng) for i in range(len(self.data.rows))
        ]
        self.texts = self.data.texts()

    def evaluate(self, model: SpeechModel, stage: Stage, bfloat16: bool) -> DevResult:
        self.data.turn(model).eval()
        device = next(model.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            if not stage.needs_text:
                loss, losses = self._loss(model, stage)
                return DevResult(loss, losses=losses)
            durations = [len(c) / 16_000 for c in self.clips]
            found = recognise(model, self.clips, durations, DecodeOptions())
            loss, losses = self._loss(model, stage)
        ids = [str(i) for i in range(len(self.texts))]
        result = score(
            dict(zip(ids, self.texts, strict=True)),
            {i: r.text for i, r in zip(ids, found, strict=True)},
            normaliser="phones" if self.data.form == "phones" else "headline",
        )
        empty = sum(not r.text for r in found) / len(found)
        loops = sum(r.looped for r in found)
        return DevResult(loss, result.cer, result.wer, empty, loops, losses=losses)

    @torch.inference_mode()
    def _loss(self, model: SpeechModel, stage: Stage) -> tuple[float, dict[str, float]]:
        """Mean over the clips, also of each of several objectives.

        What an objective draws at random is the same at every look.
        """
        settings = PlanSettings(batch_s=60.0)
        loss_of = LossOf(model, stage, data_only=True)
        durations = [np.array([len(c) / 16_000 for c in self.clips], dtype=np.float32)]
        total, count = 0.0, 0
        parts: dict[str, float] = {}
        device = next(model.parameters()).device
        for batch in epoch_plan(durations, bucket_function(model), settings, seed=0, epoch=0):
            rows = batch.rows.tolist()
            clips = [self.clips[i] for i in rows]
            features = self.data.features(model, clips, batch.positions, AugmentSettings(), [])
            features = features.to(device)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(count)
                for objective, loss in loss_of.each(features, [self.texts[i] for i in rows]):
                    value = float(loss) * len(rows)
                    total += objective.weight * value
                    parts[objective.kind] = parts.get(objective.kind, 0.0) + value
            count += len(rows)
        several = parts if len(parts) > 1 else {}
        return total / max(1, count), {k: v / count for k, v in several.items()}
