"""What min_wer owes on every family and every kind of base.

Exactly what is trained has a gradient, a batch is the mean of its clips, and the model is left as
it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from tests.adaptation.test_trainable import build
from tests.contract.test_methods import LORA_TARGETS, lora

from xlasr.adaptation.trainable import make_trainable
from xlasr.config import ObjectiveSettings, TrainSettings
from xlasr.models.run import SpeechModel
from xlasr.models.seq2seq import Seq2SeqModel
from xlasr.objectives.min_wer import min_wer

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
KINDS = [*LORA_TARGETS, "transducer/whisper", "transducer/wav2vec2", "transducer/emformer"]
TEXTS = ["ahoj", "kde ryba"]
HOW = ObjectiveSettings.model_validate(
    {"kind": "min_wer", "min_wer": {"unit": "character", "add_reference": True}}
)


def loss_of(model: SpeechModel, clips: list[Any], texts: list[str]) -> torch.Tensor:
    features = model.features(clips)
    return min_wer(model, model.encoder(features), features.input_lens, texts, HOW)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_the_mean_of_its_clips_by_their_length(tmp_path: Path, kind: str) -> None:
    model = build(tmp_path / "base", kind).eval()
    clips = [tiny.clip(0.5), tiny.clip(0.5, 1)]
    with torch.no_grad():
        together = loss_of(model, clips, TEXTS)
        alone = [loss_of(model, [c], [t]) for c, t in zip(clips, TEXTS, strict=True)]
    n = [len(text) for text in TEXTS]
    wanted = sum(x.item() * k for x, k in zip(alone, n, strict=True)) / sum(n)
    assert together.item() == pytest.approx(wanted, rel=1e-4)
    assert together.item() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["full", "head", "lora"])
def test_what_is_trained_learns_and_nothing_else(tmp_path: Path, kind: str, part: str) -> None:
    on_ctc = kind.replace("transducer", "ctc")  # the same encoder, the same layers
    train = lora(on_ctc).train if part == "lora" else TrainSettings.model_validate({"part": part})
    model = build(tmp_path / "base", kind)
    names = set(make_trainable(model, train).names)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loss = loss_of(model.train(), [tiny.clip(0.5), tiny.clip(0.5, 1)], TEXTS)
    assert model.training and model.encoder.training
    loss.backward()
    learning = {n for n, p in model.named_parameters() if p.grad is not None}
    assert learning <= names
    assert any(bool((p.grad != 0).any()) for p in model.parameters() if p.grad is not None)
    missing = {n for n in names - learning if not n.startswith(("simple.", "hf.text_encoder."))}
    unheard = ("masked_spec_embed", "embed_positions")
    missing = {n for n in missing if not any(mark in n for mark in unheard)}
    if not isinstance(model, Seq2SeqModel) or part != "full":
        assert not missing
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
