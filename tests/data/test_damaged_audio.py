"""What is torn, joined, too long or no audio at all: every kind of damage is named."""

from __future__ import annotations

import struct
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from tests.data.sounds import Floats, chirp, encode, is_tone, tone

from xlasr.data import audio
from xlasr.data.audio import Limits, decode, stream
from xlasr.errors import AudioError, UsageError


def _bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_an_mp3_without_a_frame_count_is_not_truncated(tmp_path: Path) -> None:
    """An MP3 of a live encoder has no frame count; a length guessed from it is no claim."""
    rng = np.random.default_rng(0)
    loudness = np.repeat(rng.uniform(0, 1, 600), 4410)
    path = tmp_path / "a.mp3"
    samples = chirp(44_100, 60) * loudness.astype(np.float32)
    encode(path, samples, 44_100, codec="libmp3lame", container="mp3", write_xing="0")
    assert len(decode(path)) == pytest.approx(960_000, abs=2000)
    tagged = tmp_path / "b.mp3"
    tagged.write_bytes(b"ID3\x04\0\0\0\0\x1f\x76" + bytes(0x1F * 128 + 0x76) + path.read_bytes())
    assert len(decode(tagged)) == pytest.approx(960_000, abs=2000)


def test_a_truncated_mp3_behind_a_long_tag(tmp_path: Path) -> None:
    """The count stands in the first frame, and that behind the cover picture."""
    path = tmp_path / "a.mp3"
    sf.write(path, chirp(22_050, 20), 22_050)
    tag = b"ID3\x04\0\0\0\0\x1f\x76" + bytes(0x1F * 128 + 0x76)
    path.write_bytes(tag + path.read_bytes())
    assert len(decode(path)) == 320_000
    with pytest.raises(AudioError, match="truncated"):
        decode(_cut_file(path, 0.9))


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac"])
def test_joined_files_are_read_to_their_end(tmp_path: Path, suffix: str) -> None:
    """``cat a.ogg b.ogg > c.ogg`` is a custom; the first header knows nothing of the second."""
    for name, seed in (("a", 1), ("b", 2)):
        sf.write(tmp_path / f"{name}.{suffix}", chirp(22_050, 10, seed), 22_050)
    parts = [(tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab"]
    path = _bytes(tmp_path / f"c.{suffix}", b"".join(parts))
    assert len(decode(path)) == pytest.approx(320_000, abs=3000)
    second = decode(path, start_s=11, duration_s=8)
    expected = decode(tmp_path / f"b.{suffix}", start_s=0.5, duration_s=9.0)
    lag = np.argmax(np.correlate(expected, second[:4000], "valid"))
    likeness = np.corrcoef(expected[lag : lag + len(second)], second)[0, 1]
    assert likeness > 0.99  # the two begin between samples


def test_an_ogg_stream_cut_between_two_pages(tmp_path: Path) -> None:
    """Every page is whole; only the mark of the last one is missing."""
    path = tmp_path / "a.ogg"
    sf.write(path, chirp(22_050, 20), 22_050)
    content = path.read_bytes()
    path.write_bytes(content[: content.rfind(b"OggS")])
    with pytest.raises(AudioError, match="does not reach its last page"):
        decode(path)


def _cut_file(path: Path, fraction: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    return path


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("a.wav", "WAV"),
        ("a.wav", "RF64"),
        ("a.aiff", "AIFF"),
        ("a.au", "AU"),
        ("a.flac", "FLAC"),
        ("a.ogg", "OGG"),
        ("a.mp3", "MP3"),
        ("a.caf", "CAF"),
    ],
)
def test_truncated_files_are_refused(
    tmp_path: Path, name: str, container: str, fraction: float
) -> None:
    path = tmp_path / name
    sf.write(path, chirp(22_050, 20), 22_050, format=container)
    decode(path)
    with pytest.raises(AudioError, match="truncated"):
        decode(_cut_file(path, fraction))


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("name", "codec", "container", "rate"),
    [
        ("a.m4a", "aac", "ipod", 44_100),
        ("a.webm", "libopus", "webm", 48_000),
        ("a.wma", "wmav2", "asf", 44_100),
    ],
)
def test_truncated_ffmpeg_files_are_refused(
    tmp_path: Path, name: str, codec: str, container: str, rate: int, fraction: float
) -> None:
    path = encode(tmp_path / name, chirp(rate, 20), rate, codec=codec, container=container)
    assert len(decode(path)) == pytest.approx(20 * 16_000, abs=2000)
    with pytest.raises(AudioError, match="truncated"):
        decode(_cut_file(path, fraction))


def test_truncated_mp4_with_its_index_in_front(tmp_path: Path) -> None:
    """Here the header is whole and every decoded frame is good: only the count can tell."""
    import av

    whole = encode(tmp_path / "a.mp4", chirp(44_100, 20), 44_100, codec="aac", container="mp4")
    fast = tmp_path / "fast.mp4"
    with (
        av.open(str(whole)) as source,
        av.open(str(fast), "w", format="mp4", options={"movflags": "faststart"}) as out,
    ):
        track = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    decode(fast)
    with pytest.raises(AudioError, match="truncated"):
        decode(_cut_file(fast, 0.7))


