"""ReazonSpeech: a table ``small.tsv`` (tiny, medium, ...) with ``000/ID.flac<tab>TEXT``.

The recordings lie in folders ``000``, ``001`` and so on beside the table, or below ``audio``. There
is no header, and there are no splits, speakers or programmes.

Source: https://research.reazon.jp/projects/ReazonSpeech
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import AUDIO_SUFFIXES
from xlasr.data.readers.rows import Sounds, make_record, read_lines, report_empty
from xlasr.errors import DataError


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a table, or the only one in a folder.

    Raises:
        DataError: There is none, or several.
    """
    paths = [root] if root.is_file() else [p for p in sorted(root.glob("*.tsv")) if is_table(p)]
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise DataError(f"{root}: one table 'PATH<tab>TEXT' is expected; found: {names}. Name one.")
    path = paths[0]
    sounds = Sounds([path.parent, path.parent / "audio"])
    number = 0
    for number, line in read_lines(path, options.encoding, quarantine):
        where = f"{path.name} line {number}"
        name, tab, text = line.partition("\t")
        if not tab or "\t" in text or not name.strip():
            detail = f"{where}: 'PATH<tab>TEXT' is expected; found {line[:200]!r}"
            quarantine.add(where, "bad row", detail)
            continue
        name = name.strip()
        yield from make_record(
            where,
            PurePosixPath(name).with_suffix("").as_posix() if PurePosixPath(name).name else where,
            sounds.find(name),
            sounds.missing(where, name),
            text.strip(),
            quarantine,
        )
    report_empty(number, path.name, quarantine)


def is_table(path: Path) -> bool:
    """Return whether a file is a table without header whose first cell is a sound file."""
    try:
        with path.open("rb") as file:
            cells = file.readline(1 << 16).split(b"\t")
    except OSError:
        return False
    name = PurePosixPath(cells[0].decode("utf-8", "replace").strip("\ufeff"))
    return len(cells) == 2 and name.suffix.lower() in AUDIO_SUFFIXES
