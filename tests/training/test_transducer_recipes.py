"""The transducer's recipes one behind the other, as they ship: pretraining, transfer, MinWER."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
import torch

from xlasr import api
from xlasr.config import load_recipe
from xlasr.models.run import load_model
from xlasr.models.transducer import Transducer
from xlasr.models.whisper_chunks import ChunkedWhisperEncoder, Chunks

OTHERS = ["abc abd", "fade cab", "bad", "cede", "dead", "aha bee", "ace"]


def short(*stages: str) -> list[str]:
    return [
        f"{stage}.{field}"
        for stage in stages
        for field in ("stop.updates=2", "evaluate.every=2", "batch_s=4")
    ]


@pytest.fixture(scope="module")
def pretrained(
    whisper_dir: Path, speech: Path, tmp_path_factory: pytest.TempPathFactory
) -> api.Run:
    root = tmp_path_factory.mktemp("pretrained")
    other = small.write_speech(root / "other", train=OTHERS, dev=OTHERS[:2], language="it")
    mix = f"[{{path: main}}, {{path: {other.path}}}]"
    settings = [f"warm.data={mix}", f"pretrain.data={mix}", *short("warm", "pretrain")]
    recipe = load_recipe("transducer-pretrain", settings)
    run = api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=root / "run", threads=1)
    assert isinstance(run.model, Transducer) and "h" in run.model.tokenizer.symbols  # of the other
    return run


def transfer(pretrained: api.Run, speech: Path, out: Path, *settings: str) -> api.Run:
    recipe = load_recipe("transducer-transfer", [*short("adapt"), *settings])
    base = str(pretrained.folder)
    return api.adapt(speech, base=base, recipe=recipe, out=out, threads=1)


def test_transfer_and_min_wer(pretrained: api.Run, speech: Path, tmp_path: Path) -> None:
    run = transfer(pretrained, speech, tmp_path / "enc", "adapt.optim.lr=1e-9")
    before, after = pretrained.model, run.model
    assert isinstance(before, Transducer) and isinstance(after, Transducer)
    assert "h" not in after.tokenizer.symbols  # the target's letters alone
    name = "encoder.hf.layers.1.fc1.weight"
    torch.testing.assert_close(after.state_dict()[name], before.state_dict()[name])
    lstm = "predictor.lstm.0.weight_hh_l0"
    assert not torch.allclose(after.state_dict()[lstm], before.state_dict()[lstm], atol=1e-3)
    recipe = load_recipe("transducer-min-wer", short("min-wer"))
    last = api.adapt(speech, base=str(run.folder), recipe=recipe, out=tmp_path / "mw", threads=1)
    assert last.model.tokenizer.symbols == after.tokenizer.symbols
    encoder = load_model(last.folder / "model").encoder
    assert isinstance(encoder, ChunkedWhisperEncoder) and encoder.chunks == Chunks(16, 96)


def test_everything_is_carried_over(pretrained: api.Run, speech: Path, tmp_path: Path) -> None:
    still = ("adapt.optim.lr=1e-9", "adapt.optim.head_lr=1e-9", "adapt.output.mode=extend")
    run = transfer(pretrained, speech, tmp_path / "full", *still)
    assert set(pretrained.model.tokenizer.symbols) <= set(run.model.tokenizer.symbols)
    lstm = "predictor.lstm.0.weight_hh_l0"
    before, after = (r.model.state_dict()[lstm] for r in (pretrained, run))
    torch.testing.assert_close(after, before)


def test_layers_are_drawn_anew(pretrained: api.Run, speech: Path, tmp_path: Path) -> None:
    still = ("adapt.optim.lr=1e-9", "adapt.reset={encoder: [0]}")
    run = transfer(pretrained, speech, tmp_path / "low", *still)
    for layer, kept in ((0, False), (1, True)):
        name = f"encoder.hf.layers.{layer}.fc1.weight"
        before, after = (r.model.state_dict()[name] for r in (pretrained, run))
        assert torch.allclose(after, before, atol=1e-4) == kept
