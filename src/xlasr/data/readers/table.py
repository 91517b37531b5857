"""CSV or TSV with a header and one row per utterance; any column names.

Columns are mapped by option or guessed, and shown either way. Audio paths are relative to the
table (or to a ``clips``, ``audio``, ``wavs`` or ``wav`` folder beside it). Columns that mean
nothing to us are kept in ``custom``, so that one can group by them.
"""

from __future__ import annotations

import codecs
import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions, encoding_advice
from xlasr.data.readers.folder import AUDIO_SUFFIXES
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


def read(path: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a table, or the only table in a folder.

    Raises:
        DataError: No table, not in this encoding, one column only, or no audio or text column.
        UsageError: The column mapping names an unknown field.
    """
    path = _the_table(path)
    delimiter = _delimiter(path, options)
    rows = _rows(path, delimiter, options.encoding)
    _, header = next(rows, (0, []))
    header = [name.strip() for name in header]
    columns = map_columns(path, header, options.columns)
    at = {field: header.index(name) for field, name in columns.items()}
    extras = [(name, i) for i, name in enumerate(header) if name and i not in at.values()]
    shown = ", ".join(
        f"{field} = {name!r}" + ("" if field in options.columns else " (guessed)")
        for field, name in columns.items()
    )
    kept = f"; kept as extras: {', '.join(name for name, _ in extras)}" if extras else ""
    options.say(f"{path.name}: {shown}{kept}")
    milliseconds = {f for f in ("start", "end", "duration") if columns.get(f, "").endswith("ms")}
    used: set[Path] = set()
    for line, cells in rows:
        origin = f"{path.name} line {line}"
        if len(cells) != len(header):
            detail = (
                f"{origin}: {len(cells)} cells, the header has {len(header)}. A delimiter or a"
                " quotation mark inside a cell? Quote the cell, or double the mark"
            )
            quarantine.add(origin, "bad row", detail)
            continue
        value = {field: cells[i].strip() for field, i in at.items()}
        audio = _find(path.parent, value["audio"])
        if audio is None:
            detail = f"{origin}: no file {value['audio']!r} in {path.parent} or its usual folders"
            quarantine.add(value.get("id") or value["audio"] or origin, "missing audio", detail)
            continue
        used.add(audio)
        try:
            start_s, duration_s = _span(value, milliseconds)
            channel = int(value["channel"]) if value.get("channel") else None
        except ValueError as error:
            quarantine.add(value.get("id") or origin, "bad row", f"{origin}: {error}")
            continue
        stem = value["audio"].rsplit(".", 1)[0] if "." in value["audio"] else value["audio"]
        derived = f"{stem}-{round(start_s * 1000):08d}" if "start" in at else stem
        yield RawRecord(
            id=value.get("id") or derived,
            audio=audio,
            text=value["text"],
            speaker=value.get("speaker") or None,
            group=value.get("group") or None,
            start_s=start_s,
            duration_s=duration_s,
            channel=channel,
            split=split_name(value.get("split", "")),
            custom={name: cells[i].strip() for name, i in extras if cells[i].strip()},
            origin=origin,
        )
    _tell_unused(used, options)


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


def _delimiter(path: Path, options: ReadOptions) -> str:
    if options.delimiter is not None:
        delimiter = _DELIMITERS.get(options.delimiter, options.delimiter)
        if len(delimiter) != 1:
            raise UsageError(
                f"delimiter {options.delimiter!r}: give one character, or one of"
                f" {', '.join(_DELIMITERS)}."
            )
        return delimiter
    first = next(_rows(path, "\0", options.encoding), (1, [""]))[1][0]
    # The header decides: texts are full of commas.
    counts = {d: len(next(csv.reader([first], delimiter=d), [])) for d in "\t,;|"}
    best = max(counts, key=lambda d: counts[d])
    if counts[best] < 2:
        raise DataError(
            f"{path}: its first line has no tab, comma, semicolon or bar: {first[:80]!r}."
            " A header with at least an audio and a text column is needed; for another delimiter:"
            " --delimiter CHARACTER"
        )
    return best


def _rows(path: Path, delimiter: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of the rows that are not blank."""
    # "utf-8-sig" takes off the mark that spreadsheets put in front of UTF-8.
    codec = "utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding
    line = 0
    try:
        with path.open(encoding=codec, newline="") as file:
            if delimiter in "\t\0":
                # Tab-separated files do not quote as a rule, and sentences do have lone quotes.
                for line, text in enumerate(file, 1):
                    cells = text.rstrip("\r\n").split(delimiter)
                    if any(cells):
                        yield (
                            line,
                            [_unquote(cell) for cell in cells] if delimiter == "\t" else cells,
                        )
                return
            table = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in table:
                line = table.line_num
                if any(cells):
                    yield line, cells
    except UnicodeError as error:
        with path.open("rb") as binary:
            advice = encoding_advice(binary.read(2), encoding)
        bad = _undecodable_line(path, codec)
        raise DataError(f"{path}: line {bad}: {error}. {advice}.") from error
    except csv.Error as error:
        raise DataError(
            f"{path}: after line {line}: {error}. A lone quotation mark? Double it inside a quoted"
            " cell, or save the table as TSV."
        ) from error


def _undecodable_line(path: Path, codec: str) -> int:
    """Return the number of the first line with bytes that are not in ``codec``."""
    decoder = codecs.getincrementaldecoder(codec)()
    whole = 0
    with path.open("rb") as file:
        for content in file:
            try:
                decoder.decode(content)
            except UnicodeError:
                break
            whole += 1
    return whole + 1


def _unquote(cell: str) -> str:
    if len(cell) >= 2 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell


def _find(folder: Path, name: str) -> Path | None:
    if not name:
        return None
    for sub in _FOLDERS:
        path = folder / sub / name
        if path.is_file():
            return path
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            for suffix in (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".opus"):
                if path.with_name(path.name + suffix).is_file():
                    return path.with_name(path.name + suffix)
    return None


def _span(value: Mapping[str, str], milliseconds: set[str]) -> tuple[float, float | None]:
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


def _tell_unused(used: set[Path], options: ReadOptions) -> None:
    known = {path.resolve() for path in used}
    beside = (p for folder in {path.parent for path in used} for p in folder.iterdir())
    unused = sum(p.suffix.lower() in AUDIO_SUFFIXES and p.resolve() not in known for p in beside)
    if unused:
        options.say(f"{unused} audio files beside the used ones are in no row (audio without text)")
