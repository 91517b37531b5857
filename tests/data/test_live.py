"""Sound from a pipe: raw, as WAV, in pieces that cut samples in two; and what is no such thing."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from xlasr.data.audio import decode
from xlasr.data.live import live_blocks
from xlasr.errors import AudioError, UsageError

SAMPLES = (np.sin(np.arange(16_000) / 9) * 9000).astype("<i2")


class Dripping(io.BytesIO):
    """A pipe that has a few bytes at a time, and never a whole number of samples."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size if size is None else min(size, 777))


def wav(samples: np.ndarray, rate: int, channels: int, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def heard(content: bytes, kind: type[io.BytesIO] = io.BytesIO, block_s: float = 0.1) -> np.ndarray:
    blocks = list(live_blocks(kind(content), block_s))
    assert max(len(block) for block in blocks) <= block_s * 16_000 + 2
    return np.concatenate(blocks)


@pytest.mark.parametrize("kind", [io.BytesIO, Dripping])
def test_raw_samples_and_wav_are_the_same(kind: type[io.BytesIO]) -> None:
    wanted = SAMPLES.astype(np.float32) / 32768
    for content in (SAMPLES.tobytes(), wav(SAMPLES, 16_000, 1)):
        found = heard(content, kind)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(heard(SAMPLES[:1].tobytes(), kind), wanted[:1])


def test_a_length_that_a_pipe_cannot_know() -> None:
    whole = wav(SAMPLES, 16_000, 1)
    for size in (0, 0xFFFFFFFF, 0x7FFFF000):
        content = whole[:40] + size.to_bytes(4, "little") + whole[44:]
        assert len(heard(content)) == len(SAMPLES)
    # what stands behind samples whose length is told is no sound; nor is what stands before them
    noted = whole[:12] + b"LIST\x03\x00\x00\x00abc\x00" + whole[12:] + b"LIST\x04\x00\x00\x00abcd"
    assert len(heard(noted)) == len(SAMPLES)


def test_other_rates_and_channels(tmp_path: Path) -> None:
    stereo = np.stack([SAMPLES, SAMPLES // 3], axis=1)
    (tmp_path / "s.wav").write_bytes(wav(stereo, 44_100, 2))
    found = heard((tmp_path / "s.wav").read_bytes(), Dripping)
    np.testing.assert_allclose(found, decode(tmp_path / "s.wav"), atol=1e-4)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "held nothing"),
        (b"OggS" + bytes(99), "holds Ogg.*ffmpeg"),
        (b"ID3\x04" + bytes(99), "holds MP3"),
        (wav(SAMPLES, 16_000, 1, 1), "not of 16-bit"),
        (wav(SAMPLES, 16_000, 1)[:30], "damaged"),
        (b"RIFF" + bytes(4) + b"AVI " + bytes(50), "damaged"),
    ],
)
def test_what_is_no_sound(content: bytes, told: str) -> None:
    with pytest.raises(AudioError, match=told):
        list(live_blocks(io.BytesIO(content)))


def test_half_a_sample_is_told_behind_the_others() -> None:
    blocks = live_blocks(io.BytesIO(SAMPLES.tobytes() + b"x"), 10.0)
    assert len(next(blocks)) == len(SAMPLES)
    with pytest.raises(AudioError, match="within a sample"):
        next(blocks)


@pytest.mark.parametrize("block_s", [0, -1, float("nan")])
def test_blocks_of_no_length(block_s: float) -> None:
    with pytest.raises(UsageError, match="blocks of more than 0 s"):
        next(live_blocks(io.BytesIO(SAMPLES.tobytes()), block_s))
