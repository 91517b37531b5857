"""How likely texts are: several of one clip, as they are alone, and as the losses say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.objectives.families import FAMILIES, Spoken, models, seq2seq, transducer
from tests.objectives.transducer_paths import batch

from xlasr.config import ObjectiveSettings
from xlasr.errors import UnknownName, UsageError
from xlasr.objectives import OBJECTIVES
from xlasr.objectives.log_prob import fits, ids_of, log_prob
from xlasr.objectives.transducer import joined_loss


@FAMILIES
def test_texts_of_one_clip_score_as_they_do_alone(tmp_path: Path, family: str) -> None:
    model, states, lens = models(tmp_path)[family]()
    texts, clips = ["a b", "", "ba", "a b", "b"], [0, 0, 1, 1, 0]
    together = log_prob(model, states, lens, [ids_of(model, t) for t in texts], clips)
    for text, clip, found in zip(texts, clips, together, strict=True):
        n = int(model.out_lens(lens)[clip])
        heard = states[clip : clip + 1] if family == "seq2seq" else states[clip : clip + 1, :n]
        alone = log_prob(model, heard, lens[clip : clip + 1], [ids_of(model, text)], [0])
        assert found.item() == pytest.approx(alone.item())
    assert len({round(x, 9) for x in together.tolist()}) == 5


def test_scores_are_those_of_the_objectives(tmp_path: Path) -> None:
    """One text a clip, by the losses that are tested against every alignment."""
    for family, kind in (
        ("ctc", "ctc"),
        ("transducer", "transducer"),
        ("seq2seq", "cross_entropy"),
    ):
        model, states, lens = models(tmp_path / family)[family]()
        texts = ["a b", "ba"]
        settings = {"kind": kind} | ({"transducer": {"kind": "exact"}} if "tr" in kind else {})
        loss = OBJECTIVES[kind](model, states, lens, texts, ObjectiveSettings(**settings))
        ids = [ids_of(model, text) for text in texts]
        n = sum(map(len, ids)) + (len(ids) if family == "seq2seq" else 0)  # the end is a token
        found = -log_prob(model, states, lens, ids, [0, 1]).sum() / n
        assert found.item() == pytest.approx(loss.item(), rel=1e-6), family


def test_a_family_that_scores_nothing_is_named() -> None:
    with pytest.raises(UnknownName, match="unknown family that scores texts 'rnn'"):
        log_prob(SimpleNamespace(family="rnn"), torch.zeros(1, 1, 1), torch.tensor([1]), [[]], [0])


# ---- what fits


def test_what_a_clip_has_room_for(tmp_path: Path) -> None:
    ctc = Spoken()
    assert fits(ctc, [1, 1], 3) and not fits(ctc, [1, 1], 2) and not fits(ctc, [], 0)
    regular, modified = (transducer(tmp_path / str(m), modified=m) for m in (False, True))
    assert fits(regular, [1, 2, 1], 1) and not fits(regular, [], 0)
    assert fits(modified, [1], 1) and not fits(modified, [1, 2], 1)
    decoder = seq2seq(tmp_path / "w")
    assert fits(decoder, [1] * decoder.room, 1) and not fits(decoder, [1] * (decoder.room + 1), 1)


# ---- targets that share a clip


@pytest.mark.parametrize("modified", [False, True])
@pytest.mark.parametrize("chunk", [40, 1 << 20])
def test_targets_of_one_clip_are_as_if_it_were_copied(modified: bool, chunk: int) -> None:
    b = batch((6, 5, 6, 4), (3, 2, 0, 4), n_classes=5)
    clips = torch.tensor([1, 0, 1, 1])
    few = b.encoder.detach()[:2].requires_grad_()
    frames = torch.tensor([5, 6, 5, 5])
    rest, lens = b.leaves[1:], (b.targets, frames, b.symbols)
    weights = torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=torch.float64)
    found = joined_loss(few, *rest, *lens, clips=clips, modified=modified, chunk=chunk)
    wanted = joined_loss(few[clips], *rest, *lens, modified=modified, chunk=chunk)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    gradients = torch.autograd.grad(found @ weights, [few, *rest])
    expected = torch.autograd.grad(wanted @ weights, [few, *rest])
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)
    for wrong in ([0, 1, 2, 0], [0, 1], [-1, 0, 0, 0]):
        with pytest.raises(UsageError, match="each of 4 targets needs one of 2 clips"):
            joined_loss(few, *rest, *lens, clips=torch.tensor(wrong))
