"""CSV or TSV with a header and one row per utterance; any column names.

Columns are mapped by option or guessed, and shown either way. Audio paths are relative to the
table (or to a ``clips``, ``audio``, ``wavs`` or ``wav`` folder beside it). Columns that mean
nothing to us are kept in ``custom``, so that one can group by them. A row that cannot be read
stands in the quarantine and does not take its neighbours along. Of xlasr's own tables with words
only the utterances are read (column ``kind``).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path, PurePath

from xlasr.data.annotations.table import ALWAYS, KIND, WORD
from xlasr.data.cells import Line, Row, csv_rows, tab_rows
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions, encoding_advice
from xlasr.data.readers.folder import AUDIO_SUFFIXES
from xlasr.data.readers.rows import (
    STARTS_OF_UTF16,
    Sounds,
    has_lines,
    read_lines,
    without_mark,
)
from xlasr.data.splits import split_name
from xlasr.errors import DataError, UsageError, did_you_mean

# Field -> names that it is guessed from, best first; compared without case, spaces and underscores.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "audio": tuple(
        "audio path file filename audiofile audiopath audiofilepath filepath wav wavpath wavfile"
        " clip recording mp3 sound".split()
    ),
    "text": tuple(
        "text sentence transcript transcription transcripts normalizedtext words utterance"
        " orthography label content".split()
    ),
    "speaker": ("speaker", "speakerid", "clientid", "spk", "spkid", "reader", "participant"),
    "group": ("group", "scene", "session", "sessionid"),
    "id": ("id", "utteranceid", "uttid", "segmentid", "uid", "key"),
    "start": ("start", "starts", "starttime", "begin", "onset", "startms", "beginms", "from"),
    "end": ("end", "ends", "endtime", "stop", "offset", "endms", "to"),
    "duration": ("duration", "durations", "length", "durationms"),
    "channel": ("channel",),
    "split": ("split", "subset", "partition", "fold"),
}
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_FOLDERS = ("", "clips", "audio", "wavs", "wav")
_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".opus")  # of names without one


def read(path: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a table, or the only table in a folder.

    Raises:
        DataError: No table, its first line not in this encoding, one column only, or no audio or
            text column.
        UsageError: The column mapping names an unknown field.
    """
    path = _the_table(path)
    sounds = Sounds([path.parent / sub for sub in _FOLDERS])
    at: dict[str, int] = {}

    def is_row(cells: Sequence[str]) -> bool:
        name = cells[at["audio"]].strip() if len(cells) > at["audio"] else ""
        whole = len(cells) == len(header)
        return _is_sound(name) or (whole and _find(sounds, name) is not None)

    rows = _rows(path, options, quarantine, is_row)
    head = next(rows, Row(0))
    if head.problem:
        raise DataError(f"{path}: line {head.line} names the columns: {head.problem}.")
    header = [name.strip() for name in head.cells]
    columns = map_columns(path, header, options.columns)
    at |= {field: header.index(name) for field, name in columns.items()}
    # Our own tables of words have a row for each utterance and one for each of its words.
    kind = header.index(KIND) if {KIND, *ALWAYS} <= set(header) else None
    extras = {i: name for i, name in enumerate(header) if name and i not in {*at.values(), kind}}
    shown = ", ".join(
        f"{field} = {name!r}" + ("" if field in options.columns else " (guessed)")
        for field, name in columns.items()
    )
    kept = f"; kept as extras: {', '.join(extras.values())}" if extras else ""
    options.say(f"{path.name}: {shown}{kept}")
    milliseconds = {f for f in ("start", "end", "duration") if columns.get(f, "").endswith("ms")}
    used: set[Path] = set()
    n_listed, n_rows, n_words = len(quarantine), 0, 0
    for row in rows:
        n_rows += 1
        origin = f"{path.name} line {row.line}"
        if row.problem or len(row.cells) != len(header):
            found = row.problem or (
                f"{len(row.cells)} cells, the header has {len(header)}. A delimiter or a quotation"
                " mark inside a cell? Quote the cell, or double the mark"
            )
            quarantine.add(origin, "bad row", f"{origin}: {found}")
        elif kind is not None and row.cells[kind].strip() == WORD:
            n_words += 1
        else:
            value = {field: row.cells[i].strip() for field, i in at.items()}
            custom = {name: cell for i, name in extras.items() if (cell := row.cells[i].strip())}
            for record in _record(origin, value, custom, sounds, milliseconds, quarantine):
                used.add(record.audio)
                yield record
    if n_words:
        options.say(
            f"{path.name}: {n_words} rows of the kind {WORD!r} are not read: they are parts of"
            f" the utterances. To read them, rename the column {KIND!r}"
        )
    if n_rows == n_words and len(quarantine) == n_listed:
        what = f"only {n_words} words of utterances" if n_words else "not one row in it"
        quarantine.add(path.name, "missing text", f"{path.name}: {what}")
    _note_unused(used, path, options, quarantine)