def _wav_header(n_bytes: int, samples: Floats) -> bytes:
    data = (samples * 32767).astype("<i2").tobytes()
    header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + n_bytes & 0xFFFFFFFF, b"WAVE", b"fmt ",
                         16, 1, 1, 16_000, 32_000, 2, 16)  # fmt: skip
    return header + struct.pack("<4sI", b"data", n_bytes) + data


def test_a_lying_header_is_not_believed(tmp_path: Path) -> None:
    """Neither one that promises hours, nor one of a pipe, or of a recorder that lost its power."""
    samples = tone(16_000)
    with pytest.raises(AudioError, match=r"truncated.*announces 1500000000 bytes"):
        decode(_bytes(tmp_path / "a.wav", _wav_header(1_500_000_000, samples)))
    for unknown in (0, 0xFFFFFFFF, 0x7FFFFFFF):
        is_tone(decode(_bytes(tmp_path / "b.wav", _wav_header(unknown, samples))))


def test_limits_count_what_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, np.zeros(8000 * 100), 8000)  # a small file: zeros compress to nothing
    assert path.stat().st_size < 20_000
    with pytest.raises(AudioError, match=r"too long.*allowed are 60 s"):
        decode(path, limits=Limits(max_seconds=60))
    with pytest.raises(AudioError, match="too long"):
        decode(path, limits=Limits(max_bytes=1 << 20))
    assert len(decode(path, limits=Limits(max_seconds=101, max_bytes=4 << 20))) == 1_600_000


def test_more_hours_are_allowed_and_none_is_no_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, np.zeros(1000 * 3600 * 5, dtype=np.int16), 1000)  # five hours
    with pytest.raises(AudioError, match=r"allowed are 14400 s and 8192 MiB.*--max-hours"):
        audio.measure(path)
    for hours in (5.1, None):
        assert audio.measure(path, limits=Limits.of_hours(hours)) == (1000, 18_000_000)
    with pytest.raises(AudioError, match="allowed are 3600 s"):
        audio.measure(path, limits=Limits.of_hours(1))
    assert Limits.of_hours(40).max_bytes == 80 << 30
    with pytest.raises(UsageError, match="more than 0"):
        Limits.of_hours(0)


def _write_nan(path: Path) -> None:
    samples = tone(16_000)
    samples[17_000] = np.nan
    sf.write(path, samples, 16_000, subtype="FLOAT")


def _write_inf(path: Path) -> None:
    samples = tone(16_000)
    samples[5] = -np.inf
    sf.write(path, samples, 16_000, subtype="DOUBLE")


def _write_no_frames(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)


def _write_video(path: Path) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as out:
        stream: Any = out.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: None, "no such file"),
    "folder": (lambda p: p.mkdir(), "not a file"),
    "no bytes": (lambda p: p.touch(), r"empty \(0 bytes\)"),
    "no frames": (_write_no_frames, "no sound at all"),
    "nan": (_write_nan, "NaN or infinite"),
    "inf": (_write_inf, "NaN or infinite"),
    "utf-8 text": (lambda p: p.write_text("Žluťoučký kůň.\n" * 99, "utf-8"), "a text file"),
    "short text": (lambda p: p.write_text("ano"), "a text file"),
    "utf-16 text": (lambda p: p.write_text("ahoj světe", "utf-16"), "a text file"),
    "latin-1 text": (lambda p: p.write_bytes("garçon, déjà vu".encode("latin-1")), "a text file"),
    "cyrillic text": (lambda p: p.write_bytes(("привет, мир " * 9).encode("cp1251")), "a text"),
    "web page": (lambda p: p.write_text("<!DOCTYPE html><html>404</html>"), "a text file"),
    "lfs": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "LFS"),
    "noise": (
        lambda p: p.write_bytes(np.random.default_rng(0).bytes(50_000)),
        "not an audio file",
    ),
    "image": (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500)), "not an audio file"),
    "video": (_write_video, "no audio track"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_say_what_is_wrong(tmp_path: Path, kind: str) -> None:
    make, message = BAD[kind]
    path = tmp_path / "bad.wav"
    make(path)
    with pytest.raises(AudioError, match=message) as caught:
        decode(path)
    assert "bad.wav" in str(caught.value)
    with pytest.raises(AudioError, match=message):
        list(stream(path))


@pytest.mark.parametrize("tail", [b"", b"#\0\0\n"])
def test_a_playlist_opens_no_other_file(tmp_path: Path, tail: bytes) -> None:
    """FFmpeg would follow the playlist to any file or address; a NUL makes it no text file."""
    sf.write(tmp_path / "secret.wav", tone(16_000), 16_000)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n" + tail + b"#EXTINF:2,\nsecret.wav\n"
    for name in ("a.m3u8", "a.mp3"):
        with pytest.raises(AudioError):
            decode(_bytes(tmp_path / name, playlist + b"#EXT-X-ENDLIST\n"))
    concat = b"ffconcat version 1.0\n" + tail + b"file secret.wav\n"
    with pytest.raises(AudioError):
        decode(_bytes(tmp_path / "a.ffconcat", concat))
