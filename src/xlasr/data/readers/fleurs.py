"""FLEURS: ``train.tsv``, ``dev.tsv`` and ``test.tsv`` without header, and folders of recordings.

Cells: id of the sentence, file, sentence as written, sentence in small letters, its characters,
samples, gender. The first spelling is the transcript. The recordings are in ``audio/train`` or
``train`` (and so on); lhotse's download keeps the tables in ``metadata/LANGUAGE`` instead. Splits
are prescribed; the group is the sentence, which is the same in all languages. Speakers are unknown.

Source: Conneau et al. 2022, https://huggingface.co/datasets/google/fleurs
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.rows import Sounds, make_record, read_lines, report_empty
from xlasr.errors import DataError

_SPLITS = ("train", "dev", "test")
_N_CELLS = 7


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read the folder of one language, such as ``cs_cz``.

    Raises:
        DataError: There is no table.
    """
    found = tables(root)
    if not found:
        raise DataError(f"{root}: no train.tsv, dev.tsv or test.tsv of FLEURS. Name one language.")
    for path in found:
        side = path.stem
        sounds = Sounds([root / "audio" / side, root / side, root / "audio"])
        number = 0
        for number, line in read_lines(path, options.encoding, quarantine):
            where = f"{path.name} line {number}"
            cells = line.split("\t")
            if len(cells) != _N_CELLS:
                detail = f"{where}: {len(cells)} cells; FLEURS has {_N_CELLS}: {line[:200]!r}"
                quarantine.add(where, "bad row", detail)
                continue
            sentence, name, text, _, _, _, gender = map(str.strip, cells)
            yield from make_record(
                where,
                f"{side}-{PurePosixPath(name).stem}",
                sounds.find(name),
                sounds.missing(where, name),
                text,
                quarantine,
                group=sentence or None,
                split=side,
                custom={"sentence": sentence, "gender": gender.lower()},
            )
        report_empty(number, path.name, quarantine)


def tables(root: Path) -> list[Path]:
    """Return the tables of a folder of this layout; none if they look otherwise."""
    for folder in (root, root.parent / "metadata" / root.name):
        paths = [folder / f"{side}.tsv" for side in _SPLITS]
        found = [path for path in paths if path.is_file()]
        if found and any(map(_is_table, found)):
            return found
    return []


def _is_table(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            cells = file.readline(1 << 16).split(b"\t")
    except OSError:
        return False
    return len(cells) == _N_CELLS and cells[0].isdigit() and b"." in cells[1]
