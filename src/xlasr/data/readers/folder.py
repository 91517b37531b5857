"""A folder of recordings, each with a text file of the same stem: ``a/b.wav`` and ``a/b.txt``.

Subfolders are read too, but not hidden ones, nor corpora that xlasr made. The id is the path
without its suffix; the parent folder is kept as ``custom["folder"]``. Where every recording lies
below a folder ``train``, ``dev`` or ``test``, and not all below one, these are the splits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions, encoding_advice
from xlasr.data.splits import split_name
from xlasr.errors import DataError

AUDIO_SUFFIXES = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .m4a .mp4 .aac .webm .mkv .mov .3gp .amr .wma .aif .aiff .caf"
    " .au .snd .w64 .rf64 .sph .g722 .gsm .ulaw .alaw .sln .sln16 .mp2 .avi .mpg .mpeg .ape .wv"
    " .tta".split()
)


def read(folder: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a folder of audio files with same-stem ``.txt`` files.

    Raises:
        DataError: Not a folder, or no audio file in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder.")
    files = list(walk(folder))
    sounds = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    texts = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".txt"}
    if not sounds:
        raise DataError(
            f"{folder}: no audio file in it or its subfolders. Known suffixes:"
            f" {' '.join(sorted(AUDIO_SUFFIXES))}."
        )
    tops = [split_name(path.relative_to(folder).parts[0]) for path in sounds]
    has_splits = None not in tops and len(set(tops)) > 1
    stems: dict[Path, Path] = {}
    for path, top in zip(sounds, tops, strict=True):
        stem = path.with_suffix("")
        record = stem.relative_to(folder).as_posix()
        if stem in stems:
            detail = f"{stems[stem].name} and {path.name} share one transcript; the first is used"
            quarantine.add(path.relative_to(folder).as_posix(), "duplicate id", detail)
            continue
        stems[stem] = path
        if stem not in texts:
            quarantine.add(record, "missing text", f"no {stem.name}.txt beside {path}")
            continue
        content = texts[stem].read_bytes()
        try:
            text = content.decode(options.encoding).removeprefix("\ufeff")
        except UnicodeError as error:
            advice = encoding_advice(content, options.encoding)
            quarantine.add(record, "bad encoding", f"{texts[stem]}: {error}. {advice}")
            continue
        parent = path.parent.relative_to(folder).as_posix()
        yield RawRecord(
            id=record,
            audio=path,
            text=text,
            split=top if has_splits else None,
            custom={} if parent == "." else {"folder": parent},
        )
    for stem in sorted(texts.keys() - stems.keys()):
        record = stem.relative_to(folder).as_posix()
        quarantine.add(record, "missing audio", f"no audio file beside {texts[stem]}")


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below ``folder`` in a fixed order; not hidden ones, nor those of a corpus."""
    for here, folders, names in os.walk(folder):
        hidden_or_corpus = {
            name
            for name in folders
            if name.startswith(".") or Path(here, name, "card.json").is_file()
        }
        folders[:] = sorted(set(folders) - hidden_or_corpus)
        yield from (Path(here, name) for name in sorted(names) if not name.startswith("."))
