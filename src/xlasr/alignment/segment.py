"""A long recording and its transcript, cut into utterances; what does not match is listed.

One alignment of the whole text decides everything at once. At the borders of units (words, or
lines) it may let sound go by that belongs to no text, and it may leave out units that are not in
the sound; both cost something, so that neither is cheaper than text that fits. The words that were
found are then cut into utterances at sentence ends and pauses (``cuts.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from xlasr.alignment.ctc import Alignment, align_lattice, check_lattice
from xlasr.alignment.cuts import NO_LETTER, NOT_HEARD, Part, cut_words, stray_sound
from xlasr.alignment.posteriors import SAMPLE_RATE, Posteriors, aligner, posteriors
from xlasr.alignment.text import Unit, Unknown, join_units, make_units, pause_bonus
from xlasr.alignment.viterbi import LOWEST, Lattice
from xlasr.alignment.words import PAUSE_BONUS, Word, place_words
from xlasr.errors import DataError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.run import SpeechModel

WORST_FRAMES = 30
"""The worst window is so many frames long, as in ctc-segmentation."""


@dataclass(frozen=True)
class Matching:
    """What counts as a match; costs are natural logs.

    Args:
        unit: ``text``: the ends of lines mean nothing, and the words that were found are cut into
            utterances at sentence ends and pauses; ``line``: each line is an utterance, or left
            out as a whole.
        longest_s: No utterance of a ``text`` is longer, in seconds. Whatever the unit, none is
            longer than the base hears at once.
        skip_cost: Of each symbol of a unit that is left out.
        skip_open: Of each run of words that is left out, so that a word that was misheard stays;
            lines do not pay it.
        garbage_cost: Of each frame of sound that belongs to no text and holds a letter (pauses
            cost nothing).
        pause_bonus: For each frame of a pause between words or units.
        min_score: Utterances with a lower mean log-probability per frame are left out.
        pad_s: Kept on both sides of an utterance, in seconds, at most half of the pause.
    """

    unit: str = "text"
    longest_s: float = 15.0
    skip_cost: float = 3.0
    skip_open: float = 15.0
    garbage_cost: float = 1.0
    pause_bonus: float = PAUSE_BONUS
    min_score: float = -2.0
    pad_s: float = 0.1

    def __post_init__(self) -> None:
        if not self.longest_s >= 1 + 2 * self.pad_s:
            raise UsageError(
                f"utterances of at most {self.longest_s:g} s leave no room for speech; allow at "
                f"least {1 + 2 * self.pad_s:g} s"
            )


DEFAULT = Matching()


@dataclass(frozen=True)
class Aligned:
    """An utterance that was found.

    Args:
        text: As it was given.
        line: Number of its first line in the transcript, from 1.
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
        UsageError: The model is no CTC model, or there is no such unit.
        DataError: No text, no sound, or nothing of the text was found in the sound.

    Source: Kürzinger et al. 2020 (ctc-segmentation) for the task and the worst window; the
        free sound between units is the star token of Pratap et al. 2023 (MMS, section 3.1).
    """
    ctc = aligner(model)
    unknown = Unknown()
    units = make_units(ctc, text, matching.unit, unknown)
    if not any(len(unit.symbols) for unit in units):
        raise DataError("the transcript holds not one letter that the model knows")
    heard = posteriors(ctc, blocks, progress=progress)
    done = match(ctc, heard, units, matching)
    return Segmentation(done.utterances, done.left_out, heard.duration_s, unknown.letters)


def match(
    model: CTCModel, heard: Posteriors, units: list[Unit], matching: Matching
) -> Segmentation:
    """Align units with what was heard; see ``segment``."""
    longest_s = model.encoder.max_samples / SAMPLE_RATE
    found, firsts = _aligned(model, heard, units, matching)
    stray = stray_sound(model, units, firsts, found, heard)
    if matching.unit == "text":
        longest_s = min(longest_s, matching.longest_s)
        room_s = longest_s - 2 * matching.pad_s
        parts = cut_words(units, firsts, found, heard, stray, room_s)
    else:
        parts = [
            Part(unit, None, NO_LETTER)
            if first is None
            else Part(unit, first, "" if found.starts[first] >= 0 else NOT_HEARD)
            for unit, first in zip(units, firsts, strict=True)
        ]
    placed = [
        (i, part.unit, part.first)
        for i, part in enumerate(parts)
        if part.first is not None and part.reason != NOT_HEARD
    ]
    between = list(stray.values())
    words = place_words([(unit, first) for _, unit, first in placed], found, heard, between)
    spans = [(of_unit[0].start_s, of_unit[-1].end_s) for of_unit in words]
    spans = _padded(spans, between, heard.duration_s, matching.pad_s)
    utterances = []
    reasons = {i: part.reason for i, part in enumerate(parts) if part.reason}
    for (i, unit, first), (start, end), of_unit in zip(placed, spans, words, strict=True):
        score, worst = _scores(found, first, len(unit.symbols))
        if i in reasons:
            continue
        if score < matching.min_score:
            reasons[i] = f"score {score:.2f} is below {matching.min_score:g}"
        elif end - start > longest_s:
            reasons[i] = f"{end - start:.1f} s in one piece, and {longest_s:g} s are allowed"
        else:
            utterances.append(Aligned(unit.text, unit.line, start, end, score, worst, of_unit))
    if not utterances:
        raise DataError(
            f"nothing of the {len(units)} {'words' if matching.unit == 'text' else 'lines'} was "
            "found in the recording. Is it the right transcript, and does the model know the "
            "language?"
        )
    left_out = _unheard([part.unit for part in parts], reasons, utterances, heard.duration_s)
    left_out += _unexplained(model, heard, utterances)
    left_out.sort(key=lambda item: item.start_s)
    return Segmentation(utterances, left_out, heard.duration_s)


def _aligned(
    model: CTCModel, heard: Posteriors, units: list[Unit], matching: Matching
) -> tuple[Alignment, list[int | None]]:
    """Align units; where the first symbol of each stands in the alignment, None if it has none."""
    spelled = [unit for unit in units if len(unit.symbols)]
    symbols, breaks = join_units(spelled)
    blank = model.tokenizer.blank
    check_lattice(heard.log_probs, symbols, blank, whole=False)
    by_words = matching.unit == "text"
    garbage = garbage_scores(heard.log_probs, model, matching.garbage_cost)
    lattice = Lattice(
        heard.log_probs,
        symbols,
        blank,
        breaks,
        garbage,
        np.diff(breaks) * matching.skip_cost,
        matching.skip_open if by_words else 0.0,
        pause_bonus(spelled, matching.pause_bonus),
    )
    found = align_lattice(lattice)
    if by_words:  # inside an utterance, sound that is in no text counts against it
        at_break = (found.states % 2 == 0) & np.isin(found.states // 2, breaks)
        silent = silent_scores(heard.log_probs, model)
        scores = np.where(at_break, np.maximum(silent, LOWEST), found.frame_scores)
        found = replace(found, frame_scores=scores.astype(np.float64))
    places = iter(breaks.tolist())
    return found, [next(places) if len(unit.symbols) else None for unit in units]


def silent_scores(log_probs: NDArray[np.float16], model: CTCModel) -> NDArray[np.float32]:
    """(T,) log-probability that a frame holds no letter."""
    free = [model.tokenizer.blank, *model.tokenizer.encode(" ")]
    scores: NDArray[np.float32] = log_probs[:, free].max(axis=1).astype(np.float32)
    return scores


def garbage_scores(
    log_probs: NDArray[np.float16], model: CTCModel, cost: float
) -> NDArray[np.float32]:
    """(T,) what a frame costs that belongs to no text: free where the model hears no letter."""
    anything = log_probs.max(axis=1).astype(np.float32) - np.float32(cost)
    scores: NDArray[np.float32] = np.maximum(silent_scores(log_probs, model), anything)
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
    spans: list[tuple[float, float]],
    between: list[tuple[float, float]],
    duration_s: float,
    pad_s: float,
) -> list[tuple[float, float]]:
    """Widen spans by ``pad_s``, at most half of the way to a neighbour or to one ``between``."""
    ends = np.sort([-duration_s, *(end for _, end in [*spans, *between])])
    starts = np.sort([2 * duration_s, *(start for start, _ in [*spans, *between])])
    padded = []
    for start, end in spans:
        before = start - ends[np.searchsorted(ends, start, side="right") - 1]
        after = starts[np.searchsorted(starts, end, side="left")] - end
        left = min(pad_s, before / 2, start)
        right = min(pad_s, after / 2, duration_s - end)
        padded.append((start - float(left), end + float(right)))
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
