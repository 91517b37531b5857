"""Contrast of sound and pictures: losses and pools by hand, the bound on planted pairs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.models.test_audiovisual import SMALL
from tests.objectives.clips import batch, model_of, settings
from torch import Tensor

from xlasr.config import PairSettings
from xlasr.models.audiovisual import JointSpace
from xlasr.objectives.contrastive import (
    contrastive,
    cut_to_shortest,
    in_windows,
    info_nce,
    pooled,
    standardised,
    what_moves,
)

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
    torch.manual_seed(0)
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
    found = standardised(what_moves(windows)).reshape(3, 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    one = windows[:, :1]
    torch.testing.assert_close(standardised(what_moves(one)), standardised(one[:, 0]))


def test_windows_of_all_clips_are_told_apart() -> None:
    model, features = model_of(), batch([6400] * 2, [6] * 2)
    sound, video = pooled(model, features, 0.16)
    assert sound.shape == video.shape == (2 * 2, sound.shape[1])
    found = contrastive(model, features, settings("contrastive", window_s=0.16), 0)
    plain = PairSettings(standardise=False)
    rows = (standardised(what_moves(x.unflatten(0, (2, 2)))) for x in (sound, video))
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
    loss = float(info_nce(*(standardised(what_moves(x)) for x in sides), how))
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
    how = settings("contrastive", temperature=0.5)
    # the sides have mean 0 over the clips: at best a simplex, whose cosines are -1 / (n - 1)
    bound = math.log(1 + (n - 1) * math.exp(-(1 + 1 / (n - 1)) / 0.5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = float(contrastive(model, features, how, 0).detach())
    for update in range(200):
        loss = contrastive(model, features, how, update)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert first > 0.6 * math.log(n)
    assert bound - 1e-4 < float(loss.detach()) < 1.01 * bound
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
