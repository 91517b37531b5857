"""Archives as sources: a .zip or .tar, read member by member into a folder that is ours.

What is refused is refused by *counted* bytes and members, never by what a header claims; a link, a
device, a path that is absolute or leads out with ``..``, and a name that stands twice refuse the
whole archive, because one that holds them is not a plain corpus.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import struct
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from xlasr.data.cache import cache_dir
from xlasr.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_BLOCK = 1 << 20
_LARGEST_HEADER = 1 << 22
_RATIO_FROM = 64 << 20  # small files may compress as well as they like
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,  # an encrypted member
    NotImplementedError,  # an unknown compression
    KeyError,
    IndexError,
    OverflowError,
)


@dataclass(frozen=True)
class ArchiveLimits:
    """What one archive may hold, counted while it is unpacked.

    Attributes:
        max_members: Files and folders.
        max_bytes: Unpacked size of all members together.
        max_ratio: Unpacked size over the size of the archive, from 64 MiB on.
    """

    max_members: int = 5_000_000
    max_bytes: int = 500 << 30
    max_ratio: float = 200.0


DEFAULT_LIMITS = ArchiveLimits()


def is_archive(path: Path) -> bool:
    """Return whether the name of a file says that it is an archive that we read."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder in the cache for what has to be unpacked.

    It is made by who first needs it, and is removed at the end.
    """
    folder = cache_dir() / "unpacked" / f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def outside_scratch(path: Path) -> Path:
    """Return a path without the scratch folder that it begins with, whose name is random."""
    where = cache_dir() / "unpacked"
    return Path(*path.relative_to(where).parts[1:]) if path.is_relative_to(where) else path


def unpack(path: Path, into: Path, *, limits: ArchiveLimits = DEFAULT_LIMITS) -> None:
    """Unpack an archive.

    Args:
        path: The archive; it is only read.
        into: The folder to make.
        limits: What is refused.

    Raises:
        DataError: Damaged, truncated or encrypted, over a limit, or with a member that is refused;
            what was unpacked by then is left in ``into``.
    """
    count = _Count(path, limits)
    try:
        into.mkdir(parents=True)
        with ExitStack() as stack:
            for name, data in _members(path, stack):
                count.member(name)
                where = into / _inside(path, name)
                if data is None:
                    where.mkdir(parents=True, exist_ok=True)
                    continue
                where.parent.mkdir(parents=True, exist_ok=True)
                with where.open("xb") as file:
                    while block := data.read(_BLOCK):
                        count.block(name, len(block))
                        file.write(block)
    except FileExistsError as error:
        raise DataError(f"{path}: a name stands twice in it: {error.filename}") from error
    except _DAMAGED as error:
        raise DataError(
            f"{path}: cannot be unpacked after {count.members} members: {error or type(error)}."
            " Copy it again, and see that the disk is not full; an encrypted archive must be"
            " unpacked by hand."
        ) from error


def content(folder: Path) -> Path:
    """Return the folder that holds what was unpacked: where all lies in one folder, that one."""
    inside = [found for found in folder.iterdir() if found.name != "__MACOSX"]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


class _Count:
    """Counts members and bytes against the limits."""

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        self.path, self.limits = path, limits
        self.packed = path.stat().st_size
        self.members = self.unpacked = 0

    def member(self, name: str) -> None:
        self.members += 1
        if self.members > self.limits.max_members:
            raise DataError(
                f"{self.path}: more than {self.limits.max_members} members; the next is {name!r}."
                " Unpack it by hand if you trust it."
            )

    def block(self, name: str, n_bytes: int) -> None:
        self.unpacked += n_bytes
        found = ""
        if self.unpacked > self.limits.max_bytes:
            found = f"more than {self.limits.max_bytes} bytes unpacked"
        elif self.unpacked > max(_RATIO_FROM, self.packed * self.limits.max_ratio):
            found = f"more than {self.limits.max_ratio:g} times the size of the archive unpacked"
        if found:
            raise DataError(
                f"{self.path}: {found}, at member {name!r}. Unpack it by hand if you trust it."
            )


def _inside(path: Path, name: str) -> PurePosixPath:
    """Return the path of a member below the folder.

    Raises:
        DataError: It is absolute, leads out, or no file can have it.
    """
    plain = PurePosixPath(name)
    windows = "\\" in name or name[1:2] == ":"
    try:
        name.encode()
        bad = plain.is_absolute() or ".." in plain.parts or "\0" in name or windows
    except UnicodeError:
        bad = True
    if bad or not plain.parts:
        raise DataError(
            f"{path}: member {name!a} has a path that is absolute, leads out of the archive or is"
            " not UTF-8. Only plain relative paths are unpacked; make the archive again."
        )
    return plain


_ZIP_END = struct.Struct("<4s4H2LH")
"""End of central directory (APPNOTE 4.3.16); 0xFFFF members are counted elsewhere (zip64)."""


def _members(path: Path, stack: ExitStack) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield (name, content) of each member; no content for a folder."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            _check_count(path, archive)
            for info in archive.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if info.is_dir():
                    if info.file_size:
                        raise DataError(
                            f"{path}: damaged: {info.filename!r} is a folder and has content. Copy "
                            "it again."
                        )
                    yield info.filename.rstrip("/") or "/", None
                elif kind not in (0, stat.S_IFREG):
                    raise _refused(path, info.filename)
                else:
                    with archive.open(info) as file:
                        yield info.filename, file
        return
    raw = stack.enter_context(_Bounded(path))
    with tarfile.open(fileobj=raw, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # its list of all members so far is of no use here
            if member.isdir():
                if member.name.strip("./"):
                    yield member.name, None
            elif not member.isreg() or (content := tar.extractfile(member)) is None:
                raise _refused(path, member.name)
            else:
                yield member.name, content
        # tarfile takes a damaged header for the end; the real one is a block of zeros.
        raw.seek(tar.offset)
        if raw.read(tarfile.BLOCKSIZE) != b"\0" * tarfile.BLOCKSIZE:
            raise DataError(
                f"{path}: damaged or truncated: after its last readable member there is no end"
                " mark. Copy it again."
            )
        while raw.read(_LARGEST_HEADER):
            pass  # a compressed file has its checksum at its end


def _check_count(path: Path, archive: zipfile.ZipFile) -> None:
    """Zipfile takes what it finds in the directory; a damaged length there hides members."""
    with path.open("rb") as file:
        file.seek(-_ZIP_END.size - len(archive.comment), io.SEEK_END)
        mark, *_, count, _, _, _ = _ZIP_END.unpack(file.read(_ZIP_END.size))
    if mark != b"PK\5\6" or count not in (0xFFFF, len(archive.infolist()) & 0xFFFF):
        raise DataError(
            f"{path}: damaged: it says that it has {count} members, and {len(archive.infolist())} "
            "can be found. Copy it again."
        )


def _refused(path: Path, name: str) -> DataError:
    return DataError(
        f"{path}: member {name!r} is a link or a device; only files and folders are unpacked."
        " Put the files themselves into the archive."
    )


class _Bounded(io.RawIOBase):
    """A tar file, decompressed; a single read is bounded, so that no header can fill the memory."""

    def __init__(self, path: Path) -> None:
        name = path.name.lower()
        openers: tuple[tuple[tuple[str, ...], Any], ...] = (
            (("gz", "tgz"), gzip.open),
            (("bz2", "tbz2"), bz2.open),
            (("xz", "txz"), lzma.open),
            (("",), open),
        )
        opener = next(opener for ends, opener in openers if name.endswith(ends))
        self._file: IO[bytes] = opener(path, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise ValueError(f"a header of {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()
