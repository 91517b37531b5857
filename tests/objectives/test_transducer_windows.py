"""The pruned and the restricted transducer loss: which cells they look at, and the sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.objectives.transducer_paths import Batch, batch, by_hand, paths

from xlasr.errors import DataError, UsageError
from xlasr.objectives.transducer import (
    alignment_windows,
    in_windows,
    joined_loss,
    simple_loss,
    transducer_loss,
    window_starts,
)
from xlasr.objectives.transducer.lattice import Occupations

TOPOLOGIES = pytest.mark.parametrize("modified", [False, True])


def simple_parts(b: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of an encoder alone (B, T, V) and of a predictor alone (B, U+1, V)."""
    g = torch.Generator().manual_seed(7)
    w = torch.randn(2, *b.weight.shape, generator=g, dtype=torch.float64)
    am = (b.encoder @ w[0].T).detach().requires_grad_()
    lm = (b.predictor @ w[1].T).detach().requires_grad_()
    return am, lm


def random_occupations(b: Batch, seed: int, modified: bool) -> Occupations:
    """Of a joiner that is sure of something."""
    g = torch.Generator().manual_seed(seed)
    n, t = b.encoder.shape[:2]
    u = b.predictor.shape[1]
    am = torch.randn(n, t, 5, generator=g, dtype=torch.float64) * 4
    lm = torch.randn(n, u, 5, generator=g, dtype=torch.float64) * 4
    return simple_loss(am, lm, *b.lens(), modified=modified)[1]


# ---- the simple joiner


@TOPOLOGIES
def test_the_simple_loss_is_that_of_added_logits(modified: bool) -> None:
    b = batch()
    am, lm = simple_parts(b)
    found, arcs = simple_loss(am, lm, *b.lens(), modified=modified)
    wanted = transducer_loss(am[:, :, None] + lm[:, None], *b.lens(), modified=modified)
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)
    expected = torch.autograd.grad(wanted.sum(), (am, lm))
    for one, other in zip(torch.autograd.grad(found.sum(), (am, lm)), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)
    if not modified:  # every path leaves every frame by exactly one blank, and writes every symbol
        for i in range(4):
            t, u = int(b.frames[i]), int(b.symbols[i])
            assert arcs.blank[i].sum(1).tolist() == pytest.approx([1.0] * t + [0.0] * (5 - t))
            assert arcs.emit[i].sum(0).tolist() == pytest.approx([1.0] * u + [0.0] * (3 - u))


def smoothed_by_hand(b: Batch, lm_scale: float, am_scale: float) -> list[float]:
    """The same sum over paths, each arc's log-probability interpolated as the paper says."""
    am, lm = (x.detach() for x in simple_parts(b))
    found = []
    for i in range(len(b.frames)):
        t, u = int(b.frames[i]), int(b.symbols[i])
        a, m = am[i, :t], lm[i, : u + 1]
        both = (a[:, None] + m[None]).log_softmax(-1)
        mean = m.softmax(-1).mean(0).log()
        alone = (a + mean).log_softmax(-1)[:, None]
        mixed = (1 - lm_scale - am_scale) * both + lm_scale * m.log_softmax(-1)[None]
        mixed = (mixed + am_scale * alone).tolist()
        target = b.targets[i, :u].tolist()
        total = torch.tensor(
            [sum(mixed[x][y][v] for x, y, v in path) for path in paths(target, t)],
            dtype=torch.float64,
        ).logsumexp(0)
        found.append(-float(total))
    return found


@pytest.mark.parametrize(("lm_scale", "am_scale"), [(0.25, 0.0), (0.0, 0.3), (0.2, 0.1)])
def test_smoothing(lm_scale: float, am_scale: float) -> None:
    b = batch()
    am, lm = simple_parts(b)
    found, _ = simple_loss(am, lm, *b.lens(), lm_scale=lm_scale, am_scale=am_scale)
    assert found.tolist() == pytest.approx(smoothed_by_hand(b, lm_scale, am_scale), abs=1e-10)
    assert torch.autograd.gradcheck(
        lambda x, y: simple_loss(x, y, *b.lens(), lm_scale=lm_scale, am_scale=am_scale)[0],
        (am, lm),
    )


def test_padding_of_the_simple_joiner_never_matters() -> None:
    b = batch()
    am, lm = (x.detach() for x in simple_parts(b))
    scales = {"lm_scale": 0.2, "am_scale": 0.1}
    wanted, _ = simple_loss(am, lm, *b.lens(), **scales)
    for i in range(4):
        am[i, b.frames[i] :] = float("nan")
        lm[i, b.symbols[i] + 1 :] = float("inf")
    am, lm = am.requires_grad_(), lm.requires_grad_()
    found, _ = simple_loss(am, lm, *b.lens(), **scales)
    assert torch.equal(found, wanted)
    for gradient in torch.autograd.grad(found.sum(), (am, lm)):
        assert torch.isfinite(gradient).all()


