"""Row by row: what the readers of corpora with one line per utterance share.

A line that cannot be read is an entry in the quarantine and does not take its neighbours with it.
"""

from __future__ import annotations

import codecs
import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, BinaryIO

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, encoding_advice
from xlasr.data.readers.folder import AUDIO_SUFFIXES
from xlasr.data.splits import split_name
from xlasr.data.translation import field_of
from xlasr.errors import DataError, UsageError

MAX_LINE_BYTES = 16 << 20
"""A longer line is no row of a transcript."""
MAX_BYTES = 16 << 30
"""More than this is not read out of one (compressed) file: 100 million rows are less."""

STARTS_OF_UTF16 = (b"\xff\xfe", b"\xfe\xff")

_LONGEST_S = 1e7  # four months; more is not a time in seconds
_LONGEST_TEXT = 10_000  # characters
_STEM_SUFFIXES = (".flac", ".wav", ".opus", ".mp3", ".ogg", ".m4a")


def read_lines(
    path: Path,
    encoding: str,
    quarantine: Quarantine,
    *,
    blank: bool = False,
    lost: set[int] | None = None,
) -> Iterator[tuple[int, str]]:
    """Yield (number, text without line end) of the lines of a file, unpacked if it ends in .gz.

    Args:
        path: The file.
        encoding: Of the text; one in which a line feed is one byte.
        quarantine: Where to report lines that cannot be read.
        blank: Yield blank lines too, and an empty text for a line that is in the quarantine (for
            files whose lines belong to those of another).
        lost: Is given the numbers of those that are in the quarantine.

    Raises:
        DataError: It cannot be opened, or has an encoding that cannot be read line by line.
    """
    encoding = without_mark(encoding)
    if not has_lines(encoding):
        raise DataError(
            f"{path}: encoding {encoding} cannot be read line by line. Convert it to UTF-8: iconv"
            f" -f {encoding} -t utf-8"
        )
    lost = set() if lost is None else lost
    number = n_bytes = 0
    try:
        with _open(path) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                n_bytes += len(line)
                where = f"{path.name} line {number}"
                if number == 1:
                    if line.startswith(STARTS_OF_UTF16):
                        raise DataError(f"{path}: it begins like UTF-16. Convert it to UTF-8.")
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if n_bytes > MAX_BYTES:
                    detail = f"{where}: more than {MAX_BYTES >> 30} GiB; the rest is not read"
                    quarantine.add(where, "bad transcript", f"{detail}. Split the file")
                    return
                if len(line) > MAX_LINE_BYTES:
                    n_bytes += _skip_line(file)
                    detail = f"{where}: longer than {MAX_LINE_BYTES >> 20} MiB"
                    quarantine.add(where, "bad row", detail)
                    lost.add(number)
                    line = b""
                try:
                    text = line.decode(encoding).rstrip("\r\n")
                except UnicodeError as error:
                    advice = encoding_advice(line, encoding)
                    quarantine.add(where, "bad encoding", f"{where}: {error}. {advice}")
                    lost.add(number)
                    text = ""
                if blank or text.strip():
                    yield number, text
    except (OSError, EOFError, zlib.error) as error:
        if number == 0 and isinstance(error, OSError) and error.errno:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        detail = f"{path.name}: damaged after line {number} ({error}). Copy or make it again"
        quarantine.add(path.name, "bad transcript", detail)


def without_mark(encoding: str) -> str:
    """Return "utf-8" for the name of UTF-8 with a byte order mark, which is taken off anyhow."""
    return "utf-8" if codecs.lookup(encoding).name == "utf-8-sig" else encoding


def has_lines(encoding: str) -> bool:
    """Return whether a line feed is one byte, so that lines can be told before they are decoded."""
    return "\n".encode(encoding) == b"\n"


def _open(path: Path) -> BinaryIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]  # it has readline
    return path.open("rb")


def _skip_line(file: BinaryIO) -> int:
    """Read to the end of a line; return the bytes read, at most ``MAX_BYTES``."""
    skipped = 0
    while skipped < MAX_BYTES:
        part = file.readline(MAX_LINE_BYTES)
        skipped += len(part)
        if not part or part.endswith(b"\n"):
            break
    return skipped


def read_objects(path: Path, quarantine: Quarantine) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, object) of the lines of a JSONL file; report lines that are no objects.

    Raises:
        DataError: The file cannot be opened.
    """
    for number, line in read_lines(path, "utf-8", quarantine):
        where = f"{path.name} line {number}"
        try:
            value = parse_json(line)
        except ValueError as error:
            quarantine.add(where, "bad row", f"{where}: not JSON: {error}")
            continue
        if isinstance(value, dict):
            yield where, value
        else:
            detail = f"{where}: a JSON object is expected, found {type(value).__name__}"
            quarantine.add(where, "bad row", detail)


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: Not JSON, nested too deeply, or it holds half a surrogate pair, which no file
            could hold again.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except (UnicodeError, RecursionError) as error:
            raise ValueError("half a surrogate pair") from error
    return value


def seconds(value: object, name: str) -> float:
    """Return a time in seconds from a number or its text.

    Raises:
        ValueError: It is not one; the message says which field and what was found.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= _LONGEST_S:
        raise ValueError(f"{name} is {str(value)[:60]!r}, not a time in seconds such as 12.5")
    return number


