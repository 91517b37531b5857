"""JSUT and JVS: ``transcript_utf8.txt`` (JVS: ``transcripts_utf8.txt``) with lines ``ID:TEXT``.

The recordings are ``ID.wav`` in the folder ``wav`` (JVS: ``wav24kHz16bit``) beside it. JSUT has one
speaker; those of JVS are the folders ``jvs001`` and so on.

Source: https://sites.google.com/site/shinnosuketakamichi/publication/jsut
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import walk
from xlasr.data.readers.rows import Sounds, make_record, read_lines, report_empty, unread
from xlasr.errors import DataError

NAMES = ("transcript_utf8.txt", "transcripts_utf8.txt")
_FOLDERS = ("wav", "wav24kHz16bit", "wav48kHz16bit")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read all subsets below a folder, or one transcript.

    Raises:
        DataError: There is no transcript.
    """
    paths = [root] if root.is_file() else [path for path in walk(root) if path.name in NAMES]
    if not paths:
        raise DataError(f"{root}: no {' or '.join(NAMES)} in it or its subfolders.")
    for path in paths:
        folders = [path.parent / name for name in _FOLDERS if (path.parent / name).is_dir()]
        sounds = Sounds(folders or [path.parent])
        subset = path.parent.name
        speaker = path.parent.parent.name if path.name == NAMES[1] else "jsut"
        seen: set[str] = set()
        number = 0
        for number, line in read_lines(path, options.encoding, quarantine):
            where = f"{subset}/{path.name} line {number}"
            key, colon, text = line.partition(":")
            key = key.strip()
            if not colon or not key:
                detail = f"{where}: 'ID:TEXT' is expected; found {line[:200]!r}"
                quarantine.add(where, "bad row", detail)
                continue
            seen.add(key)
            name = f"{key}.wav"
            # The speakers of JVS read sentences of the same ids.
            record_id = f"{speaker}-{key}" if path.name == NAMES[1] else key
            yield from make_record(
                where,
                record_id,
                sounds.find(name),
                sounds.missing(where, name),
                text.strip(),
                quarantine,
                speaker=speaker,
                custom={"subset": subset},
            )
        report_empty(number, f"{subset}/{path.name}", quarantine)
        unread(folders, seen, path.name, quarantine)
