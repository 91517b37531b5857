"""Worse versions of the same recordings: noise, a telephone, a low bit rate.

A test set that was recorded in a studio says little about a telephone. A condition takes a clip and
gives back the same words, as long as before, as another channel would have carried them; the real
codecs do it, not a filter that looks like them.

* ``noise:SNR``: pink noise at SNR dB over the clip, drawn from a seed of its own for each clip.
* ``gsm``: 8 kHz and GSM 06.10 full rate, 13 kbit/s (ETSI EN 300 961), the codec of libsndfile.
* ``opus:KBPS``: Opus at that many kbit/s, tuned for speech (RFC 6716), the codec of FFmpeg.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from xlasr.data.audio import SAMPLE_RATE, decode, to_int16
from xlasr.errors import UsageError
from xlasr.features.augment import add_noise
from xlasr.registry import Registry

Samples = NDArray[np.float32]
Condition = Callable[[Samples, int], Samples]
"""Clip and seed to clip: float32 (n,) at 16 kHz both, of one length."""

CONDITIONS: Registry[Callable[[float | None], Condition]] = Registry("condition")
"""From the number after the colon to the condition."""
USUAL = ("noise:10", "gsm", "opus:6")
"""What ``--conditions usual`` stands for."""
PHONE_RATE = 8_000


def open_condition(name: str) -> Condition:
    """Return the condition of a name such as ``noise:10`` or ``gsm``.

    Raises:
        UnknownName: There is no such condition.
        UsageError: The number is missing, is none, or lies outside of what the codec takes.
    """
    kind, colon, text = name.partition(":")
    make = CONDITIONS[kind]
    try:
        value = float(text) if colon else None
    except ValueError:
        raise UsageError(f"condition {name!r}: {text!r} is no number; write {kind}:10") from None
    return make(value)


@CONDITIONS.register("noise")
def _noise(snr_db: float | None) -> Condition:
    if snr_db is None or not -20 <= snr_db <= 60:
        raise UsageError("condition 'noise' takes a ratio from -20 to 60 dB: noise:10")
    ratio = snr_db
    return lambda samples, seed: add_noise(samples, ratio, np.random.default_rng(seed))


@CONDITIONS.register("gsm")
def _gsm(value: float | None) -> Condition:
    if value is not None:
        raise UsageError("condition 'gsm' takes no number: its bit rate is fixed")
    return _telephone


def _telephone(samples: Samples, seed: int) -> Samples:
    narrow = soxr.resample(samples, SAMPLE_RATE, PHONE_RATE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gsm.wav"
        soundfile.write(path, np.clip(narrow, -1, 1), PHONE_RATE, subtype="GSM610")
        return _same_length(decode(path), len(samples))


@CONDITIONS.register("opus")
def _opus(kbps: float | None) -> Condition:
    if kbps is None or not 6 <= kbps <= 510:
        raise UsageError("condition 'opus' takes a bit rate from 6 to 510 kbit/s: opus:6")
    rate = round(1000 * kbps)

    def through(samples: Samples, seed: int) -> Samples:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.opus"
            with av.open(str(path), "w", format="ogg") as file:
                encoder = file.add_stream("libopus", rate=SAMPLE_RATE)
                encoder.bit_rate = rate
                encoder.layout = "mono"
                # a constant rate: left variable, the codec spends what a hard clip asks for
                encoder.options = {"application": "voip", "vbr": "off"}
                frame = av.AudioFrame.from_ndarray(to_int16(samples)[None], "s16", "mono")
                frame.sample_rate = SAMPLE_RATE
                for packet in [*encoder.encode(frame), *encoder.encode(None)]:
                    file.mux(packet)
            return _same_length(decode(path), len(samples))

    return through


def _same_length(samples: Samples, n_samples: int) -> Samples:
    """Cut off, or fill up, what whole frames of a codec add or leave out."""
    return np.pad(samples[:n_samples], (0, max(0, n_samples - len(samples))))
