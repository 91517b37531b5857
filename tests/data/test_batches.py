"""The epoch plan: complete, reproducible, within its budget, and flat in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xlasr.data.batches import Batch, PlanSettings, clip_rng, epoch_plan, take_minutes

Durations = NDArray[np.float32]


def bucket_of(durations_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whisper's context: speech + 64 positions, rounded up to 32, at most 1500."""
    speech = np.ceil(durations_s * 50).astype(np.int64) + 64
    return np.minimum(1500, -(-speech // 32) * 32)


def durations(n: int, seed: int = 0) -> Durations:
    return np.random.default_rng(seed).uniform(0.5, 29.0, n).astype(np.float32)


def same(a: Sequence[Batch], b: Sequence[Batch]) -> bool:
    return len(a) == len(b) and all(
        x.corpus == y.corpus
        and x.positions == y.positions
        and np.array_equal(x.rows, y.rows)
        and np.array_equal(x.speeds, y.speeds)
        for x, y in zip(a, b, strict=True)
    )


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.floats(0.125, 30.0, width=32), min_size=1, max_size=80),
    batch_s=st.floats(1.0, 200.0),
    batch_clips=st.none() | st.integers(1, 8),
    full_share=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
)
def test_every_clip_once_in_its_bucket_within_the_budget(
    lengths: list[float],
    batch_s: float,
    batch_clips: int | None,
    full_share: float,
    seed: int,
    epoch: int,
) -> None:
    lens = np.array(lengths, dtype=np.float32)
    plan_settings = PlanSettings(
        batch_s=batch_s, batch_clips=batch_clips, speeds=(0.9, 1.0, 1.1), full_share=full_share
    )
    plan = epoch_plan([lens], bucket_of, plan_settings, seed=seed, epoch=epoch)
    assert sorted(row for batch in plan for row in batch.rows.tolist()) == list(range(len(lens)))
    for batch in plan:
        buckets = set(bucket_of(lens[batch.rows] / batch.speeds).tolist())
        assert len(buckets) == 1
        assert buckets.pop() <= batch.positions <= 1500
        assert set(batch.speeds.tolist()) <= {0.9, 1.0, 1.1}
        assert len(batch.rows) == 1 or len(batch.rows) * batch.positions <= batch_s * 50
        assert len(batch.rows) <= (batch_clips or len(lens))
    again = epoch_plan([lens], bucket_of, plan_settings, seed=seed, epoch=epoch)
    assert same(plan, again)