def _record(
    origin: str,
    value: Mapping[str, str],
    custom: dict[str, str],
    sounds: Sounds,
    milliseconds: Set[str],
    quarantine: Quarantine,
) -> Iterator[RawRecord]:
    """Yield the record of a row, or report why there is none."""
    name = value["audio"]
    audio = _find(sounds, name)
    if audio is None:
        detail = f"{origin}: no file {name[:300]!r} in {sounds.folders[0]} or its usual folders"
        quarantine.add(value.get("id") or name or origin, "missing audio", detail)
        return
    try:
        start_s, duration_s = _span(value, milliseconds)
        channel = int(value["channel"]) if value.get("channel") else None
    except ValueError as error:
        quarantine.add(value.get("id") or origin, "bad row", f"{origin}: {error}")
        return
    stem = name.rsplit(".", 1)[0] if "." in name else name
    yield RawRecord(
        id=value.get("id") or (f"{stem}-{round(start_s * 1000):08d}" if "start" in value else stem),
        audio=audio,
        text=value["text"],
        speaker=value.get("speaker") or None,
        group=value.get("group") or None,
        start_s=start_s,
        duration_s=duration_s,
        channel=channel,
        split=split_name(value.get("split", "")),
        custom=dict(custom),
        origin=origin,
    )


