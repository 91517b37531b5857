"""Sound that arrives while it is heard: raw samples or WAV from a pipe, in small blocks."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from xlasr.data.audio import SAMPLE_RATE, resample
from xlasr.errors import AudioError, UsageError

HOW = (
    "pipe raw 16-bit samples or a 16-bit WAV: ffmpeg -loglevel error -i FILE -f s16le -ac 1 "
    "-ar 16000 - | xlasr transcribe --stream RUN -, or arecord -q -f S16_LE -r 16000 -c 1 | ..."
)
_OTHERS = {b"OggS": "Ogg", b"fLaC": "FLAC", b"ID3": "MP3", b"\x1aE\xdf\xa3": "Matroska or WebM"}
_PCM = (1, 0xFFFE)  # plain, and with a longer header


def live_blocks(source: BinaryIO, block_s: float = 0.16) -> Iterator[NDArray[np.float32]]:
    """Samples of a pipe as they arrive, no later than a block is full.

    Args:
        source: Raw samples (16 bits, little endian, mono, 16 kHz), or a WAV of 16-bit samples with
            any rate and channels. It may end before the length it announces, which a program
            that writes into a pipe cannot know.
        block_s: Most seconds in a block; less is given where no more is there yet.

    Yields:
        float32 (n,), mono, 16 kHz.

    Raises:
        AudioError: A kind of file that a pipe cannot be read as, a pipe that holds nothing, or one
            that ends within a sample; what came before was given.
        UsageError: A block of no length.
    """
    check_block(block_s)
    head = _exactly(source, 4)
    if not head:
        raise AudioError(f"the pipe ended and held nothing. To stream, {HOW}")
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise AudioError(f"this pipe holds {name}, which is read from files only; {HOW}")
    form = _wav_form(source) if head == b"RIFF" else _Form(SAMPLE_RATE, 1, None)
    rest = b"" if head == b"RIFF" else head
    yield from resample(_samples(source, rest, form, block_s), form.rate)


@dataclass(frozen=True)
class _Form:
    rate: int
    channels: int
    n_bytes: int | None


def check_block(block_s: float) -> None:
    """Refuse a block of no length.

    Raises:
        UsageError: It has none.
    """
    if not block_s > 0:
        raise UsageError(f"a stream comes in blocks of more than 0 s; found {block_s}")


def _samples(
    source: BinaryIO, rest: bytes, form: _Form, block_s: float
) -> Iterator[NDArray[np.float32]]:
    # read1 gives what is there and waits for nothing else
    read = source.read1 if isinstance(source, io.BufferedReader) else source.read
    width = 2 * form.channels
    most = max(1, round(block_s * form.rate)) * width
    left = form.n_bytes
    while True:
        piece = read(most if left is None else min(most, left))
        left = None if left is None else left - len(piece)
        rest += piece
        whole = len(rest) // width * width
        if whole:
            samples = np.frombuffer(rest[:whole], "<i2").reshape(-1, form.channels)
            yield samples.mean(axis=1, dtype=np.float32) / np.float32(32768)
        rest = rest[whole:]
        if not piece:
            break
    if rest:
        raise AudioError(f"the pipe ended within a sample of {width} bytes; {HOW}")


def _wav_form(source: BinaryIO) -> _Form:
    """Read a header behind its first four bytes; the samples come next."""
    kind = _exactly(source, 8)[4:]
    found: tuple[int, int, int, int] | None = None
    while kind == b"WAVE" and len(mark := _exactly(source, 8)) == 8:
        name, size = mark[:4], int.from_bytes(mark[4:], "little")
        if name == b"data":
            if found is None or found[0] not in _PCM or found[3] != 16 or not all(found):
                break
            return _Form(found[2], found[1], size or None)
        body = _exactly(source, min(size + size % 2, 1 << 20))
        if name == b"fmt " and len(body) >= 16:
            code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
            found = (code, channels, rate, bits)
    raise AudioError(f"the WAV in this pipe is damaged or not of 16-bit samples; {HOW}")


def _exactly(source: BinaryIO, n: int) -> bytes:
    """So many bytes, or what there is before the end."""
    got = b""
    while len(got) < n and (piece := source.read(n - len(got))):
        got += piece
    return got