# ---- windows


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 12), min_size=3, max_size=3),
    st.lists(st.integers(0, 9), min_size=3, max_size=3),
    st.integers(2, 6),
    st.integers(0, 1000),
    st.booleans(),
)
def test_windows_go_forward_reach_the_end_and_leave_a_path(
    frames: list[int], symbols: list[int], width: int, seed: int, modified: bool
) -> None:
    most = 1 if modified else width - 1
    symbols = [min(u, most * t) for u, t in zip(symbols, frames, strict=True)]
    b = batch(frames, symbols, n_classes=5)
    found = random_occupations(b, seed, modified)
    starts = window_starts(found, b.frames, b.symbols, width=width, modified=modified)
    for i, (t, u) in enumerate(zip(frames, symbols, strict=True)):
        row = starts[i, :t]
        used = min(width, max(symbols) + 1)
        assert row[0] == 0
        assert row[-1] == max(0, u + 1 - used)
        steps = row[1:] - row[:-1]
        assert ((steps >= 0) & (steps <= most)).all()
    nodes = in_windows(starts, width, max(symbols) + 1)
    assert nodes.sum(2).max() <= width
    loss = joined_loss(*b.leaves, *b.lens(), nodes=nodes, modified=modified)
    assert torch.isfinite(loss).all()  # raises where no path is left


def test_the_window_holds_the_most_probable_paths() -> None:
    b = batch((6,), (5,), n_classes=5)
    emit = torch.zeros(1, 6, 5, dtype=torch.float64)
    blank = torch.zeros(1, 6, 6, dtype=torch.float64)
    for u, t in enumerate([0, 0, 3, 3, 5]):  # the one path there is
        emit[0, t, u] = 1
    for t, u in enumerate([2, 2, 2, 4, 4, 5]):
        blank[0, t, u] = 1
    found = Occupations(torch.zeros(1), emit, blank)
    starts = window_starts(found, b.frames, b.symbols, width=3)
    nodes = in_windows(starts, 3, 6)[0]
    passed = [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 2),
        (2, 2),
        (3, 2),
        (3, 3),
        (3, 4),
        (4, 4),
        (5, 4),
        (5, 5),
    ]
    assert all(nodes[cell] for cell in passed)


def test_a_path_that_enters_the_window_from_below_was_outside() -> None:
    b = batch((3,), (5,), n_classes=5)
    emit = torch.zeros(1, 3, 5, dtype=torch.float64)
    blank = torch.zeros(1, 3, 6, dtype=torch.float64)
    emit[0, 1, 1] = emit[0, 1, 2] = blank[0, 1, 3] = 0.6  # goes from row 1 to row 3 in frame 1
    blank[0, 1, 4] = 0.4  # stays in row 4
    found = Occupations(torch.zeros(1), emit, blank)
    starts = window_starts(found, b.frames, b.symbols, width=3)
    assert starts.tolist() == [[0, 1, 3]]  # rows 1 to 3 hold 0.6 of it, rows 2 to 4 only 0.4


@TOPOLOGIES
def test_pruned_with_the_full_range_is_exact(modified: bool) -> None:
    b = batch()
    _, arcs = simple_loss(*simple_parts(b), *b.lens(), modified=modified)
    for width in (4, 9):
        starts = window_starts(arcs, b.frames, b.symbols, width=width, modified=modified)
        assert (starts == 0).all()
        found = joined_loss(
            *b.leaves, *b.lens(), nodes=in_windows(starts, width, 4), modified=modified
        )
        wanted = transducer_loss(b.logits(), *b.lens(), modified=modified)
        torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)


@TOPOLOGIES
def test_pruned_is_the_sum_over_paths_in_the_windows(modified: bool) -> None:
    b = batch((7, 6), (4, 3))
    _, arcs = simple_loss(*simple_parts(b), *b.lens(), modified=modified)
    starts = window_starts(arcs, b.frames, b.symbols, width=2, modified=modified)
    nodes = in_windows(starts, 2, 5)
    found = joined_loss(*b.leaves, *b.lens(), nodes=nodes, modified=modified)
    logits = b.logits()
    for i in range(2):
        t, u = int(b.frames[i]), int(b.symbols[i])

        def allowed(at: int, row: int, symbol: int, clip: int = i, last: int = t) -> bool:
            # both ends of an arc lie in windows
            leads = (at + (modified or not symbol), row + bool(symbol))
            return bool(nodes[clip, at, row]) and (leads[0] == last or bool(nodes[clip][leads]))

        target = b.targets[i, :u].tolist()
        wanted = by_hand(logits[i], target, t, modified=modified, allowed=allowed)
        assert found[i].item() == pytest.approx(wanted, abs=1e-10)
        assert wanted > by_hand(logits[i], target, t, modified=modified) + 1e-6
    assert torch.autograd.gradcheck(
        lambda *x: joined_loss(*x, *b.lens(), nodes=nodes, modified=modified),
        b.leaves,
        nondet_tol=1e-12,
    )


