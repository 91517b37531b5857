"""The transducer loss against every alignment there is, published values and its own variants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.objectives.transducer_paths import Batch, batch, by_hand
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from xlasr.errors import DataError, UsageError
from xlasr.objectives.transducer import exact, joined_loss, transducer_loss

TOPOLOGIES = pytest.mark.parametrize("modified", [False, True])

# From the tests of warp-transducer (small_test, big_test; Apache-2.0), which its ports repeat.
SMALL = [
    [
        [[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.6, 0.1, 0.1], [0.1, 0.1, 0.2, 0.8, 0.1]],
        [[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.2, 0.1, 0.1], [0.7, 0.1, 0.2, 0.1, 0.1]],
    ]
]
SMALL_GRADIENT = [
    [
        [
            [-0.13116688, -0.3999269, 0.17703125, 0.17703125, 0.17703125],
            [-0.18572757, 0.12247056, -0.18168412, 0.12247056, 0.12247056],
            [-0.32091254, 0.06269141, 0.06928472, 0.12624499, 0.06269141],
        ],
        [
            [0.05456069, -0.21824276, 0.05456069, 0.05456069, 0.05456069],
            [0.12073959, 0.12073959, -0.48295835, 0.12073959, 0.12073959],
            [-0.6925882, 0.16871116, 0.18645467, 0.16871116, 0.16871116],
        ],
    ]
]
BIG = [
    [0.06535690384862791, 0.7875301411923206, 0.08159176605666074, 0.5297155426466327,
     0.7506749639230854, 0.7541348379087998, 0.6097641124736383, 0.8681404965673826,
     0.6225318186056529, 0.6685222872103057, 0.8580392805336061, 0.16453892311765583,
     0.989779515236694, 0.944298460961015, 0.6031678586829663, 0.9467833543605416,
     0.666202507295747, 0.28688179752461884, 0.09418426230195986, 0.3666735970751962,
     0.736168049462793, 0.1666804425271342, 0.7141542198635192, 0.3993997272216727,
     0.5359823524146038, 0.29182076440286386, 0.6126422611507932, 0.3242405528768486,
     0.8007644367291621, 0.5241057606558068, 0.779194617063042, 0.18331417220174862,
     0.113745182072432, 0.24022162381327106, 0.3394695622533106, 0.1341595066017014],
    [0.5055615569388828, 0.051597282072282646, 0.6402903936686337, 0.43073311517251,
     0.8294731834714112, 0.1774668847323424, 0.3207001991262245, 0.04288308912457006,
     0.30280282975568984, 0.6751777088333762, 0.569537369330242, 0.5584738347504452,
     0.08313242153985256, 0.06016544344162322, 0.10795752845152584, 0.7486153608562472,
     0.943918041459349, 0.4863558118797222, 0.4181986264486809, 0.6524078485043804,
     0.024242983423721887, 0.13458171554507403, 0.3663418070512402, 0.2958297395361563,
     0.9236695822497084, 0.6899291482654177, 0.7418981733448822, 0.25000547599982104,
     0.6034295486281007, 0.9872887878887768, 0.5926057265215715, 0.8846724004467684,
     0.5434495396894328, 0.6607698886038497, 0.3771277082495921, 0.3580209022231813],
]  # fmt: skip


def test_published_values_small() -> None:
    logits = torch.tensor(SMALL, dtype=torch.float64, requires_grad=True)
    found = transducer_loss(logits, torch.tensor([[1, 2]]), torch.tensor([2]), torch.tensor([2]))
    assert found.item() == pytest.approx(4.495666, abs=1e-6)
    found.backward()
    torch.testing.assert_close(
        logits.grad, torch.tensor(SMALL_GRADIENT, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_published_values_big() -> None:
    logits = torch.tensor(BIG, dtype=torch.float64).view(2, 4, 3, 3).requires_grad_()
    found = transducer_loss(
        logits, torch.tensor([[1, 2], [1, 1]]), torch.tensor([4, 4]), torch.tensor([2, 2])
    )
    assert found.tolist() == pytest.approx([4.2806528590890736, 3.9384369822503591], abs=1e-9)
    found.sum().backward()
    assert logits.grad is not None
    corners = [
        logits.grad[0, 0, 0],
        logits.grad[0, 3, 2],
        logits.grad[1, 0, 0],
        logits.grad[1, 3, 2],
    ]
    published = [
        [-1.86843902e-01, -6.25548810e-02, 2.49398798e-01],
        [-6.67078257e-01, 3.67658824e-01, 2.99419403e-01],
        [-3.56343776e-01, -5.53474613e-02, 4.11691219e-01],
        [-5.98686993e-01, 3.02203178e-01, 2.96483815e-01],
    ]
    torch.testing.assert_close(
        torch.stack(corners), torch.tensor(published, dtype=torch.float64), atol=1e-6, rtol=0
    )


@TOPOLOGIES
def test_equals_the_sum_over_all_alignments(modified: bool) -> None:
    b = batch()
    logits = b.logits()
    expected = [
        by_hand(
            logits[i], b.targets[i, : b.symbols[i]].tolist(), int(b.frames[i]), modified=modified
        )
        for i in range(4)
    ]
    assert len(set(expected)) == 4
    for found in (
        transducer_loss(logits, *b.lens(), modified=modified),
        joined_loss(*b.leaves, *b.lens(), modified=modified),
    ):
        assert found.tolist() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.lists(st.integers(0, 4), min_size=3, max_size=3),
    st.integers(0, 99),
    st.booleans(),
)
def test_any_small_lattice(
    frames: list[int], symbols: list[int], seed: int, modified: bool
) -> None:
    symbols = symbols[: len(frames)]
    if modified:
        symbols = [min(pair) for pair in zip(symbols, frames, strict=True)]
    b = batch(frames, symbols, seed=seed)
    logits = b.logits().detach()
    expected = [
        by_hand(logits[i], b.targets[i, :u].tolist(), t, modified=modified)
        for i, (t, u) in enumerate(zip(frames, symbols, strict=True))
    ]
    found = transducer_loss(logits, *b.lens(), modified=modified)
    assert found.tolist() == pytest.approx(expected, abs=1e-10)


@TOPOLOGIES
def test_the_gradients_are_those_of_finite_differences(modified: bool) -> None:
    b = batch((4, 2), (2, 1))
    logits = b.logits().detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: transducer_loss(x, *b.lens(), modified=modified), (logits,)
    )
    assert torch.autograd.gradcheck(
        lambda *x: joined_loss(*x, *b.lens(), modified=modified, chunk=20),
        b.leaves,
        nondet_tol=1e-12,  # what is kept and what is computed again differ in the last bit
    )


@TOPOLOGIES
@pytest.mark.parametrize("chunk", [1, 40, 1 << 20])
def test_fused_is_exact(modified: bool, chunk: int) -> None:
    b = batch((9, 7, 8), (5, 6, 2), n_classes=7, width=5)
    weights = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    wanted = transducer_loss(b.logits(), *b.lens(), modified=modified)
    found = joined_loss(*b.leaves, *b.lens(), modified=modified, chunk=chunk)
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)
    expected = torch.autograd.grad(wanted @ weights, b.leaves)
    for _ in range(2):  # the second time nothing is kept from the forward pass
        gradients = torch.autograd.grad(found @ weights, b.leaves, retain_graph=True)
        for one, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def test_slices_of_the_logits_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    b = batch()
    wanted = transducer_loss(b.logits(), *b.lens())
    expected = torch.autograd.grad(wanted.sum(), b.leaves)
    monkeypatch.setattr(exact, "CHUNK", 10)
    found = transducer_loss(b.logits(), *b.lens())
    assert torch.equal(found, wanted)
    for one, other in zip(torch.autograd.grad(found.sum(), b.leaves), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["exact", "fused"])
def test_a_ragged_batch_equals_single_clips(kind: str) -> None:
    def loss(b: Batch) -> Tensor:
        if kind == "exact":
            return transducer_loss(b.logits(), *b.lens())
        return joined_loss(*b.leaves, *b.lens())

    b = batch()
    together = loss(b)
    for i in range(4):
        alone = b.row(i)
        t, u = int(b.frames[i]), int(b.symbols[i])
        one = loss(alone)
        assert one.item() == pytest.approx(together[i].item(), abs=1e-12)
        encoder, predictor = torch.autograd.grad(together[i], b.leaves[:2], retain_graph=True)
        one.backward()
        torch.testing.assert_close(encoder[i : i + 1, :t], alone.encoder.grad, atol=1e-12, rtol=0)
        torch.testing.assert_close(
            predictor[i : i + 1, : u + 1], alone.predictor.grad, atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), 1e30])
def test_padding_never_matters_and_gets_no_gradient(rubbish: float) -> None:
    b = batch()
    logits = b.logits().detach()
    wanted = transducer_loss(logits, *b.lens())
    cells = logits.new_zeros(logits.shape[:3], dtype=torch.bool)
    for i in range(4):
        cells[i, : b.frames[i], : b.symbols[i] + 1] = True
        b.targets[i, b.symbols[i] :] = -7
    spoilt = logits.masked_fill(~cells[..., None], rubbish).requires_grad_()
    found = transducer_loss(spoilt, *b.lens())
    assert torch.equal(found, wanted)
    found.sum().backward()
    assert spoilt.grad is not None
    assert (spoilt.grad[~cells] == 0).all()
    assert (spoilt.grad[cells].abs().sum(-1) > 0).all()
    with torch.no_grad():
        for i in range(4):
            b.encoder[i, b.frames[i] :] = rubbish
            b.predictor[i, b.symbols[i] + 1 :] = rubbish
    found = joined_loss(*b.leaves, *b.lens())
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    for gradient in torch.autograd.grad(found.sum(), b.leaves):
        assert torch.isfinite(gradient).all()


def test_an_empty_target_is_all_blanks() -> None:
    b = batch((3,), (0,))
    expected = -b.logits().log_softmax(-1)[0, :, 0, 0].sum()
    assert transducer_loss(b.logits(), *b.lens()).item() == pytest.approx(expected.item())
    assert joined_loss(*b.leaves, *b.lens()).item() == pytest.approx(expected.item())


def test_half_precision_is_summed_in_float32() -> None:
    b = batch((40,), (10,), n_classes=30, dtype=torch.float32)
    logits = b.logits().detach()
    found = transducer_loss(logits.bfloat16().requires_grad_(), *b.lens())
    assert found.dtype == torch.float32
    rounded = transducer_loss(logits.bfloat16().float(), *b.lens())
    assert found.item() == pytest.approx(rounded.item(), rel=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        inside = joined_loss(*b.leaves, *b.lens())
    assert torch.equal(inside, joined_loss(*b.leaves, *b.lens()))


def test_long_lattices_stay_finite() -> None:
    b = batch((600,), (200,), n_classes=6, dtype=torch.float32)
    found = joined_loss(*b.leaves, *b.lens())
    double = joined_loss(*(x.double() for x in b.leaves), *b.lens())
    assert found.item() == pytest.approx(double.item(), rel=1e-5)
    gradients = torch.autograd.grad(found, b.leaves)
    for one, other in zip(gradients, torch.autograd.grad(double, b.leaves), strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-3)


# ---- memory


class Largest(TorchDispatchMode):
    """Counts the storages of at least ``size`` float64 elements that operations make."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.made = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        old = {storage(x) for x in (*args, *kwargs.values()) if isinstance(x, Tensor)}
        for x in out if isinstance(out, (tuple, list)) else (out,):
            large = isinstance(x, Tensor) and x.untyped_storage().nbytes() >= 8 * self.size
            self.made += large and storage(x) not in old
        return out