def as_text(value: object) -> str | None:
    """Return a string or a number as stripped text; None for anything else and for nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)[:_LONGEST_TEXT].strip() or None


def scalars(row: Mapping[str, Any], but: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields worth keeping as ``custom``: short texts, translations and numbers."""
    return {
        key: value
        for key, value in row.items()
        if key not in but
        and (
            (isinstance(value, str) and 0 < len(value) <= _most(key))
            or isinstance(value, bool)
            or (isinstance(value, int | float) and abs(value) < 1e300)
        )
    }


def _most(key: str) -> int:
    """Characters of a text that is kept: a translation is as long as what it translates."""
    return _LONGEST_TEXT if key.startswith(field_of("")) else 200


class Sounds:
    """Recordings by the path that a row gives: as it stands, or below one of some folders.

    Args:
        folders: Where relative paths may begin, best first.
        media: A folder of recordings that the person named; it goes first.

    Raises:
        UsageError: ``media`` is not a folder.
    """

    def __init__(self, folders: Sequence[Path], media: Path | None = None) -> None:
        if media is not None and not media.is_dir():
            raise UsageError(f"{media}: no such folder of recordings. Correct --media.")
        self.folders = [*([media] if media else []), *folders]

    def find(self, name: str) -> Path | None:
        """Return the file of a row, or None."""
        for folder in self.folders:
            path = folder / name  # an absolute name stands for itself
            try:
                if name and path.is_file():
                    return path
            except (OSError, ValueError):  # a name that no file can have
                return None
        return None

    def find_stem(self, stem: str) -> Path | None:
        """Return the file of a row that gives no suffix, or None."""
        if not stem:
            return None
        names = (f"{stem}{suffix}" for suffix in _STEM_SUFFIXES)
        return next((path for name in names if (path := self.find(name))), None)

    def missing(self, where: str, name: str) -> str:
        """Return what to say about a row without a file."""
        places = " or ".join(map(str, self.folders))
        return f"{where}: no file {name[:300]!r} in {places}. Correct the path, or copy the file"


def span(
    row: Mapping[str, Any], start: str, duration: str, where: str
) -> tuple[float, float | None]:
    """Return (start_s, duration_s) of a row; None is to the end.

    Raises:
        ValueError: Not times, a negative start, or a duration that is not above 0.
    """
    start_s = 0.0 if row.get(start) is None else seconds(row[start], start)
    if start_s < 0:
        raise ValueError(f"{where}: {start} is {start_s} s, before the recording begins")
    if row.get(duration) is None:
        return start_s, None
    duration_s = seconds(row[duration], duration)
    if duration_s <= 0:
        raise ValueError(f"{where}: {duration} is {duration_s} s; more than 0 is needed")
    return start_s, duration_s


def side_in(name: str) -> str | None:
    """Return the side that the name of a part means: "train-clean-100" -> "train"; None if none."""
    words = re.split(r"[^0-9A-Za-z]+", name)
    sides = {split_name("test" if word == "tst" else word) for word in words} - {None}
    return sides.pop() if len(sides) == 1 else None


def sides_of(names: Sequence[str]) -> list[str | None]:
    """Return the side of each part; all None unless each has one, training and another among them.

    Parts for training alone, as many data sets of the hub are, leave the choice of dev and test.
    """
    sides = [side_in(name) for name in names]
    return sides if None not in sides and {"train"} < set(sides) else [None] * len(names)


def make_record(
    where: str,
    record_id: str,
    audio: Path | None,
    missing: str,
    text: str | None,
    quarantine: Quarantine,
    **fields: Any,
) -> Iterator[RawRecord]:
    """Yield the record of a row, or report that it has no sound or no text."""
    if text is None:
        quarantine.add(record_id, "missing text", f"{where}: no transcript for {record_id!r}")
    elif audio is None:
        quarantine.add(record_id, "missing audio", missing)
    else:
        yield RawRecord(record_id, audio, text, origin=where, **fields)


def report_empty(number: int, where: str, quarantine: Quarantine) -> None:
    """Report a table that ended without a single row (``number`` is its last row's line, or 0)."""
    if not number:
        quarantine.add(where, "missing text", f"{where}: not one row in it")


def unread(folders: Sequence[Path], seen: Set[str], table: str, quarantine: Quarantine) -> None:
    """Report the recordings of some folders whose names without suffix are in no row.

    Args:
        folders: Where the recordings of one table are.
        seen: The names in its rows.
        table: Its name, for messages.
        quarantine: Where to report.
    """
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in AUDIO_SUFFIXES and path.stem not in seen:
                detail = f"{path}: no row of {table} has it"
                quarantine.add(path.stem, "missing text", detail)