def test_pruned_has_the_fewer_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    from xlasr.objectives.transducer import fused

    seen = []
    real = fused._logits

    def spy(*args: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(args[4]))
        return real(*args)

    monkeypatch.setattr(fused, "_logits", spy)
    b = batch((20, 11), (12, 7))
    arcs = random_occupations(b, 0, False)
    starts = window_starts(arcs, b.frames, b.symbols, width=3)
    joined_loss(*b.leaves, *b.lens(), nodes=in_windows(starts, 3, 13))
    assert sum(seen) == 3 * (20 + 11)
    seen.clear()
    joined_loss(*b.leaves, *b.lens())
    assert sum(seen) == 20 * 13 + 11 * 8  # no cell of padding either


# ---- alignment-restricted


def test_a_window_wide_open_is_exact() -> None:
    b = batch()
    nodes, writes = alignment_windows(
        torch.zeros(4, 3, dtype=torch.int64), b.frames, b.symbols, n_frames=5, left=9, right=9
    )
    found = joined_loss(*b.leaves, *b.lens(), nodes=nodes, writes=writes)
    wanted = transducer_loss(b.logits(), *b.lens())
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (1, 0), (0, 2), (1, 1)])
def test_restricted_is_the_sum_over_paths_near_the_reference(left: int, right: int) -> None:
    b = batch((5, 4, 3), (3, 2, 0))
    alignment = torch.tensor([[1, 1, 4], [0, 3, -9], [7, 7, 7]])
    nodes, writes = alignment_windows(
        alignment, b.frames, b.symbols, n_frames=5, left=left, right=right
    )
    found = joined_loss(*b.leaves, *b.lens(), nodes=nodes, writes=writes)
    only_arcs = joined_loss(*b.leaves, *b.lens(), writes=writes)
    torch.testing.assert_close(found, only_arcs, atol=1e-10, rtol=0)  # no needed node was cut
    logits = b.logits()
    for i in range(3):
        t, u = int(b.frames[i]), int(b.symbols[i])

        def allowed(at: int, row: int, symbol: int, clip: int = i) -> bool:
            return not symbol or -left <= at - int(alignment[clip, row]) <= right

        wanted = by_hand(logits[i], b.targets[i, :u].tolist(), t, allowed=allowed)
        assert found[i].item() == pytest.approx(wanted, abs=1e-10)
    assert int(nodes.sum()) < nodes.numel()
    assert torch.autograd.gradcheck(
        lambda *x: joined_loss(*x, *b.lens(), nodes=nodes, writes=writes),
        b.leaves,
        nondet_tol=1e-12,
    )


# ---- what is refused


def test_what_is_refused() -> None:
    b = batch((2, 2), (4, 1), n_classes=5)
    am, lm = simple_parts(b)
    _, arcs = simple_loss(am, lm, *b.lens())
    with pytest.raises(DataError, match=r"target 0 has 4 symbols for 2 frames.*at most 1"):
        window_starts(arcs, b.frames, b.symbols, width=2)
    window_starts(arcs, b.frames, b.symbols, width=3)
    with pytest.raises(UsageError, match="at least 2"):
        window_starts(arcs, b.frames, b.symbols, width=1)
    with pytest.raises(UsageError, match="shares of one"):
        simple_loss(am, lm, *b.lens(), lm_scale=0.7, am_scale=0.4)
    with pytest.raises(UsageError, match="the simple joiner takes"):
        simple_loss(am[:, :, :3], lm, *b.lens())
    with pytest.raises(DataError, match="at most one a frame"):
        simple_loss(am, lm, *b.lens(), modified=True)
    with torch.no_grad():
        am[1, 1, 0] = float("nan")
    with pytest.raises(DataError, match="clip 1 hold NaN"):
        simple_loss(am, lm, *b.lens())

    def windows(rows: list[list[int]], **buffers: int) -> None:
        buffers = {"left": 1, "right": 1, **buffers}
        alignment_windows(
            torch.tensor(rows), torch.tensor([3, 3]), torch.tensor([2, 1]), n_frames=3, **buffers
        )

    windows([[0, 2], [1, 99]])
    with pytest.raises(
        DataError, match="target 0 puts symbol 1 at frame 3; allowed are frames 0 to 2"
    ):
        windows([[0, 3], [1, 0]])
    with pytest.raises(DataError, match="target 0 puts symbol 1 at frame 1"):
        windows([[2, 1], [1, 0]])
    with pytest.raises(DataError, match="target 1 puts symbol 0 at frame -1"):
        windows([[0, 1], [-1, 0]])
    with pytest.raises(UsageError, match="buffers"):
        windows([[0, 1], [1, 0]], left=-1)
