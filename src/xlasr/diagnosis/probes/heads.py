"""Probes: a softmax-weighted sum over frozen layers and one linear layer, and how they are trained.

As in SUPERB (arXiv 2105.01051, section 3), with two differences. Each layer is standardised, number
by number, by its mean and spread over the training clips: the layers of a transformer differ in
size by a hundred times, and without that the largest would speak for all. And there is one learning
rate, with linear decay, where SUPERB searches one for each encoder.
"""

from __future__ import annotations

import copy
import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xlasr.data.batches import Floats, Ints, PlanSettings, epoch_plan
from xlasr.decoding.ctc import greedy
from xlasr.diagnosis.probes.states import Frames
from xlasr.diagnosis.probes.tasks import Clip
from xlasr.errors import DataError, TrainingStopped
from xlasr.models.ctc import CTCModel
from xlasr.models.streaming import SpeechEncoder
from xlasr.models.tokenizer import CharTokenizer
from xlasr.objectives.ctc import ctc_losses, min_frames
from xlasr.scoring import Score, score

LOOKS = 20
"""Looks at dev while a probe is trained."""


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is trained: AdamW, linear decay, a fixed number of updates.

    Args:
        updates: Of the weights.
        batch: Clips in each, at most.
        batch_s: Seconds of padded audio in each, at most, where every position counts (phones).
        lr: Learning rate at the beginning.
        weight_decay: Of AdamW.
        seed: Of the order of clips and of the new weights.
    """

    updates: int = 1000
    batch: int = 16
    batch_s: float = 32.0
    lr: float = 5e-3
    weight_decay: float = 0.01
    seed: int = 0


class LayerSum(nn.Module):
    """Standardised layers, weighted by a softmax and added: (..., L, D) -> (..., D).

    Args:
        mean: (L, D) of the training clips.
        std: (L, D) likewise.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(len(mean)))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std.clamp(min=1e-5))
        self.mean: Tensor
        self.std: Tensor

    @property
    def weights(self) -> Tensor:
        """(L,), 1 in all."""
        return torch.softmax(self.logits, 0)

    def forward(self, states: Tensor) -> Tensor:
        """Add up the layers."""
        scale = self.weights[:, None] / self.std
        # no einsum: it would be a thousand small matrix products
        return (states * scale).sum(-2) - (self.mean * scale).sum(0)


class Probe(nn.Module):
    """What both kinds share. ``layers`` and the linear layer are what is trained."""

    layers: LayerSum

    @property
    @abstractmethod
    def linear(self) -> nn.Linear:
        """What stands behind the layers' sum."""

    @abstractmethod
    def bucket(self, durations_s: Floats) -> Ints:
        """What each clip costs in a batch, in positions; clips of one bucket share batches."""

    @abstractmethod
    def loss(self, clips: Sequence[Clip]) -> Tensor:
        """Mean loss of a batch."""

    @abstractmethod
    def answers(self, clips: Sequence[Clip]) -> dict[str, str]:
        """What the probe says of each clip, by key."""

    def errors(self, clips: Sequence[Clip]) -> float:
        """Share of wrong labels, or phone error rate."""
        return score_answers(clips, self.answers(clips)).wer


def score_answers(clips: Sequence[Clip], answers: Mapping[str, str]) -> Score:
    """Errors by clip and group; a label is one word, so its WER is the share of wrong ones."""
    references = {clip.key: clip.label for clip in clips}
    groups = {clip.key: clip.utterance.group for clip in clips}
    return score(references, answers, groups, "phones")


class LabelProbe(Probe):
    """Mean over time, then a linear layer: one of the labels.

    Args:
        means: (L, D) of every clip, by key.
        train: Clips whose labels there are.
        within_language: Whether only labels of the clip's own language compete.
    """

    def __init__(
        self, means: Mapping[str, Tensor], train: Sequence[Clip], within_language: bool
    ) -> None:
        super().__init__()
        self.means = means
        heard = torch.stack([means[clip.key] for clip in train])
        self.layers = LayerSum(heard.mean(0), heard.std(0, correction=0))
        self.labels = sorted({clip.label for clip in train})
        self._ids = {label: i for i, label in enumerate(self.labels)}
        self.head = nn.Linear(heard.shape[2], len(self.labels))
        self.shut: dict[str, Tensor] = {}
        """By language: labels that do not compete."""
        for language in {clip.language for clip in train}:
            own = {c.label for c in train if c.language == language or not within_language}
            self.shut[language] = torch.tensor([label not in own for label in self.labels])

    @property
    def linear(self) -> nn.Linear:
        """What stands behind the layers' sum."""
        return self.head

    def bucket(self, durations_s: Floats) -> Ints:
        """Means are all of one length."""
        return np.ones(len(durations_s), np.int64)

    def logits(self, clips: Sequence[Clip]) -> Tensor:
        """(B, labels)."""
        said: Tensor = self.head(self.layers(torch.stack([self.means[c.key] for c in clips])))
        none = torch.zeros(len(self.labels), dtype=torch.bool)
        shut = torch.stack([self.shut.get(clip.language, none) for clip in clips])
        return said.masked_fill(shut, -math.inf)

    def loss(self, clips: Sequence[Clip]) -> Tensor:
        """Cross-entropy."""
        wanted = torch.tensor([self._ids[clip.label] for clip in clips])
        return nn.functional.cross_entropy(self.logits(clips), wanted)

    def answers(self, clips: Sequence[Clip]) -> dict[str, str]:
        """The most likely label."""
        best = self.logits(clips).argmax(1).tolist()
        return {clip.key: self.labels[i] for clip, i in zip(clips, best, strict=True)}


