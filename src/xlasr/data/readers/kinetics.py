"""Kinetics-600: ``PART/CLASS/VIDEO_START_END.mp4``, ten seconds of YouTube each; no transcripts.

The folder of the class may be missing. A group is a video of YouTube; the class is kept as
``label``. Parts train, val and test are the sides.

Source: Carreira et al. 2018, A Short Note about Kinetics-600 (arXiv 1808.01340)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.videos import videos_in, with_sides
from xlasr.data.video import SUFFIXES

PARTS = {
    "train": "train", "val": "dev", "valid": "dev", "validate": "dev", "test": "test",
}  # fmt: skip
_NAME = re.compile(r"(.{11})_\d{6}_\d{6}")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read all parts below a folder, or one.

    Raises:
        DataError: There is no video.
    """
    base = root if root.is_dir() else root.parent

    def group_of(path: Path) -> str:
        named = _NAME.fullmatch(path.stem)
        return named[1] if named else path.stem

    for path, group, side in with_sides(videos_in(root, "Kinetics"), base, PARTS, group_of):
        label = path.parent.name
        yield RawRecord(
            path.with_suffix("").relative_to(base).as_posix(),
            path,
            "",
            group=group,
            split=side,
            custom={} if label in PARTS or path.parent == base else {"label": label},
            video=path,
        )


def is_root(files: list[Path]) -> bool:
    """Return whether every video has the name of a stretch of YouTube."""
    videos = [path for path in files if path.suffix.lower() in SUFFIXES]
    return bool(videos) and all(_NAME.fullmatch(path.stem) for path in videos)
