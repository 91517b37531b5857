"""What is measured of a clip, against what was put into it."""

from __future__ import annotations

import numpy as np
import pytest

from xlasr.data.corpus import Utterance
from xlasr.diagnosis.sound import TABLE, flat_runs, frame_energies, listen, measure

RATE = 16_000


def measured(samples: np.ndarray) -> np.void:
    table = np.zeros(1, dtype=TABLE)
    table[0] = measure(samples.astype(np.float32))
    return table[0]


def bursts(level_db: float, noise_db: float, seed: int = 0) -> np.ndarray:
    """Six seconds, half of them speech of a known level, in noise of a known level (dBFS)."""
    rng = np.random.default_rng(seed)
    on = np.repeat(np.arange(12) % 2, RATE // 2)
    speech = 10 ** (level_db / 20) * on * rng.standard_normal(len(on))
    return speech + 10 ** (noise_db / 20) * rng.standard_normal(len(on))


@pytest.mark.parametrize(("level_db", "noise_db"), [(-20, -60), (-30, -45), (-25, -35), (-40, -70)])
def test_level_and_ratio_are_those_that_were_planted(level_db: float, noise_db: float) -> None:
    found = measured(bursts(level_db, noise_db))
    assert found["level_dbfs"] == pytest.approx(level_db, abs=1.5)
    assert found["snr_db"] == pytest.approx(level_db - noise_db, abs=2.0)
    assert found["duration_s"] == 6.0


def test_the_ratio_does_not_depend_on_the_gain() -> None:
    clip = bursts(-25, -50)
    assert measured(clip)["snr_db"] == pytest.approx(measured(0.1 * clip)["snr_db"], abs=0.01)


def test_edges() -> None:
    tone = 0.3 * np.sin(np.arange(RATE))
    clip = np.concatenate([np.zeros(RATE), tone, 1e-4 * np.ones(2 * RATE)])
    found = measured(clip)
    assert (found["lead_s"], found["trail_s"]) == pytest.approx((1.0, 2.0), abs=0.021)


def test_flat_tops() -> None:
    time = np.arange(RATE) / RATE
    sine = 0.9 * np.sin(2 * np.pi * 100 * time)
    peak = float(np.abs(sine).max())
    assert flat_runs(sine.astype(np.float32), peak) == 0
    clipped = np.clip(sine, -0.5, 0.5).astype(np.float32)
    assert flat_runs(clipped, 0.5) == 200  # both tops of a hundred waves
    assert flat_runs((clipped * 0.3).astype(np.float32), 0.15) == 200  # turned down afterwards
    assert flat_runs(np.zeros(RATE, dtype=np.float32), 0.0) == 0


def test_short_and_odd_lengths() -> None:
    assert len(frame_energies(np.ones(1, dtype=np.float32))) == 1
    assert frame_energies(np.ones(1, dtype=np.float32))[0] == pytest.approx(0.0, abs=1e-6)
    for n in (319, 320, 480, 500, 641):
        np.testing.assert_allclose(frame_energies(np.full(n, 0.1, np.float32)), -20.0, atol=1e-5)
    assert measured(np.zeros(5))["peak_dbfs"] == -100.0


def test_one_clip_is_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc
    from pathlib import Path

    def load(self: Utterance) -> np.ndarray:
        return np.zeros(10 * RATE, dtype=np.float32)

    monkeypatch.setattr(Utterance, "load", load)
    one = Utterance("a", Path("a.wav"), 0.0, 10.0, "a", "cs", None, "a")
    peaks = []
    for n in (3, 60):
        tracemalloc.start()
        seen: list[int] = []
        sounds = listen((("train", one) for _ in range(n)), n, seen.append)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(sounds.table) == sum(seen) == n
    assert peaks[1] < 1.1 * peaks[0]
