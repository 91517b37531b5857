"""A long recording and its transcript, cut into utterances; what does not match is listed.

One alignment of the whole text decides everything at once. At the borders of units (lines or
sentences) it may let sound go by that belongs to no text, and it may leave out a unit that is not
in the sound; both cost something, so that neither is cheaper than text that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xlasr.alignment.ctc import Alignment, align_lattice, check_lattice
from xlasr.alignment.posteriors import Posteriors, aligner, posteriors
from xlasr.alignment.text import Unit, Unknown, join_units, make_unit, pause_bonus, split_units
from xlasr.alignment.viterbi import Lattice
from xlasr.alignment.words import PAUSE_BONUS, Word, place_words
from xlasr.errors import DataError
from xlasr.models.ctc import CTCModel
from xlasr.models.run import SpeechModel

WORST_FRAMES = 30
"""The worst window is so many frames long, as in ctc-segmentation."""


@dataclass(frozen=True)
class Matching:
    """What counts as a match; costs are natural logs.

    Args:
        unit: ``line`` or ``sentence``.
        skip_cost: Of each symbol of a unit that is left out.
        garbage_cost: Of each frame of sound that belongs to no text and holds a letter (pauses
            cost nothing).
        pause_bonus: For each frame of a pause between words or units.
        min_score: Utterances with a lower mean log-probability per frame are left out.
        pad_s: Kept on both sides of an utterance, in seconds, at most half of the pause.
    """

    unit: str = "line"
    skip_cost: float = 3.0
    garbage_cost: float = 1.0
    pause_bonus: float = PAUSE_BONUS
    min_score: float = -2.0
    pad_s: float = 0.1


DEFAULT = Matching()


@dataclass(frozen=True)
class Aligned:
    """An utterance that was found.

    Args:
        text: As it was given.
        line: Number of its line in the transcript, from 1.
        start_s: Seconds from the start of the recording.
        end_s: Seconds from the start of the recording.
        score: Mean log-probability (natural) of its frames; 0 is perfect.
        worst: The lowest mean of 30 neighbouring frames: a place that does not match.
        words: With their times.
    """

    text: str
    line: int
    start_s: float
    end_s: float
    score: float
    worst: float
    words: list[Word]


@dataclass(frozen=True)
class LeftOut:
    """Text that was not found, or sound that nothing in the text explains.

    Args:
        what: ``text`` or ``audio``.
        text: The text; for sound, what the model heard.
        reason: In words.
        line: Number of the text's line, from 1; 0 for sound.
        start_s: Where it is; for text, where it would have to be: between its neighbours.
        end_s: Likewise.
    """

    what: str
    text: str
    reason: str
    line: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Segmentation:
    """The outcome.

    Args:
        utterances: In order; they do not overlap.
        left_out: Text and sound without a match, by time.
        duration_s: Of the recording.
        unknown: Letters of the text that the model does not know, with counts; they were ignored.
    """

    utterances: list[Aligned]
    left_out: list[LeftOut]
    duration_s: float
    unknown: dict[str, int] = field(default_factory=dict)


def segment(
    model: SpeechModel,
    blocks: Iterable[NDArray[np.float32]],
    text: str,
    matching: Matching = DEFAULT,
    *,
    progress: Callable[[float], None] | None = None,
) -> Segmentation:
    """Cut a recording by its transcript.

    Args:
        model: A CTC model in evaluation mode.
        blocks: float32 (n_samples,) mono 16 kHz, any sizes (``audio.stream``); memory does not
            grow with them but for the log-probabilities in float16.
        text: Of the whole recording, in order; parts of either may be missing in the other.
        matching: What counts as a match.
        progress: Called with the seconds heard so far.

    Raises:
        UsageError: The model is no CTC model.
        DataError: No text, no sound, or nothing of the text was found in the sound.

    Source: Kürzinger et al. 2020 (ctc-segmentation) for the task and the worst window; the
        free sound between units is the star token of Pratap et al. 2023 (MMS, section 3.1).
    """
    ctc = aligner(model)
    unknown = Unknown()
    units = [
        make_unit(ctc, content, line, unknown) for line, content in split_units(text, matching.unit)
    ]
    if not any(len(unit.symbols) for unit in units):
        raise DataError("the transcript holds not one letter that the model knows")
    heard = posteriors(ctc, blocks, progress=progress)
    done = match(ctc, heard, units, matching)
    return Segmentation(done.utterances, done.left_out, heard.duration_s, unknown.letters)


def match(
    model: CTCModel, heard: Posteriors, units: list[Unit], matching: Matching
) -> Segmentation:
    """Align units with what was heard; see ``segment``."""
    spelled = [unit for unit in units if len(unit.symbols)]
    symbols, breaks = join_units(spelled)
    blank = model.tokenizer.blank
    check_lattice(heard.log_probs, symbols, blank, whole=False)
    lengths = np.diff(breaks)
    lattice = Lattice(
        heard.log_probs,
        symbols,
        blank,
        breaks,
        garbage_scores(heard.log_probs, model, matching.garbage_cost),
        lengths * matching.skip_cost,
        pause_bonus(spelled, matching.pause_bonus),
    )
    found = align_lattice(lattice)
    kept: list[tuple[Unit, int]] = []
    scores: list[tuple[float, float]] = []
    reasons: dict[int, str] = {}
    position = dict(zip(map(id, spelled), breaks[:-1].tolist(), strict=True))
    for number, unit in enumerate(units):
        first = position.get(id(unit))
        if first is None:
            reasons[number] = "no letter that the model knows"
        elif found.starts[first] < 0:
            reasons[number] = "not heard here"
        else:
            score, worst = _scores(found, first, len(unit.symbols))
            if score < matching.min_score:
                reasons[number] = f"score {score:.2f} is below {matching.min_score:g}"
            else:
                kept.append((unit, first))
                scores.append((score, worst))
    if not kept:
        raise DataError(
            f"nothing of the {len(units)} lines was found in the recording. Is it the right "
            "transcript, and does the model know the language?"
        )
    words = place_words(kept, found, heard)
    spans = _padded([(w[0].start_s, w[-1].end_s) for w in words], heard.duration_s, matching.pad_s)
    utterances = [
        Aligned(unit.text, unit.line, start, end, *score, placed)
        for (unit, _), (start, end), score, placed in zip(kept, spans, scores, words, strict=True)
    ]
    left_out = _unheard(units, reasons, utterances, heard.duration_s)
    left_out += _unexplained(model, heard, utterances)
    left_out.sort(key=lambda item: item.start_s)
    return Segmentation(utterances, left_out, heard.duration_s)


def garbage_scores(
    log_probs: NDArray[np.float16], model: CTCModel, cost: float
) -> NDArray[np.float32]:
    """(T,) what a frame costs that belongs to no text: free where the model hears no letter."""
    free = [model.tokenizer.blank, *model.tokenizer.encode(" ")]
    silent = log_probs[:, free].max(axis=1).astype(np.float32)
    anything = log_probs.max(axis=1).astype(np.float32) - np.float32(cost)
    scores: NDArray[np.float32] = np.maximum(silent, anything)
    return scores


def _scores(found: Alignment, first: int, n: int) -> tuple[float, float]:
    """Mean log-probability of a unit's frames, and that of its worst 30 frames."""
    frames = found.frame_scores[found.starts[first] : found.ends[first + n - 1]]
    if len(frames) <= WORST_FRAMES:
        return float(frames.mean()), float(frames.mean())
    total = np.concatenate([[0.0], np.cumsum(frames)])
    windows = (total[WORST_FRAMES:] - total[:-WORST_FRAMES]) / WORST_FRAMES
    return float(frames.mean()), float(windows.min())


