"""LibriSpeech's layout: ``PART/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt``, lines ``ID TEXT``.

The recordings are ``ID.flac`` (or another sound) beside the transcript. If the name of each part
says its side ("train-clean-100", "dev-other", "test-clean"), these are the splits. The speaker is
what stands before the first hyphen of the id.

Source: https://www.openslr.org/12
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import walk
from xlasr.data.readers.rows import Sounds, make_record, read_lines, report_empty, sides_of, unread
from xlasr.errors import DataError

SUFFIX = ".trans.txt"


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a part or all parts below a folder.

    Raises:
        DataError: There is no transcript.
    """
    paths = [root] if root.is_file() else [p for p in walk(root) if p.name.endswith(SUFFIX)]
    if not paths:
        raise DataError(f"{root}: no *{SUFFIX} in it or its subfolders.")
    parts = [path.relative_to(root).parts[:-3] for path in paths] if root.is_dir() else [()]
    names = sorted({part[-1] if part else "" for part in parts})
    sides = dict(zip(names, sides_of(names), strict=True)) if len(names) > 1 else {}
    for path, part in zip(paths, parts, strict=True):
        sounds = Sounds([path.parent])
        seen: set[str] = set()
        number = 0
        for number, line in read_lines(path, options.encoding, quarantine):
            where = f"{path.name} line {number}"
            key, _, text = line.strip().replace("\t", " ", 1).partition(" ")
            seen.add(key)
            yield from make_record(
                where,
                key,
                sounds.find_stem(key),
                sounds.missing(where, f"{key}.flac"),
                text.strip(),
                quarantine,
                speaker=key.split("-")[0],
                split=sides.get(part[-1] if part else ""),
                custom={"part": part[-1]} if part else {},
            )
        report_empty(number, path.name, quarantine)
        unread([path.parent], seen, path.name, quarantine)


def is_root(files: list[Path]) -> bool:
    """Return whether some file among these is a transcript of this layout."""
    return any(path.name.endswith(SUFFIX) for path in files)
