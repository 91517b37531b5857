"""Cross-entropy over the positions that count equals one over all of them."""

from __future__ import annotations

import pytest
import torch
from tests import tiny
from torch.nn import functional

from xlasr.config import ObjectiveSettings
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import from_base
from xlasr.models.seq2seq import WhisperModel
from xlasr.objectives import OBJECTIVES
from xlasr.objectives.cross_entropy import cross_entropy

TEXTS = ["ahoj", "kde jsi potápěč", ""]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    folder = tiny.whisper_dir(tmp_path_factory.mktemp("base"), max_positions=100)
    found = from_base(find_base(str(folder)), "seq2seq", context=Context(4, 4), language="cs")
    assert isinstance(found, WhisperModel)
    return found.eval()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_the_plain_loss_over_all_logits(model: WhisperModel, smoothing: float) -> None:
    features = model.features([tiny.clip(0.3, i) for i in range(3)])
    settings = ObjectiveSettings(kind="cross_entropy", label_smoothing=smoothing)
    with torch.no_grad():
        states = model.encoder(features)
        found = cross_entropy(model, states, features.input_lens, TEXTS, settings)
        rows = []
        for i, text in enumerate(TEXTS):  # each clip alone, token by token, nothing padded
            ids = model.tokenizer.encode(text)
            inputs = torch.tensor([model.tokenizer.prompt + ids])
            logits = model.hf(
                encoder_outputs=(states[i : i + 1],), decoder_input_ids=inputs
            ).logits[0, 1:]
            log_probs = functional.log_softmax(logits, dim=-1)
            for at, wanted in enumerate([*ids, model.tokenizer.eot]):
                exact = -log_probs[at, wanted]
                rows.append((1 - smoothing) * exact - smoothing * log_probs[at].mean())
    assert len(rows) == sum(len(model.tokenizer.encode(t)) + 1 for t in TEXTS)
    assert found.item() == pytest.approx(torch.stack(rows).mean().item(), rel=1e-5)
    assert found.item() > 1
    assert OBJECTIVES["cross_entropy"] is cross_entropy


def test_padding_teaches_nothing(model: WhisperModel) -> None:
    features = model.features([tiny.clip(0.3)])
    settings = ObjectiveSettings(kind="cross_entropy")
    states = model.encoder(features).detach()
    gradients = []
    for texts in (["ahoj"], ["ahoj", "kde jsi potápěč"]):
        model.zero_grad()
        n_tokens = sum(len(model.tokenizer.encode(t)) + 1 for t in texts)
        wide = states.expand(len(texts), -1, -1).clone().requires_grad_()
        loss = cross_entropy(model, wide, features.input_lens, texts, settings)
        loss.backward()
        assert wide.grad is not None
        gradients.append(wide.grad[0] * n_tokens)  # sum instead of mean
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_bpe_dropout_draws_in_training_only_and_repeats_with_the_seed(model: WhisperModel) -> None:
    texts = ["ahoj rybo kde jsi"]
    states = model.encoder(model.features([tiny.clip(1.0)]))
    lens = torch.tensor([16_000])

    def loss(seed: int, dropout: float) -> float:
        settings = ObjectiveSettings(kind="cross_entropy", bpe_dropout=dropout)
        torch.manual_seed(seed)
        return float(cross_entropy(model, states, lens, texts, settings).detach())

    was = model.training
    try:
        model.eval()
        assert loss(0, 0.5) == loss(1, 0.5) == loss(0, 0.0)
        model.train()
        assert loss(0, 0.5) == loss(0, 0.5)
        assert len({loss(seed, 0.5) for seed in range(5)}) > 1
        assert loss(3, 0.5) != loss(3, 0.0)
    finally:
        model.train(was)