def storage(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def large_tensors(size: int, work: Callable[[], Any]) -> int:
    with Largest(size) as seen:
        work()
    return seen.made


@pytest.fixture
def wide() -> Batch:
    return batch((12, 9), (5, 4), n_classes=64, width=4)


def test_the_memory_check_sees_what_it_should(wide: Batch) -> None:
    size = 2 * 12 * 6 * 64
    logits = wide.logits().detach().requires_grad_()
    assert large_tensors(size, lambda: logits.log_softmax(-1).sum().backward()) >= 2


def test_only_one_tensor_of_the_size_of_the_logits(
    wide: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "CHUNK", 640)
    size = 2 * 12 * 6 * 64
    logits = wide.logits().detach().requires_grad_()
    held: list[Tensor] = []
    made = large_tensors(size, lambda: held.append(transducer_loss(logits, *wide.lens())))
    assert made == 0
    assert large_tensors(size, lambda: held[0].sum().backward()) == 1


def test_reused_logits_need_no_further_tensor(wide: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "CHUNK", 640)
    size = 2 * 12 * 6 * 64
    expected = torch.autograd.grad(transducer_loss(wide.logits(), *wide.lens()).sum(), wide.leaves)
    joined = (wide.encoder[:, :, None] + wide.predictor[:, None]).tanh().detach().requires_grad_()
    logits = torch.nn.functional.linear(joined, wide.weight, wide.bias)

    def work() -> None:
        transducer_loss(logits, *wide.lens(), reuse_logits=True).sum().backward()

    assert large_tensors(size, work) == 0
    torch.testing.assert_close(wide.weight.grad, expected[2], atol=1e-12, rtol=0)
    torch.testing.assert_close(wide.bias.grad, expected[3], atol=1e-12, rtol=0)


def test_logits_that_another_gradient_needs_are_not_overwritten_in_silence() -> None:
    b = batch()
    leaf = b.logits().detach().requires_grad_()
    with pytest.raises(UsageError, match="overwritten"):
        transducer_loss(leaf, *b.lens(), reuse_logits=True)
    logits = b.logits()
    other = (logits**2).sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (transducer_loss(logits, *b.lens(), reuse_logits=True).sum() + other).backward()


def test_fused_never_makes_the_logits(wide: Batch) -> None:
    size = 2 * 12 * 6 * 64 // 4

    def work() -> None:
        joined_loss(*wide.leaves, *wide.lens(), chunk=640).sum().backward()

    assert large_tensors(size, work) == 0


def test_what_no_alignment_passes_costs_no_backward_pass() -> None:
    b = batch((60,), (3,), n_classes=8, width=4)
    with torch.no_grad():  # every symbol is far likelier at the first frame than later
        b.bias[0] += 60.0
        b.encoder[0, 0] += 9.0
    found = joined_loss(*b.leaves, *b.lens(), chunk=80)
    gradients = torch.autograd.grad(found, b.leaves)
    wanted = torch.autograd.grad(transducer_loss(b.logits(), *b.lens()), b.leaves)
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


# ---- what is refused


def test_what_is_refused() -> None:
    b = batch()
    logits = b.logits().detach()
    t, f, u = b.lens()
    with pytest.raises(UsageError, match=r"frame_lens must hold 4 values between 1 and 5.*\b6\b"):
        transducer_loss(logits, t, torch.tensor([6, 3, 4, 1]), u)
    with pytest.raises(UsageError, match="frame_lens"):
        transducer_loss(logits, t, torch.tensor([0, 3, 4, 1]), u)
    with pytest.raises(UsageError, match="target_lens must hold 4 values between 0 and 3"):
        transducer_loss(logits, t, f, torch.tensor([4, 3, 0, 1]))
    with pytest.raises(UsageError, match=r"\(B, U\) for U \+ 1 = 4"):
        transducer_loss(logits, t[:, :2], f, u)
    with pytest.raises(UsageError, match=r"\(B, T, U\+1, V\)"):
        transducer_loss(logits[0], t, f, u)
    with pytest.raises(UsageError, match="the joiner takes"):
        joined_loss(b.encoder[:2], *b.leaves[1:], t, f, u)
    for symbol in (0, 4, -1):
        wrong = t.clone()
        wrong[1, 2] = symbol
        with pytest.raises(DataError, match=rf"target 1 holds {symbol} at place 2"):
            transducer_loss(logits, wrong, f, u)
        with pytest.raises(DataError, match="target 1"):
            joined_loss(*b.leaves, wrong, f, u)
    with pytest.raises(DataError, match="target 1 has 3 symbols for 2 frames"):
        transducer_loss(logits, t, torch.tensor([5, 2, 4, 1]), u, modified=True)
    transducer_loss(logits, t, torch.tensor([5, 2, 4, 1]), u)  # the regular one has room
    for value in (float("nan"), float("inf")):
        spoilt = logits.clone()
        spoilt[2, 1, 0, 0] = value
        with pytest.raises(DataError, match="clip 2 hold NaN or infinity at frame 1 behind 0"):
            transducer_loss(spoilt, t, f, u)
        with torch.no_grad():
            b.encoder[2, 1] = value if value != value else b.encoder[2, 1]
    with pytest.raises(DataError, match="clip 2 hold NaN"):
        joined_loss(*b.leaves, t, f, u)
    none = torch.zeros(4, 5, 3, dtype=torch.bool)
    with pytest.raises(DataError, match=r"target 0 .* has no alignment"):
        joined_loss(*batch().leaves, t, f, u, writes=none)
