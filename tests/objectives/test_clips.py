"""Objectives on clips: masks and losses by hand, what is seen, bounds on planted pairs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.models.test_audiovisual import SMALL, loud
from torch import Tensor

from xlasr.config import ObjectiveSettings, PairSettings
from xlasr.errors import BaseError, UsageError
from xlasr.models.aids import AIDS, aids_wanted, set_aids
from xlasr.models.audiovisual import CommonDecoder, JointSpace, VideoEncoder
from xlasr.models.conformer import Conformer, ConformerEncoder
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Features
from xlasr.models.tokenizer import CharTokenizer
from xlasr.objectives.contrastive import (
    contrastive,
    cut_to_shortest,
    in_windows,
    info_nce,
    pooled,
    standardised,
    what_moves,
)
from xlasr.objectives.masked_autoencoder import draw_masked, masked_autoencoder, masked_error

BOTH = ["masked_autoencoder", "contrastive"]


def model_of(seed: int = 0, kinds: list[str] | None = None) -> CTCModel:
    torch.manual_seed(seed)
    encoder = ConformerEncoder(Conformer(SMALL))
    encoder.hf.frame_count.fill_(1)
    model = CTCModel(encoder, CharTokenizer([]), {})
    set_aids(model, aids_wanted(model, BOTH if kinds is None else kinds), None)
    return model.eval()


def batch(lens: list[int], n_pictures: list[int], seed: int = 0) -> Features:
    """Frames of so many samples, and so many pictures, of noise."""
    torch.manual_seed(seed)
    frames = [-(-n // 160) for n in lens]
    values = torch.nn.utils.rnn.pad_sequence([torch.randn(n, 80) for n in frames], True)
    is_pad = torch.arange(values.shape[1]) >= torch.tensor(frames)[:, None]
    pictures = [torch.randint(0, 256, (n, 8, 8, 3), dtype=torch.uint8) for n in n_pictures]
    video = torch.nn.utils.rnn.pad_sequence(pictures, True)
    return Features(
        values, torch.tensor(lens), is_pad, video=video, video_lens=torch.tensor(n_pictures)
    )


def settings(kind: str, **changes: object) -> ObjectiveSettings:
    field = "autoencoder" if kind == "masked_autoencoder" else "pairs"
    return ObjectiveSettings.model_validate({"kind": kind, field: changes})


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


# --- pairs ----------------------------------------------------------------------------------


def test_info_nce_by_hand() -> None:
    sound = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    video = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    how = PairSettings(temperature=0.5, standardise=False)
    # cosines: [[1, s], [0, s]] with s = 1 / sqrt 2, over 0.5: [[2, 2s], [0, 2s]]
    s2 = math.sqrt(2)
    rows = [math.log(math.exp(2) + math.exp(s2)) - 2, math.log(1 + math.exp(s2)) - s2]
    columns = [math.log(math.exp(2) + 1) - 2, math.log(2 * math.exp(s2)) - s2]
    wanted = (sum(rows) / 2 + sum(columns) / 2) / 2
    assert float(info_nce(sound, video, how)) == pytest.approx(wanted, rel=1e-5)
    # products: [[3, 1], [0, 2]], over 0.5: [[6, 2], [0, 4]]
    plain = PairSettings(temperature=0.5, standardise=False, normalise=False)
    rows = [math.log(math.exp(6) + math.exp(2)) - 6, math.log(1 + math.exp(4)) - 4]
    columns = [math.log(math.exp(6) + 1) - 6, math.log(math.exp(2) + math.exp(4)) - 4]
    wanted = (sum(rows) / 2 + sum(columns) / 2) / 2
    assert float(info_nce(sound, video, plain)) == pytest.approx(wanted, rel=1e-5)
    assert float(info_nce(sound, video, how)) == pytest.approx(float(info_nce(video, sound, how)))


def test_bounds() -> None:
    how = PairSettings(temperature=0.1, standardise=False)
    same = torch.ones(7, 4)
    assert float(info_nce(same, same, how)) == pytest.approx(math.log(7))
    # one apart from all others: cosine 1 against 0, so log(1 + 6 exp(-10))
    apart = torch.eye(7)
    bound = math.log(1 + 6 * math.exp(-10))
    assert float(info_nce(apart, apart, how)) == pytest.approx(bound, abs=1e-6)
    alone = torch.randn(1, 4, requires_grad=True)
    loss = info_nce(alone, torch.randn(1, 4), how)
    loss.backward()
    assert float(loss.detach()) == 0.0 and alone.grad is not None and not alone.grad.any()


def test_both_sides_are_standardised_over_the_batch() -> None:
    rows = torch.tensor([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]])
    root = math.sqrt(1.5)
    expected = torch.tensor([[-root, 0.0], [0.0, 0.0], [root, 0.0]])
    torch.testing.assert_close(standardised(rows), expected, rtol=1e-4, atol=1e-4)
    assert standardised(rows[:1]).equal(rows[:1])  # no batch
    sound, video = torch.randn(2, 6, 4).unbind(0)
    how, plain = PairSettings(), PairSettings(standardise=False)
    moved = info_nce(100 + sound, 100 + 3 * video, how)
    torch.testing.assert_close(moved, info_nce(sound, video, how), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(moved, info_nce(standardised(sound), standardised(video), plain))
    assert abs(float(info_nce(100 + sound, 100 + video, plain)) - math.log(6)) < 0.1


def test_pooling_and_pairing_leave_padding_out() -> None:
    model = model_of()
    one, other = batch([6400], [6], seed=1), batch([3200], [4], seed=2)
    together = batch([6400, 3200], [6, 4])
    assert together.video is not None and one.video is not None and other.video is not None
    together.values = torch.full_like(together.values, 5.0)
    together.video = torch.full_like(together.video, 99)
    for row, alone in enumerate((one, other)):
        assert alone.video is not None
        together.values[row, : alone.values.shape[1]] = alone.values[0]
        together.video[row, : alone.video.shape[1]] = alone.video[0]
    sides: list[list[Tensor]] = [[], []]
    joint = model.aids["contrastive"]
    assert isinstance(joint, JointSpace)
    joint.from_sound.register_forward_hook(lambda m, a, out: sides[0].append(out))
    joint.from_video.register_forward_hook(lambda m, a, out: sides[1].append(out))
    how = settings("contrastive", same_length=False)
    for features in (together, one, other):
        contrastive(model, features, how, 0)
    for found in sides:
        torch.testing.assert_close(found[0], torch.cat(found[1:]), rtol=1e-4, atol=1e-5)


def test_windows_by_hand() -> None:
    shape = SMALL
    assert (shape.tubelet, shape.fps) == (2, 12.5)  # 0.16 s, 4 positions
    sound = torch.arange(2 * 19.0).reshape(2, 19, 1)
    video = torch.arange(2 * 5.0 * shape.side**2).reshape(2, -1, 1)
    heard, watched = in_windows(sound, video, 0.3, shape)  # two tubelets
    assert heard.flatten().tolist() == [3.5, 11.5, 22.5, 30.5]
    per = shape.side**2
    assert watched.flatten().tolist() == [x * per - 0.5 for x in (1, 3, 6, 8)]
    whole = in_windows(sound, video, 9.0, shape)  # longer than the clip
    assert [x.flatten().tolist() for x in whole] == [[9, 28], [2.5 * per - 0.5, 7.5 * per - 0.5]]
    assert in_windows(sound[:, :3], video, 0.01, shape)[0].shape == (2, 1)  # less than a tubelet


def test_what_moves_by_hand() -> None:
    windows = torch.tensor([[1.0, 5, 0], [7, 7, 7], [2, 0, 4]])[..., None]
    # without each clip's mean: -1 3 -2, 0 0 0, 0 -2 2; without each time's: thirds of
    thirds = torch.tensor([[-2.0, 8, -6], [1, -1, 0], [1, -7, 6]])
    expected = thirds / 3 / math.sqrt(192 / 81)  # variance 1 over all of them
    torch.testing.assert_close(what_moves(windows)[..., 0], expected, rtol=1e-4, atol=1e-4)
    one = windows[:, :1]
    torch.testing.assert_close(what_moves(one)[:, 0], standardised(one[:, 0]))


def test_windows_of_all_clips_are_told_apart() -> None:
    model, features = model_of(), batch([6400] * 2, [6] * 2)
    sound, video = pooled(model, features, 0.16)
    assert sound.shape == video.shape == (2 * 2, sound.shape[1])
    found = contrastive(model, features, settings("contrastive", window_s=0.16), 0)
    plain = PairSettings(standardise=False)
    rows = (what_moves(x.unflatten(0, (2, 2))).flatten(0, 1) for x in (sound, video))
    torch.testing.assert_close(found, info_nce(*rows, plain))
    alone = contrastive(
        model, batch([6400], [6]), settings("contrastive", window_s=0.16), 0
    )  # nothing to be told from: where in the clip its windows are would give them away
    assert float(alone.detach()) == 0.0
    with pytest.raises(ValueError, match="needs same_length"):
        PairSettings(window_s=1.0, same_length=False)
    with pytest.raises(ValueError, match="needs standardise"):
        PairSettings(window_s=1.0, standardise=False)


def test_place_and_clip_alone_tell_nothing() -> None:
    """Pairs that share the clip's colour and the time, and nothing that happens in the clip."""
    torch.manual_seed(0)
    clip, time = torch.randn(8, 1, 16), torch.randn(1, 6, 16)
    noise = torch.randn(2, 8, 6, 16)
    how = PairSettings(standardise=False)
    sides = [10 * clip + 10 * time + x for x in noise]
    loss = float(info_nce(*(what_moves(x).flatten(0, 1) for x in sides), how))
    assert loss > math.log(48)
    assert float(info_nce(*(x.flatten(0, 1) for x in sides), how)) < 0.5 * math.log(48)


