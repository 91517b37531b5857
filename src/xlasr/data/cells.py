"""Cells of tables: tab-separated lines, and CSV in which one bad row does not take others along."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

Line = tuple[int, str | None]
"""Number, from 1, and text of a physical line; None where it cannot be decoded."""
MAX_LINES = 200
"""A row of CSV with more lines is taken for one whose quotation mark is never closed."""

_ADVICE = (
    "A lone quotation mark? Double it inside a quoted cell, or save the table as TSV; the lines"
    " after it are read on their own"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        line: Its (first) line in the file, from 1.
        cells: What stands in it; empty where it cannot be read.
        problem: Why it cannot be read; empty where it can.
    """

    line: int
    cells: list[str] = field(default_factory=list)
    problem: str = ""


def unquote(cell: str, *, quoted: bool = False) -> str:
    """Take off the quotation marks around a cell of a table that does not quote as a rule.

    Marks that belong to the text stay: of ``"Ja", sagte er, "nein"`` nothing is taken off. Those of
    spreadsheets can be told from them, for a mark inside is doubled: ``"Er sagte ""nein""."``.

    Args:
        cell: As it stands between two tabs.
        quoted: All cells of the table are quoted, also those without marks inside.
    """
    inner = cell[1:-1]
    if len(cell) < 2 or not cell[0] == cell[-1] == '"' or '"' in inner.replace('""', ""):
        return cell
    return inner.replace('""', '"') if quoted or not inner or '""' in inner else cell


def tab_rows(lines: Iterable[Line]) -> Iterator[Row]:
    """Yield the rows of a tab-separated table that are not blank and can be decoded.

    Sentences have lone quotation marks, so they quote nothing; but see ``unquote``. A table is
    quoted throughout where every cell of its first row is.
    """
    quoted: bool | None = None
    for line, text in lines:
        if text is None or not text.strip():
            continue
        cells = text.rstrip("\r\n").split("\t")
        if quoted is None:
            quoted = all(len(c) > 1 and c[0] == c[-1] == '"' for c in map(str.strip, cells))
        yield Row(line, [unquote(cell, quoted=quoted) for cell in cells])


def csv_rows(
    lines: Iterable[Line],
    delimiter: str,
    is_row: Callable[[Sequence[str]], bool],
) -> Iterator[Row]:
    """Yield the rows of CSV; one that cannot be read ends with its first line.

    A stray quotation mark makes the rest of a table, or the rows up to the next mark, a single
    cell. So a row of several lines is only taken for one if it parses, has as many cells as the
    first row, and none of its further lines is a row by itself. Otherwise its first line is the bad
    one, and reading goes on at the next.

    Args:
        lines: Those of the file. One that cannot be decoded is passed by, and ends a row that goes
            over it.
        delimiter: Between cells.
        is_row: Whether some cells are a row beyond doubt; asked once the first row was given.

    Source: RFC 4180, with the quoting of Python's ``csv`` in its strict form.
    """
    following = _Lines(lines)
    width: int | None = None
    for number, text in following:
        if text is None:
            continue
        taken: list[Line] = [(number, text)]
        stop = partial(_alone, delimiter=delimiter, is_row=is_row if width else _no_row)
        problem = ""
        cells: list[str] = []
        try:
            parts = _parts(text, taken, following, stop)
            cells = next(csv.reader(parts, delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            problem = str(error)
        if len(taken) > 1 and width is not None and len(cells) != width:
            problem = problem or f"a cell that goes on for {len(taken)} lines"
        if problem:
            following.put_back(taken[1:])
            yield Row(number, problem=f"{problem}. {_ADVICE}")
        elif any(cells):
            width = len(cells) if width is None else width
            yield Row(number, cells)


class _Lines(Iterator[Line]):
    """Lines of which some can be put back."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self._back: deque[Line] = deque()

    def __next__(self) -> Line:
        return self._back.popleft() if self._back else next(self._lines)

    def put_back(self, lines: Sequence[Line]) -> None:
        self._back.extendleft(reversed(lines))


def _parts(
    text: str, taken: list[Line], following: _Lines, stop: Callable[[str], bool]
) -> Iterator[str]:
    """Yield the lines of a row as long as they are asked for, and note them in ``taken``."""
    yield f"{text}\n"
    for line in following:
        taken.append(line)
        if line[1] is None or len(taken) > MAX_LINES or stop(line[1]):
            return
        yield f"{line[1]}\n"


def _alone(text: str, delimiter: str, is_row: Callable[[Sequence[str]], bool]) -> bool:
    """Return whether a line inside a quoted cell is a row by itself."""
    try:
        return is_row(next(csv.reader([text], delimiter=delimiter), []))
    except csv.Error:
        return False


def _no_row(cells: Sequence[str]) -> bool:
    return False
