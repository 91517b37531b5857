"""Data sets of Hugging Face: what ``save_to_disk`` writes, Parquet and Arrow files, AudioFolder.

Rows are read with pyarrow (``pip install 'xlasr[huggingface]'``); audio is never decoded by
``datasets`` but written to the scratch folder as the bytes that it is, or found by its path, and
goes through our decoder. Files or folders named train, validation and test are the splits.
AudioFolder is a folder of recordings with ``metadata.csv`` or ``metadata.jsonl``, which name each
in ``file_name``; it needs no pyarrow. Of a data set on the hub give ``OWNER/NAME``, or
``OWNER/NAME:CONFIG``, with ``--reader huggingface``.

Source: https://huggingface.co/docs/datasets/audio_dataset
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import table
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.folder import AUDIO_SUFFIXES, walk
from xlasr.data.readers.rows import (
    Sounds,
    as_text,
    make_record,
    read_objects,
    scalars,
    side_in,
    sides_of,
)
from xlasr.errors import DataError, UsageError

SUFFIXES = frozenset({".parquet", ".arrow"})
METADATA = ("metadata.csv", "metadata.jsonl")
_BATCH = 16


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a data set: one file, or all below a folder.

    Raises:
        DataError: There is none, or it has no audio or text column.
        UsageError: pyarrow is missing, or a column is given that does not exist.
    """
    files = [root] if root.is_file() else list(walk(root))
    rows = [path for path in files if path.suffix.lower() in SUFFIXES]
    # save_to_disk keeps what ``map`` cached beside its data.
    rows = [path for path in rows if not path.name.startswith("cache-")] or rows
    metadata = [path for path in files if path.name in METADATA]
    if not rows and not metadata:
        raise DataError(
            f"{root}: no .parquet, no .arrow, no {' and no '.join(METADATA)} in it or its"
            " subfolders."
        )
    read_file = _read_rows if rows else _read_metadata
    paths = rows or metadata
    for path, side in zip(paths, _sides(paths, root), strict=True):
        where = path.relative_to(root).as_posix() if path != root else path.name
        prefix = path.with_suffix("").name if path == root else where.rsplit(".", 1)[0]
        if len(paths) > 1:
            options.say(f"{where}: split {side or 'ours'}")
        yield from read_file(path, root, prefix, side, options, quarantine)


def is_audio_folder(folder: Path) -> bool:
    """Return whether a folder or one just below it has metadata that name recordings."""
    return any(
        path.is_file() and "file_name" in _head(path)
        for name in METADATA
        for path in (folder / name, *folder.glob(f"*/{name}"))
    )


def fetch(name: str) -> Path:
    """Fetch a data set of the hub into the hub's own cache.

    Args:
        name: ``OWNER/NAME``, and the folder of a configuration after a colon.

    Raises:
        DataError: It is not there, or the hub does not answer.
    """
    from huggingface_hub import snapshot_download

    repository, _, config = name.partition(":")
    prefix = f"{config}/" if config else ""
    kinds = ["*.parquet", "*.arrow", *(f"*{m}" for m in METADATA)]
    kinds += [f"*{suffix}" for suffix in sorted(AUDIO_SUFFIXES)]
    try:
        # Where a data set is not in Parquet, the hub keeps a converted copy in a branch.
        for revision in (None, "refs/convert/parquet"):
            found = Path(
                snapshot_download(
                    repository,
                    repo_type="dataset",
                    revision=revision,
                    allow_patterns=[f"{prefix}{kind}" for kind in kinds],
                )
            )
            found = found / config if config else found
            if found.is_dir() and any(found.rglob("*.*")):
                return found
    except (OSError, ValueError) as error:
        raise DataError(
            f"data set {name!r} cannot be fetched: {error}\nIs the name right, is there a network,"
            " and does it want a token (HF_TOKEN)? Or download it elsewhere and name the folder."
        ) from error
    raise DataError(f"data set {name!r} has no .parquet, .arrow or {' or '.join(METADATA)}.")


def _head(path: Path) -> str:
    with path.open("rb") as file:
        return file.readline(1 << 16).decode("utf-8", "replace")


def _sides(paths: list[Path], root: Path) -> list[str | None]:
    """Return the side of each file: of its name, or of the nearest folder that says one."""
    named = []
    for path in paths:
        parts = path.relative_to(root).parts if path != root else ()
        stems = [part.rsplit(".", 1)[0] for part in reversed(parts)]
        named.append(next((stem for stem in stems if side_in(stem)), ""))
    return sides_of(named)


