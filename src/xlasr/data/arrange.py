"""From usable clips to splits: groups, sides, and no line of dev or test that training has."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xlasr.data import splits
from xlasr.data.archives import outside_scratch
from xlasr.data.audio import SAMPLE_RATE
from xlasr.data.clips import Clip
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord
from xlasr.data.spans import overlapping_pairs
from xlasr.data.text import normalise
from xlasr.errors import UsageError

MIN_GROUPS = 10
"""Fewer speakers or folders than this cannot be split with any sense."""
BLOCK_S = 120.0
"""Length of a block of a recording in seconds, where recordings are too few to be groups."""
MAX_PAIRS = 1000
"""So many pairs of utterances of one recording that share time are listed."""
_SHORTEST_BLOCK_S = 20.0


@dataclass(frozen=True)
class Arrangement:
    """Clips on sides.

    Attributes:
        keep: Indices of the clips that are used.
        groups: The group of each clip.
        sides: The side of each clip.
        group_rule: What a group is, in words.
        split_rule: How the sides were chosen, in words.
        dropped: Lines of dev and test left out because their text stands on another side.
        warnings: What a reader of results should know.
    """

    keep: list[int]
    groups: list[str]
    sides: list[str]
    group_rule: str
    split_rule: str
    dropped: dict[str, int]
    warnings: list[str]


def arrange(
    clips: Sequence[Clip],
    root: Path,
    group_by: str | None,
    source_rule: str | None,
    ratios: Mapping[str, float] | None,
    fold: str | None = None,
    *,
    quarantine: Quarantine,
) -> Arrangement:
    """Choose groups and sides.

    Args:
        clips: What can be used.
        root: The source's folder.
        group_by: As ``choose_groups``.
        source_rule: As ``choose_groups``.
        ratios: Share of each side; None is ``splits.DEFAULT_RATIOS``.
        fold: Which turn of the split, "K/N"; None is the first.
        quarantine: Where to note lines that are left out, and clips that share sound.

    Raises:
        UsageError: ``group_by`` names nothing that the records have, or the ratios or
            the fold do not work.
    """
    records = [clip.record for clip in clips]
    groups, group_rule = choose_groups(records, root, group_by, source_rule)
    wanted = [side for side, share in splits.check_ratios(ratios).items() if share > 0]
    recordings, block_s = len(set(groups)), 0.0
    if group_by is None and group_rule == "recording" and not any(r.split for r in records):
        groups, block_s = choose_blocks(records, groups, len(wanted))
    sides, split_rule = choose_sides(records, groups, ratios, fold)
    warnings: list[str] = []
    if block_s:
        group_rule = f"block of about {block_s:.0f} s of a recording"
        few = f"only {recordings} recording{'s' * (recordings > 1)}"
        split_rule += f"; {few}, so all sides have a share of each, in blocks of {block_s:.0f} s"
        warnings.append(
            f"{few}: train, dev and test share voices and room, so scores say how the model does"
            " there, not on other recordings"
        )
    keep, dropped = drop_repeated(clips, sides, quarantine)
    n_pairs = note_overlaps([clips[i] for i in keep], quarantine)
    if n_pairs:
        warnings.append(
            f"{n_pairs} pair{'s' * (n_pairs > 1)} of utterances share time on one channel: each"
            " clip has both voices, and each transcript one of them (notes.jsonl lists them)"
        )
    warnings += overlaps(
        [records[i] for i in keep], [groups[i] for i in keep], [sides[i] for i in keep]
    )
    if any(r.split for r in records):
        why = "the source gives its own sides and nothing, or nothing new, for this one"
    else:
        n_groups = len(set(groups))
        why = f"there {'are' if n_groups > 1 else 'is'} only {n_groups} group"
        why += f"{'s' * (n_groups > 1)} ({group_rule}). "
        finest = group_by is None and (block_s or group_rule == "recording")
        why += "More recordings are needed" if finest else "Choose a finer --group-by"
    filled = {sides[i] for i in keep}
    warnings += [f"split {side!r} is empty: {why}" for side in wanted if side not in filled]
    return Arrangement(keep, groups, sides, group_rule, split_rule, dropped, warnings)


def choose_groups(
    records: Sequence[RawRecord], root: Path, group_by: str | None, source_rule: str | None
) -> tuple[list[str], str]:
    """Return the group of each record, and the rule in words.

    Without ``group_by`` the first of these that applies: the group the reader gives; the speaker,
    where there are ``MIN_GROUPS`` (the recording, where it is unknown); the parent folder, if there
    are as many; the recording.

    Args:
        records: What was read.
        root: The source's folder; keys are relative to it, so that they do not name this machine.
        group_by: "speaker", "folder", "recording", "group", or a column of a table.
        source_rule: What a given group is, in words.

    Raises:
        UsageError: ``group_by`` names nothing that the records have.
    """
    recordings = [_relative(record.audio.with_suffix(""), root) for record in records]
    folders = [_relative(record.audio.parent, root) for record in records]
    speakers = [record.speaker for record in records]
    given = [record.group for record in records]
    if group_by is None:
        if all(given):
            return [g or "" for g in given], source_rule or "as the source gives it"
        if len(set(filter(None, speakers))) >= MIN_GROUPS:
            holes = sum(not speaker for speaker in speakers)
            told = f" ({holes} without one: the recording)" if holes else ""
            return [s or r for s, r in zip(speakers, recordings, strict=True)], f"speaker{told}"
        if len(set(folders)) >= MIN_GROUPS:
            return folders, "parent folder"
        return recordings, "recording"
    named: Mapping[str, Sequence[str | None]] = {
        "speaker": speakers,
        "folder": folders,
        "recording": recordings,
        "group": given,
    }
    keys = named.get(group_by) or [record.custom.get(group_by) for record in records]
    if not any(keys):
        columns = sorted({key for record in records for key in record.custom})
        raise UsageError(
            f"cannot group by {group_by!r}: no record has it (a column that is read as speaker or"
            f" group goes by that name). Allowed: {', '.join(named)}"
            + (f", or a column: {', '.join(columns)}." if columns else ".")
        )
    filled = [str(key) if key else recordings[i] for i, key in enumerate(keys)]
    holes = sum(not key for key in keys)
    return filled, group_by + (f" ({holes} without one: the recording)" if holes else "")


def choose_blocks(
    records: Sequence[RawRecord], groups: Sequence[str], n_sides: int
) -> tuple[list[str], float]:
    """Cut recordings into blocks of time where they are too few to be the groups.

    A block begins on a grid, but never while somebody speaks: an utterance that begins before an
    earlier one has ended stays with it, so that no sound is in two blocks.

    Args:
        records: Utterances cut out of recordings.
        groups: The recording of each.
        n_sides: How many sides want a group.

    Returns:
        The block of each record and the length of a block in seconds; the groups as they were and
        0 where there are enough, or where nothing can be cut.
    """
    spans = [(r.start_s, r.start_s + (r.duration_s or math.inf)) for r in records]
    if len(set(groups)) >= n_sides or any(math.isinf(end) for _, end in spans):
        return list(groups), 0.0
    ends: dict[str, float] = defaultdict(float)
    for group, (_, end) in zip(groups, spans, strict=True):
        ends[group] = max(ends[group], end)
    block_s = min(BLOCK_S, max(_SHORTEST_BLOCK_S, sum(ends.values()) / MIN_GROUPS))
    at: dict[str, tuple[int, float]] = {}  # group -> its last block, and when that one is over
    blocks = list(groups)
    for i in sorted(range(len(records)), key=lambda i: spans[i]):
        start, end = spans[i]
        block, over = at.get(groups[i], (0, 0.0))
        if start >= over:
            block = int(start // block_s)
        at[groups[i]] = block, max(over, end)
        blocks[i] = f"{groups[i]}#{block:03d}"
    return blocks, block_s


def _relative(path: Path, root: Path) -> str:
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return outside_scratch(path).as_posix()


def choose_sides(
    records: Sequence[RawRecord],
    groups: Sequence[str],
    ratios: Mapping[str, float] | None,
    fold: str | None = None,
) -> tuple[list[str], str]:
    """Return the side of each record, and the rule in words; a given side wins."""
    sides, rule = splits.assign(set(groups), ratios=ratios, fold=fold)
    given = sum(record.split is not None for record in records)
    if given and fold:
        raise UsageError(
            f"the source gives its own side for {given} of {len(records)} records, so there are no"
            " folds of it; leave out --fold"
        )
    if given == len(records):
        rule = "as the source gives it"
    elif given:
        rule = f"as the source gives it for {given} of {len(records)}; the others by {rule}"
    return [r.split or sides[g] for r, g in zip(records, groups, strict=True)], rule


def drop_repeated(
    clips: Sequence[Clip], sides: Sequence[str], quarantine: Quarantine
) -> tuple[list[int], dict[str, int]]:
    """Find lines of dev and test whose text stands on another side, and note each.

    Texts are compared by the headline normaliser. A text of dev or test that stands in train goes
    from dev and test; one that stands in test goes from dev as well.

    Returns:
        The indices to keep, and the number of dropped lines by reason.
    """
    texts = [normalise(clip.record.text) for clip in clips]
    first: dict[tuple[str, str], str] = {}  # side and text -> who says it there
    for clip, text, side in zip(clips, texts, sides, strict=True):
        first.setdefault((side, text), clip.record.id)
    above = {"train": (), "dev": ("train", "test"), "test": ("train",)}
    keep: list[int] = []
    dropped: Counter[str] = Counter()
    for i, (clip, text, side) in enumerate(zip(clips, texts, sides, strict=True)):
        # recordings without transcripts have no text that could stand elsewhere
        other = next((o for o in above[side] if text and (o, text) in first), None)
        if other is None:
            keep.append(i)
            continue
        dropped[f"{side}: text also in {other}"] += 1
        detail = f"left out of {side}: {text!r} is also in {other} ({first[other, text]})"
        quarantine.note(clip.record.id, "repeated text", detail)
    return keep, dict(dropped)


def note_overlaps(clips: Sequence[Clip], quarantine: Quarantine) -> int:
    """Note each pair of clips that hold the same sound: of two tiers, two speakers, two rows.

    People do talk at the same time, so this is no defect, and both are used; but on one channel
    each of the clips has both voices, and each transcript only one of them.

    Args:
        clips: What is used.
        quarantine: Where to note it.

    Returns:
        How many pairs were noted, at most ``MAX_PAIRS`` of one recording.
    """
    recordings: dict[Path, list[Clip]] = defaultdict(list)
    for clip in clips:
        recordings[clip.record.audio].append(clip)
    total = 0
    for path, group in recordings.items():
        spans = [(c.record.start_s, c.record.start_s + c.n_samples / SAMPLE_RATE) for c in group]
        n_pairs = 0
        for i, j in overlapping_pairs(spans):
            one, other = group[i].record, group[j].record
            if one.channel != other.channel and None not in (one.channel, other.channel):
                continue  # None is the mean of all channels: each is a part of it
            begin, end = max(spans[i][0], spans[j][0]), min(spans[i][1], spans[j][1])
            detail = f"and {other.id} share {begin:.3f} to {end:.3f} s of {path.name}"
            quarantine.note(one.id, "same time", f"{detail} ({_who(one)}; {_who(other)})")
            n_pairs += 1
            if n_pairs == MAX_PAIRS:
                detail = f"further pairs of {path.name} are not listed: is a stretch there twice?"
                quarantine.note(path.name, "same time", detail)
                break
        total += n_pairs
    return total


def _who(record: RawRecord) -> str:
    tier, speaker = record.custom.get("tier"), record.speaker
    named = [f"tier {tier!r}"] * bool(tier) + [f"speaker {speaker!r}"] * bool(speaker)
    return ", ".join(named) or "nobody says who"


def overlaps(
    records: Sequence[RawRecord], groups: Sequence[str], sides: Sequence[str]
) -> list[str]:
    """Return a warning for speakers, and one for groups, that stand on more than one side."""
    warnings = []
    columns: dict[str, Sequence[str | None]] = {
        "speaker": [record.speaker for record in records],
        "group": list(groups),
    }
    advice = {
        "speaker": "scores say how the model does on these voices, not on new ones",
        "group": "the source's own splits tear it apart; scores may be too good",
    }
    for kind, keys in columns.items():
        seen: dict[str, set[str]] = defaultdict(set)
        for key, side in zip(keys, sides, strict=True):
            if key:
                seen[key].add(side)
        both = sorted(key for key, where in seen.items() if len(where) > 1)
        if both:
            names = ", ".join(both[:5]) + (", ..." if len(both) > 5 else "")
            plural = "s" if len(both) > 1 else ""
            warnings.append(
                f"{len(both)} {kind}{plural} on more than one side ({names}): {advice[kind]}"
            )
    return warnings
