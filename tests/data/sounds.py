"""Sounds that the tests of decoding plant; files in formats that libsndfile cannot write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SECONDS = 2.0


def tone(rate: int, seconds: float = SECONDS, hz: float = 440.0) -> Floats:
    """A sine of amplitude 0.5."""
    t = np.arange(round(rate * seconds)) / rate
    samples: Floats = (0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32)
    return samples


def chirp(rate: int, seconds: float, seed: int = 0) -> Floats:
    """Band-limited noise: different everywhere, so that a shift by one sample shows."""
    rng = np.random.default_rng(seed)
    smooth = np.convolve(rng.standard_normal(round(rate * seconds) + 31), np.ones(32) / 32, "valid")
    samples: Floats = (0.5 * smooth / np.abs(smooth).max()).astype(np.float32)
    return samples


def encode(
    path: Path, samples: Floats, rate: int, *, codec: str, container: str, **options: str
) -> Path:
    """Write with FFmpeg, the formats that libsndfile cannot write."""
    import av

    sample_format = {
        "aac": "fltp",
        "libopus": "flt",
        "g722": "s16",
        "wmav2": "fltp",
        "libmp3lame": "fltp",
    }[codec]
    frame_size = {"libmp3lame": 1152}.get(codec, 960)
    with av.open(str(path), "w", format=container, options=options) as out:
        stream: Any = out.add_stream(codec, rate=rate)
        stream.format = sample_format
        stream.layout = "mono"
        if codec == "libmp3lame":
            stream.codec_context.qscale = True
            stream.codec_context.global_quality = 4 * 118
        else:
            stream.bit_rate = 96_000
        data = (samples * 32767).astype(np.int16)[None, :]
        convert = av.AudioResampler(sample_format, "mono", rate, frame_size=frame_size)
        frame = av.AudioFrame.from_ndarray(data, format="s16", layout="mono")
        frame.sample_rate = rate
        for part in [*convert.resample(frame), *convert.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return path


def is_tone(samples: NDArray[Any], seconds: float = SECONDS, hz: float = 440.0) -> None:
    """Assert dtype, length, pitch and loudness of the planted tone."""
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) == pytest.approx(seconds * 16_000, abs=0.08 * 16_000)
    middle = samples[8000:24_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) == pytest.approx(hz, abs=2)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
