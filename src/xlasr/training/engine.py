"""The training loop. One, for every method.

What differs between methods is data: which parameters have ``requires_grad``, which objectives,
which batches. Everything that happens at an update is a pure function of (seed, update), so a
resumed run goes on as if it had never been killed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlasr.adaptation.trainable import Trainable
from xlasr.config import Stage
from xlasr.data.batches import Batch, PlanSettings, epoch_plan
from xlasr.errors import CheckpointError, Interrupted, TrainingStopped
from xlasr.models.run import SpeechModel
from xlasr.training.checkpoint import (
    load_optimizer,
    mean_of_snapshots,
    newest,
    optimizer_tensors,
    read_checkpoint,
    save_last,
    save_snapshot,
    write_checkpoint,
)
from xlasr.training.development import Development, DevResult
from xlasr.training.frozen import FrozenCache
from xlasr.training.guards import Guards
from xlasr.training.loss import LossOf
from xlasr.training.machine import StopRequest, give_memory_back, use_bfloat16
from xlasr.training.metrics import Metrics, Progress
from xlasr.training.optim import make_optimizer, rate, set_rates
from xlasr.training.sets import TrainingSet, bucket_function, load_batch

LOG_EVERY = 10


@dataclass
class LoopState:
    """Where the loop is; everything else follows from it and the seed."""

    update: int = 0
    epoch: int = 0
    batch: int = 0
    audio_s: float = 0.0
    best: float = float("inf")  # the smallest dev CER or dev loss (Stage.steered_by)
    best_update: int = -1
    since_best: int = 0
    losses: list[float] = field(default_factory=list)
    eval_losses: list[float] = field(default_factory=list)
    snapshots: list[int] = field(default_factory=list)


class Trainer:
    """Runs one training stage.

    Args:
        model: Prepared: vocabulary and trainable part are set.
        trainable: What is trained.
        stage: The recipe's stage.
        sets: Training data, main corpus first.
        dev: Development data.
        folder: Of the stage in the run.
        seed: Of the run.
        full_share: Share of batches at long context (recipe.context.full_share).
        progress: Shows the bar; None is silent.
    """

    def __init__(
        self,
        model: SpeechModel,
        trainable: Trainable,
        stage: Stage,
        sets: list[TrainingSet],
        dev: Development,
        folder: Path,
        *,
        seed: int,
        full_share: float,
        metrics: Metrics,
        progress: Progress,
        cache: FrozenCache | None = None,
    ) -> None:
        from accelerate import Accelerator

        self.accelerator = Accelerator()
        self.model, self.trainable, self.stage = model, trainable, stage
        self.sets, self.dev, self.folder, self.seed = sets, dev, folder, seed
        self.metrics, self.progress, self.cache = metrics, progress, cache
        optimizer = make_optimizer(model, trainable, stage.optim)
        self.loss_of, self.optimizer = self.accelerator.prepare(LossOf(model, stage), optimizer)
        self.bfloat16 = use_bfloat16(stage.optim.precision, self.accelerator.device)
        limit = model.encoder.max_positions or 3000
        self.plan_settings = PlanSettings(
            batch_s=stage.batch_s,
            batch_clips=stage.batch_clips,
            speeds=tuple(stage.augment.speed),
            full_share=full_share if model.encoder.context is not None else 0.0,
            limit_s=limit / 50,
            weights=tuple(c.weight for c in stage.data),
        )
        self.buckets = bucket_function(model)
        self.state = LoopState()
        self.plan: list[Batch] = self._plan(0)
        epochs = stage.stop.epochs
        self.total = stage.stop.updates or max(1, round((epochs or 1) * len(self.plan)))
        spoken = any(data.spoken for data in stage.data)
        self.steered_by = stage.steered_by
        self.guards = Guards(
            model.family, self.total, self.steered_by, clip=stage.optim.clip, spoken=spoken
        )
        self.shown = 0  # events the user has seen

    def _plan(self, epoch: int) -> list[Batch]:
        durations = [s.durations_s for s in self.sets]
        plan = epoch_plan(durations, self.buckets, self.plan_settings, seed=self.seed, epoch=epoch)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        usable = len(plan) - len(plan) % world
        return plan[rank:usable:world] if world > 1 else plan

    def _batch_loss(self, batch: Batch) -> tuple[Tensor, float]:
        augment, epoch = self.stage.augment, self.state.epoch
        items, texts, rngs = load_batch(self.sets, batch, augment, self.seed, epoch)
        encoder, data = self.model.encoder, self.sets[batch.corpus]
        features = data.features(self.model, items, batch.positions, augment, rngs)
        features = features.to(self.accelerator.device)
        states, layer = None, 0
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.bfloat16):
            if self.cache is not None:
                layer = self.cache.layer
                # by row of the split: what is usable differs between recipes
                rows = data.rows[batch.rows].tolist()
                names = [f"{batch.corpus}-{row}" for row in rows]
                usual = encoder.context is None or batch.positions % encoder.context.multiple == 0
                keep = usual or batch.positions == encoder.max_positions
                with torch.no_grad():
                    self.model.eval()
                    states = self.cache.states(self.model, features, names, keep=keep)
                    self.model.train()
            loss = self.loss_of(features, texts, states, layer, self.state.update)
        return loss, data.heard_s(items)

    def _update(self, batch: Batch) -> None:
        state, settings = self.state, self.stage.optim
        torch.manual_seed((self.seed * 1_000_003 + state.update) % (1 << 63))
        head_only = state.update < self.stage.train.unfreeze_at * self.total
        factor = rate(state.update, self.total, settings) * self.guards.rate_scale
        lr = set_rates(self.optimizer, factor, head_only=head_only)
        self.optimizer.zero_grad(set_to_none=True)
        loss, seconds = self._batch_loss(batch)
        self.accelerator.backward(loss)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        norm = float(nn.utils.clip_grad_norm_(parameters, settings.clip))
        value = float(loss.detach())
        if self.guards.step_is_sane(state.update, value, norm):
            self.optimizer.step()
            state.losses.append(value)
            state.eval_losses.append(value)
        state.update += 1
        state.batch += 1
        state.audio_s += seconds
        self.progress.step(seconds, value)
        give_memory_back()
        if state.update % LOG_EVERY == 0:
            self.metrics.write(
                stage=self.stage.name,
                update=state.update,
                epoch=state.epoch,
                audio_s=round(state.audio_s, 2),
                loss=_mean(state.losses),
                lr=lr,
                grad_norm=norm,
            )
            state.losses = []

    def run(self, on_evaluation: Callable[[DevResult], None] | None = None) -> dict[str, Any]:
        """Train to the end of the budget; returns the stage's summary.

        Raises:
            Interrupted: Ctrl-C; the state is saved.
            TrainingStopped: A guard gave up.
        """
        self._resume()
        self.model.train()
        self.progress.start(self.stage.name, self.total, self.state.update)
        with StopRequest(self.progress.note) as stop:
            while self.state.update < self.total and not self._out_of_patience():
                state = self.state  # a rollback puts another one there
                if state.batch >= len(self.plan):
                    state.epoch, state.batch = state.epoch + 1, 0
                    self.plan = self._plan(state.epoch)
                self._update(self.plan[state.batch])
                if self.guards.wants_rollback():
                    self._roll_back()
                elif state.update % self.stage.evaluate.every == 0 or state.update == self.total:
                    self._evaluate(on_evaluation)
                    if not self.guards.bad_in_row:  # what a rollback goes back to must be sane
                        self._save()
                self._show_events()
                if stop.asked:
                    self._save()
                    raise Interrupted(
                        f"stopped; {self.stage.name} is saved at update {self.state.update}. "
                        f"Go on with: xlasr adapt --resume {self.folder.parents[1]}"
                    )
        if self.state.best_update < 0:
            raise TrainingStopped(
                f"no evaluation gave a finite {self.steered_by}; see the events above"
            )
        return self._summary()

    def _out_of_patience(self) -> bool:
        patience = self.stage.stop.patience or float("inf")
        return self.guards.ended or self.state.since_best >= patience

    def _evaluate(self, on_evaluation: Callable[[DevResult], None] | None) -> None:
        state = self.state
        result = self.dev.evaluate(self.model, self.stage, self.bfloat16)
        self.model.train()
        train_loss = _mean(state.eval_losses)
        state.eval_losses = []
        self.metrics.write(
            stage=self.stage.name,
            update=state.update,
            epoch=state.epoch,
            audio_s=round(state.audio_s, 2),
            train_loss=train_loss,
            **result.row(),
        )
        self.progress.evaluated(state.update, train_loss, result)
        if on_evaluation:
            on_evaluation(result)
        if result.loops:
            self.guards.tell(
                "repetition_loop",
                state.update,
                f"{result.loops} dev hypotheses repeated themselves",
                "the loop guard cut them",
            )
        found = result.steering(self.steered_by)
        if found < state.best:
            state.best, state.best_update, state.since_best = found, state.update, 0
            write_checkpoint(
                self.folder / "best",
                {"model": self._weights()},
                {"update": state.update, self.steered_by: state.best},
            )
        else:
            state.since_best += 1
        if self.stage.optim.average > 1:
            state.snapshots = save_snapshot(
                self.folder,
                state.update,
                self._weights(),
                state.snapshots,
                width=self.stage.optim.average,
                every=self.stage.evaluate.every,
            )
        self.guards.after_evaluation(
            state.update,
            train_loss=train_loss,
            dev_loss=result.loss,
            dev_cer=result.cer,
            blank=result.empty,
        )

    def _weights(self) -> dict[str, Tensor]:
        state = self.model.state_dict()
        return {name: state[name] for name in self.trainable.names}

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        save_last(
            self.folder,
            self.state.update,
            {"model": self._weights(), "optimizer": optimizer_tensors(self.optimizer)},
            {"loop": vars(self.state), "guards": self.guards.state()},
        )

    def _resume(self) -> None:
        if self._go_back():
            self.progress.note(f"{self.stage.name}: resumed at update {self.state.update}")
        self.metrics.forget_after(self.stage.name, self.state.update)

    def _go_back(self) -> bool:
        """Restore the newest whole checkpoint, if there is one."""
        found, damaged = newest(self.folder)
        if found is None:
            return False
        self.load_weights(found.tensors["model"])
        load_optimizer(self.optimizer, found.tensors["optimizer"])
        try:
            self.state = LoopState(**found.state["loop"])
            self.guards = Guards(**found.state["guards"])
        except TypeError as error:
            raise CheckpointError(
                f"{found.folder} was written by another version of xlasr ({error}); go on with "
                "that version, or start a new run"
            ) from error
        self.plan = self._plan(self.state.epoch)
        self.shown = len(self.guards.events)
        for line in damaged:
            self.guards.tell("damaged_checkpoint", self.state.update, line, "removed")
        return True

    def _roll_back(self) -> None:
        update, before = self.state.update, self.guards
        if not self._go_back():
            raise TrainingStopped(
                "the loss was not finite before the first checkpoint. Lower optim.lr by 10, set "
                "optim.precision=float32, or look for broken audio (xlasr prepare lists it)"
            )
        new = [event for event in self.guards.events if event not in before.events]
        self.guards.events, self.guards.rollbacks = before.events + new, before.rollbacks
        self.guards.rolled_back(update, self.state.update, before.rate_scale)
        self.metrics.forget_after(self.stage.name, self.state.update)
        self._save()

    def _show_events(self) -> None:
        for event in self.guards.events[self.shown :]:
            self.progress.note(f"{event['guard']}: {event['message']}; {event['action']}")
        self.shown = len(self.guards.events)

    def load_weights(self, tensors: dict[str, Tensor]) -> None:
        """Put trained weights into the model.

        Raises:
            CheckpointError: They are not of this stage's trainable part.
        """
        wanted = set(self.trainable.names)
        if set(tensors) != wanted:
            raise CheckpointError(
                f"the checkpoint holds other parameters than this recipe trains, for example "
                f"{sorted(set(tensors) ^ wanted)[:3]}"
            )
        self.model.load_state_dict(tensors, strict=False)

    def load_result(self) -> str:
        """Load the stage's result: the better on dev of `best` and the average.

        Returns:
            ``best`` or ``average``.
        """
        snapshots = self.state.snapshots
        if len(snapshots) > 1:
            try:
                self.load_weights(mean_of_snapshots(self.folder, snapshots))
            except CheckpointError as error:
                self.guards.tell(
                    "damaged_checkpoint", self.state.update, str(error), "no average is made"
                )
                self._show_events()
                snapshots = []
        if len(snapshots) > 1:
            result = self.dev.evaluate(self.model, self.stage, self.bfloat16)
            averaged = result.steering(self.steered_by)
            self.metrics.write(
                stage=self.stage.name,
                update=self.state.update,
                average_of=len(snapshots),
                **{f"average_{self.steered_by}": averaged},
            )
            if averaged <= self.state.best:
                self.state.best = averaged
                return "average"
        self.load_weights(read_checkpoint(self.folder / "best").tensors["model"])
        return "best"

    def _summary(self) -> dict[str, Any]:
        return {
            "stage": self.stage.name,
            "updates": self.state.update,
            "audio_s": round(self.state.audio_s, 1),
            "best_update": self.state.best_update,
            self.steered_by: self.state.best,
            "guards": self.guards.counts,
            "events": self.guards.events,
            "left_out": [s.left_out for s in self.sets],
            "bfloat16": self.bfloat16,
            "frozen_cache": None
            if self.cache is None
            else {"layer": self.cache.layer, "bytes": self.cache.bytes},
        }


def _mean(losses: list[float]) -> float:
    """Mean; not a number where every step was skipped."""
    return sum(losses) / len(losses) if losses else float("nan")