def test_epochs_and_seeds_differ_in_order_and_in_what_shares_a_batch() -> None:
    lens = durations(3000)
    plan_settings = PlanSettings(batch_s=60.0)
    plans = [
        epoch_plan([lens], bucket_of, plan_settings, seed=seed, epoch=epoch)
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    together = [{frozenset(b.rows.tolist()) for b in plan if len(b.rows) > 1} for plan in plans]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not same(plans[i], plans[j])
        assert len(together[i] & together[j]) < 0.2 * len(together[i])
    # and batches do not come sorted by length, which would make the loss swing
    lengths = [batch.positions for batch in plans[0]]
    assert abs(np.corrcoef(lengths, np.arange(len(lengths)))[0, 1]) < 0.4


def test_without_full_share_every_batch_has_its_need_and_with_it_the_stated_share_more() -> None:
    lens = durations(6000)
    short = lens[lens < 20]

    def plan(share: float) -> list[Batch]:
        plan_settings = PlanSettings(batch_s=30.0, full_share=share)
        return epoch_plan([short], bucket_of, plan_settings, seed=0, epoch=0)

    def longer(batches: list[Batch]) -> list[bool]:
        return [b.positions > bucket_of(short[b.rows].astype(np.float64)).max() for b in batches]

    assert not any(longer(plan(0.0)))
    some = plan(0.2)
    assert len(some) > 2000
    assert abs(np.mean(longer(some)) - 0.2) < 0.03
    assert all(len(b.rows) == 1 or len(b.rows) * b.positions <= 1500 for b in some)  # 30 s
    full = [b.positions == 1500 for b in some]
    assert abs(np.mean(full) - 0.1) < 0.03  # half of them at the full 30 s
    assert np.mean(longer(plan(1.0))) > 0.97  # a draw may be the need itself


def test_other_corpora_get_their_weight_in_seconds() -> None:
    main, small, large = durations(200, 1), durations(20, 2), durations(2000, 3)
    plan = epoch_plan(
        [main, small, large],
        bucket_of,
        PlanSettings(batch_s=60.0, weights=(2.0, 1.0, 0.5)),
        seed=3,
        epoch=4,
    )
    seconds, rows = [0.0, 0.0, 0.0], [[], [], []]  # type: ignore[var-annotated]
    for batch in plan:
        seconds[batch.corpus] += float([main, small, large][batch.corpus][batch.rows].sum())
        rows[batch.corpus] += batch.rows.tolist()
    assert sorted(rows[0]) == list(range(200))
    assert seconds[0] == pytest.approx(float(main.sum()), rel=1e-5)
    assert 0 <= seconds[1] - seconds[0] / 2 <= 29.0  # by weight, and at most one clip more
    assert 0 <= seconds[2] - seconds[0] / 4 <= 29.0
    counts = np.bincount(rows[1], minlength=20)  # the small one goes round evenly
    assert counts.max() - counts.min() <= 1
    assert counts.min() >= 4
    assert len(set(rows[2])) == len(rows[2])  # the large one is not exhausted: nothing twice


def test_a_million_clips_stay_flat() -> None:
    lens = durations(1_000_000)
    tracemalloc.start()
    try:
        plan = epoch_plan([lens], bucket_of, PlanSettings(batch_s=600.0), seed=0, epoch=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(b.rows) for b in plan) == 1_000_000
    assert peak < 150e6, f"{peak / 1e6:.0f} MB"


def test_a_small_clip_counts_in_a_large_corpus() -> None:
    """In float32, seconds behind the sixteen-millionth are added in steps of two."""
    lens = np.concatenate([[np.float32(2**24)], np.full(1000, 0.5)]).astype(np.float32)
    plan = epoch_plan(
        [lens, lens],
        lambda d: np.full(len(d), 100),
        PlanSettings(1.0, weights=(1.0, 1.0)),
        seed=0,
        epoch=0,
    )
    assert sum(len(b.rows) for b in plan if b.corpus == 1) == 1001


def test_the_draws_of_a_clip_are_its_own() -> None:
    draws = {
        (seed, epoch, corpus, row): clip_rng(seed, epoch, corpus, row).random()
        for seed in (0, 1)
        for epoch in (0, 1)
        for corpus in (0, 1)
        for row in (0, 1, 10**6)
    }
    assert len(set(draws.values())) == len(draws)
    assert clip_rng(1, 0, 1, 10**6).random() == draws[1, 0, 1, 10**6]


@settings(deadline=None, max_examples=60)
@given(
    groups=st.lists(st.sampled_from([f"scene{i}" for i in range(12)]), min_size=1, max_size=60),
    less=st.floats(0.01, 10.0),
    more=st.floats(0.01, 10.0),
)
def test_fewer_minutes_are_a_part_of_more(groups: list[str], less: float, more: float) -> None:
    lens = durations(len(groups))
    less, more = sorted((less, more))
    small, large = (take_minutes(lens, groups, m).tolist() for m in (less, more))
    assert set(small) <= set(large)
    assert small == sorted(set(small))
    total, wanted = float(lens[small].sum()), less * 60
    if len(small) < len(groups):
        assert wanted - 0.01 <= total <= wanted + float(lens.max())
    # groups are taken one after another: all but one are whole or absent
    parts = [
        g
        for g in set(groups)
        if 0 < sum(groups[r] == g for r in small) < sum(x == g for x in groups)
    ]
    assert len(parts) <= 1


def test_which_group_comes_first_depends_on_its_name_alone() -> None:
    groups = [f"scene{i}" for i in range(10)]
    lens = np.full(10, 60.0, dtype=np.float32)
    forward = {groups[r] for r in take_minutes(lens, groups, 4)}
    backward = {groups[::-1][r] for r in take_minutes(lens, groups[::-1], 4)}
    assert forward == backward
    assert len(forward) == 4
