"""From usable clips to splits: groups, sides, and no line of dev or test that training has."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from xlasr.data import splits
from xlasr.data.clips import Clip
from xlasr.data.readers.base import RawRecord
from xlasr.data.text import normalise
from xlasr.errors import UsageError

MIN_GROUPS = 10
"""Fewer speakers or folders than this cannot be split with any sense."""


def choose_groups(
    records: Sequence[RawRecord], root: Path, group_by: str | None, source_rule: str | None
) -> tuple[list[str], str]:
    """Return the group of each record, and the rule in words.

    Without ``group_by`` the first of these that applies: the group the reader gives; the speaker,
    if all are known and there are ``MIN_GROUPS``; the parent folder, if there are as many; the
    recording.

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
        if all(speakers) and len(set(speakers)) >= MIN_GROUPS:
            return [s or "" for s in speakers], "speaker"
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
            f"cannot group by {group_by!r}: no record has it. Allowed: {', '.join(named)}"
            + (f", or a column: {', '.join(columns)}." if columns else ".")
        )
    filled = [str(key) if key else recordings[i] for i, key in enumerate(keys)]
    holes = sum(not key for key in keys)
    return filled, group_by + (f" ({holes} without one: the recording)" if holes else "")


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def choose_sides(
    records: Sequence[RawRecord], groups: Sequence[str], ratios: Mapping[str, float] | None
) -> tuple[list[str], str]:
    """Return the side of each record, and the rule in words; a given side wins."""
    sides, rule = splits.assign(set(groups), ratios=ratios)
    given = sum(record.split is not None for record in records)
    if given == len(records):
        rule = "as the source gives it"
    elif given:
        rule = f"as the source gives it for {given} of {len(records)}; the others by {rule}"
    return [r.split or sides[g] for r, g in zip(records, groups, strict=True)], rule


def drop_repeated(clips: Sequence[Clip], sides: Sequence[str]) -> tuple[list[int], dict[str, int]]:
    """Find lines of dev and test whose text stands on another side.

    Texts are compared by the headline normaliser. A text of dev or test that stands in train goes
    from dev and test; one that stands in test goes from dev as well.

    Returns:
        The indices to keep, and the number of dropped lines by reason.
    """
    texts = [normalise(clip.record.text) for clip in clips]
    by_side: dict[str, set[str]] = defaultdict(set)
    for text, side in zip(texts, sides, strict=True):
        by_side[side].add(text)
    keep: list[int] = []
    dropped: Counter[str] = Counter()
    for i, (text, side) in enumerate(zip(texts, sides, strict=True)):
        if side != "train" and text in by_side["train"]:
            dropped[f"{side}: text also in train"] += 1
        elif side == "dev" and text in by_side["test"]:
            dropped["dev: text also in test"] += 1
        else:
            keep.append(i)
    return keep, dict(dropped)


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
