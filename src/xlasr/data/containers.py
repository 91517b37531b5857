"""Open one audio file in its own sample rate: libsndfile first, FFmpeg for the rest.

Nothing here trusts a header. What a header *claims* is kept beside what is decoded, so that
``audio.stream`` can tell a truncated file from a short one.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import soundfile as sf

from xlasr.errors import AudioError

_NATIVE_BLOCK_BYTES = 4 << 20
_RATES = range(1_000, 1_000_001)

# Headerless files: only the suffix can tell what they are (telephony sound sets use these).
_RAW_FORMATS = {
    ".g722": ("g722", {}),
    ".gsm": ("gsm", {}),
    ".ulaw": ("mulaw", {"sample_rate": "8000"}),
    ".alaw": ("alaw", {"sample_rate": "8000"}),
    ".sln": ("s16le", {"sample_rate": "8000"}),
    ".sln16": ("s16le", {"sample_rate": "16000"}),
}
# Playlists (HLS, concat, SDP, ...) would make FFmpeg open *other* files and network addresses.
_DEMUXERS = (
    "aac,ac3,eac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,flac,flv,matroska,webm,mov,mp4,m4a,"
    "3gp,3g2,mj2,mp2,mp3,mpc,mpc8,mpeg,mpegts,nistsphere,ogg,qoa,rm,shn,tta,voc,w64,wav,wv,xwma,"
    "alaw,g722,gsm,mulaw,s16le"
)
# Formats whose duration is written down, not estimated from a bit rate.
_TIMED = frozenset({"mov", "matroska", "asf", "wav", "flac", "aiff", "caf", "w64", "avi", "tta"})


_SPACES = b"\t\n\r\f"
_PLAIN = _SPACES + bytes(range(32, 127))
_CONTROLS = bytes(set(range(32)) - set(_SPACES)) + b"\x7f"
_MAX_CHUNKS = 10_000  # a header of more chunks than this is an attack, or noise


class Native(Protocol):
    """An open audio file: a sample rate and blocks of samples."""

    sample_rate: int
    claimed_samples: int | None
    tolerance_samples: int

    def seek(self, sample: int) -> int:
        """Go to ``sample`` or somewhere before it; return where (in native samples)."""

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield float32 blocks (n_samples, n_channels)."""

    def __enter__(self) -> Native: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...


def refuse_non_audio(path: Path) -> None:
    """Raise AudioError for a missing, empty or text-only file, saying which it is."""
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
    if _is_text(head, headerless=path.suffix.lower() in _RAW_FORMATS):
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


