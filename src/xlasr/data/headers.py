"""What the first and last bytes of a file say: is it audio at all, is it whole, is it several?

Decoders do not tell. libsndfile shortens a truncated WAV silently, and reads one of two joined
streams; FFmpeg takes a text file for a playlist and opens what it names.
"""

from __future__ import annotations

import codecs
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from xlasr.errors import AudioError

_SPACES = b"\t\n\r\f"
_PLAIN = _SPACES + bytes(range(32, 127))
_CONTROLS = bytes(set(range(32)) - set(_SPACES)) + b"\x7f"
_MAX_CHUNKS = 10_000  # a header of more chunks than this is an attack, or noise


def refuse_non_audio(path: Path, *, headerless: bool) -> None:
    """Raise AudioError for a missing, empty or text-only file, saying which it is.

    Args:
        path: The file.
        headerless: Whether its format has no header, so that its bytes may look like letters.
    """
    if not path.exists():
        raise AudioError(f"{path}: no such file. Check the path, or whether a disk is not mounted.")
    if not path.is_file():
        raise AudioError(f"{path}: not a file.")
    try:
        with path.open("rb") as file:
            head = file.read(8192)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror}).") from error
    if not head:
        raise AudioError(f"{path}: the file is empty (0 bytes). Copy or record it again.")
    if head.startswith(b"version https://git-lfs"):
        raise AudioError(f"{path}: a Git LFS pointer, not audio. Run `git lfs pull` there.")
    if _is_text(head, headerless=headerless):
        start = head[:40].decode("utf-8", errors="replace").splitlines()[0:1]
        raise AudioError(f"{path}: a text file, not audio (it begins {start!r}).")


def _is_text(head: bytes, *, headerless: bool) -> bool:
    if head.startswith(b"NIST_1A"):  # SPHERE files begin with a text header
        return False
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            text = head[: len(head) // 2 * 2].decode("utf-16")
        except UnicodeDecodeError:
            return False
        return all(c.isprintable() or c.isspace() for c in text)
    if len(head.translate(None, _CONTROLS)) < len(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # may end inside a character
    except UnicodeDecodeError:
        # An old 8-bit encoding? A header has control bytes; quiet A-law without a header may not.
        foreign = len(head.translate(None, _PLAIN))
        return not headerless and (len(head) >= 64 or foreign <= 0.3 * len(head))
    return True


@dataclass(frozen=True)
class _Chunk:
    claimed: int
    there: int


def check_bytes(path: Path) -> None:
    """Raise AudioError where a file ends before the bytes that its header announces.

    libsndfile silently shortens such a file, so the sample count alone cannot show it. WAV, RF64,
    AIFF, AU and CAF announce a size; an Ogg stream marks its last page.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"OggS":
            if not _ogg_ends(path, size):
                raise AudioError(
                    f"{path}: truncated, the Ogg stream does not reach its last page."
                    " Copy the file again, or repair it: ffmpeg -i IN -c copy OUT.ogg"
                )
            return
        chunk: _Chunk | None = None
        if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
            chunk = _iff_chunk(path, b"data", ">" if head[:4] == b"RIFX" else "<", size)
        elif head[:4] == b"RF64":
            sizes = file.read(24)  # name, length, 64-bit sizes of the file and of the sound
            chunk = _iff_chunk(path, b"data", "<", size)
            if chunk and sizes[:4] == b"ds64" and len(sizes) == 24:
                (claimed,) = struct.unpack("<Q", sizes[16:])
                if claimed > chunk.there:
                    raise AudioError(_truncated(path, claimed, chunk.there))
            return
        elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            chunk = _iff_chunk(path, b"SSND", ">", size)
        elif head[:4] == b"caff":
            chunk = _iff_chunk(path, b"data", ">", size, start=8, wide=True)
        elif head[:4] == b".snd":
            offset, claimed = struct.unpack(">II", head[4:12])
            chunk = _Chunk(claimed, size - offset)
    # Programs that write to a pipe cannot go back to fill the size in: they leave 0 or a huge one.
    if chunk and chunk.there < chunk.claimed < 0x7FFF0000:
        raise AudioError(_truncated(path, chunk.claimed, chunk.there))


def _truncated(path: Path, claimed: int, there: int) -> str:
    return (
        f"{path}: truncated, its header announces {claimed} bytes of sound and"
        f" {max(0, there)} are there. Copy or export the file again."
    )


def _iff_chunk(
    path: Path, wanted: bytes, endian: str, size: int, *, start: int = 12, wide: bool = False
) -> _Chunk | None:
    """Find a chunk: a name, a length (``wide``: of 64 bits, and unpadded), and so many bytes."""
    n_header = 12 if wide else 8
    with path.open("rb") as file:
        position = start
        for _ in range(_MAX_CHUNKS):
            if position + n_header > size:
                break
            file.seek(position)
            layout = f"{endian}4s{'q' if wide else 'I'}"
            name, length = struct.unpack(layout, file.read(n_header))
            if name == wanted:
                return _Chunk(length, size - position - n_header)
            position += n_header + max(0, length) + (0 if wide else length & 1)
    return None


def mp3_samples(path: Path) -> int | None:
    """Return how many samples the first frame of an MP3 file announces (Xing or Info), if it does.

    Source: ISO/IEC 11172-3 2.4.2.3 for the frame header; the Xing header is a convention.
    """
    with path.open("rb") as file:
        tag = file.read(10)
        if tag[:3] == b"ID3" and len(tag) == 10:
            # Seven bits a byte, so that a tag never looks like a frame.
            size = sum(
                (byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)
            )
            file.seek(10 + size)
        else:
            file.seek(0)
        frame = file.read(2048)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if frame[:1] != b"\xff" or at < 0 or len(frame) < at + 12:
        return None
    flags, n_frames = struct.unpack(">II", frame[at + 4 : at + 12])
    samples_per_frame = 1152 if frame[1] >> 3 & 3 == 3 else 576  # MPEG-1, else MPEG-2 or 2.5
    return n_frames * samples_per_frame if flags & 1 else None


def is_chained(path: Path) -> bool:
    """Tell whether an Ogg or FLAC file holds several streams, of which libsndfile reads one."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"OggS":
            return content.find(b"OggS\0\x02", 4) >= 0  # a second "beginning of stream" page
        if content[:4] == b"fLaC":
            # The magic word, and a STREAMINFO block of 34 bytes.
            return any(content.find(b"fLaC" + kind + b'\0\0"', 4) >= 0 for kind in (b"\0", b"\x80"))
    return False


def _ogg_ends(path: Path, size: int) -> bool:
    # A page is at most 65,307 bytes, so the last one starts in this tail.
    tail_bytes = min(size, 2 * 65_307)
    with path.open("rb") as file:
        file.seek(size - tail_bytes)
        tail = file.read(tail_bytes)
    at = tail.rfind(b"OggS")
    while at >= 0:
        header = tail[at : at + 27]
        if len(header) == 27 and header[4] == 0:
            segments = tail[at + 27 : at + 27 + header[26]]
            complete = at + 27 + header[26] + sum(segments) <= len(tail)
            return complete and len(segments) == header[26] and bool(header[5] & 4)
        at = tail.rfind(b"OggS", 0, at)
    return False