def test_clips_are_cut_to_the_shortest() -> None:
    features = batch([6400, 3200, 5000], [8, 4, 2])
    cut = cut_to_shortest(features)
    assert cut.values.shape == (3, 20, 80) and cut.input_lens.tolist() == [3200] * 3
    assert cut.video is not None and cut.video_lens is not None and cut.is_pad is not None
    assert cut.video.shape[1] == 2 and cut.video_lens.tolist() == [2] * 3
    assert not cut.is_pad.any() and features.values.shape[1] == 40


def test_pairs_fall_to_the_bound() -> None:
    """Planted: the grey of the pictures is the band in which the sound is loud."""
    torch.manual_seed(0)
    n = 6
    model, features = model_of().train(), batch([6400] * n, [4] * n)
    features.values = 0.1 * torch.randn(n, 40, 80)
    assert features.video is not None
    for row in range(n):
        features.values[row, :, 12 * row : 12 * row + 12] += 2.0
        features.video[row] = 40 * row
    how = settings("contrastive", temperature=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = float(contrastive(model, features, how, 0).detach())
    for update in range(80):
        loss = contrastive(model, features, how, update)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert first > 0.6 * math.log(n)
    assert float(loss.detach()) < 0.05
    # strangers: the same sounds with the pictures of others
    assert features.video is not None
    swapped = replace(features, video=features.video.roll(1, 0))
    assert float(contrastive(model, swapped, how, 0).detach()) > math.log(n)


def test_what_all_clips_share_does_not_hide_what_differs() -> None:
    """Without standardising, all cosines become 1 and the loss stays at log B: seen on speech."""
    torch.manual_seed(0)
    n = 8
    model, features = model_of().train(), batch([6400] * n, [4] * n)
    features.values = 2 + 0.1 * torch.randn(n, 40, 80)
    assert features.video is not None
    for row in range(n):
        features.values[row, :, 8 * row : 8 * row + 8] += 0.5
        features.video[row] = 120 + 5 * row
    how = settings("contrastive")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for update in range(60):
        loss = contrastive(model, features, how, update)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.2 * math.log(n)
    alone = contrastive(model, batch([6400], [4]), how, 0)  # no batch to be standardised over
    alone.backward()
    assert float(alone.detach()) == 0.0


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
