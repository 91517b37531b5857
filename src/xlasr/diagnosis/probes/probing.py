"""``probe``: what a frozen encoder's layers know, by a small probe and one look at test."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from xlasr.data.corpus import Corpus
from xlasr.data.show import Display
from xlasr.diagnosis.probes.heads import (
    LabelProbe,
    PhoneProbe,
    Probe,
    ProbeSettings,
    score_answers,
    train_probe,
)
from xlasr.diagnosis.probes.states import Ear, Frames, open_encoder
from xlasr.diagnosis.probes.tasks import Clip, Fold, Task, build_task
from xlasr.errors import UsageError
from xlasr.scoring import RateInterval, Score, rate_interval

MOST_CLIPS = 1000
"""Clips of a side at most, unless more are asked for."""


@dataclass(frozen=True)
class Row:
    """Test clips of one language, or all of them.

    Args:
        language: BCP-47 tag; "" is all.
        error: Share of wrong labels, or phone error rate.
        usual: The same for whoever always says the label that is most frequent in training; None
            where a sequence is written.
        n_clips: Test clips.
        n_classes: Labels to choose from, or phones; the most that any clip has.
    """

    language: str
    error: RateInterval
    usual: float | None
    n_clips: int
    n_classes: int


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found.

    Args:
        task: Its name.
        base: What was probed, as it was named.
        sha256: Of its weights.
        random: Whether weights of that shape were drawn anew.
        corpora: Their folders.
        task_sha256: Of clips, labels and sides; results of one hash were asked the same.
        condition: Channel that the clips went through.
        context: Of a Whisper encoder, as it was used.
        rows: All test clips, then each language's where there are several.
        layers: Weight of each layer, the mean of the folds; the first is what the layers are given.
        chosen: Update that dev chose, for each fold.
        n_train: Training clips of each fold.
        n_dev: Dev clips of each fold.
        settings: How the probes were trained.
        cpu_s: Process CPU-seconds, encoding included.
        notes: What was left out, and how to read it.
    """

    task: str
    base: str
    sha256: str
    random: bool
    corpora: list[str]
    task_sha256: str
    condition: str | None
    context: dict[str, Any] | None
    rows: list[Row]
    layers: list[float]
    chosen: list[int]
    n_train: list[int]
    n_dev: list[int]
    settings: ProbeSettings
    cpu_s: float
    notes: list[str] = field(default_factory=list)

    @property
    def error(self) -> RateInterval:
        """Of all test clips."""
        return self.rows[0].error

    @property
    def measure(self) -> str:
        """What the error is."""
        return "phone error rate" if self.rows[0].usual is None else "error rate"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; what is not finite is null."""
        rows = [asdict(row) | {"error": row.error.to_dict()} for row in self.rows]
        return asdict(self) | {"measure": self.measure, "rows": rows}


def probe(
    base: str | Path,
    corpora: Sequence[str | Path],
    task: str,
    *,
    random: bool = False,
    whole: bool = False,
    clips: int = MOST_CLIPS,
    settings: ProbeSettings | None = None,
    progress: bool = False,
) -> ProbeResult:
    """Train a small probe on a frozen encoder's layers, and score it once on test.

    Args:
        base: A base, or the folder of a finished run: its encoder is what is probed.
        corpora: Corpus folders.
        task: ``keywords``, ``intents``, ``phones`` or ``speakers``; what each measures and does not
            stands in ``tasks.py``.
        random: Draw weights of that shape anew: what the shape alone can do.
        whole: Give a Whisper base its own 30 s and not the short context of the recipes.
        clips: Clips of a side at most.
        settings: How the probe is trained.
        progress: Show a bar on standard error.

    Raises:
        UnknownName: No such task or base.
        UsageError: Numbers below 1, a corpus twice, more states than there is room for.
        DataError: The task cannot honestly be made of these corpora.
        BaseError: The encoder cannot be opened, or hears no sense.

    Source: SUPERB, Yang et al. 2021 (arXiv 2105.01051).
    """
    how = settings or ProbeSettings()
    if clips < 1 or how.updates < 1 or how.batch < 1 or not how.lr > 0:
        raise UsageError(
            f"a probe needs clips, updates and a batch of 1 or more and a learning rate above 0; "
            f"given {clips}, {how.updates}, {how.batch}, {how.lr:g}"
        )
    begun = time.process_time()
    opened = [Corpus.open(path) for path in corpora]
    asked = build_task(task, opened, clips)
    encoder, found = open_encoder(str(base), random=random, seed=how.seed, whole=whole)
    heard, notes = asked.clips, list(asked.notes)
    with (
        torch.random.fork_rng(devices=[]),
        Display(quiet=not progress).bar("listening", len(heard)) as advance,
    ):
        torch.manual_seed(how.seed)
        ear = Ear(encoder, asked.condition, advance)
        if ear.measure([clip for fold in asked.folds for clip in fold.train]):
            notes.append("the encoder had not heard speech: mean and spread of its frames are new")
        trained = _written(ear, asked, how, notes) if asked.writes else _chosen(ear, asked, how)
    layers = torch.stack([one.layers for one in trained]).mean(0)
    if len(layers) == 1:
        notes.append("only the encoder's last states: its layers have another length or width")
    return ProbeResult(
        task=asked.name,
        base=found.name,
        sha256=found.sha256,
        random=random or found.is_random,
        corpora=[str(corpus.path) for corpus in opened],
        task_sha256=asked.sha256,
        condition=asked.condition,
        context=None if encoder.context is None else asdict(encoder.context),
        rows=_rows(asked, trained),
        layers=[round(float(weight), 4) for weight in layers],
        chosen=[one.update for one in trained],
        n_train=[len(fold.train) for fold in asked.folds],
        n_dev=[len(fold.dev) for fold in asked.folds],
        settings=how,
        cpu_s=round(time.process_time() - begun, 1),
        notes=notes,
    )


@dataclass(frozen=True)
class _Trained:
    """One fold's probe, and what it said of its test clips."""

    answers: dict[str, str]
    layers: torch.Tensor
    update: int
    n_classes: dict[str, int]  # by language


