"""Praat: ``.TextGrid`` files, long, short and binary, beside recordings of the same stem.

Both text forms are read as Praat reads them: what counts are the free-standing numbers, the quoted
texts and the flags, in their order; everything else is decoration. So one grammar reads all three
forms. (praatio, the usual library, is an oracle in the tests but not the reader: it ends silently
where a truncated file does, and knows neither exponents such as ``1e-05``, which Praat writes, nor
the binary form.)

Source: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers.base import RawRecord, ReadOptions
from xlasr.data.readers.segments import (
    Transcript,
    decode_text,
    read_bytes,
    read_transcripts,
    transcript_files,
)
from xlasr.data.readers.tiers import Annotation, Tier
from xlasr.errors import DataError

SUFFIXES = frozenset({".textgrid"})

_BINARY = b"ooBinaryFile\x08TextGrid"
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"\S+")
_LINE = re.compile(r"[^\n\r]*")


def read(root: Path, options: ReadOptions, quarantine: Quarantine) -> Iterator[RawRecord]:
    """Read a ``.TextGrid`` file, or all of a folder.

    Raises:
        DataError: There is none.
        UsageError: Several tiers could be meant, or the chosen ones are not there.
    """
    return read_transcripts(root, transcript_files(root, SUFFIXES), parse, options, quarantine)


def parse(path: Path, stem: str, options: ReadOptions, quarantine: Quarantine) -> list[Transcript]:
    """Parse one file.

    Raises:
        DataError: Not a TextGrid, truncated, in another encoding, or its times do not begin at 0.
    """
    content = read_bytes(path)
    source: _Source
    if content.startswith(b"ooBinaryFile"):
        source = _Binary(path, content)
    else:
        source = _Text(path, decode_text(path, content, options.encoding))
    tiers = _grid(path, source)
    return [Transcript(path, stem, tiers)]


class _Source(Protocol):
    """The parts of a TextGrid, one after the other; DataError where the next is not there."""

    def text(self) -> str:
        """Return a text."""

    def kind(self) -> str:
        """Return the name of a class."""

    def number(self) -> float:
        """Return a number; finite."""

    def count(self) -> int:
        """Return a number of things."""

    def exists(self) -> bool:
        """Return a flag."""

    def end(self) -> None:
        """Raise DataError unless this is the end."""


def _grid(path: Path, source: _Source) -> list[Tier]:
    """Read everything that follows the header."""
    begin_s = source.number()
    source.number()
    if abs(begin_s) > 0.001:
        raise DataError(
            f"{path}: its times begin at {begin_s:g} s and those of a recording at 0, so it cannot"
            " be told which stretch is meant. If the recording was cut out too, in Praat: Modify >"
            " Shift times by; if not, annotate from its beginning."
        )
    tiers: list[Tier] = []
    for index in range(source.count() if source.exists() else 0):
        kind = source.kind()
        if kind not in ("IntervalTier", "TextTier"):
            raise DataError(f"{path}: tier number {index} is of the unknown class {kind[:40]!r}.")
        name = source.text()
        for _ in ("begin", "end"):
            source.number()
        tier = Tier(name, tree=f"{index}", index=index)
        for n in range(source.count()):
            start_s = source.number()
            end_s = source.number() if kind == "IntervalTier" else start_s
            where = f"tier {name!r} interval {n + 1}"
            tier.annotations.append(Annotation(where, source.text(), start_s, end_s))
        if kind == "TextTier":
            tier.unusable = "a tier of points, which last no time"
        tiers.append(tier)
    source.end()
    return tiers


class _Text:
    """The long and the short text form.

    Args:
        path: For messages.
        content: The file.

    Raises:
        DataError: Not a TextGrid.
    """

    def __init__(self, path: Path, content: str) -> None:
        self.path = path
        self._content = content
        self._at = 0
        if content.lstrip().startswith('"Praat chronological TextGrid'):
            raise DataError(
                f"{path}: a chronological TextGrid. Open it in Praat and choose Save > Save as text"
                " file."
            )
        try:
            known = self.text().startswith("ooTextFile") and self.text().startswith("TextGrid")
        except DataError:
            known = False
        if not known:
            raise DataError(
                f"{path}: not a TextGrid, it begins {content[:40]!r}. A collection of several"
                " objects? Save the TextGrid alone."
            )

    def _next(self) -> str:
        """Return the next quoted text (with its first quotation mark), number or flag."""
        content = self._content
        while True:
            start = self._at = self._past(_SPACE)
            if start == len(content):
                return ""
            if content[start] == '"':
                return self._quoted()
            self._at = self._past(_LINE if content[start] == "!" else _WORD)  # "!": a comment
            if content[start] in "<+-0123456789":
                return content[start : self._at]

    def _past(self, what: re.Pattern[str]) -> int:
        found = what.match(self._content, self._at)
        return found.end() if found else self._at

    def _quoted(self) -> str:
        parts: list[str] = ['"']
        at = self._at + 1
        while True:
            close = self._content.find('"', at)
            if close < 0:
                raise self._wrong("a text that does not end")
            parts.append(self._content[at:close])
            at = close + 1
            if self._content[at : at + 1] != '"':  # a doubled mark stands for itself
                self._at = at
                return "".join(parts)
            parts.append('"')
            at += 1

    def _wrong(self, found: str) -> DataError:
        line = self._content.count("\n", 0, self._at) + 1
        return DataError(
            f"{self.path}: line {line}: {found}. Is the file truncated? Open it in Praat and save"
            " it again."
        )

    def text(self) -> str:
        """See ``_Source``."""
        token = self._next()
        if not token.startswith('"'):
            raise self._wrong(f"a quoted text is expected; found {token[:40]!r}")
        return token[1:]

    kind = text

    def number(self) -> float:
        """See ``_Source``."""
        token = self._next()
        try:
            number = float(token)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self._wrong(f"a number is expected; found {token[:40]!r}")
        return number

    def count(self) -> int:
        """See ``_Source``."""
        number = self.number()
        if number < 0 or number != int(number):
            raise self._wrong(f"a number of tiers or intervals is expected; found {number:g}")
        return int(number)

    def exists(self) -> bool:
        """See ``_Source``."""
        flag = self._next()
        if flag not in ("<exists>", "<absent>"):
            raise self._wrong(f"<exists> is expected; found {flag[:40]!r}")
        return flag == "<exists>"

    def end(self) -> None:
        """See ``_Source``."""
        token = self._next()
        if token:
            raise self._wrong(f"more than was announced: {token[:40]!r}")


class _Binary:
    """The binary form: big-endian, texts of one byte a character or, after FFFF, in UTF-16.

    Args:
        path: For messages.
        content: The file.

    Raises:
        DataError: Not a TextGrid.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self._content = content
        self._at = len(_BINARY)
        if not content.startswith(_BINARY):
            name = content[13 : 13 + content[12]] if len(content) > 12 else b""
            raise DataError(
                f"{path}: a binary file of Praat that holds {name!r}, not b'TextGrid'. Save the"
                " TextGrid alone."
            )

    def _take(self, n_bytes: int) -> bytes:
        part = self._content[self._at : self._at + n_bytes]
        if len(part) < n_bytes:
            raise DataError(
                f"{self.path}: ends in the middle, after {len(self._content)} bytes. Copy the file"
                " again, or save it again in Praat."
            )
        self._at += n_bytes
        return part

    def _int16(self) -> int:
        return int.from_bytes(self._take(2), "big")

    def text(self) -> str:
        """See ``_Source``."""
        length = self._int16()
        if length != 0xFFFF:
            return self._take(length).decode("latin-1")
        units: list[bytes] = []
        for _ in range(self._int16()):  # characters: those beyond U+FFFF have two units
            units.append(self._take(2))
            if 0xD8 <= units[-1][0] <= 0xDF:
                units.append(self._take(2))
        try:
            return b"".join(units).decode("utf-16-be")
        except UnicodeError as error:
            raise DataError(f"{self.path}: a damaged text before byte {self._at}.") from error

    def kind(self) -> str:
        """See ``_Source``."""
        return self._take(self._take(1)[0]).decode("latin-1")

    def number(self) -> float:
        """See ``_Source``."""
        (number,) = struct.unpack(">d", self._take(8))
        if not math.isfinite(number):
            raise DataError(f"{self.path}: a damaged number before byte {self._at}.")
        return float(number)

    def count(self) -> int:
        """See ``_Source``."""
        (number,) = struct.unpack(">i", self._take(4))
        if number < 0:
            raise DataError(f"{self.path}: a damaged count before byte {self._at}: {number}.")
        return int(number)

    def exists(self) -> bool:
        """See ``_Source``."""
        return self._take(1) != b"\0"

    def end(self) -> None:
        """See ``_Source``."""
        rest = len(self._content) - self._at
        if rest:
            raise DataError(f"{self.path}: {rest} bytes more than was announced.")
