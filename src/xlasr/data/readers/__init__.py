"""One file per layout of recordings and transcripts.

=========== =======================================================================
folder      a folder of audio with same-stem ``.txt``
table       CSV or TSV with one row per utterance
fillets     the game Fish Fillets, unpacked (sources ``fillets-cs``, ``fillets-nl``)
asterisk    prompts of Asterisk, unpacked (sources ``asterisk-en``, ``-es``, ``-fr``, ``-it``)
spoken-text a text file, read out by espeak-ng (synthetic; training only)
fortunes    quotations of ``fortunes-*``, read out by espeak-ng (source ``synthetic-cs``)
=========== =======================================================================

A new layout is one new file here: a function ``read(path, options, quarantine)`` that yields
``RawRecord`` and reports what it cannot use, one line in ``READERS`` and, where its files can be
told from others, one in ``guess_reader``.
"""

from __future__ import annotations

from pathlib import Path

from xlasr.data.readers import asterisk, fillets, folder, spoken_text, table
from xlasr.data.readers.base import RawRecord, ReaderFn, ReadOptions, Source
from xlasr.errors import DataError
from xlasr.registry import Registry

READERS: Registry[ReaderFn] = Registry("reader")
READERS.register("folder")(folder.read)
READERS.register("table")(table.read)
READERS.register("fillets")(fillets.read)
READERS.register("asterisk")(asterisk.read)
READERS.register("spoken-text")(spoken_text.read_sentences)
READERS.register("fortunes")(spoken_text.read_fortunes)

SOURCES: Registry[Source] = Registry("source")
for _name, _source in {**fillets.SOURCES, **asterisk.SOURCES, **spoken_text.SOURCES}.items():
    SOURCES.register(_name)(_source)


def guess_reader(path: Path) -> str:
    """Return the name of the reader whose layout ``path`` has.

    Raises:
        DataError: It looks like none of them.
    """
    if path.is_file():
        if path.suffix.lower() in {".csv", ".tsv", ".tab", ".txt"}:
            return "table"
        raise DataError(f"{path}: not a table (.csv, .tsv) and not a folder. Give one of these.")
    if (path / fillets.GAME / "sound").is_dir():
        return "fillets"
    if (path / asterisk.SOUNDS).is_dir():
        return "asterisk"
    if any(path.glob("*.[ct]sv")) and not any(path.rglob("*.txt")):
        return "table"
    return "folder"


__all__ = ["READERS", "SOURCES", "RawRecord", "ReadOptions", "ReaderFn", "Source", "guess_reader"]
