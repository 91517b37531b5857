"""How a language sounds in a corpus: spectra, rhythm and melody, and how far apart two are.

Every measure is taken clip by clip, so that a voice's height and a room's colour fall out where
that is possible, and halves of one corpus can be compared: their distance is the noise floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlasr.data.corpus import Utterance
from xlasr.features.pitch import contour, pitch

Floats = NDArray[np.float64]

_DECIBELS = 40.0  # one unit of Whisper's log-mel: (log10 + 4) / 4
_SPEECH_DB = 30.0
"""Frames this far below the loudest are no speech."""
_ENVELOPE_S = 0.01
_DIP_DB = 2.0
_SYLLABLE_S = 0.6  # longer from one nucleus to the next is a pause
_QUANTILES = np.arange(1, 100) / 100


@dataclass
class Clip:
    """What one clip contributes.

    Args:
        group: Of the utterance; halves are made of whole groups.
        n_frames: Frames of speech.
        scatter: (F, F) sum of the products of log-mels in dB, about the clip's own mean.
        steps_s: Seconds from one syllable or letter to the next.
        semitones: Of every voiced frame, from the clip's median.
        slopes: Of every voiced stretch, in semitones a second.
    """

    group: str
    n_frames: int
    scatter: Floats
    steps_s: Floats
    semitones: Floats
    slopes: Floats


@dataclass
class Sound:
    """Clips of one language.

    Args:
        clips: In order.
        rhythm: What ``Clip.steps_s`` is: "syllables" or "letters".
    """

    rhythm: str = "syllables"
    clips: list[Clip] = field(default_factory=list)

    def halves(self) -> tuple[Sound, Sound] | None:
        """Two halves without a common group; None for a single group."""
        groups = {group: i for i, group in enumerate(sorted({clip.group for clip in self.clips}))}
        if len(groups) < 2:
            return None
        parts = [[c for c in self.clips if groups[c.group] % 2 == side] for side in (0, 1)]
        return Sound(self.rhythm, parts[0]), Sound(self.rhythm, parts[1])


Timer = Callable[[NDArray[np.float32], str], Floats]
"""Samples and text to the seconds from each letter of a word to the next."""


def listen(
    utterances: Sequence[Utterance], timer: Timer | None = None, progress: Any = None
) -> Sound:
    """Measure clips, one in memory at a time.

    Args:
        utterances: Clips.
        timer: Times the letters; None counts syllables by loudness.
        progress: Called with 1 after each.

    Raises:
        AudioError: A clip's audio is gone or damaged.
    """
    sound = Sound("letters" if timer else "syllables")
    for utterance in utterances:
        samples = utterance.load()
        n_frames, scatter = spectra(samples)
        steps = timer(samples, utterance.text) if timer else syllables(samples)
        semitones, slopes = contour(pitch(samples))
        sound.clips.append(Clip(utterance.group, n_frames, scatter, steps, semitones, slopes))
        if progress:
            progress(1)
    return sound


def spectra(samples: NDArray[np.float32]) -> tuple[int, Floats]:
    """Frames of speech, and the scatter (F, F) of their log-mels in dB about their mean."""
    import torch

    from xlasr.features.logmel import whisper_log_mel

    with torch.inference_mode():
        mel = whisper_log_mel(torch.from_numpy(samples)[None])[0].numpy().astype(np.float64)
    frames = _DECIBELS * mel.T
    level = frames.max(axis=1)
    speech = frames[level > level.max(initial=0) - _SPEECH_DB]
    if not len(speech):
        return 0, np.zeros((frames.shape[1],) * 2)
    centred = speech - speech.mean(axis=0)
    return len(speech), centred.T @ centred


def syllables(samples: NDArray[np.float32]) -> Floats:
    """Seconds from each syllable's loudest point to the next one's, pauses left out.

    Source: N. de Jong and T. Wempe, "Praat script to detect syllable nuclei and measure speech rate
        automatically", Behavior Research Methods 41, 2009: peaks of intensity between dips of 2 dB.
    """
    hop = round(_ENVELOPE_S * 16_000)
    n = len(samples) // hop
    if n < 10:
        return np.zeros(0)
    power = np.square(samples[: n * hop].astype(np.float64).reshape(n, hop)).mean(axis=1)
    window = np.hanning(9)[1:-1]
    smooth = 10 * np.log10(np.convolve(power, window / window.sum(), mode="same") + 1e-10)
    loud = smooth.max() - 25.0
    peaks: list[int] = []
    low = smooth[0]  # the quietest place since the last peak
    for i in range(1, n - 1):
        low = min(low, smooth[i])
        top = smooth[i] >= smooth[i - 1] and smooth[i] > smooth[i + 1] and smooth[i] > loud
        if not top:
            continue
        if smooth[i] - low >= _DIP_DB and (not peaks or smooth[peaks[-1]] - low >= _DIP_DB):
            peaks.append(i)
            low = smooth[i]
        elif peaks and smooth[i] > smooth[peaks[-1]]:  # the same nucleus goes on
            peaks[-1], low = i, smooth[i]
    steps: Floats = np.diff(peaks).astype(np.float64) * _ENVELOPE_S
    return steps[steps <= _SYLLABLE_S]


def letter_timer(model: Any) -> Timer:
    """A timer that aligns the text with a CTC model; letters it does not know are passed by.

    The times are from one letter's first frame to the next one's inside a word: a CTC model marks
    where a letter begins to be heard, not where it ends.

    Raises:
        UsageError: It is no CTC model.
    """
    from xlasr.alignment.ctc import align_lattice, frames_needed
    from xlasr.alignment.posteriors import aligner, posteriors
    from xlasr.alignment.text import make_unit, pause_bonus
    from xlasr.alignment.viterbi import Lattice
    from xlasr.alignment.words import PAUSE_BONUS

    ctc = aligner(model)
    blank = ctc.tokenizer.blank

    def timed(samples: NDArray[np.float32], text: str) -> Floats:
        unit = make_unit(ctc, text)
        heard = posteriors(ctc, [samples])
        if not 0 < frames_needed(unit.symbols) <= len(heard.log_probs):
            return np.zeros(0)
        bonus = pause_bonus([unit], PAUSE_BONUS)
        found = align_lattice(Lattice(heard.log_probs, unit.symbols, blank, bonus=bonus))
        inside = unit.word_of[1:] == unit.word_of[:-1]
        steps: Floats = np.diff(found.starts)[inside] * heard.frame_s
        return steps

    return timed


def spectral_distance(one: Sound, other: Sound) -> float:
    """Fréchet distance of two Gaussians of log-mels, in dB; NaN without speech.

    Each clip's mean is taken off before, and the voice's and the channel's constant colour with it.

    Source: D. Dowson and B. Landau, "The Fréchet distance between multivariate normal
        distributions", Journal of Multivariate Analysis 12, 1982.
    """
    covariances = []
    for sound in (one, other):
        n = sum(clip.n_frames for clip in sound.clips)
        if not n:
            return float("nan")
        total: Floats = np.sum([clip.scatter for clip in sound.clips], axis=0)
        covariances.append(total / n)
    first, second = covariances
    root = _root(first)
    cross = _root(root @ second @ root)
    return float(np.sqrt(max(0.0, np.trace(first) + np.trace(second) - 2 * np.trace(cross))))


def _root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    product: Floats = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return product


def _apart(one: Sequence[Floats], other: Sequence[Floats]) -> float:
    """Mean distance of the percentiles of two samples (Wasserstein-1); NaN where one is empty."""
    first, second = np.concatenate([*one, []]), np.concatenate([*other, []])
    if not len(first) or not len(second):
        return float("nan")
    steps = np.quantile(first, _QUANTILES) - np.quantile(second, _QUANTILES)
    return float(np.abs(steps).mean())


def rhythm_distance(one: Sound, other: Sound) -> float:
    """Of the durations' logarithms: 0.1 is about a tenth faster or slower."""
    parts = [[np.log(clip.steps_s) for clip in sound.clips] for sound in (one, other)]
    return _apart(*parts)


def range_distance(one: Sound, other: Sound) -> float:
    """Of the pitch about each clip's median, in semitones."""
    return _apart([c.semitones for c in one.clips], [c.semitones for c in other.clips])


def slope_distance(one: Sound, other: Sound) -> float:
    """Of the slopes of the pitch, in semitones a second."""
    return _apart([c.slopes for c in one.clips], [c.slopes for c in other.clips])
