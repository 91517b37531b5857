"""Too long, too short, and spoken too fast or too slowly for the transcript."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from xlasr.data.audio import SAMPLE_RATE
from xlasr.data.text import normalise
from xlasr.diagnosis.findings import Finding, Record, count
from xlasr.diagnosis.material import Check, Material


def too_long(material: Material) -> Iterator[Finding]:
    """Clips that the base cannot hear at once; training leaves them out."""
    limits = material.thresholds
    limit_s, who = limits.longest_s, "Whisper's window"
    if material.base is not None:
        limit_s, who = material.base.max_samples / SAMPLE_RATE, f"what {material.base.name} hears"
    slowed = ""
    if material.speeds[0] < 1:
        limit_s *= material.speeds[0]
        slowed = f", slowed down to {material.speeds[0]:g}"
    found, lost_s, train_s = [], 0.0, 0.0
    for split in material.corpus.splits:
        part = material.corpus.split(split)
        durations = np.asarray(part.durations_s, dtype=np.float64)
        rows = np.flatnonzero(durations > limit_s)
        found += [Record(split, part[int(i)].id, f"{durations[i]:.1f} s") for i in rows]
        if split == "train":
            lost_s, train_s = float(durations[rows].sum()), float(durations.sum())
    if found:
        share = lost_s / max(train_s, 1e-9)
        yield Finding(
            "blocking" if share > limits.lost_share else "warning",
            "too long",
            f"{count(len(found), 'clip')} longer than {limit_s:g} s ({who}{slowed}): left "
            f"out of training, {share:.1%} of the audio of train",
            found,
            "cut them: `xlasr align` does it by their transcript",
        )


def too_short(material: Material) -> Iterator[Finding]:
    """Clips in which no word fits."""
    limit_s = material.thresholds.shortest_s
    found = []
    for split in material.corpus.splits:
        part = material.corpus.split(split)
        durations = np.asarray(part.durations_s)
        rows = np.flatnonzero(durations < limit_s)
        found += [
            Record(split, u.id, f"{u.duration_s:.2f} s: {u.text[:40]!r}")
            for u in (part[int(i)] for i in rows)
        ]
    if found:
        yield Finding(
            "warning",
            "too short",
            f"{count(len(found), 'clip')} shorter than {limit_s:g} s: too little for a word",
            found,
            "are the times in the right unit (seconds, not milliseconds)?",
        )


def rate(material: Material) -> Iterator[Finding]:
    """Far more or far less text than can be said in the time: probably another clip's transcript.

    Symbols of the headline text per second between the edges of the speech. Slow ones with figures
    are not judged: "1998" has four symbols and is long to say.
    """
    limits = material.thresholds
    symbols, figures = [], []
    for _, utterance in material.utterances():
        text = normalise(utterance.text)
        symbols.append(len(text))
        figures.append(any(char.isdigit() for char in text))
    rates = np.asarray(symbols, dtype=np.float64) / _spoken_s(material)
    judged = np.asarray(symbols) >= limits.rate_symbols
    if judged.sum() < 20:  # a spread of fewer means nothing
        return
    logs = np.log(rates, where=judged, out=np.zeros(len(rates)))
    middle = float(np.median(logs[judged]))
    deviation = 1.4826 * float(np.median(np.abs(logs[judged] - middle)))
    reach = limits.rate_deviations * max(limits.rate_spread, deviation)
    fast = judged & (logs > middle + reach)
    slow = judged & (logs < middle - reach) & ~np.asarray(figures)
    usual = float(np.exp(middle))
    for rows, name, what, bound, why in (
        (fast, "too much text", "more", usual * np.exp(reach), "or a clip that was cut off"),
        (
            slow,
            "too little text",
            "fewer",
            usual / np.exp(reach),
            "a part of it, or drawn-out speech",
        ),
    ):
        found = [
            Record(split, u.id, f"{rates[i]:.1f} a second: {u.text[:40]!r}")
            for i, (split, u) in enumerate(material.utterances())
            if rows[i]
        ]
        if found:
            yield Finding(
                "warning",
                name,
                f"{count(len(found), 'clip')} with {what} than {bound:.1f} symbols a second (the "
                f"middle is {usual:.1f}): another clip's transcript, "
                f"{why}",
                found,
                "listen to them; `--suspects --run RUN` finds more by a trained model",
            )


def _spoken_s(material: Material) -> NDArray[np.float64]:
    """(n_utterances,) seconds between the edges of the speech, where they are known."""
    durations = np.concatenate(
        [np.asarray(material.corpus.split(name).durations_s) for name in material.corpus.splits]
    ).astype(np.float64)
    if material.sounds is not None:
        table = material.sounds.table
        durations = durations - table["lead_s"] - table["trail_s"]
    return np.maximum(durations, 0.02)


CHECKS = (
    Check("too long", too_long),
    Check("too short", too_short),
    Check("far too much or too little text for the time", rate),
)
