r"""A release of Common Voice: ``clips/`` and ``train.tsv``, ``dev.tsv``, ``test.tsv`` beside it.

Its own splits are prescribed; they leave out most recordings of frequent sentences. To read all
that was validated with our split, name that file: ``cv-corpus/cs/validated.tsv``. The tables are
not quoted: a quotation mark is one, and where a tab in a sentence makes a row too long, the row is
put together only if its columns of votes then hold numbers. ``client_id`` is the speaker.

Releases spell columns in two ways: ``path sentence accent`` (scripted speech; later ``accents``)
and ``audio_file transcription`` with ``audios/`` and a column ``split`` (spontaneous speech).

Source: https://github.com/common-voice/cv-dataset
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from xlasr.data.cells import unquote
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.rows import Sounds, make_record, read_lines, report_empty
from xlasr.data.splits import split_name
from xlasr.errors import DataError

_FOLDERS = ("clips", "audios")
_NAMES: Mapping[str, tuple[str, ...]] = {
    "audio": ("path", "audio_file"),
    "text": ("sentence", "transcription"),
    "speaker": ("client_id",),
    "accents": ("accents", "accent"),
}
_NUMBERS = ("up_votes", "down_votes", "votes", "duration_ms")
_SPLITS = ("train", "dev", "test")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a release folder with its own splits, or one of its tables with ours.

    Raises:
        DataError: No such folder, several languages, or a table without audio or text column.
    """
    if root.is_file():
        yield from _table(root, None, options, quarantine)
        return
    folder = release(root)
    if folder is None:
        raise DataError(
            f"{root}: no release of Common Voice: a folder with clips/ and train.tsv, dev.tsv,"
            " test.tsv or validated.tsv. Of several languages, name one: cv-corpus-17.0/cs"
        )
    tables = [folder / f"{side}.tsv" for side in _SPLITS if (folder / f"{side}.tsv").is_file()]
    if folder / "train.tsv" in tables:
        whole = next((f for f in _validated(folder) if f.is_file()), None)
        told = f"; all validated recordings with our split: name {whole}" if whole else ""
        options.say(f"splits of the release: {', '.join(t.stem for t in tables)}{told}")
        for table in tables:
            yield from _table(table, table.stem, options, quarantine)
        return
    rest = [f for f in (*_validated(folder), *sorted(folder.glob("ss-corpus*.tsv"))) if f.is_file()]
    options.say(f"no train.tsv in {folder}; {rest[0].name} is read")
    yield from _table(rest[0], None, options, quarantine)


def release(root: Path) -> Path | None:
    """Return the folder of a release at ``root`` or the only one just below it; None if none."""
    below = sorted(p for p in root.glob("*") if p.is_dir()) if root.is_dir() else []
    for folders in ([root], below, [p for f in below for p in sorted(f.glob("*")) if p.is_dir()]):
        found = [folder for folder in folders if _is_release(folder)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _is_release(folder: Path) -> bool:
    tables = [folder / "train.tsv", *_validated(folder), *folder.glob("ss-corpus*.tsv")]
    return any((folder / name).is_dir() for name in _FOLDERS) and any(
        table.is_file() for table in tables
    )


def is_table(path: Path) -> bool:
    """Return whether a file is a table of a release."""
    return path.suffix.lower() == ".tsv" and _is_release(path.parent)


def _validated(folder: Path) -> list[Path]:
    return [folder / "validated.tsv", folder / "valid.tsv"]


def _table(
    path: Path, side: str | None, options: ReadOptions, quarantine: Quarantine
) -> Iterator[RawRecord]:
    rows = read_lines(path, options.encoding, quarantine)
    header = [name.strip() for name in next(rows, (0, ""))[1].split("\t")]
    columns = _columns(path, header)
    sounds = Sounds([path.parent / name for name in _FOLDERS if (path.parent / name).is_dir()])
    sounds.folders = sounds.folders or [path.parent]
    extras = [i for i, name in enumerate(header) if name and i not in columns.values()]
    number = n_joined = 0
    for number, line in rows:
        where = f"{path.name} line {number}"
        cells = _cells(line, header, columns["text"])
        if cells is None:
            n_cells = line.count("\t") + 1
            detail = (
                f"{where}: {n_cells} cells, the header has {len(header)}: a tab or line break in"
                " a sentence, and the votes do not tell where"
            )
            quarantine.add(where, "bad row", detail)
            continue
        n_joined += line.count("\t") + 1 > len(header)
        name = cells[columns["audio"]].strip()
        custom = {header[i]: cells[i].strip() for i in extras if cells[i].strip()}
        accents = cells[columns["accents"]].strip() if "accents" in columns else ""
        given = split_name(custom.pop("split", "")) if side is None else side
        yield from make_record(
            where,
            PurePosixPath(name).stem or where,
            _clip(sounds, name),
            sounds.missing(where, name),
            unquote(cells[columns["text"]].strip()),
            quarantine,
            speaker=(cells[columns["speaker"]].strip() or None) if "speaker" in columns else None,
            split=given,
            custom={**custom, **({"accents": accents} if accents else {})},
        )
    report_empty(number, path.name, quarantine)
    if n_joined:
        options.say(f"{path.name}: {n_joined} sentences with tabs in them, put together")


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    columns = {
        field: header.index(name)
        for field, names in _NAMES.items()
        for name in reversed(names)
        if name in header
    }
    missing = [" or ".join(_NAMES[field]) for field in ("audio", "text") if field not in columns]
    if missing:
        raise DataError(
            f"{path}: no column {' and no column '.join(missing)}; found: "
            f"{', '.join(map(repr, header))[:2000]}. Is it a table of Common Voice? Else: --reader"
            " table"
        )
    return columns


def _cells(line: str, header: Sequence[str], text: int) -> list[str] | None:
    """Return as many cells as the header has, or None where that cannot be."""
    cells = line.split("\t")
    extra = len(cells) - len(header)
    if extra == 0:
        return cells
    numbers = [i for i, name in enumerate(header) if name in _NUMBERS and i > text]
    if extra < 0 or not numbers:
        return None
    end = text + 1 + extra
    # A tab that was written as backslash and tab belongs to the sentence as well.
    joined = " ".join(cell.removesuffix("\\").strip() for cell in cells[text:end])
    whole = [*cells[:text], joined, *cells[end:]]
    return whole if all(whole[i].strip().isdecimal() for i in numbers) else None


def _clip(sounds: Sounds, name: str) -> Path | None:
    # Early releases give names without suffix.
    return sounds.find(name) or (sounds.find(f"{name}.mp3") if name else None)
