"""Masked autoencoding: masks and errors by hand, hidden positions provably not seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.models.test_audiovisual import loud
from tests.objectives.clips import BOTH, batch, model_of, settings
from torch import Tensor

from xlasr.errors import BaseError, UsageError
from xlasr.models.aids import AIDS, aids_wanted, set_aids
from xlasr.models.audiovisual import CommonDecoder, VideoEncoder
from xlasr.models.encoders import Features
from xlasr.objectives.contrastive import (
    contrastive,
)
from xlasr.objectives.masked_autoencoder import draw_masked, masked_autoencoder, masked_error

# --- masks ----------------------------------------------------------------------------------


@given(
    lens=st.lists(st.integers(1, 50), min_size=1, max_size=4),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_masks_are_drawn_without_replacement(lens: list[int], ratio: float, seed: int) -> None:
    torch.manual_seed(seed)
    is_masked = draw_masked(torch.tensor(lens), 50, ratio)
    for row, n in zip(is_masked, lens, strict=True):
        assert not row[n:].any()
        wanted = min(max(1, round(ratio * n)), n - 1)
        assert int(row.sum()) == wanted and (n == 1 or 0 < wanted < n)


def test_sixty_per_cent_anywhere() -> None:
    torch.manual_seed(0)
    masks = draw_masked(torch.full((2000,), 10), 10, 0.6)
    assert (masks.sum(1) == 6).all()
    assert ((masks.float().mean(0) - 0.6).abs() < 0.05).all()
    for ratio in (0.0, 1.0, -1.0, 2.0):
        with pytest.raises(UsageError, match=f"a mask ratio of {ratio} hides"):
            draw_masked(torch.tensor([4]), 4, ratio)


# --- reconstruction -------------------------------------------------------------------------


def test_the_error_by_hand() -> None:
    guess = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [9.0, 9.0]]])
    truth = torch.tensor([[[1.0, 3.0], [0.0, 0.0], [2.0, 4.0]]])
    is_masked = torch.tensor([[True, False, True]])
    # (1 + 9) / 2 = 5 and (49 + 25) / 2 = 37
    assert float(masked_error(guess, truth, is_masked, normalise=False)) == pytest.approx(21.0)
    # both patches of the truth become (-1, 1): (1 + 1) / 2 = 1 and (100 + 64) / 2 = 82
    found = float(masked_error(guess, truth, is_masked, normalise=True))
    assert found == pytest.approx(41.5, rel=1e-5)
    nothing = masked_error(guess, truth, torch.zeros(1, 3, dtype=torch.bool), normalise=False)
    assert float(nothing) == 0.0


def test_both_modalities_count_and_only_what_is_masked() -> None:
    model, features = model_of(), batch([6400, 3200], [6, 4])

    @torch.no_grad()
    def loss(given: Features, **changes: object) -> float:
        torch.manual_seed(3)
        return float(masked_autoencoder(model, given, settings(BOTH[0], **changes), 0))

    whole = loss(features)
    assert loss(features, video_weight=3.0) > whole + 0.1
    assert loss(features, normalise=True) != pytest.approx(whole)
    assert loss(features) == whole  # masks are drawn by the generator that is seeded
    values, video = features.values.clone(), features.video
    assert video is not None
    video = video.clone()
    values[1, 20:], video[1, 4:] = 9.0, 255  # padding has no say
    assert loss(replace(features, values=values, video=video)) == pytest.approx(whole, rel=1e-5)
    values[1, 19] = 9.0
    assert loss(replace(features, values=values)) != pytest.approx(whole, rel=1e-3)


def test_sound_alone_when_pictures_weigh_nothing() -> None:
    model, features = model_of(), batch([6400, 3200], [6, 4])

    def loss(given: Features, **changes: object) -> Tensor:
        torch.manual_seed(3)
        return masked_autoencoder(model, given, settings(BOTH[0], **changes), 0)

    alone = loss(features, video_weight=0)
    alone.backward()
    assert all(p.grad is None for p in model.aids["video"].parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.encoder.parameters())
    assert features.video is not None
    black = replace(features, video=features.video * 0)
    assert loss(black, video_weight=0) == loss(replace(features, video=None), video_weight=0)
    assert loss(black, video_weight=0) == alone
    # the same masks: with pictures at no weight the guess would have come from them too
    assert loss(features, video_weight=1e-9).item() != pytest.approx(alone.item(), rel=1e-6)


def test_the_model_reconstructs_without_having_seen() -> None:
    """By gradient: what is masked does not reach the guess."""
    model, features = model_of(), batch([6400], [6])
    seen: dict[str, Tensor] = {}
    decoder = model.aids["masked_autoencoder"]
    values = features.values.clone().requires_grad_()
    handle = decoder.register_forward_hook(
        lambda module, args, out: seen.update(
            masked=args[1], heard=out[0], shown=out[1], patches=args[3].at
        )
    )
    loud(model)
    masked_autoencoder(model, replace(features, values=values), settings(BOTH[0]), 0)
    handle.remove()
    guess = seen["heard"].pow(2).sum() + seen["shown"].pow(2).sum()
    (gradient,) = torch.autograd.grad(guess, values)
    assert seen["patches"].shape == (1, 5)  # 12 of pictures, of which 7 are masked
    masked = seen["masked"][0].repeat_interleave(4)
    felt = gradient[0].abs().sum(-1)
    assert masked.sum() == 24 and not felt[masked].any() and (felt[~masked] > 0).all()


def test_it_learns_to_reconstruct() -> None:
    torch.manual_seed(0)
    model, features = model_of().train(), batch([6400, 6400], [4, 4])
    time = torch.arange(40)[:, None]
    features.values = torch.sin(time * 0.3 + torch.arange(80) * 0.2).expand(2, -1, -1).clone()
    assert features.video is not None
    features.video = (features.video * 0 + 40).to(torch.uint8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for update in range(60):
        loss = masked_autoencoder(model, features, settings(BOTH[0]), update)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.25 * sum(losses[:5])


# --- aids and misuse ------------------------------------------------------------------------


def test_what_each_objective_trains() -> None:
    model = model_of(kinds=["masked_autoencoder"])
    assert aids_wanted(model, BOTH) == ["video", "masked_autoencoder", "contrastive"]
    assert aids_wanted(model, ["contrastive", "ctc"]) == ["video", "contrastive"]
    assert aids_wanted(model, ["masked_contrastive"]) == ["masked_contrastive"]
    assert list(model.aids) == ["video", "masked_autoencoder"]
    viewer = model.aids["video"]
    told = set_aids(model, aids_wanted(model, ["contrastive"]), None)
    assert model.aids["video"] is viewer and list(model.aids) == ["video", "contrastive"]
    assert len(told) == 2 and "masked_autoencoder needs are dropped" in told[0]
    assert isinstance(AIDS["video"](model), VideoEncoder)
    assert isinstance(AIDS["masked_autoencoder"](model), CommonDecoder)


def test_without_pictures_or_on_another_base(tmp_path: object) -> None:
    model = model_of()
    features = replace(batch([6400], [4]), video=None)
    for kind, objective in (("contrastive", contrastive), (BOTH[0], masked_autoencoder)):
        with pytest.raises(UsageError, match="have no pictures"):
            objective(model, features, settings(kind), 0)

    class Other(torch.nn.Module):
        hf = torch.nn.Module()

    Other.hf.config = type("Config", (), {"model_type": "whisper"})()
    model.encoder = Other()
    with pytest.raises(BaseError, match="a 'whisper' model has none"):
        AIDS["video"](model)
