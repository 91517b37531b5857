"""Augmentation does what it says, and only what its generator says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xlasr.features.augment import add_noise, spec_augment, speed

ALL = {"time_masks": 2, "time_width": 40, "time_share": 0.15, "freq_masks": 2, "freq_width": 20}


def tone(hz: float, n: int = 16_000) -> np.ndarray:  # type: ignore[type-arg]
    return np.sin(2 * np.pi * hz * np.arange(n) / 16_000).astype(np.float32)


def peak_hz(samples: np.ndarray) -> float:  # type: ignore[type-arg]
    return float(np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples))


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.5])
def test_speed_changes_length_and_pitch_together(factor: float) -> None:
    changed = speed(tone(440), factor)
    assert changed.dtype == np.float32
    assert abs(len(changed) - 16_000 / factor) <= 1
    assert peak_hz(changed) == pytest.approx(440 * factor, abs=2)
    assert np.abs(changed).max() == pytest.approx(1.0, abs=0.1)


def test_speed_one_is_the_clip_itself() -> None:
    samples = tone(440)
    assert speed(samples, 1.0) is samples


@settings(deadline=None, max_examples=30)
@given(snr_db=st.floats(-10, 40), seed=st.integers(0, 2**32), n=st.integers(400, 20_000))
def test_noise_has_the_ratio_asked_for(snr_db: float, seed: int, n: int) -> None:
    clean = tone(440, n) * 0.1
    noisy = add_noise(clean, snr_db, np.random.default_rng(seed))
    assert noisy.dtype == np.float32
    noise = noisy.astype(np.float64) - clean
    found = 10 * np.log10(np.mean(clean.astype(np.float64) ** 2) / np.mean(noise**2))
    assert found == pytest.approx(snr_db, abs=0.05)
    assert np.array_equal(noisy, add_noise(clean, snr_db, np.random.default_rng(seed)))
    assert np.array_equal(clean, tone(440, n) * 0.1)  # the input is left alone


def test_noise_is_pink() -> None:
    clean = tone(3999, 160_000)
    noise = add_noise(clean, 0.0, np.random.default_rng(0)) - clean
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[10 * 2**k : 10 * 2 ** (k + 1)].sum() for k in range(2, 12)]
    assert max(octaves) / min(octaves) < 1.6  # every octave carries the same power


def test_silence_stays_silent() -> None:
    silence = np.zeros(1000, np.float32)
    assert np.array_equal(add_noise(silence, 10.0, np.random.default_rng(0)), silence)


@settings(deadline=None, max_examples=50)
@given(
    lens=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    share=st.floats(0.0, 1.0),
)
def test_masks_keep_to_the_speech_and_to_their_widths(
    lens: list[int], seed: int, share: float
) -> None:
    features = torch.randn(len(lens), 80, 200, generator=torch.Generator().manual_seed(0))
    rngs = [np.random.default_rng([seed, i]) for i in range(len(lens))]
    options = ALL | {"time_share": share}
    out = spec_augment(features, lens, rngs, **options)  # type: ignore[arg-type]
    changed = out != features
    for row, n in enumerate(lens):
        assert not changed[row, :, n:].any()
        masked = changed[row, :, :n]
        whole_frames = masked.all(dim=0)
        whole_bins = masked[:, ~whole_frames].all(dim=1) if not whole_frames.all() else None
        assert int(whole_frames.sum()) <= 2 * min(40, int(n * share))
        if whole_bins is not None:
            assert int(whole_bins.sum()) <= 2 * 20
            rest = masked[~whole_bins][:, ~whole_frames]
            assert not rest.any()  # bands and nothing else
        values = out[row][changed[row]]
        if len(values):
            mean = float(features[row, :, :n].mean())
            torch.testing.assert_close(values, torch.full_like(values, mean))


def test_each_clip_follows_its_own_generator_whatever_the_batch() -> None:
    features = torch.randn(3, 80, 300, generator=torch.Generator().manual_seed(1))
    before = features.clone()

    def generators() -> list[np.random.Generator]:
        return [np.random.default_rng(i) for i in range(3)]

    together = spec_augment(features, [300, 200, 100], generators(), **ALL)  # type: ignore[arg-type]
    alone = [
        spec_augment(features[i : i + 1], [n], [generators()[i]], **ALL)  # type: ignore[arg-type]
        for i, n in enumerate((300, 200, 100))
    ]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(features, before)
    assert not torch.equal(together, features)