def _chosen(ear: Ear, task: Task, settings: ProbeSettings) -> list[_Trained]:
    means, found = ear.means(task.clips), []
    for fold in task.folds:
        one = LabelProbe(means, fold.train, task.within_language)
        update = train_probe(one, fold.train, fold.dev, settings)
        classes = {name: int((~shut).sum()) for name, shut in one.shut.items()}
        found.append(_tested(one, fold, update, classes))
    return found


def _written(
    ear: Ear, task: Task, settings: ProbeSettings, notes: list[str]
) -> list[_Trained]:  # fmt: skip
    found = []
    with Frames(ear, task.clips) as frames:
        for fold in task.folds:
            one = PhoneProbe(frames, fold.train, ear.encoder)
            train = [clip for clip in fold.train if one.fits(clip)]
            if lost := len(fold.train) - len(train):
                notes.append(f"left out of train: {lost} clips with fewer positions than phones")
            update = train_probe(one, train, fold.dev, settings)
            size = len(one.ctc.tokenizer.symbols)
            found.append(_tested(one, fold, update, {c.language: size for c in fold.test}))
    return found


@torch.inference_mode()
def _tested(one: Probe, fold: Fold, update: int, classes: dict[str, int]) -> _Trained:
    return _Trained(one.answers(fold.test), one.layers.weights.clone(), update, classes)


def _rows(task: Task, trained: Sequence[_Trained]) -> list[Row]:
    tested = [clip for fold in task.folds for clip in fold.test]
    scored = score_answers(tested, {k: v for one in trained for k, v in one.answers.items()})
    usual: Score | None = None
    if not task.writes:
        guesses = [_most_frequent(fold, task.within_language) for fold in task.folds]
        usual = score_answers(tested, {k: v for guess in guesses for k, v in guess.items()})
    languages = sorted({clip.language for clip in tested})
    rows = []
    for language in ("", *(languages if len(languages) > 1 else ())):
        own = [clip for clip in tested if language in ("", clip.language)]
        ids = {clip.key for clip in own}
        voices = {clip.voice for clip in own if clip.utterance.speaker}
        rows.append(
            Row(
                language,
                rate_interval(scored.subset(ids), "wer", speakers=len(voices)),
                None if usual is None else usual.subset(ids).wer,
                len(own),
                max(n for one in trained for k, n in one.n_classes.items() if language in ("", k)),
            )
        )
    return rows


def _most_frequent(fold: Fold, within_language: bool) -> dict[str, str]:
    """What whoever does not listen says of each test clip: the most frequent training label."""

    def field_of(clip: Clip) -> str:
        return clip.language if within_language else ""

    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in fold.train:
        counts[field_of(clip)][clip.label] += 1
    return {clip.key: counts[field_of(clip)].most_common(1)[0][0] for clip in fold.test}
