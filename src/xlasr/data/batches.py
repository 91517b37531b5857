"""The epoch plan: which clips form which batch, as a pure function of (seed, epoch).

No state, no shuffling in place: a resumed run asks for the plan of its epoch and goes on at its
batch, in O(1) of what was trained before. Everything is NumPy over an index of durations, so a
million utterances take megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """Clips that are trained together.

    Args:
        corpus: Which corpus of the mix.
        rows: Indices of clips in that corpus' split.
        speeds: Speed factor of each clip.
        positions: Encoder positions all clips are padded to; 0 leaves it to the model.
    """

    corpus: int
    rows: Ints
    speeds: Floats
    positions: int


@dataclass(frozen=True)
class PlanSettings:
    """What the plan depends on besides durations.

    Args:
        batch_s: Seconds of padded audio in a batch.
        batch_clips: No batch has more clips than this; None sets no such limit.
        speeds: Speed factors to draw from.
        full_share: Share of batches whose context is drawn between need and ``limit_s``.
        limit_s: The longest context in seconds (30 for Whisper).
        positions_per_s: Encoder positions a second.
        weights: Of the corpora of the mix.
    """

    batch_s: float
    batch_clips: int | None = None
    speeds: tuple[float, ...] = (1.0,)
    full_share: float = 0.0
    limit_s: float = 30.0
    positions_per_s: float = 50.0
    weights: tuple[float, ...] = (1.0,)


def epoch_plan(
    durations_s: Sequence[NDArray[np.float32]],
    bucket_of: Callable[[Floats], Ints],
    settings: PlanSettings,
    *,
    seed: int,
    epoch: int,
) -> list[Batch]:
    """Plan one epoch: every clip of the first corpus once, the others by weight.

    Args:
        durations_s: Of the clips of each corpus.
        bucket_of: Encoder positions (vectorised) for durations in seconds; clips of one bucket
            may share a batch.
        settings: See there.
        seed: Of the run.
        epoch: From 0.

    Returns:
        Batches in training order.
    """
    rng = np.random.default_rng([seed, epoch, 0xBA7C4])
    batches: list[Batch] = []
    main_s = float(durations_s[0].sum(dtype=np.float64))
    for corpus, durations in enumerate(durations_s):
        share = settings.weights[corpus] / settings.weights[0]
        rows = _rows(durations, main_s * share if corpus else None, rng)
        speeds = rng.choice(np.asarray(settings.speeds), size=len(rows))
        buckets = bucket_of(durations[rows] / speeds)
        batches += _batches(corpus, rows, speeds, buckets, settings, rng)
    order = rng.permutation(len(batches))
    return [batches[i] for i in order]


def _rows(durations: NDArray[np.float32], wanted_s: float | None, rng: np.random.Generator) -> Ints:
    """A permutation of all clips, or as many passes over them as ``wanted_s`` takes."""
    if wanted_s is None:
        return rng.permutation(len(durations))
    passes = []
    left = wanted_s
    while left > 0:
        rows = rng.permutation(len(durations))
        passed = np.cumsum(durations[rows], dtype=np.float64)  # float32 loses small clips
        passes.append(rows[: int(np.searchsorted(passed, left)) + 1])
        left -= float(passed[-1])
    return np.concatenate(passes)


def _batches(
    corpus: int,
    rows: Ints,
    speeds: Floats,
    buckets: Ints,
    settings: PlanSettings,
    rng: np.random.Generator,
) -> list[Batch]:
    limit = int(settings.limit_s * settings.positions_per_s)
    budget = settings.batch_s * settings.positions_per_s
    order = np.argsort(buckets, kind="stable")  # rows are shuffled, so a bucket's clips are too
    found = []
    edges = np.flatnonzero(np.diff(buckets[order])) + 1
    for group in np.split(order, edges):
        if not len(group):
            continue
        positions = int(buckets[group[0]])
        at = 0
        while at < len(group):
            wanted = positions
            if positions < limit and rng.random() < settings.full_share:
                # half of these at the full length: it is the context other runtimes use
                wanted = limit if rng.random() < 0.5 else int(rng.integers(positions, limit + 1))
            size = max(1, int(budget // wanted))
            size = min(size, settings.batch_clips or size)
            part = group[at : at + size]
            at += size
            found.append(Batch(corpus, rows[part], speeds[part], wanted))
    return found


def clip_rng(seed: int, epoch: int, corpus: int, row: int) -> np.random.Generator:
    """Generator of one clip's augmentation in one epoch."""
    return np.random.default_rng([seed, epoch, corpus, row])


def take_minutes(durations_s: NDArray[np.float32], groups: Sequence[str], minutes: float) -> Ints:
    """Rows of group after group, in hash order, until ``minutes`` are reached.

    The order is the same for every amount, so five minutes are a part of ten; the last group may
    be taken in part, and the last clip may go over.
    """
    import hashlib

    by_group: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        by_group.setdefault(group, []).append(row)
    taken: list[int] = []
    total = 0.0
    for group in sorted(by_group, key=lambda g: hashlib.sha256(g.encode()).hexdigest()):
        for row in by_group[group]:
            if total >= minutes * 60:
                return np.asarray(sorted(taken), dtype=np.int64)
            taken.append(row)
            total += float(durations_s[row])
    return np.asarray(sorted(taken), dtype=np.int64)
