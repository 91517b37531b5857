"""The CTC head: on every encoder kind, independent of the batch, and growing by new letters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import tiny

from xlasr.errors import BaseError
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
LETTERS = CharTokenizer(list(" abcdeř"))


def build(folder: Path, kind: str) -> CTCModel:
    path = tiny.whisper_dir(folder) if kind == "whisper" else tiny.speech_dir(folder, kind)
    torch.manual_seed(0)
    context = Context(slack=8, multiple=64)
    model = from_base(find_base(str(path)), "ctc", context=context, language="cs", alphabet=LETTERS)
    assert isinstance(model, CTCModel)
    with torch.no_grad():
        model.head.weight.normal_()
    return model.eval()


@pytest.mark.parametrize("kind", ["whisper", *tiny.KINDS])
def test_a_batch_gives_what_its_clips_give_alone(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path / "base", kind)
    clips = [tiny.clip(s, i) for i, s in enumerate((0.3, 1.0, 0.613, 0.7301))]
    with torch.no_grad():
        log_probs, lens = model(model.features(clips))
        assert log_probs.dtype == torch.float32
        assert log_probs.shape[2] == len(LETTERS) == 8
        assert lens.dtype == torch.int64
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))
        for row, clip in enumerate(clips):
            alone, n = model(model.features([clip]))
            assert int(n) == int(lens[row])
            torch.testing.assert_close(
                log_probs[row, : int(n)], alone[0, : int(n)], atol=1e-4, rtol=0
            )
    assert log_probs.std() > 0.3


def test_new_letters_stand_behind_the_old_ones_that_keep_their_rows(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "wav2vec2")
    features = model.features([tiny.clip(0.5)])
    with torch.no_grad():
        before, _ = model(features)
    weight, bias = model.head.weight.clone(), model.head.bias.clone()
    model.extend(model.tokenizer.extended(["bůh", "žár"]))
    assert model.tokenizer.symbols == [*LETTERS.symbols, "h", "r", "á", "ů", "ž"]
    assert torch.equal(model.head.weight[:8], weight)
    assert torch.equal(model.head.bias[:8], bias)
    assert model.head.weight.shape == (13, 32)
    assert model.head.weight.requires_grad
    with torch.no_grad():
        after, _ = model(features)
    difference = after[..., :8] - before  # the same for all letters: their order is kept
    torch.testing.assert_close(difference, difference[..., :1].expand_as(difference))
    assert (after[..., 8:].exp().sum(-1) > 0).all()


def test_letters_cannot_change_places(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "wav2vec2")
    with pytest.raises(BaseError, match="extended behind its last letter"):
        model.extend(CharTokenizer(sorted([*LETTERS.symbols, "A"])))


def test_dropout_is_for_training_only(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "whisper")
    states = torch.randn(1, 20, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.log_probs(states), model.log_probs(states))
        model.train()
        assert not torch.equal(model.log_probs(states), model.log_probs(states))
