"""NeMo's manifests: JSONL with ``audio_filepath``, ``duration``, ``offset`` and ``text``.

A file is one manifest; of a folder all are read, and if the name of each says its side
("train_manifest.json"), these are the splits. Paths are relative to the manifest, as in NeMo.
Manifests of tarred data sets name members of tar files; they stand in the quarantine.

Source: https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import walk
from xlasr.data.readers.rows import (
    Sounds,
    as_text,
    make_record,
    read_objects,
    scalars,
    sides_of,
    span,
)
from xlasr.errors import DataError

SUFFIXES = frozenset({".json", ".jsonl"})
_FIELDS = ("audio_filepath", "audio_file", "duration", "offset", "text", "speaker", "utt_id", "id")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a manifest, or all of a folder.

    Raises:
        DataError: There is none.
    """
    paths = [root] if root.is_file() else list(_manifests(root))
    if not paths:
        raise DataError(f"{root}: no .json or .jsonl file with 'audio_filepath' in it.")
    for path, side in zip(paths, sides_of([path.stem for path in paths]), strict=True):
        split = side if len(paths) > 1 else None
        if len(paths) > 1:
            options.say(f"{path.name}: split {split or 'ours'}")
        sounds = Sounds([path.parent], options.media)
        n_rows = 0
        for where, row in read_objects(path, quarantine):
            n_rows += 1
            yield from _record(where, row, sounds, split, quarantine)
        if not n_rows:
            quarantine.add(path.name, "missing text", f"{path.name}: not one row in it")


def _record(
    where: str, row: dict[str, Any], sounds: Sounds, split: str | None, quarantine: Quarantine
) -> Iterator[RawRecord]:
    name = as_text(row.get("audio_filepath", row.get("audio_file")))
    try:
        if name is None:
            raise ValueError(f"{where}: no 'audio_filepath'; found: {', '.join(map(repr, row))}")
        start_s, duration_s = span(row, "offset", "duration", where)
    except ValueError as error:
        quarantine.add(where, "bad row", f"{where}: {error}"[:2000])
        return
    stem = name.rsplit(".", 1)[0]
    cut = f"-{round(start_s * 1000):08d}" if row.get("offset") is not None else ""
    text = row.get("text")
    yield from make_record(
        where,
        as_text(row.get("utt_id", row.get("id"))) or f"{stem}{cut}",
        sounds.find(name),
        sounds.missing(where, name),
        text if isinstance(text, str) else None,
        quarantine,
        speaker=as_text(row.get("speaker")),
        start_s=start_s,
        duration_s=duration_s,
        split=split,
        custom=scalars(row, but=_FIELDS),
    )


def _manifests(root: Path) -> Iterator[Path]:
    for path in walk(root):
        if path.suffix.lower() in SUFFIXES and is_manifest(path):
            yield path


def is_manifest(path: Path) -> bool:
    """Return whether a file looks like a manifest of NeMo."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return False
    first = head.lstrip().split(b"\n", 1)[0]
    return first[:1] == b"{" and (b'"audio_filepath"' in first or b'"audio_file"' in first)
