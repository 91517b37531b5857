"""One pass over the audio: a few numbers for each clip, and nothing else is kept.

Energies are of frames of 20 ms. *Level* is their 95th percentile and *noise* their 15th, both in
dBFS (0 is a square wave at full scale), and the estimated ratio of speech to noise is their
difference. That is the definition of NIST's ``stnr`` (peak speech power over noise power, windows
of 20 ms, speech at the 95th percentile), with the percentile that the recogniser of Mississippi
State (ISIP) took for the noise instead of a fitted histogram. It is an estimate: a clip that was
cut to its speech has few frames of noise, and then it errs towards low; music and other voices
count as speech where they are loud.

Source: NIST SPQA 2.3, ``stnr`` (doc/stnr.txt); ISIP, "Signal to noise ratio estimation".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlasr.data.audio import SAMPLE_RATE, to_int16
from xlasr.data.corpus import Utterance
from xlasr.diagnosis.findings import Record
from xlasr.errors import AudioError

FRAME = 320
"""Samples of a frame: 20 ms."""
SPEECH_PERCENTILE = 95
NOISE_PERCENTILE = 15
BELOW_SPEECH_DB = 40.0
"""Frames this far below the loudest are silence: speech spans about 30 dB, whispers included."""
FLOOR_DBFS = -100.0
"""What digital zeros count as: just below the rounding noise of 16 bits."""
_AT_PEAK = 2 / 32768  # two steps of 16 bits
_MIN_CLIP_PEAK = 0.05  # what is flat further down is silence or a square wave, not a clipped voice

TABLE = np.dtype(
    [
        ("read", "?"),
        ("duration_s", "<f4"),
        ("peak_dbfs", "<f4"),
        ("level_dbfs", "<f4"),
        ("snr_db", "<f4"),
        ("lead_s", "<f4"),
        ("trail_s", "<f4"),
        ("flat_runs", "<i4"),
        ("digest", "S16"),
    ]
)


@dataclass
class Sounds:
    """What the pass measured.

    Args:
        table: (n_utterances,) of ``TABLE``, in the order of ``Material.utterances``. ``read`` is
            false where the audio could not be read.
        errors: The clips that could not be read, and why.
    """

    table: NDArray[np.void]
    errors: list[Record]


def listen(
    utterances: Iterable[tuple[str, Utterance]], n: int, advance: Callable[[int], None]
) -> Sounds:
    """Measure every clip; one is in memory at a time.

    Args:
        utterances: With their sides.
        n: How many there are.
        advance: Called with 1 after each.
    """
    table = np.zeros(n, dtype=TABLE)
    errors = []
    for row, (split, utterance) in enumerate(utterances):
        try:
            table[row] = measure(utterance.load())
        except AudioError as error:
            errors.append(Record(split, utterance.id, str(error)))
        advance(1)
    return Sounds(table, errors)


def measure(samples: NDArray[np.float32]) -> tuple[object, ...]:
    """Measure one clip.

    Args:
        samples: float32 (n_samples,), mono, 16 kHz, at least one.

    Returns:
        The fields of ``TABLE``.
    """
    energies = frame_energies(samples)
    level, noise = np.percentile(energies, [SPEECH_PERCENTILE, NOISE_PERCENTILE])
    loud = np.flatnonzero(energies > energies.max() - BELOW_SPEECH_DB)
    peak = float(np.abs(samples).max())
    seconds = FRAME / SAMPLE_RATE
    return (
        True,
        len(samples) / SAMPLE_RATE,
        max(FLOOR_DBFS, 20 * np.log10(max(peak, 1e-9))),
        level,
        level - noise,
        loud[0] * seconds,
        (len(energies) - 1 - loud[-1]) * seconds,
        flat_runs(samples, peak),
        hashlib.blake2b(to_int16(samples).tobytes(), digest_size=16).digest(),
    )


def frame_energies(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean power of frames in dBFS: (n_frames,), at least one; a rest shorter than half is left."""
    n = max(1, round(len(samples) / FRAME))
    padded = np.zeros(n * FRAME, dtype=np.float64)
    padded[: len(samples)] = samples[: n * FRAME]
    power = np.square(padded.reshape(n, FRAME)).mean(axis=1)
    if len(samples) % FRAME and n * FRAME > len(samples):
        power[-1] *= FRAME / (len(samples) - (n - 1) * FRAME)
    energies: NDArray[np.float64] = np.maximum(FLOOR_DBFS, 10 * np.log10(power + 1e-12))
    return energies


def flat_runs(samples: NDArray[np.float32], peak: float) -> int:
    """Count runs of three or more successive samples of one sign at the clip's own peak.

    The own peak and not full scale, because a clipped recording may have been turned down since.
    One that was resampled or compressed after it was clipped is round again and not found.
    """
    if peak < _MIN_CLIP_PEAK:
        return 0
    total = 0
    for sign in (1.0, -1.0):
        at_peak = sign * samples >= peak - _AT_PEAK
        three = at_peak[:-2] & at_peak[1:-1] & at_peak[2:]
        total += int(three[:1].sum()) + int((three[1:] & ~three[:-1]).sum())
    return total