def map_columns(path: Path, header: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return field -> column name, from the given mapping first and guesses for the rest.

    Raises:
        UsageError: ``given`` has a field that does not exist.
        DataError: A given column is not in the header, or audio or text is not found.
    """
    for field in given:
        if field not in FIELDS:
            raise UsageError(
                f"unknown field {field!r} in the column mapping.{did_you_mean(field, FIELDS)}"
                f" Fields: {', '.join(FIELDS)}."
            )
    found = f"Columns found: {', '.join(map(repr, header))}."
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: columns with the same name: {', '.join(map(repr, twice))}.")
    columns: dict[str, str] = {}
    for field, name in given.items():
        if name not in header:
            raise DataError(f"{path}: no column {name!r}.{did_you_mean(name, header)} {found}")
        columns[field] = name
    plain = {"".join(c for c in name.lower() if c.isalnum()): name for name in header}
    for field, guesses in FIELDS.items():
        free = [plain[g] for g in guesses if g in plain and plain[g] not in columns.values()]
        if field not in columns and free:
            columns[field] = free[0]
    # A lone "duration" describes the file (in whatever unit); it does not cut it.
    if "start" not in columns and "duration" not in given:
        columns.pop("duration", None)
    missing = [field for field in ("audio", "text") if field not in columns]
    if missing:
        raise DataError(
            f"{path}: cannot tell which column is {' and which is '.join(missing)}. {found} Say"
            f" it: {' '.join(f'--column {field}=NAME' for field in missing)}. If that looks like"
            " one long name, the delimiter is wrong: --delimiter ';'"
        )
    return {field: columns[field] for field in FIELDS if field in columns}


def _the_table(path: Path) -> Path:
    if path.is_file():
        return path
    tables = sorted(p for p in path.glob("*") if p.suffix.lower() in {".csv", ".tsv"})
    if len(tables) != 1:
        names = ", ".join(p.name for p in tables) or "none"
        raise DataError(f"{path}: one .csv or .tsv is expected there; found: {names}. Name one.")
    return tables[0]


def _delimiter(path: Path, first: str, options: ReadOptions) -> str:
    if options.delimiter is not None:
        delimiter = _DELIMITERS.get(options.delimiter, options.delimiter)
        if len(delimiter) != 1:
            raise UsageError(
                f"delimiter {options.delimiter!r}: give one character, or one of"
                f" {', '.join(_DELIMITERS)}."
            )
        return delimiter
    # The header decides: texts are full of commas.
    counts = {d: _count_cells(first, d) for d in "\t,;|"}
    best = max(counts, key=lambda d: counts[d])
    if counts[best] < 2:
        raise DataError(
            f"{path}: its first line has no tab, comma, semicolon or bar: {first[:80]!r}."
            " A header with at least an audio and a text column is needed; for another delimiter:"
            " --delimiter CHARACTER"
        )
    return best


def _count_cells(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter), []))
    except csv.Error:  # more than a cell can hold
        return 0


def _rows(
    path: Path,
    options: ReadOptions,
    quarantine: Quarantine,
    is_row: Callable[[Sequence[str]], bool],
) -> Iterator[Row]:
    """Yield the rows that are not blank; the first has the names of the columns."""
    delimiter = _delimiter(path, _first_line(path, options.encoding), options)
    lines = _lines(path, options.encoding, quarantine)
    return tab_rows(lines) if delimiter == "\t" else csv_rows(lines, delimiter, is_row)


def _first_line(path: Path, encoding: str) -> str:
    """Return the first line that is not blank."""
    unread = Quarantine()
    for _, text in _lines(path, encoding, unread):
        if text is None:
            raise DataError(f"{path}: {unread.entries[-1].detail}.")
        if text.strip():
            return text
    return ""


def _lines(path: Path, encoding: str, quarantine: Quarantine) -> Iterator[Line]:
    """Yield the physical lines; None for one that cannot be read and is in the quarantine.

    Raises:
        DataError: It is not in an encoding in which lines cannot be told before they are decoded.
    """
    encoding = without_mark(encoding)
    with path.open("rb") as binary:
        head = binary.read(2)
    if not has_lines(encoding):
        try:
            with path.open(encoding=encoding, newline="") as file:
                for number, text in enumerate(file, start=1):
                    yield number, text.rstrip("\r\n")
        except UnicodeError as error:
            raise DataError(f"{path}: {error}. {encoding_advice(head, encoding)}.") from error
        return
    if head in STARTS_OF_UTF16:
        raise DataError(f"{path}: {encoding_advice(head, encoding)}.")
    lost: set[int] = set()
    n_more = 0
    for number, text in read_lines(path, encoding, quarantine, blank=True, lost=lost):
        parts = text.split("\r")  # the only line end of old Macs
        for n, part in enumerate(parts):
            yield number + n_more + n, None if number in lost else part
        n_more += len(parts) - 1


def _is_sound(name: str) -> bool:
    return PurePath(name).suffix.lower() in AUDIO_SUFFIXES


def _find(sounds: Sounds, name: str) -> Path | None:
    if _is_sound(name):
        return sounds.find(name)
    names = [name, *(f"{name}{suffix}" for suffix in _SUFFIXES if name)]
    return next((path for n in names if (path := sounds.find(n))), None)


def _span(value: Mapping[str, str], milliseconds: Set[str]) -> tuple[float, float | None]:
    """Return (start_s, duration_s) of a row; the whole file where it says nothing."""
    times: dict[str, float] = {}
    for field in ("start", "end", "duration"):
        if cell := value.get(field, ""):
            try:
                number = float(cell.replace(",", "."))
            except ValueError:
                number = math.nan
            if not math.isfinite(number) or number < 0:
                raise ValueError(f"{field} is {cell!r}, not a time in seconds such as 12.5")
            times[field] = number / 1000 if field in milliseconds else number
    start_s = times.get("start", 0.0)
    if "end" in times:
        if times["end"] <= start_s:
            raise ValueError(f"it ends at {times['end']} s, not after its start at {start_s} s")
        return start_s, times["end"] - start_s
    if times.get("duration") == 0:
        raise ValueError("its duration is 0")
    return start_s, times.get("duration")


def _note_unused(
    used: set[Path], table_path: Path, options: ReadOptions, quarantine: Quarantine
) -> None:
    known = {path.resolve() for path in used}
    beside = (p for folder in sorted({p.parent for p in used}) for p in sorted(folder.iterdir()))
    unused = [p for p in beside if _is_sound(p.name) and p.resolve() not in known]
    for path in unused:
        quarantine.note(path.name, "unused audio", f"{path}: no row of {table_path.name} has it")
    if unused:
        options.say(
            f"{len(unused)} audio files beside the used ones are in no row (audio without text)"
        )