class SndFile:
    """A file that libsndfile reads: WAV, AIFF, FLAC, Ogg, MP3, AU, W64, CAF, ...

    Attributes and methods as ``Native``.
    """

    tolerance_samples = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = sf.SoundFile(str(path))
        self.sample_rate = int(self._file.samplerate)
        frames = int(self._file.frames)
        self.claimed_samples = frames if 0 < frames < 1 << 60 else None
        if self._file.format == "MP3":
            self.tolerance_samples = 2 * 1152  # encoder delay and padding

    def seek(self, sample: int) -> int:
        """See ``Native``."""
        # MP3 frames depend on the ones before them, so only a decode from the start is exact.
        if not self._file.seekable() or self._file.format == "MP3" or self.claimed_samples is None:
            return 0
        return int(self._file.seek(min(sample, self.claimed_samples)))

    def blocks(self) -> Iterator[np.ndarray]:
        """See ``Native``."""
        size = max(256, _NATIVE_BLOCK_BYTES // (4 * self._file.channels))
        while True:
            try:
                block = self._file.read(size, dtype="float32", always_2d=True)
            except sf.SoundFileError as error:
                raise AudioError(
                    f"{self.path}: damaged or truncated, decoding stopped in the middle ({error})."
                    " Export or copy the file again."
                ) from error
            if not len(block):
                return
            yield block

    def __enter__(self) -> SndFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()


class FFmpegFile:
    """A file that FFmpeg reads through PyAV: m4a, mp4, webm, wma, amr, G.722, ..."""

    def __init__(self, path: Path) -> None:
        import av

        name, options = _RAW_FORMATS.get(path.suffix.lower(), (None, {}))
        options = {**options, "format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
        self.path = path
        self._container: Any = av.open(str(path), format=name, options=options)
        try:
            if not self._container.streams.audio:
                raise AudioError(f"{path}: holds no audio track, only video or data.")
            self._stream = self._container.streams.audio[0]
            self.claimed_samples: int | None = None
            self._frames = self._decode()
            self._first = next(self._frames, None)
            if self._first is None:
                raise AudioError(f"{path}: holds an audio track without a single sample.")
            # The first frame knows better than the header (HE-AAC doubles the header's rate).
            self.sample_rate = int(self._first.sample_rate)
            seconds = self._claimed_seconds()
        except BaseException:
            self._container.close()
            raise
        if seconds is not None:
            self.claimed_samples = int(seconds * self.sample_rate)
        self.tolerance_samples = max(self.sample_rate // 4, (self.claimed_samples or 0) // 200)

    def _claimed_seconds(self) -> float | None:
        import av

        if not _TIMED & set(self._container.format.name.split(",")):
            return None
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        # A container's duration is that of its longest track, which may be the video.
        if self._container.streams.video or self._container.duration is None:
            return None
        return float(self._container.duration / av.time_base)

    def _decode(self) -> Iterator[Any]:
        import av

        try:
            yield from self._container.decode(self._stream)
        except av.error.FFmpegError as error:
            raise AudioError(
                f"{self.path}: damaged or truncated, decoding stopped in the middle"
                f" ({error.strerror}). Export or copy the file again."
            ) from error

    def seek(self, sample: int) -> int:
        """See ``Native``."""
        return 0  # compressed streams seek to key frames only: decode from the start

    def blocks(self) -> Iterator[np.ndarray]:
        """See ``Native``."""
        import av

        first = self._first
        if first is None:
            return
        to_float = av.AudioResampler("fltp", first.layout, self.sample_rate)
        waiting: list[np.ndarray] = []
        n_bytes = 0
        frame: Any = first
        while frame is not None:
            try:
                parts = to_float.resample(frame)
            except (ValueError, av.error.FFmpegError) as error:
                raise AudioError(
                    f"{self.path}: changes its sample rate or channels in the middle ({error})."
                    " Convert it to WAV or FLAC."
                ) from error
            for part in parts:
                waiting.append(part.to_ndarray().T)
                n_bytes += waiting[-1].nbytes
            if n_bytes >= _NATIVE_BLOCK_BYTES // 4:
                yield np.concatenate(waiting)
                waiting, n_bytes = [], 0
            frame = next(self._frames, None)
        if waiting:
            yield np.concatenate(waiting)

    def __enter__(self) -> FFmpegFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._container.close()


def open_native(path: Path) -> Native:
    """Open an audio file of any kind that libsndfile or FFmpeg reads.

    Raises:
        AudioError: Missing, empty, text, truncated, or of a kind neither library reads.
    """
    import av

    refuse_non_audio(path)
    check_bytes(path)
    opened: Native
    if path.suffix.lower() in _RAW_FORMATS:
        reason = "headerless"
    else:
        try:
            opened = SndFile(path)
            return _checked(path, opened)
        except (sf.SoundFileError, TypeError) as error:
            # TypeError: soundfile wants the format of a ".raw" file from its caller.
            reason = str(error).replace(f"'{path}'", "it")
    try:
        opened = FFmpegFile(path)
    except (av.error.FFmpegError, ValueError, RuntimeError) as error:
        raise AudioError(
            f"{path}: not an audio file that can be read, or truncated before its sound begins"
            f" (libsndfile: {reason}; FFmpeg: {error}). Allowed is what libsndfile or FFmpeg"
            " decodes: WAV, FLAC, Ogg, Opus, MP3, M4A, WebM, G.722, ... Convert it to WAV."
        ) from error
    return _checked(path, opened)


def _checked(path: Path, native: Native) -> Native:
    if native.sample_rate not in _RATES:
        native.__exit__(None, None, None)
        raise AudioError(
            f"{path}: a sample rate of {native.sample_rate} Hz; allowed are"
            f" {_RATES.start} to {_RATES.stop - 1} Hz. The header is probably damaged."
        )
    return native


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