class PhoneProbe(Probe):
    """A linear layer on every position, and CTC.

    Args:
        frames: States of every clip.
        train: Clips whose phones are the alphabet.
        encoder: Whose positions they are; it is not run.

    Raises:
        DataError: There are fewer than two phones, or no clip has positions enough for them.
    """

    def __init__(self, frames: Frames, train: Sequence[Clip], encoder: SpeechEncoder) -> None:
        super().__init__()
        self.frames = frames
        alphabet = CharTokenizer.from_texts((clip.label for clip in train), spaced=True)
        if len(alphabet.symbols) < 2:
            raise DataError(f"phones need two of them; in training stands {alphabet.symbols}")
        total, square, n = torch.zeros(()), torch.zeros(()), 0
        for clip in train:
            states = frames.of(clip).double()
            total, square, n = total + states.sum(0), square + (states**2).sum(0), n + len(states)
        mean = total / n
        std = (square / n - mean**2).clamp(min=0).sqrt()
        self.layers = LayerSum(mean.float(), std.float())
        self.ctc = CTCModel(encoder, alphabet, {}, dropout=0.0)

    @property
    def linear(self) -> nn.Linear:
        """What stands behind the layers' sum."""
        return self.ctc.head

    def bucket(self, durations_s: Floats) -> Ints:
        """Seconds, upward in steps of a quarter: padding costs as much as speech does."""
        steps = np.ceil(np.log(np.maximum(durations_s, 0.5)) / np.log(1.25))
        positions: Ints = np.ceil(1.25**steps * PlanSettings.positions_per_s).astype(np.int64)
        return positions

    def fits(self, clip: Clip) -> bool:
        """Whether CTC can write its phones at all."""
        return min_frames(self.ctc.tokenizer.encode(clip.label)) <= self.frames.n_positions(clip)

    def _states(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
        added = [self.layers(self.frames.of(clip)) for clip in clips]
        samples = torch.tensor([self.frames.n_samples(clip) for clip in clips])
        return nn.utils.rnn.pad_sequence(added, batch_first=True), samples

    def loss(self, clips: Sequence[Clip]) -> Tensor:
        """CTC, for each phone."""
        states, samples = self._states(clips)
        ids = [self.ctc.tokenizer.encode(clip.label) for clip in clips]
        return ctc_losses(self.ctc, states, samples, ids).sum() / sum(map(len, ids))

    def answers(self, clips: Sequence[Clip]) -> dict[str, str]:
        """Phones of the best path, one clip at a time."""
        found = {}
        for clip in clips:
            states, samples = self._states([clip])
            (ids,) = greedy(self.ctc.log_probs(states), self.ctc.out_lens(samples))
            found[clip.key] = self.ctc.tokenizer.decode(ids)
        return found


def train_probe(
    probe: Probe, train: Sequence[Clip], dev: Sequence[Clip], settings: ProbeSettings
) -> int:
    """Train a probe, and leave it as it was where it made the fewest errors on dev.

    Args:
        probe: Changed in place.
        train: Clips to learn from.
        dev: Clips to choose the update by; the earlier one where two are equal.
        settings: How.

    Returns:
        The update that was chosen.

    Raises:
        TrainingStopped: The loss is not finite.
    """
    parts = nn.ModuleList([probe.layers, probe.linear])
    optimizer = torch.optim.AdamW(
        parts.parameters(), settings.lr, weight_decay=settings.weight_decay
    )
    every = max(1, settings.updates // LOOKS)
    best, chosen, kept = math.inf, 0, copy.deepcopy(parts.state_dict())
    for update, clips in enumerate(_batches(probe, train, settings), 1):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * (1 - (update - 1) / settings.updates)
        loss = probe.loss(clips)
        if not bool(torch.isfinite(loss)):
            raise TrainingStopped(f"the probe's loss is {loss.item()} at update {update}")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if update % every == 0 or update == settings.updates:
            with torch.inference_mode():
                errors = probe.errors(dev)
            if errors < best:
                best, chosen, kept = errors, update, copy.deepcopy(parts.state_dict())
    parts.load_state_dict(kept)
    return chosen


def _batches(
    probe: Probe, train: Sequence[Clip], settings: ProbeSettings
) -> Iterator[list[Clip]]:  # fmt: skip
    """As many batches as there are updates, epoch after epoch."""
    durations = np.array([clip.utterance.duration_s for clip in train], np.float32)
    plan = PlanSettings(settings.batch_s, settings.batch)
    epochs = (
        epoch_plan([durations], probe.bucket, plan, seed=settings.seed, epoch=epoch)
        for epoch in itertools.count()
    )
    batches = itertools.chain.from_iterable(epochs)
    for batch in itertools.islice(batches, settings.updates):
        yield [train[i] for i in batch.rows]