def _padded(
    spans: list[tuple[float, float]], duration_s: float, pad_s: float
) -> list[tuple[float, float]]:
    padded = []
    for i, (start, end) in enumerate(spans):
        before = start - spans[i - 1][1] if i else 2 * start
        after = spans[i + 1][0] - end if i + 1 < len(spans) else 2 * (duration_s - end)
        padded.append(
            (
                start - min(pad_s, max(0.0, before / 2)),
                end + min(pad_s, max(0.0, after / 2)),
            )
        )
    return padded


def _unheard(
    units: list[Unit], reasons: dict[int, str], utterances: list[Aligned], duration_s: float
) -> list[LeftOut]:
    """Text without a match, with the place between its neighbours."""
    listed = []
    at = 0  # utterances before the unit
    for number, unit in enumerate(units):
        if number not in reasons:
            at += 1
            continue
        start = utterances[at - 1].end_s if at else 0.0
        end = utterances[at].start_s if at < len(utterances) else duration_s
        listed.append(LeftOut("text", unit.text, reasons[number], unit.line, start, end))
    return listed


def _unexplained(model: CTCModel, heard: Posteriors, utterances: list[Aligned]) -> list[LeftOut]:
    """Gaps between utterances in which the model hears at least three letters."""
    tokenizer = model.tokenizer
    listed = []
    edges = [0.0, *(t for u in utterances for t in (u.start_s, u.end_s)), heard.duration_s]
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        first, last = round(start / heard.frame_s), round(end / heard.frame_s)
        best = heard.log_probs[first:last].argmax(axis=1)
        new = best != tokenizer.blank
        new[1:] &= best[1:] != best[:-1]
        at = np.flatnonzero(new)
        said = tokenizer.decode(best[at].tolist())
        if len(said.replace(" ", "")) >= 3:
            where = (first + at[0]) * heard.frame_s, (first + at[-1] + 1) * heard.frame_s
            listed.append(LeftOut("audio", said.strip(), "not in the text", 0, *map(float, where)))
    return listed
