"""What the layouts of audio-visual clips share: their files, and sides with a dev among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from xlasr.data.readers.folder import walk
from xlasr.data.splits import assign
from xlasr.data.video import SUFFIXES
from xlasr.errors import DataError

DEV = {"train": 19, "dev": 1}
"""Shares of train where a release has none to choose weights on: one group in twenty is dev."""


def videos_in(root: Path, what: str) -> list[Path]:
    """Return the video files below a folder, or the one file.

    Raises:
        DataError: There is none.
    """
    files = walk(root) if root.is_dir() else iter([root])
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(
            f"{root}: no video in it, and {what} is video. Known suffixes:"
            f" {' '.join(sorted(SUFFIXES))}."
        )
    return found


def with_sides(
    videos: Iterable[Path],
    root: Path,
    parts: Mapping[str, str],
    group_of: Callable[[Path], str | None],
) -> Iterator[tuple[Path, str, str | None]]:
    """Yield the videos of a release, each with its group and its side (None: ``prepare`` chooses).

    Args:
        videos: In order; all are looked at before the first is given.
        root: Of the source.
        parts: Name of each part -> side.
        group_of: The group of a video; None leaves it out.
    """
    found: list[tuple[Path, str, str]] = []
    sides: dict[str, set[str]] = {}
    for path in videos:
        group = group_of(path)
        if group is not None:
            side = parts.get(part_in(path, root, parts) or "", "")
            found.append((path, group, side))
            sides.setdefault(side, set()).add(group)
    chosen = choose_sides(sides)
    for path, group, side in found:
        yield path, group, chosen[side, group]


def part_in(path: Path, root: Path, names: Iterable[str]) -> str | None:
    """Return the part of a release that a file is in: a folder below the root, or the root's name.

    Args:
        path: Of the file.
        root: Of the source.
        names: Of the parts.
    """
    known = set(names)
    below = path.relative_to(root).parts[:-1] if path != root else ()
    folders = [root.name, *below] if root.is_dir() else list(path.parts[:-1])
    return next((name for name in reversed(folders) if name in known), None)


def choose_sides(sides: Mapping[str, set[str]]) -> dict[tuple[str, str], str | None]:
    """Return the side of each (side of the release, group), with a dev where the release has none.

    A release of which only training is there prescribes nothing: ``prepare`` chooses.

    Args:
        sides: Side that the release gives -> its groups; "" where it gives none.
    """
    found: dict[tuple[str, str], str | None] = {
        (side, group): side or None for side, groups in sides.items() for group in groups
    }
    if set(sides) <= {"train", ""}:
        return dict.fromkeys(found, None)
    if "dev" not in sides and "train" in sides:
        held_out, _ = assign(sides["train"], ratios=DEV)
        found |= {("train", group): held_out[group] for group in sides["train"]}
    return found
