"""Multilingual LibriSpeech: ``train``, ``dev``, ``test`` with ``transcripts.txt`` and ``audio/``.

Lines are ``SPEAKER_BOOK_NUMBER<tab>TEXT``, and the recording is ``audio/SPEAKER/BOOK/ID.flac`` (or
``.opus``). The splits are prescribed. The small training sets in ``limited_supervision`` are lists
of ids of ``train`` and are not read.

Source: https://www.openslr.org/94
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.rows import Sounds, make_record, read_lines, report_empty
from xlasr.errors import DataError

_SPLITS = ("train", "dev", "test")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read the folder of one language, such as ``mls_polish``.

    Raises:
        DataError: There is no transcript.
    """
    sides = parts(root)
    if not sides:
        raise DataError(f"{root}: no train/transcripts.txt, dev/... or test/... Name mls_LANGUAGE.")
    for side in sides:
        path = root / side / "transcripts.txt"
        sounds = Sounds([root / side / "audio"])
        number = 0
        for number, line in read_lines(path, options.encoding, quarantine):
            where = f"{side}/{path.name} line {number}"
            key, tab, text = line.partition("\t")
            key = key.strip()
            if not tab or key.count("_") != 2:
                detail = f"{where}: 'SPEAKER_BOOK_NUMBER<tab>TEXT' is expected; found"
                quarantine.add(where, "bad row", f"{detail} {line[:200]!r}")
                continue
            speaker, book, _ = key.split("_")
            yield from make_record(
                where,
                key,
                sounds.find_stem(f"{speaker}/{book}/{key}"),
                sounds.missing(where, f"{speaker}/{book}/{key}.flac"),
                text.strip(),
                quarantine,
                speaker=speaker,
                split=side,
                custom={"book": book},
            )
        report_empty(number, f"{side}/{path.name}", quarantine)


def parts(root: Path) -> list[str]:
    """Return the sides that a folder of this layout has."""
    return [side for side in _SPLITS if (root / side / "transcripts.txt").is_file()]
