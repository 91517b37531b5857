"""VoxCeleb2: ``PART/mp4/SPEAKER/VIDEO/NNNNN.mp4`` and its sound ``PART/aac/.../NNNNN.m4a``.

No transcripts. The sound is that of the ``.m4a``; where there is none, that of the video itself. A
group is a speaker. The release calls its training part "dev": it is train here, but for one speaker
in twenty.

Source: Chung, Nagrani and Zisserman 2018, VoxCeleb2 (arXiv 1806.05622);
https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox2.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import walk
from xlasr.data.readers.videos import videos_in, with_sides
from xlasr.errors import DataError

PARTS = {"dev": "train", "test": "test"}
_SPEAKER = re.compile(r"id\d{5}")
_SOUND, _VIDEO = "aac", "mp4"


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read both parts below a folder, or one.

    Raises:
        DataError: Not a folder, or no video in it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: not a folder; VoxCeleb2 is one, with {_VIDEO} and {_SOUND} in it")

    def speaker_of(path: Path) -> str | None:
        below = path.relative_to(root)
        speaker = next((part for part in below.parts if _SPEAKER.fullmatch(part)), None)
        if speaker is None:
            detail = f"{path}: no folder id00000 of a speaker above it"
            quarantine.add(below.as_posix(), "bad row", detail)
        return speaker

    used: set[Path] = set()
    videos = videos_in(root, "VoxCeleb2")
    for path, speaker, side in with_sides(videos, root, PARTS, speaker_of):
        below = path.relative_to(root)
        swapped = [_SOUND if part == _VIDEO else part for part in below.with_suffix(".m4a").parts]
        sound = root.joinpath(*swapped)
        if sound.is_file():
            used.add(sound)
        parts = below.with_suffix("").parts
        yield RawRecord(
            "/".join(part for part in parts if part != _VIDEO),
            sound if sound in used else path,
            "",
            speaker=speaker,
            group=speaker,
            split=side,
            video=path,
        )
    for path in walk(root):
        if path.suffix == ".m4a" and path not in used:
            name = path.relative_to(root).as_posix()
            quarantine.add(name, "missing video", f"no video in {_VIDEO} for {path}")


def is_root(files: list[Path]) -> bool:
    """Return whether a file lies in ``mp4/idNNNNN/``."""
    pairs = ((a, b) for path in files for a, b in zip(path.parts, path.parts[1:], strict=False))
    return any(a == _VIDEO and _SPEAKER.fullmatch(b) for a, b in pairs)
