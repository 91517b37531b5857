"""Checks of the sound: readable, not silent, not clipped, loud and clear enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from xlasr.diagnosis.findings import Finding, Record, count, graded
from xlasr.diagnosis.material import Check, Material
from xlasr.diagnosis.sound import Sounds


def sounds_of(material: Material) -> Sounds:
    """What the pass measured.

    Raises:
        ValueError: There was none; the doctor leaves such checks out.
    """
    if material.sounds is None:
        raise ValueError("this check needs the pass over the audio")
    return material.sounds


def records(material: Material, rows: NDArray[np.bool_], column: str, form: str) -> list[Record]:
    """Name the utterances of ``rows`` with a number of theirs, formatted by ``form``."""
    if not rows.any():
        return []
    values = sounds_of(material).table[column]
    return [
        Record(split, utterance.id, form.format(values[row]))
        for row, (split, utterance) in enumerate(material.utterances())
        if rows[row]
    ]


def silent_rows(material: Material) -> NDArray[np.bool_]:
    """(n_utterances,) clips that never get loud."""
    table = sounds_of(material).table
    silent: NDArray[np.bool_] = table["read"] & (table["peak_dbfs"] < material.thresholds.peak_dbfs)
    return silent


def unreadable(material: Material) -> Iterator[Finding]:
    """Audio that is gone or damaged: training stops at it."""
    if errors := sounds_of(material).errors:
        yield unread(errors, material, fixable=True)


def unread(errors: Sequence[Record], material: Material, *, fixable: bool) -> Finding:
    """The finding for clips that could not be read.

    Args:
        errors: At least one, with what went wrong.
        material: What is examined.
        fixable: The pass over the audio met them too, so ``--fix`` knows of them.
    """
    return Finding(
        "blocking",
        "unreadable audio",
        f"{count(len(errors), 'clip')} of {material.n_utterances:,} cannot be read; training "
        f"would stop at the first. {errors[0].detail}",
        errors,
        "bring the files back, or leave these clips out"
        + ("" if fixable else " (--fix does it where the audio is listened to)"),
        fixable=fixable,
    )


def silence(material: Material) -> Iterator[Finding]:
    """Clips without any sound teach a model to invent text."""
    limits = material.thresholds
    found = records(material, silent_rows(material), "peak_dbfs", "peak {:.0f} dBFS")
    if found:
        yield Finding(
            graded(material.share(len(found)), limits.wrong_share),
            "silent clips",
            f"{count(len(found), 'clip')} never louder than {limits.peak_dbfs:.0f} dBFS, yet with "
            "a transcript: a model learns to invent text there",
            found,
            "was a channel muted, or the wrong one read?",
            fixable=True,
        )


def edges(material: Material) -> Iterator[Finding]:
    """Long silence before or after the speech."""
    limit = material.thresholds.edge_silence_s
    table = sounds_of(material).table
    longest = np.maximum(table["lead_s"], table["trail_s"])
    rows = table["read"] & ~silent_rows(material) & (longest > limit)
    if rows.any():
        extra = float((table["lead_s"] + table["trail_s"])[rows].sum()) / 60
        found = [
            Record(
                split, u.id, f"{table['lead_s'][i]:.1f} s before, {table['trail_s'][i]:.1f} s after"
            )
            for i, (split, u) in enumerate(material.utterances())
            if rows[i]
        ]
        yield Finding(
            "note",
            "silence at the edges",
            f"{count(len(found), 'clip')} with more than {limit:g} s of silence before or after "
            f"the speech, {extra:.1f} minutes in all: computing time for nothing",
            found,
            "cut closer, or cut again with `xlasr align`",
        )


def clipping(material: Material) -> Iterator[Finding]:
    """Recordings that were too loud: the tops of the waves are cut off."""
    limits = material.thresholds
    rows = sounds_of(material).table["flat_runs"] >= limits.clip_runs
    found = records(material, rows, "flat_runs", "{} flat tops")
    if found:
        yield Finding(
            "warning" if material.share(len(found)) > limits.noisy_share else "note",
            "clipped audio",
            f"{count(len(found), 'clip')} ({material.share(len(found)):.1%}) recorded too loud: "
            f"the tops of the waves are cut off ({limits.clip_runs} or more flat tops)",
            found,
            "nothing brings the sound back; is there a better copy of the recording?",
        )


def level(material: Material) -> Iterator[Finding]:
    """Speech so quiet that the noise of recording and rounding takes over."""
    limit = material.thresholds.quiet_dbfs
    table = sounds_of(material).table
    rows = table["read"] & ~silent_rows(material) & (table["level_dbfs"] < limit)
    found = records(material, rows, "level_dbfs", "{:.0f} dBFS")
    if found:
        share = material.share(len(found))
        yield Finding(
            "warning" if share > material.thresholds.noisy_share else "note",
            "very quiet",
            f"{count(len(found), 'clip')} ({share:.1%}) with speech below {limit:.0f} dBFS",
            found,
            "listen to some: is it the right channel, is the speaker far from the microphone?",
        )


def noise(material: Material) -> Iterator[Finding]:
    """Speech that hardly stands out of the noise."""
    limits = material.thresholds
    table = sounds_of(material).table
    rows = table["read"] & ~silent_rows(material) & (table["snr_db"] < limits.snr_db)
    found = records(material, rows, "snr_db", "{:.0f} dB")
    if found:
        share = material.share(len(found))
        median = float(np.median(table["snr_db"][table["read"]]))
        yield Finding(
            "warning" if share > limits.noisy_share else "note",
            "noisy audio",
            f"{count(len(found), 'clip')} ({share:.1%}) with an estimated ratio of speech to noise "
            f"below {limits.snr_db:g} dB (the corpus has {median:.0f} dB in the middle); clips "
            "without a pause are estimated too low",
            found,
            "listen to the first: music, other voices or a machine?",
        )


CHECKS = (
    Check("unreadable audio", unreadable, "sound"),
    Check("silent clips", silence, "sound"),
    Check("silence at the edges", edges, "sound"),
    Check("clipped audio", clipping, "sound"),
    Check("very quiet", level, "sound"),
    Check("noisy audio", noise, "sound"),
)