def _read_metadata(
    path: Path,
    root: Path,
    prefix: str,
    side: str | None,
    options: ReadOptions,
    quarantine: Quarantine,
) -> Iterator[RawRecord]:
    """Yield the rows of AudioFolder's metadata."""
    folder = "" if path.parent == root or path == root else path.parent.name + "-"
    if path.suffix == ".csv":
        for record in table.read(path, options, quarantine):
            yield replace(record, id=folder + record.id, split=side or record.split)
        return
    sounds = Sounds([path.parent])
    columns: dict[str, str] | None = None
    for where, row in read_objects(path, quarantine):
        if columns is None:
            columns = table.map_columns(path, list(row), options.columns)
            options.say(f"{path.name}: {', '.join(f'{k} = {v!r}' for k, v in columns.items())}")
        name = as_text(row.get(columns["audio"])) or ""
        stem = PurePosixPath(name).with_suffix("").as_posix() if PurePosixPath(name).name else where
        yield from make_record(
            where,
            folder + stem,
            sounds.find(name),
            sounds.missing(where, name),
            _string(row.get(columns["text"])),
            quarantine,
            speaker=as_text(row.get(columns.get("speaker", ""))),
            split=side,
            custom=scalars(row, but=list(columns.values())),
        )
    if columns is None:
        quarantine.add(path.name, "missing text", f"{path.name}: not one row in it")


def _read_rows(
    path: Path,
    root: Path,
    prefix: str,
    side: str | None,
    options: ReadOptions,
    quarantine: Quarantine,
) -> Iterator[RawRecord]:
    """Yield the rows of a Parquet or Arrow file."""
    folder: Path | None = None
    sounds = Sounds([path.parent, root if root.is_dir() else root.parent], options.media)
    columns: dict[str, str] | None = None
    n = -1
    for n, row in enumerate(_rows(path, quarantine)):
        where = f"{path.name} row {n + 1}"
        if columns is None:
            columns = _columns(path, row, options)
        audio = row.get(columns["audio"])
        held = audio if isinstance(audio, dict) else {"path": audio}
        name = as_text(held.get("path")) or ""
        content = held.get("bytes")
        if isinstance(content, bytes) and content:
            folder = folder or _made(options.unpack_to(path.stem))
            suffix = PurePosixPath(name).suffix.lower()
            written = folder / f"{n:08d}{suffix if suffix in AUDIO_SUFFIXES else ''}"
            written.write_bytes(content)
            found: Path | None = written
        else:
            found = sounds.find(name)
        yield from make_record(
            where,
            as_text(row.get(columns.get("id", ""))) or f"{prefix}-{n:08d}",
            found,
            sounds.missing(where, name) if name else f"{where}: no bytes and no path of a sound",
            _string(row.get(columns["text"])),
            quarantine,
            speaker=as_text(row.get(columns.get("speaker", ""))),
            group=as_text(row.get(columns.get("group", ""))),
            split=side,
            custom=scalars(row, but=list(columns.values())),
        )
    if n < 0:
        quarantine.add(path.name, "missing text", f"{path.name}: not one row in it")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _columns(path: Path, row: Mapping[str, Any], options: ReadOptions) -> dict[str, str]:
    held = [name for name, value in row.items() if isinstance(value, dict) and "bytes" in value]
    given = {**({"audio": held[0]} if len(held) == 1 else {}), **options.columns}
    columns = table.map_columns(path, list(row), given)
    for field in ("start", "end", "duration", "channel", "split"):  # rows here are whole clips
        columns.pop(field, None)
    options.say(f"{path.name}: {', '.join(f'{k} = {v!r}' for k, v in columns.items())}")
    return columns


def _rows(path: Path, quarantine: Quarantine) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file; report those that a damaged one holds no longer."""
    try:
        import pyarrow as arrow
        import pyarrow.ipc
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError(
            f"{path}: reading it needs pyarrow: pip install 'xlasr[huggingface]'"
        ) from error
    n_rows = expected = 0
    try:
        if path.suffix.lower() == ".parquet":
            with parquet.ParquetFile(path) as file:
                expected = file.metadata.num_rows
                for batch in file.iter_batches(batch_size=_BATCH):
                    for row in batch.to_pylist():
                        n_rows += 1
                        yield row
        else:
            with arrow.memory_map(str(path)) as source:
                for batch in _batches(arrow, source):
                    batch.validate(full=True)
                    for start in range(0, len(batch), _BATCH):
                        for row in batch.slice(start, _BATCH).to_pylist():
                            n_rows += 1
                            yield row
    except (arrow.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        detail = f"{path.name}: damaged after row {n_rows} ({error}). Copy or make it again"
        quarantine.add(path.name, "bad transcript", detail[:2000], max(1, expected - n_rows))


def _batches(arrow: Any, source: Any) -> Iterator[Any]:
    """Yield the batches of Arrow's stream form, which ``datasets`` writes, or of its file form."""
    if source.read(6) == b"ARROW1":
        source.seek(0)
        file = arrow.ipc.open_file(source)
        yield from (file.get_batch(i) for i in range(file.num_record_batches))
    else:
        source.seek(0)
        yield from arrow.ipc.open_stream(source)


def is_saved(folder: Path) -> bool:
    """Return whether ``save_to_disk`` made a folder, or it holds Parquet files."""
    if any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return True
    return any(any(folder.glob(f"{p}*{s}")) for s in SUFFIXES for p in ("", "*/", "*/*/"))
