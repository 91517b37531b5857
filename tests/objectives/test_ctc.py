"""CTC against the sum over every alignment there is."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xlasr.config import ObjectiveSettings
from xlasr.models.tokenizer import CharTokenizer
from xlasr.objectives import OBJECTIVES
from xlasr.objectives.ctc import ctc_loss, min_frames

LETTERS = CharTokenizer(["a", "b"])
CTC = ObjectiveSettings(kind="ctc")


def model() -> Any:
    """States are log-probabilities already; lengths in samples are lengths in frames."""
    return SimpleNamespace(
        log_probs=lambda states: states, out_lens=lambda lens: lens, tokenizer=LETTERS
    )


def collapse(path: tuple[int, ...]) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol]


def by_hand(log_probs: torch.Tensor, text: str) -> float:
    """-log of the summed probability of every path of symbols that collapses to ``text``."""
    wanted = LETTERS.encode(text)
    paths = (
        sum(float(log_probs[t, s]) for t, s in enumerate(path))
        for path in itertools.product(range(3), repeat=len(log_probs))
        if collapse(path) == wanted
    )
    return -math.log(sum(math.exp(p) for p in paths))


def random_log_probs(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).mul(2).log_softmax(-1)


def test_equals_the_sum_over_all_alignments() -> None:
    texts, lens = ["ab", "aab", "b", "", "a?b"], [4, 6, 1, 3, 5]
    log_probs = random_log_probs(5, 6, 3)
    log_probs[:, :, 0][torch.arange(6) >= torch.tensor(lens)[:, None]] = 50.0  # behind the ends
    expected = [by_hand(log_probs[i, : lens[i]], text) for i, text in enumerate(texts)]
    found = ctc_loss(model(), log_probs, torch.tensor(lens), texts, CTC)
    symbols = 2 + 3 + 1 + 0 + 2  # the letter that is not in the alphabet is left out
    assert found.item() == pytest.approx(sum(expected) / symbols, rel=1e-5)
    assert found.dtype == torch.float32
    assert OBJECTIVES["ctc"] is ctc_loss


def test_a_clip_weighs_the_same_alone() -> None:
    log_probs = random_log_probs(2, 6, 3)
    lens = torch.tensor([6, 5])
    alone = [ctc_loss(model(), log_probs[i : i + 1], lens[i : i + 1], ["ab"], CTC) for i in (0, 1)]
    both = ctc_loss(model(), log_probs, lens, ["ab", "ab"], CTC)
    assert both.item() == pytest.approx(sum(a.item() for a in alone) / 2, rel=1e-5)


def test_nothing_to_say_is_a_finite_loss() -> None:
    log_probs = random_log_probs(2, 3, 3)
    found = ctc_loss(model(), log_probs, torch.tensor([3, 3]), ["", "?"], CTC)
    expected = -log_probs[:, :, 0].sum()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_gradient_stays_within_the_clip() -> None:
    states = random_log_probs(1, 6, 3).requires_grad_()
    ctc_loss(model(), states, torch.tensor([4]), ["ab"], CTC).backward()
    assert states.grad is not None
    assert (states.grad[0, 4:] == 0).all()
    assert (states.grad[0, :4].abs().sum(-1) > 0).all()


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet="ab", max_size=6))
def test_min_frames_is_where_the_loss_becomes_finite(text: str) -> None:
    ids = LETTERS.encode(text)
    n = min_frames(ids)
    log_probs = random_log_probs(1, max(1, n), 3)
    enough = ctc_loss(model(), log_probs, torch.tensor([n]), [text], CTC)
    assert math.isfinite(enough.item())
    if n > 1:
        less = ctc_loss(model(), log_probs[:, : n - 1], torch.tensor([n - 1]), [text], CTC)
        assert less.item() == math.inf


def test_min_frames_counted_by_hand() -> None:
    assert [min_frames(i) for i in ([], [1], [1, 2], [1, 1], [1, 1, 1, 2, 2])] == [0, 1, 2, 3, 8]
