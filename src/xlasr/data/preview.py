"""``preview``: what ``prepare`` would make of a source, without writing anything."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlasr.data.archives import scratch
from xlasr.data.arrange import Arrangement, arrange
from xlasr.data.audio import DEFAULT_LIMITS, SAMPLE_RATE, Limits
from xlasr.data.clips import Clip, make_clips
from xlasr.data.intake import locate, read_options, read_records
from xlasr.data.quarantine import NOTES, Entry, Quarantine
from xlasr.data.show import Display
from xlasr.data.splits import SPLITS, check_ratios, fold_shift
from xlasr.data.text import character_counts, normalise
from xlasr.errors import DataError


@dataclass(frozen=True)
class Preview:
    """What a corpus would be.

    Attributes:
        language: BCP-47 tag.
        reader: The layout that was read.
        utterances: Number of usable utterances.
        seconds: Their total length.
        longest_s: The longest of them.
        speakers: Utterances of each speaker; those without one are not counted.
        alphabet: Count of each character of the headline text, most frequent first.
        sides: Side -> (utterances, seconds, groups); what ``dropped`` has is not in it.
        group_rule: What a group is, in words.
        split_rule: How the sides are chosen, in words.
        dropped: Lines of dev and test left out because their text stands on another side.
        warnings: What a reader of results should know.
        quarantine: Everything that cannot be used, with reasons, and the notes.
    """

    language: str
    reader: str
    utterances: int
    seconds: float
    longest_s: float
    speakers: dict[str, int]
    alphabet: dict[str, int]
    sides: dict[str, tuple[int, float, int]]
    group_rule: str
    split_rule: str
    dropped: dict[str, int]
    warnings: list[str]
    quarantine: Quarantine


def preview(
    source: str | Path,
    *,
    language: str | None = None,
    reader: str | None = None,
    group_by: str | None = None,
    ratios: Mapping[str, float] | None = None,
    fold: str | None = None,
    copy_audio: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    workers: int = 2,
    progress: bool = True,
    **reading: Any,
) -> Preview:
    """Read and decode a source as ``prepare`` does, and only count.

    Args:
        source: As ``prepare``; so are all the others.
        language: BCP-47 tag.
        reader: Layout.
        group_by: What must not be split.
        ratios: Share of train, dev and test.
        fold: Which turn of the split.
        copy_audio: Whether copies would be written.
        limits: Bounds for one file.
        workers: Decoding threads.
        progress: Show a bar on standard error.
        reading: ``columns``, ``delimiter``, ``encoding``, ``tiers``, ``tier_type``,
            ``tier_index``, ``participant``, ``channels``, ``media``.

    Raises:
        UsageError: Unknown source, reader or language, or an option that does not fit.
        DataError: The source cannot be fetched or read.
    """
    display = Display(quiet=not progress)
    check_ratios(ratios)
    fold_shift(fold, ratios)
    with scratch() as unpacked:
        where = locate(source, language, reader, None, display, unpacked)
        quarantine = Quarantine()
        options = read_options(where, display.say, limits=limits, scratch=unpacked, **reading)
        records = read_records(source, where, options, quarantine, copy_audio=copy_audio)
        with display.bar("decoding", len(records)) as advance:
            clips = make_clips(
                records,
                quarantine,
                copies=None,
                limits=limits,
                workers=workers,
                advance=advance,
                dry=copy_audio,
            )
    arranged = (
        arrange(
            clips, where.folder, group_by, where.group_rule, ratios, fold, quarantine=quarantine
        )
        if clips
        else Arrangement([], [], [], "none", "none", {}, [])
    )
    texts = (normalise(clip.record.text) for clip in clips)
    speakers = Counter(clip.record.speaker for clip in clips if clip.record.speaker)
    return Preview(
        language=where.language,
        reader=where.reader,
        utterances=len(clips),
        seconds=_seconds(clips),
        longest_s=max((clip.n_samples / SAMPLE_RATE for clip in clips), default=0.0),
        speakers=dict(speakers.most_common()),
        alphabet=dict(character_counts(texts).most_common()),
        sides=_sides(clips, arranged),
        group_rule=arranged.group_rule,
        split_rule=arranged.split_rule,
        dropped=arranged.dropped,
        warnings=arranged.warnings,
        quarantine=quarantine,
    )


def _seconds(clips: list[Clip]) -> float:
    return sum(clip.n_samples for clip in clips) / SAMPLE_RATE


def _sides(clips: list[Clip], arranged: Arrangement) -> dict[str, tuple[int, float, int]]:
    sides = {}
    for side in dict.fromkeys(arranged.sides):
        kept = [i for i in arranged.keep if arranged.sides[i] == side]
        groups = {arranged.groups[i] for i in kept}
        sides[side] = (len(kept), _seconds([clips[i] for i in kept]), len(groups))
    return sides


def show_preview(source: str | Path, **how: Any) -> None:
    """Print a preview: rows, hours, speakers, alphabet, sides, and every skipped record.

    Args:
        source: As ``preview``.
        how: As ``preview``.

    Raises:
        UsageError, DataError: As ``preview``; also where not one utterance is usable.
    """
    found = preview(source, **how)
    for line in _lines(found):  # names and texts of others must not steer the terminal
        print("".join(char if char.isprintable() else "\ufffd" for char in line))
    if not found.utterances:
        raise DataError(f"{source}: not one usable utterance")


def _lines(found: Preview) -> Iterator[str]:
    yield (
        f"{found.utterances} utterances, {found.seconds / 3600:.2f} hours, the longest"
        f" {found.longest_s:.1f} s; {len(found.quarantine)} records cannot be used"
        f" ({found.language}, read as {found.reader!r})"
    )
    speakers = ", ".join(f"{name} {count}" for name, count in found.speakers.items())
    yield f"speakers: {len(found.speakers)} ({speakers})" if speakers else "speakers: unknown"
    letters = ", ".join(f"{_visible(char)} {n}" for char, n in found.alphabet.items())
    yield f"alphabet, {len(found.alphabet)} without case and punctuation: {letters}"
    for side in SPLITS:
        utterances, seconds, groups = found.sides.get(side, (0, 0.0, 0))
        yield f"{side}: {seconds / 60:.1f} minutes, {utterances} utterances, {groups} groups"
    yield f"groups: {found.group_rule}; split: {found.split_rule}"
    yield from (f"dropped {count} from {reason}" for reason, count in found.dropped.items())
    yield from (f"warning: {warning}" for warning in found.warnings)
    for reason, count in found.quarantine.counts().items():
        yield f"{count} {reason}:"
        yield from _entries(found.quarantine.entries, reason)
    for reason, count in found.quarantine.note_counts().items():
        yield f"note, {count} {reason} ({NOTES[reason]}):"
        yield from _entries(found.quarantine.notes, reason)


def _entries(entries: Iterable[Entry], reason: str) -> Iterator[str]:
    yield from (f"  {e.record}: {e.detail}" for e in entries if e.reason == reason)


def _visible(char: str) -> str:
    if char == " ":
        return "space"
    combining = unicodedata.category(char)[0] == "M"
    return f"U+{ord(char):04X}" if combining or not char.isprintable() else char
