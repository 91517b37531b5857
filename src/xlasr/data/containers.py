"""Open one audio file in its own sample rate: libsndfile first, FFmpeg for the rest.

Nothing here trusts a header. What a header *claims* is kept beside what is decoded, so that
``audio.stream`` can tell a truncated file from a short one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import soundfile as sf

from xlasr.data.headers import check_bytes, is_chained, mp3_samples, refuse_non_audio
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


class SndFile:
    """A file that libsndfile reads: WAV, AIFF, FLAC, Ogg, AU, W64, CAF, ...

    Not MP3, and not Ogg or FLAC files that were joined: libsndfile stops where the first header
    says, or where the bit rate of the first MP3 frame makes it guess, and drops the rest silently.

    Attributes and methods as ``Native``.
    """

    tolerance_samples = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = sf.SoundFile(str(path))
        self.sample_rate = int(self._file.samplerate)
        self.container = str(self._file.format)
        frames = int(self._file.frames)
        self.claimed_samples = frames if 0 < frames < 1 << 60 else None

    def seek(self, sample: int) -> int:
        """See ``Native``."""
        if not self._file.seekable() or self.claimed_samples is None:
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

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> SndFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()


def open_container(path: Path) -> Any:
    """Open a file with FFmpeg, as nothing but one file of sound or video."""
    import av

    name, options = _RAW_FORMATS.get(path.suffix.lower(), (None, {}))
    options = {**options, "format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    return av.open(str(path), format=name, options=options)


class FFmpegFile:
    """A file that FFmpeg reads through PyAV: MP3, m4a, mp4, webm, wma, amr, G.722, ...

    Attributes and methods as ``Native``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._container = open_container(path)
        try:
            if not self._container.streams.audio:
                raise AudioError(f"{path}: holds no audio track, only video or data.")
            self._stream = self._container.streams.audio[0]
            self.claimed_samples: int | None = None
            self._frames = self._decode()
            self._first = next(self._frames, None)
            if self._first is None:
                raise AudioError(f"{path}: holds no sound at all (0 samples).")
            # The first frame knows better than the header (HE-AAC doubles the header's rate).
            self.sample_rate = int(self._first.sample_rate)
            seconds = self._claimed_seconds()
        except BaseException:
            self._container.close()
            raise
        if seconds is not None:
            self.claimed_samples = int(seconds * self.sample_rate)
        elif self._container.format.name == "mp3":
            self.claimed_samples = mp3_samples(path)
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
    headerless = path.suffix.lower() in _RAW_FORMATS
    refuse_non_audio(path, headerless=headerless)
    check_bytes(path)
    if headerless:
        reason = "headerless"
    else:
        try:
            sound = SndFile(path)
            chained = sound.container in ("OGG", "FLAC") and is_chained(path)
            # No frames: a recorder that lost its power has not filled the length in.
            if sound.claimed_samples and sound.container != "MP3" and not chained:
                return _checked(path, sound)
            sound.close()
            reason = "left to FFmpeg"
        except (sf.SoundFileError, TypeError) as error:
            # TypeError: soundfile wants the format of a ".raw" file from its caller.
            reason = str(error).replace(f"'{path}'", "it")
    import av

    try:
        other = FFmpegFile(path)
    except (av.error.FFmpegError, ValueError, RuntimeError) as error:
        raise AudioError(
            f"{path}: not an audio file that can be read, or truncated before its sound begins"
            f" (libsndfile: {reason}; FFmpeg: {error}). Allowed is what libsndfile or FFmpeg"
            " decodes: WAV, FLAC, Ogg, Opus, MP3, M4A, WebM, G.722, ... Convert it to WAV."
        ) from error
    return _checked(path, other)


def _checked(path: Path, native: Native) -> Native:
    if native.sample_rate not in _RATES:
        native.__exit__(None, None, None)
        raise AudioError(
            f"{path}: a sample rate of {native.sample_rate} Hz; allowed are"
            f" {_RATES.start} to {_RATES.stop - 1} Hz. The header is probably damaged."
        )
    return native
