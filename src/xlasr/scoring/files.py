"""Transcripts from any recogniser: TSV, CSV and JSONL by utterance id; lists of terms.

A table has a header, or exactly two columns, id and text. Columns are guessed by their usual names
(``map_columns`` of the readers does the same for recordings) or given as field -> name:

* ``id``: id, utterance_id, utt_id, key, segment_id, ...; else the audio file's path;
* ``text``: in a reference file reference, text, sentence, transcript, ...; in a hypothesis file
  hypothesis, prediction, pred_text (NeMo), ... first;
* ``group``: group, scene, session, speaker, client_id (Common Voice), recording, ...: what an
  interval resamples. Given as "", there are no groups.

Nothing is skipped but blank lines; what cannot be read is an error with its line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xlasr.data.cells import tab_rows
from xlasr.errors import DataError, UsageError, did_you_mean

Role = Literal["reference", "hypothesis"]

_TEXTS = "text sentence transcript transcription transcripts normalizedtext words"
# Field -> names that it is guessed from, best first; compared without case, spaces and underscores.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": tuple(
        "id utteranceid uttid utt utterance key segmentid uid audiofilepath audiopath audio path"
        " filename file".split()
    ),
    "reference": tuple(f"reference ref groundtruth {_TEXTS} label target".split()),
    "hypothesis": tuple(
        f"hypothesis hyp prediction predictedtext predtext pred recognised recognized {_TEXTS}"
        " output".split()
    ),
    "group": tuple(
        "group scene session sessionid speaker speakerid spk spkid clientid recording"
        " recordingid".split()
    ),
}
_FIELDS = ("id", "text", "group")
_JSONL = {".jsonl", ".ndjson", ".json"}


@dataclass(frozen=True)
class Transcripts:
    """What a file says.

    Attributes:
        path: Of the file.
        texts: Text by utterance id, in the order of the file.
        groups: Group by utterance id; None where the file has no such column.
        columns: Field -> column that it was read from.
    """

    path: Path
    texts: Mapping[str, str]
    groups: Mapping[str, str] | None
    columns: Mapping[str, str]


def read_transcripts(
    path: Path, role: Role, columns: Mapping[str, str] | None = None
) -> Transcripts:
    """Read the texts of a reference or hypothesis file by utterance id.

    Args:
        path: ``.jsonl`` (one object in a line), ``.csv``, or anything else as TSV; UTF-8.
        role: "reference" or "hypothesis": decides which text column is guessed first.
        columns: Field ("id", "text" or "group") -> column name; the rest is guessed.

    Raises:
        DataError: The file cannot be read, has no id or text column or a column twice, a line
            without one of them, or an id twice. The line is named.
        UsageError: ``columns`` has a field that does not exist.
    """
    given = dict(columns or {})
    for field in given:
        if field not in _FIELDS:
            raise UsageError(
                f"unknown field {field!r} in the columns.{did_you_mean(field, _FIELDS)}"
                f" Fields: {', '.join(_FIELDS)}."
            )
    rows = _json_rows(path) if path.suffix.lower() in _JSONL else _table_rows(path, role, given)
    texts: dict[str, str] = {}
    groups: dict[str, str] = {}
    lines: dict[str, int] = {}
    at: dict[str, str] = {}
    for line, row in rows:
        at = at or _choose(path, list(row), role, given)
        key = _cell(path, line, row, at["id"], empty=False)
        if key in lines:
            raise DataError(
                f"{path}: utterance {key!r} is there twice, in lines {lines[key]} and {line}. An id"
                " names one utterance."
            )
        lines[key] = line
        texts[key] = _cell(path, line, row, at["text"], empty=True)
        if "group" in at:
            groups[key] = _cell(path, line, row, at["group"], empty=False)
    if not texts:
        raise DataError(f"{path}: there is no utterance in it.")
    return Transcripts(path, texts, groups if "group" in at else None, at)


def read_training(path: Path) -> list[str]:
    """Read training transcripts: the texts of a ``.tsv``, ``.csv`` or ``.jsonl``, or plain lines.

    Raises:
        DataError: The file cannot be read or holds no text.
    """
    if path.suffix.lower() in {*_JSONL, ".tsv", ".csv"}:
        return list(read_transcripts(path, "reference", {"group": ""}).texts.values())
    return read_list(path)


def read_list(path: Path) -> list[str]:
    """Read a text file, one sentence or term in a line; blank lines mean nothing.

    Raises:
        DataError: The file cannot be read, is not UTF-8 or has no line with text.
    """
    found = [text.strip() for _, text in _lines(path) if text.strip()]
    if not found:
        raise DataError(f"{path}: there is no line with text in it.")
    return found


def _choose(path: Path, names: list[str], role: Role, given: Mapping[str, str]) -> dict[str, str]:
    """Return field -> column, given ones first; "group" only where there is one."""
    found = f"Columns found: {', '.join(map(repr, names))}."
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: columns with the same name: {', '.join(map(repr, twice))}.")
    chosen: dict[str, str] = {}
    for field, name in given.items():
        if name and name not in names:
            raise DataError(f"{path}: no column {name!r}.{did_you_mean(name, names)} {found}")
        chosen[field] = name
    known = {_plain(name): name for name in names}
    for field in _FIELDS:
        guesses = _NAMES[role if field == "text" else field]
        free = [known[g] for g in guesses if g in known and known[g] not in chosen.values()]
        if field not in chosen and free:
            chosen[field] = free[0]
    missing = [field for field in ("id", "text") if not chosen.get(field)]
    if missing:
        option = "--ref-column" if role == "reference" else "--hyp-column"
        raise DataError(
            f"{path}: cannot tell which column is {' and which is '.join(missing)}. {found} Say it:"
            f" {' '.join(f'{option} {field}=NAME' for field in missing)}"
        )
    return {field: name for field, name in chosen.items() if name}


def _table_rows(
    path: Path, role: Role, given: Mapping[str, str]
) -> Iterator[tuple[int, dict[str, str]]]:
    header: list[str] = []
    for line, cells in _cells(path):
        if not header:
            names = [cell.strip() for cell in cells]
            if len(names) < 2:
                raise DataError(
                    f"{path}: line {line} has one column only: {cells[0][:80]!r}. A table has tabs"
                    " between its columns (.csv: commas), at least id and text."
                )
            known = {*_NAMES["id"], *_NAMES[role], *_NAMES["group"]}
            if set(given.values()) & set(names) - {""} or any(
                _plain(name) in known for name in names
            ):
                header = names
                _choose(path, header, role, given)  # a dict of the row would hide a double name
                continue
            if len(names) > 2:
                raise DataError(
                    f"{path}: line {line} has {len(names)} columns and is no header: {names[:5]}."
                    " A table without a header has two columns, id and text."
                )
            header = ["id", "text"]
        if len(cells) != len(header):
            raise DataError(
                f"{path}: line {line} has {len(cells)} columns, and {len(header)} are expected"
                f" ({', '.join(header)}). A tab inside a text, or none before an empty one?"
            )
        yield line, dict(zip(header, cells, strict=True))


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    if path.suffix.lower() == ".csv":
        table = csv.reader(io.StringIO("\n".join(text for _, text in _lines(path))), strict=True)
        try:
            for cells in table:
                if any(cells):
                    yield table.line_num, cells
        except csv.Error as error:
            raise DataError(
                f"{path}: line {table.line_num}: {error}. A lone quotation mark? Double it inside a"
                " quoted cell, or save the table as TSV."
            ) from error
        return
    yield from ((row.line, row.cells) for row in tab_rows(_lines(path)))


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in _lines(path):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}: line {line} is not JSON ({error}). One object stands in one line."
            ) from error
        if not isinstance(row, dict):
            raise DataError(
                f"{path}: line {line} is no JSON object but {type(row).__name__}. One utterance is"
                ' one line: {"id": "a01", "text": "..."}'
            )
        yield line, row


def _cell(path: Path, line: int, row: Mapping[str, Any], name: str, *, empty: bool) -> str:
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and not empty:
        value = str(value)  # an id or a group may be a number in JSON
    if not isinstance(value, str):
        what = "has no" if name not in row else f"has {json.dumps(value)[:40]} as its"
        advice = ' A recogniser that says nothing gives "".' if empty else ""
        raise DataError(f"{path}: line {line} {what} {name!r}; a text is needed.{advice}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half a character
        raise DataError(f"{path}: line {line}: {name!r} is no text: {error.reason}.") from error
    value = value if empty else value.strip()
    if not value and not empty:
        raise DataError(f"{path}: line {line} has an empty {name!r}.")
    return value


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text without its end) of a UTF-8 file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    for line, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            yield line, raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: line {line} is not UTF-8 ({error.reason}). Save the file as UTF-8."
            ) from error


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
