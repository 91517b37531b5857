"""Guards: what goes wrong in this kind of training, noticed, named and acted on.

Each guard is a small rule over numbers the loop has anyway. An event is a dict with ``guard``,
``update``, ``message`` and ``action``; events are counted in the run's summary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from xlasr.errors import TrainingStopped

Event = dict[str, Any]

NAN_PATIENCE = 3
"""Bad losses in a row before the weights go back to the last checkpoint."""
EXPLODING = 30.0
"""A gradient norm this many times the running one is not applied."""
MAX_ROLLBACKS = 3
LATE = 0.75
"""Share of the budget after which a stage that has learnt nothing at all is stopped. Runs that end
well leave CTC's all-blank plateau at 350 to 480 updates, which is up to 0.4 of the shortest budget
that is measured (docs/RESULTS.md)."""
USELESS = 0.9
"""A dev CER above this says nothing: one letter for everything gives about 0.8."""
PAST_BEST = 1.1
"""After overfitting was seen, a dev CER this many times the best one is no accident ..."""
PAST_BEST_IN_ROW = 4
"""... this many evaluations in a row: training ends, and the best weights are the result."""


@dataclass
class Guards:
    """State of the guards; saved in every checkpoint.

    Args:
        family: ``ctc``, ``seq2seq`` or ``transducer``.
        total: Updates of the stage.
        steered_by: What its best weights are chosen by; where that is ``dev_loss``, what is decoded
            on dev is shown, but says neither that a stage learns nor that it does not.
        clip: Norm that gradients are clipped to; one below it is never called exploding.
        rate_scale: Factor on the learning rate; halved by a rollback.
        spoken: The stage hears speech. Of one that only reads, dev says which weights are best, but
            not whether they learn: it prepares a decoder for the stage that listens.
        ended: Training should end here, with the best weights as its result.
    """

    family: str
    total: int
    steered_by: str = "dev_cer"
    clip: float = 0.0
    rate_scale: float = 1.0
    bad_in_row: int = 0
    rollbacks: int = 0
    norm: float = 0.0
    counted_norms: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    ended: bool = False
    spoken: bool = True

    def state(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return asdict(self)

    def tell(self, guard: str, update: int, message: str, action: str, once: bool = False) -> None:
        """Record an event."""
        if once:
            if guard in self.told:
                return
            self.told.append(guard)
        self.events.append({"guard": guard, "update": update, "message": message, "action": action})

    def step_is_sane(self, update: int, loss: float, norm: float) -> bool:
        """Look at a step before it is applied; False means: skip it.

        Args:
            update: Number of the update.
            loss: Its loss.
            norm: Gradient norm before clipping.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.bad_in_row += 1
            self.tell("not_finite", update, f"loss {loss}, gradient norm {norm}", "step skipped")
            return False
        if self.counted_norms >= 20 and norm > max(self.clip, EXPLODING * self.norm):
            self.bad_in_row += 1
            self.tell(
                "exploding_gradient",
                update,
                f"gradient norm {norm:.3g} is over {EXPLODING:g} times the usual {self.norm:.3g}",
                "step skipped",
            )
            return False
        self.bad_in_row = 0
        self.counted_norms += 1
        decay = min(0.98, 1.0 - 1.0 / self.counted_norms)
        self.norm = decay * self.norm + (1.0 - decay) * norm
        return True

    def wants_rollback(self) -> bool:
        """Whether too many steps in a row were bad."""
        return self.bad_in_row >= NAN_PATIENCE

    def rolled_back(self, update: int, to: int, scale: float) -> None:
        """Note a rollback.

        Raises:
            TrainingStopped: It did not help before.
        """
        self.bad_in_row = 0
        self.rollbacks += 1
        self.rate_scale = scale / 2
        self.tell(
            "rollback",
            update,
            f"{NAN_PATIENCE} bad steps in a row",
            f"back to update {to}, learning rate halved",
        )
        if self.rollbacks > MAX_ROLLBACKS:
            raise TrainingStopped(
                f"{NAN_PATIENCE} bad steps in a row again (loss not finite, or gradient exploding) "
                f"after {MAX_ROLLBACKS} rollbacks that each halved the rate. Look for broken audio "
                "(xlasr prepare lists it), lower optim.lr by 10, or set optim.precision=float32"
            )

    def after_evaluation(
        self,
        update: int,
        *,
        train_loss: float,
        dev_loss: float,
        dev_cer: float | None,
        blank: float | None,
    ) -> None:
        """Look at the curve after an evaluation on dev.

        Args:
            update: Updates done.
            train_loss: Mean since the last evaluation.
            dev_loss: On dev.
            dev_cer: On dev; None where nothing is decoded, and dev loss steers.
            blank: Share of dev clips whose hypothesis is empty; None likewise.

        Raises:
            TrainingStopped: The stage has learnt nothing, and most of its budget is gone.
        """
        row = {"train": train_loss, "dev": dev_loss}
        if dev_cer is not None and blank is not None:
            row |= {"cer": dev_cer, "blank": blank}
        self.history.append(row)
        seen = self.history
        if self.family != "seq2seq" and row.get("blank", 0.0) > 0.95:
            self.tell(
                "all_blank",
                update,
                "nearly every dev clip is decoded as nothing: the all-blank plateau",
                f"waiting until {LATE:.0%} of the updates; many small updates leave it (smaller "
                "batch_s), a warm head helps",
                once=True,
            )
            late = update >= LATE * self.total
            if late and len(seen) >= 3 and all(h["blank"] > 0.95 for h in seen):
                raise TrainingStopped(
                    f"after {update} of {self.total} updates nothing is decoded yet. Halve "
                    "batch_s (more, smaller updates), raise optim.head_lr, or give more updates"
                )
        if len(seen) >= 4 and self.spoken:
            self._look_for_overfitting(update)
            if self._by_cer:  # how low a loss can get, nobody knows
                self._look_for_underfitting(update)

    @property
    def _by_cer(self) -> bool:
        """Whether the last look at dev tells by its CER if the stage learns."""
        return self.steered_by == "dev_cer" and "cer" in self.history[-1]

    def _look_for_overfitting(self, update: int) -> None:
        """Say so; and end a training whose dev CER (or loss) stays well above its best."""
        seen = self.history
        key = "cer" if self._by_cer else "dev"
        best = min(h[key] for h in seen)
        falls = seen[-1]["train"] < _a_tenth_less(seen[-4]["train"])
        rises = all(b["dev"] > a["dev"] for a, b in zip(seen[-4:-1], seen[-3:], strict=True))
        if falls and rises and seen[-1][key] > best:
            self.tell(
                "overfitting",
                update,
                f"training loss falls ({seen[-4]['train']:.2f} to {seen[-1]['train']:.2f}) "
                f"while dev loss rises ({seen[-4]['dev']:.2f} to {seen[-1]['dev']:.2f})",
                "the best dev checkpoint is kept; SpecAugment, fewer epochs or LoRA may help",
                once=True,
            )
        recent = [h[key] for h in seen[-PAST_BEST_IN_ROW:]]
        past = len(recent) == PAST_BEST_IN_ROW and min(recent) > PAST_BEST * best
        if "overfitting" in self.told and past and update < self.total:
            self.ended = True
            had, over = f"loss had been {best:.2f}", f"{PAST_BEST * best:.2f}"
            if key == "cer":
                had, over = f"CER had been {100 * best:.1f} %", f"{100 * PAST_BEST * best:.1f} %"
            self.tell(
                "ended_early",
                update,
                f"overfitting: dev {had} and was over {over} in {PAST_BEST_IN_ROW} evaluations in "
                "a row",
                "training ends here; the best dev checkpoint is the result",
                once=True,
            )

    def _look_for_underfitting(self, update: int) -> None:
        """Say so; and stop a stage whose model is of no use and no better than at its start."""
        first, last = self.history[0], self.history[-1]
        if update < 0.5 * self.total or last["cer"] <= 0.97 * first["cer"]:
            return
        useless = min(h["cer"] for h in self.history) > USELESS
        # a model that had learnt by its first evaluation still lowers its training loss
        if not (useless or last["train"] > _a_tenth_less(first["train"])):
            return
        advice = "train longer, raise optim.lr, or train more of the model"
        self.tell(
            "underfitting",
            update,
            f"dev CER is {100 * last['cer']:.0f} %, no better than at the start "
            f"({100 * first['cer']:.0f} %); the training loss was {first['train']:.2f} and is "
            f"{last['train']:.2f}",
            f"waiting until {LATE:.0%} of the updates" if useless else f"going on; {advice}",
            once=True,
        )
        if useless and LATE * self.total <= update < self.total:
            raise TrainingStopped(
                f"after {update} of {self.total} updates dev CER is {100 * last['cer']:.0f} % and "
                f"was never below {100 * USELESS:.0f} %: nothing of use is learnt. Do recordings "
                f"and transcripts belong together (`xlasr check`)? If so: {advice}"
            )

    @property
    def counts(self) -> dict[str, int]:
        """Events of each guard."""
        found: dict[str, int] = {}
        for event in self.events:
            found[event["guard"]] = found.get(event["guard"], 0) + 1
        return found


def _a_tenth_less(loss: float) -> float:
    """A loss that is better by a tenth of its size; that of min_wer is below zero."""
    return loss - 0.1 * abs(loss)


def keep_usable(
    rows: list[int],
    text_of: Callable[[int], str],
    duration_of: Callable[[int], float],
    reason_against: Callable[[str, float], str | None],
) -> tuple[list[int], dict[str, int]]:
    """Leave out clips that cannot be trained on, and count why.

    Args:
        rows: Candidates.
        text_of: Transcript of a row, in the form that is learnt.
        duration_of: Seconds of a row.
        reason_against: None, or why the clip cannot be used.

    Returns:
        Rows that are left, and a count for each reason.
    """
    kept: list[int] = []
    reasons: dict[str, int] = {}
    for row in rows:
        reason = reason_against(text_of(row), duration_of(row))
        if reason is None:
            kept.append(row)
        else:
            reasons[reason] = reasons.get(reason, 0) + 1
    return kept, reasons
