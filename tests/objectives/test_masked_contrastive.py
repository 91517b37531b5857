"""The loss agrees with transformers; what is masked stays unseen; all randomness is PyTorch's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForPreTraining
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from xlasr.config import ContrastiveSettings, ObjectiveSettings
from xlasr.errors import BaseError
from xlasr.models.aids import ContrastiveAid, set_aids
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Features, SelfSupervisedEncoder
from xlasr.models.hub import find_base
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer
from xlasr.objectives import SOUND_OBJECTIVES
from xlasr.objectives.masked_contrastive import (
    contrast,
    draw_mask,
    draw_negatives,
    gumbel_temperature,
)

CODES: dict[str, Any] = {
    "num_codevectors_per_group": 5,
    "num_codevector_groups": 2,
    "codevector_dim": 12,
    "proj_codevector_dim": 10,
    "feat_quantizer_dropout": 0.0,
    "hidden_dropout": 0.0,
    "layerdrop": 0.0,
}
HOW = ContrastiveSettings(mask_length=4, negatives=7)
CLIPS = [tiny.clip(1.0), tiny.clip(0.7, 1)]


def pretrained(folder: Path, kind: str) -> Wav2Vec2ForPreTraining:
    """A base as transformers saves it for pretraining."""
    torch.manual_seed(1)
    config = tiny.speech_config(kind, **CODES)
    config.apply_spec_augment = True
    model = Wav2Vec2ForPreTraining(config).eval()
    with torch.no_grad():  # so that no two positions look alike
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "pos_conv" not in name and "conv_layers" not in name:
                weight.normal_(std=0.3)
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return model


def load(folder: Path, kinds: tuple[str, ...] = ("masked_contrastive",)) -> CTCModel:
    torch.manual_seed(2)
    base = find_base(str(folder))
    model = from_base(base, "ctc", context=None, language="cs", alphabet=CharTokenizer([]))
    assert isinstance(model, CTCModel)
    set_aids(model, kinds, folder)
    return model.eval()


def ours(model: CTCModel, features: Features, is_masked: torch.Tensor, n: torch.Tensor) -> float:
    encoder, aid = model.encoder, model.aids["masked_contrastive"]
    assert isinstance(encoder, SelfSupervisedEncoder) and isinstance(aid, ContrastiveAid)
    states, latents = encoder.with_latents(replace(features, is_masked=is_masked))
    return float(contrast(aid, states, latents, is_masked, n, HOW).detach())


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-post"])
def test_the_loss_is_that_of_transformers(tmp_path: Path, kind: str) -> None:
    reference = pretrained(tmp_path, kind)
    model = load(tmp_path)
    features = model.features(CLIPS)
    assert features.is_pad is not None
    lens = model.out_lens(features.input_lens).tolist()
    torch.manual_seed(3)
    is_masked = draw_mask(lens, max(lens), HOW)
    counts = is_masked.sum(1).tolist()
    assert counts[0] > counts[1] > 4
    negatives = draw_negatives(counts, HOW.negatives)
    places = torch.nonzero(is_masked.flatten())[:, 0]  # of the batch, as transformers counts them
    theirs = torch.zeros((*is_masked.shape, HOW.negatives), dtype=torch.int64)
    theirs[is_masked] = places[negatives]
    with torch.no_grad():
        wanted = reference(
            features.values,
            attention_mask=(~features.is_pad).long(),
            mask_time_indices=is_masked,
            sampled_negative_indices=theirs,
        )
        found = ours(model, features, is_masked, negatives)
    assert found == pytest.approx(float(wanted.loss) / int(is_masked.sum()), rel=1e-5)
    # and both terms count
    assert found > float(wanted.contrastive_loss) / int(is_masked.sum()) + 0.01


def test_so_it_is_in_training(tmp_path: Path) -> None:
    # noise is drawn for every position there and for masked ones here: the same if all are masked
    reference = pretrained(tmp_path, "wav2vec2").train()
    model = load(tmp_path).train()
    features = model.features(CLIPS[:1])
    n = int(model.out_lens(features.input_lens)[0])
    is_masked = torch.ones((1, n), dtype=torch.bool)
    negatives = draw_negatives([n], HOW.negatives)
    aid = model.aids["masked_contrastive"]
    assert isinstance(aid, ContrastiveAid)
    aid.quantizer.temperature = 0.7
    reference.set_gumbel_temperature(0.7)  # type: ignore[arg-type]
    torch.manual_seed(5)
    wanted = reference(
        features.values, mask_time_indices=is_masked, sampled_negative_indices=negatives[None]
    )
    torch.manual_seed(5)
    found = ours(model, features, is_masked, negatives)
    assert found == pytest.approx(float(wanted.loss.detach()) / n, rel=1e-5)


def test_the_layers_do_not_see_what_is_masked(tmp_path: Path) -> None:
    pretrained(tmp_path, "wav2vec2")
    model = load(tmp_path)
    encoder = model.encoder
    assert isinstance(encoder, SelfSupervisedEncoder)
    held: list[torch.Tensor] = []

    def hold(_: Any, __: Any, out: tuple[torch.Tensor, torch.Tensor]) -> None:
        out[0].retain_grad()
        held.append(out[0])

    encoder.hf.feature_projection.register_forward_hook(hold)
    features = model.features(CLIPS[:1])
    is_masked = torch.zeros((1, 49), dtype=torch.bool)
    is_masked[0, 10:30] = True
    states = encoder(replace(features, is_masked=is_masked))
    (states * torch.linspace(1, 2, states.numel()).view_as(states)).sum().backward()
    gradient = held[0].grad
    assert gradient is not None
    assert float(gradient[is_masked].abs().max()) == 0.0
    assert (gradient[~is_masked].abs().sum(-1) > 0).all()
    # other sound under the mask, far from its ends: the layers say the same, the targets do not
    other = features.values.clone()
    other[0, 14 * 320 : 26 * 320] = torch.randn(12 * 320)
    one = encoder.with_latents(replace(features, is_masked=is_masked))
    two = encoder.with_latents(replace(features, values=other, is_masked=is_masked))
    assert torch.equal(one[0], two[0])
    assert not torch.allclose(one[1][0, 20], two[1][0, 20])
    assert not torch.equal(encoder(features), encoder(replace(features, values=other)))


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-group"])
def test_a_batch_is_its_clips(tmp_path: Path, kind: str) -> None:
    pretrained(tmp_path, kind)
    encoder = load(tmp_path).encoder
    assert isinstance(encoder, SelfSupervisedEncoder)
    features = encoder.features(CLIPS)
    lens = encoder.out_lens(features.input_lens).tolist()
    torch.manual_seed(0)
    is_masked = draw_mask(lens, encoder.mask_shape(features)[1], HOW)
    with torch.no_grad():
        states, latents = encoder.with_latents(replace(features, is_masked=is_masked))
        for row, n in enumerate(lens):
            one = encoder.features(CLIPS[row : row + 1])
            alone = replace(one, is_masked=is_masked[row : row + 1, :n])
            for many, single in zip((states, latents), encoder.with_latents(alone), strict=True):
                torch.testing.assert_close(many[row, :n], single[0], atol=1e-4, rtol=0)


def test_masks() -> None:
    torch.manual_seed(0)
    usual = ContrastiveSettings()
    lens = [500, 1200, 9, 10, 25, 0]
    is_masked = draw_mask(lens, 1200, usual)
    assert is_masked.sum(1).tolist()[2:4] == [0, 10]  # shorter than a mask; exactly one
    assert not any(bool(is_masked[row, n:].any()) for row, n in enumerate(lens))
    assert 11 <= int(is_masked[4].sum()) <= 20  # two masks at least, however few fit
    np.random.seed(0)
    theirs = _compute_mask_indices((200, 800), 0.65, 10, min_masks=2).mean()
    here = float(draw_mask([800] * 200, 800, usual).float().mean())
    assert here == pytest.approx(theirs, abs=0.01) and 0.46 < here < 0.50  # "about 49 %"
    alone = draw_mask([30], 30, ContrastiveSettings(mask_length=1, mask_prob=0.01, min_masks=1))
    assert not alone.any()  # one masked position has nothing to be told from


def test_negatives_are_other_masked_positions_of_the_clip() -> None:
    torch.manual_seed(0)
    counts = [3, 0, 2, 40]
    found = draw_negatives(counts, 200)
    assert found.shape == (45, 200)
    assert not (found == torch.arange(45)[:, None]).any()
    clip_of = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    assert (clip_of[found] == clip_of[:, None]).all()
    assert set(found[0].tolist()) == {1, 2} and set(found[4].tolist()) == {3}
    assert len(set(found[10].tolist())) == 39


def test_temperature_follows_from_the_update_alone() -> None:
    how = ContrastiveSettings(gumbel_decay=0.5)
    assert [gumbel_temperature(u, how) for u in (0, 1, 2, 3, 90)] == [2.0, 1.0, 0.5, 0.5, 0.5]
    assert gumbel_temperature(100_000, ContrastiveSettings()) == pytest.approx(1.2131, abs=1e-4)


def test_it_is_a_function_of_torchs_seed(tmp_path: Path) -> None:
    pretrained(tmp_path, "wav2vec2")
    model = load(tmp_path).train()
    objective = SOUND_OBJECTIVES["masked_contrastive"]
    settings = ObjectiveSettings(kind="masked_contrastive", contrastive=HOW)
    features = model.features(CLIPS)

    def loss(seed: int, update: int = 0) -> float:
        np.random.random(seed + 3)
        torch.manual_seed(seed)
        return float(objective(model, features, settings, update).detach())

    assert loss(1) == loss(1) != loss(2)

    def codes_gradient(update: int) -> torch.Tensor:
        model.zero_grad()
        torch.manual_seed(1)
        objective(model, features, settings, update).backward()
        gradient = model.get_parameter("aids.masked_contrastive.quantizer.weight_proj.weight").grad
        assert gradient is not None
        return gradient

    assert torch.equal(codes_gradient(0), codes_gradient(0))
    assert not torch.allclose(codes_gradient(0), codes_gradient(10_000_000))  # another temperature
    short = model.features([tiny.clip(0.06)])
    nothing = objective(model, short, settings, 0)
    nothing.backward()  # type: ignore[no-untyped-call]
    assert float(nothing.detach()) == 0.0


def test_a_collapsed_quantiser_is_bad_on_dev(tmp_path: Path) -> None:
    pretrained(tmp_path, "wav2vec2")
    model = load(tmp_path)
    features = model.features(CLIPS)
    objective = SOUND_OBJECTIVES["masked_contrastive"]
    settings = ObjectiveSettings(kind="masked_contrastive", contrastive=HOW)
    with torch.no_grad():
        model.get_parameter("aids.masked_contrastive.quantizer.weight_proj.bias")[[0, 5]] = 1e6
        found = float(objective(model, features, settings, 0))
    # chance among eight, and two of ten codes in use
    assert found == pytest.approx(np.log(1 + HOW.negatives) + 0.1 * (10 - 2) / 10, abs=1e-4)


def test_loss_falls_and_the_codes_are_used(tmp_path: Path) -> None:
    pretrained(tmp_path, "wav2vec2")
    model = load(tmp_path, kinds=("masked_contrastive",)).train()
    settings = ObjectiveSettings(kind="masked_contrastive", contrastive=HOW)
    t = np.arange(16_000) / 16_000  # a planted set: 100 ms tones in an order that repeats
    tones = np.sin(2 * np.pi * np.array([400, 1300, 2600, 700])[(t * 10).astype(int) % 4] * t)
    features = model.features([(0.3 * np.roll(tones, k)).astype(np.float32) for k in (0, 700)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for update in range(60):
        torch.manual_seed(update)
        loss = SOUND_OBJECTIVES["masked_contrastive"](model, features, settings, update)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    unused = {"head.weight", "head.bias"}
    assert {n for n, p in model.named_parameters() if p.grad is None} == unused


def test_the_quantiser_of_the_base_is_taken(tmp_path: Path) -> None:
    reference = pretrained(tmp_path, "wav2vec2")
    model = load(tmp_path, kinds=())
    assert set_aids(model, ["masked_contrastive"], tmp_path) == [
        "masked_contrastive goes on with the base's own"
    ]
    aid = model.aids["masked_contrastive"]
    for name, weight in aid.state_dict().items():
        assert torch.equal(weight, reference.state_dict()[name])
    assert set_aids(model, ["masked_contrastive"], None) == []  # it has them
    assert model.aids["masked_contrastive"] is aid
    assert "only masked_contrastive needs are dropped" in set_aids(model, [], None)[0]
    assert "new weights" in set_aids(model, ["masked_contrastive"], None)[0]
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    save_file({k: v for k, v in weights.items() if k != "project_q.bias"}, path)
    with pytest.raises(BaseError, match=r"do not fit(.|\n)*project_q.bias"):
        set_aids(load(tmp_path, kinds=()), ["masked_contrastive"], tmp_path)


def test_bases_of_another_kind_are_refused(tmp_path: Path) -> None:
    for kind in ("hubert", "wavlm", "w2v-bert"):
        tiny.speech_dir(tmp_path / kind, kind)
        with pytest.raises(BaseError, match="is for Wav2Vec2-class bases"):
            load(tmp_path / kind)
    tiny.speech_dir(tmp_path / "bare", "wav2vec2", mask_time_prob=0.0)
    with pytest.raises(BaseError, match="set mask_time_prob above 0"):
        load(tmp_path / "bare")
