"""CTranslate2's file of weights, read and written.

``model.bin`` version 6, little-endian: u32 version, string spec, u32 revision, u32 n; then n times
string name, u8 rank, u32 dim * rank, u8 dtype, u32 n_bytes, data; then u32 n_aliases and pairs of
strings (alias, name). A string is u16 length (its closing zero counted) and UTF-8 bytes.

Source: OpenNMT/CTranslate2 ``python/ctranslate2/specs/model_spec.py``, ``ModelSpec._serialize``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlasr.errors import BaseError

Array = NDArray[Any]

VERSION = 6
SPEC = "WhisperSpec"
REVISION = 3
_DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_MAX_RANK = 8


class _Reader:
    """A cursor over a mapped file that refuses to run past its end."""

    def __init__(self, path: Path) -> None:
        try:
            self.raw: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise BaseError(f"{path}: cannot be read as model.bin: {error}") from error
        self.path = path
        self.at = 0

    def fail(self, problem: str) -> BaseError:
        return BaseError(
            f"{self.path}: not a CTranslate2 v{VERSION} {SPEC} model, or damaged: "
            f"{problem} (byte {self.at} of {len(self.raw)}); fetch or convert it again"
        )

    def bytes(self, n: int) -> Array:
        left = len(self.raw) - self.at
        if n > left:
            raise self.fail(f"{n} bytes wanted, {left} left")
        self.at += n
        return self.raw[self.at - n : self.at]

    def number(self, fmt: str) -> int:
        return int(struct.unpack("<" + fmt, self.bytes(struct.calcsize(fmt)).tobytes())[0])

    def text(self) -> str:
        raw = self.bytes(self.number("H")).tobytes()
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise self.fail("a name is not UTF-8") from error
        if not text.endswith("\0"):
            raise self.fail(f"the name {text[:40]!r} does not end in a zero byte")
        return text[:-1]

    def array(self) -> Array:
        rank = self.number("B")
        if rank > _MAX_RANK:
            raise self.fail(f"an array of rank {rank}, at most {_MAX_RANK} expected")
        dims = [self.number("I") for _ in range(rank)]
        code, n_bytes = self.number("B"), self.number("I")
        if code not in _DTYPES:
            raise self.fail(f"unknown dtype {code}, known are {sorted(_DTYPES)}")
        dtype = np.dtype(_DTYPES[code])
        wanted = dtype.itemsize
        for dim in dims:  # Python integers: a product of damaged dims must not wrap around
            wanted *= dim
        if wanted != n_bytes:
            raise self.fail(f"{dims} of {dtype} is {wanted} bytes, the header says {n_bytes}")
        return self.bytes(n_bytes).view(dtype).reshape(dims)


def read_variables(path: Path) -> dict[str, Array]:
    """Read every variable of a ``model.bin``.

    Args:
        path: The file; it is mapped, not loaded.

    Returns:
        Read-only arrays by name. An alias maps to the very array it stands for.

    Raises:
        BaseError: The file is missing, damaged, or of another version or model.
    """
    reader = _Reader(Path(path))
    if (version := reader.number("I")) != VERSION:
        raise reader.fail(f"version {version}")
    if (spec := reader.text()) != SPEC:
        raise reader.fail(f"it holds a {spec!r}")
    reader.number("I")  # the spec's revision: variables are checked by name instead
    variables: dict[str, Array] = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        variables[name] = reader.array()
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        if name not in variables:
            raise reader.fail(f"{alias!r} stands for {name!r}, which is not there")
        variables[alias] = variables[name]
    if reader.at != len(reader.raw):
        raise reader.fail("bytes left over behind the last variable")
    return variables


def write_variables(path: Path, variables: Mapping[str, Array]) -> None:
    """Write a ``model.bin``; the inverse of ``read_variables``.

    Args:
        path: The file to write.
        variables: Arrays by name, written in the order of the names. An array that stands under
            two names is written once, under the first, and the second becomes an alias.
    """

    def text(value: str) -> bytes:
        raw = value.encode() + b"\0"
        return struct.pack("<H", len(raw)) + raw

    codes = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
    first: dict[int, str] = {}
    for name in sorted(variables):
        first.setdefault(id(variables[name]), name)
    own = sorted(first.values())
    aliases = [(n, first[id(variables[n])]) for n in sorted(variables) if n not in set(own)]
    with open(path, "wb") as file:
        file.write(struct.pack("<I", VERSION) + text(SPEC))
        file.write(struct.pack("<II", REVISION, len(own)))
        for name in own:
            array = np.asarray(variables[name], order="C")
            dims = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
            file.write(text(name) + dims + struct.pack("<BI", codes[array.dtype], array.nbytes))
            file.write(array.tobytes())
        file.write(struct.pack("<I", len(aliases)))
        for alias, name in aliases:
            file.write(text(alias) + text(name))
