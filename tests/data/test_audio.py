"""Every kind of file decodes to the planted tone; every kind of damage is named."""

from __future__ import annotations

import struct
import tracemalloc
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xlasr.data import audio
from xlasr.data.audio import Limits, cut, decode, stream, write_wav
from xlasr.errors import AudioError, UsageError

Floats = NDArray[np.float32]
SECONDS = 2.0


def tone(rate: int, seconds: float = SECONDS, hz: float = 440.0) -> Floats:
    """A sine of amplitude 0.5."""
    t = np.arange(round(rate * seconds)) / rate
    samples: Floats = (0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32)
    return samples


def chirp(rate: int, seconds: float, seed: int = 0) -> Floats:
    """Band-limited noise: different everywhere, so that a shift by one sample shows."""
    rng = np.random.default_rng(seed)
    smooth = np.convolve(rng.standard_normal(round(rate * seconds) + 31), np.ones(32) / 32, "valid")
    samples: Floats = (0.5 * smooth / np.abs(smooth).max()).astype(np.float32)
    return samples


def encode(
    path: Path, samples: Floats, rate: int, *, codec: str, container: str, **options: str
) -> Path:
    """Write with FFmpeg, the formats that libsndfile cannot write."""
    import av

    sample_format = {
        "aac": "fltp",
        "libopus": "flt",
        "g722": "s16",
        "wmav2": "fltp",
        "libmp3lame": "fltp",
    }[codec]
    frame_size = {"libmp3lame": 1152}.get(codec, 960)
    with av.open(str(path), "w", format=container, options=options) as out:
        stream: Any = out.add_stream(codec, rate=rate)
        stream.format = sample_format
        stream.layout = "mono"
        if codec == "libmp3lame":
            stream.codec_context.qscale = True
            stream.codec_context.global_quality = 4 * 118
        else:
            stream.bit_rate = 96_000
        data = (samples * 32767).astype(np.int16)[None, :]
        convert = av.AudioResampler(sample_format, "mono", rate, frame_size=frame_size)
        frame = av.AudioFrame.from_ndarray(data, format="s16", layout="mono")
        frame.sample_rate = rate
        for part in [*convert.resample(frame), *convert.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return path


def is_tone(samples: NDArray[Any], seconds: float = SECONDS, hz: float = 440.0) -> None:
    """Assert dtype, length, pitch and loudness of the planted tone."""
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) == pytest.approx(seconds * 16_000, abs=0.08 * 16_000)
    middle = samples[8000:24_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) == pytest.approx(hz, abs=2)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


WAV = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM"]
SNDFILE = [
    *(("wav", "WAV", subtype, 16_000, 1) for subtype in WAV),
    *(("wav", "WAV", "PCM_16", r, 1) for r in (8000, 11_025, 22_050, 44_100, 48_000, 192_000)),
    *(("wav", "WAV", "PCM_24", 48_000, channels) for channels in (2, 6)),
    ("wav", "RF64", "PCM_16", 44_100, 2),
    ("flac", "FLAC", "PCM_24", 96_000, 2),
    ("ogg", "OGG", "VORBIS", 22_050, 1),
    ("opus", "OGG", "OPUS", 48_000, 2),
    ("mp3", "MP3", "MPEG_LAYER_III", 44_100, 2),
    ("aiff", "AIFF", "PCM_16", 44_100, 1),
    ("au", "AU", "PCM_16", 8000, 1),
    ("w64", "W64", "PCM_16", 44_100, 1),
    ("caf", "CAF", "PCM_16", 44_100, 1),
    ("sph", "NIST", "PCM_16", 16_000, 1),
]


@pytest.mark.parametrize(("suffix", "container", "subtype", "rate", "channels"), SNDFILE)
def test_decodes_what_libsndfile_reads(
    tmp_path: Path, suffix: str, container: str, subtype: str, rate: int, channels: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    samples = np.repeat(tone(rate)[:, None], channels, axis=1)
    sf.write(path, samples, rate, format=container, subtype=subtype)
    is_tone(decode(path))


@pytest.mark.parametrize(
    ("name", "codec", "container", "rate"),
    [
        ("a.m4a", "aac", "ipod", 44_100),
        ("a.mp4", "aac", "mp4", 48_000),
        ("a.webm", "libopus", "webm", 48_000),
        ("a.mkv", "aac", "matroska", 44_100),
        ("a.aac", "aac", "adts", 44_100),
        ("a.wma", "wmav2", "asf", 44_100),
        ("a.g722", "g722", "g722", 16_000),
    ],
)
def test_decodes_what_only_ffmpeg_reads(
    tmp_path: Path, name: str, codec: str, container: str, rate: int
) -> None:
    path = encode(tmp_path / name, tone(rate), rate, codec=codec, container=container)
    is_tone(decode(path))


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    """Phones and web forms name files wrongly; only headerless formats need their suffix."""
    path = encode(tmp_path / "a.wav", tone(44_100), 44_100, codec="aac", container="mp4")
    is_tone(decode(path))
    sf.write(tmp_path / "a.flac", tone(16_000), 16_000)
    is_tone(decode((tmp_path / "a.flac").rename(tmp_path / "b.raw")))


def _bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_lossless_equals_one_shot_resampling(tmp_path: Path, rate: int) -> None:
    samples = chirp(rate, 3.0)
    sf.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    expected = soxr.resample(samples, rate, 16_000, quality="HQ")
    got = decode(tmp_path / "a.wav")
    assert len(got) == len(expected)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_channels_are_chosen_or_averaged(tmp_path: Path) -> None:
    left, right = chirp(16_000, 1, 1), chirp(16_000, 1, 2)
    path = tmp_path / "a.wav"
    sf.write(path, np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(decode(path, channel=0), left)
    np.testing.assert_array_equal(decode(path, channel=1), right)
    np.testing.assert_allclose(decode(path), (left + right) / 2, atol=1e-7)
    with pytest.raises(AudioError, match="channel 2 was asked for and the file has 2"):
        decode(path, channel=2)


FORMATS = [("flac", "FLAC"), ("wav", "WAV"), ("ogg", "OGG"), ("mp3", "MP3"), ("m4a", "")]


@pytest.fixture(scope="module")
def long_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Floats]]:
    """Twelve seconds at 22.05 kHz (44.1 for m4a) in five formats, each with its whole decode."""
    folder = tmp_path_factory.mktemp("long")
    files = {}
    for suffix, container in FORMATS:
        path = folder / f"a.{suffix}"
        if container:
            sf.write(path, chirp(22_050, 12), 22_050, format=container)
        else:
            encode(path, chirp(44_100, 12), 44_100, codec="aac", container="ipod")
        files[suffix] = (path, decode(path))
    return files


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    suffix=st.sampled_from([suffix for suffix, _ in FORMATS]),
    start=st.floats(0, 9),
    seconds=st.floats(0.01, 2.5),
)
def test_a_part_equals_the_slice_of_the_whole(
    long_files: dict[str, tuple[Path, Floats]], suffix: str, start: float, seconds: float
) -> None:
    path, whole = long_files[suffix]
    first, n = round(start * 16_000), round(seconds * 16_000)
    part = decode(path, start_s=start, duration_s=seconds)
    assert len(part) == n
    np.testing.assert_allclose(part, whole[first : first + n], atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(
    spans=st.lists(st.tuples(st.floats(0, 11), st.floats(0.01, 1)), min_size=1, max_size=8),
    suffix=st.sampled_from(["flac", "m4a"]),
)
def test_cut_equals_decode_for_any_spans(
    long_files: dict[str, tuple[Path, Floats]], spans: list[tuple[float, float]], suffix: str
) -> None:
    path, whole = long_files[suffix]
    spans = sorted(spans)
    parts = list(cut(path, spans))
    assert len(parts) == len(spans)
    for (start, seconds), part in zip(spans, parts, strict=True):
        first = round(start * 16_000)
        expected = whole[first : first + round(seconds * 16_000)]
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("block_s", [0.01, 0.37, 5.0, 100.0])
def test_blocks_join_to_the_whole(
    long_files: dict[str, tuple[Path, Floats]], block_s: float
) -> None:
    path, whole = long_files["flac"]
    blocks = list(stream(path, block_s=block_s))
    assert all(len(block) == round(block_s * 16_000) for block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """Forty minutes are 150 MB decoded; the stream holds a few blocks."""
    path = tmp_path / "long.flac"
    with sf.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
        minute = (chirp(8000, 60) * 32767).astype(np.int16)
        for _ in range(40):
            file.write(minute)
    tracemalloc.start()
    n_samples = sum(len(block) for block in stream(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_samples == 40 * 60 * 16_000
    assert peak < 40e6


# --- what is refused ------------------------------------------------------------------------


def test_cutting_every_part_of_a_long_file_is_flat_too(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with sf.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
        minute = (chirp(8000, 60) * 32767).astype(np.int16)
        for _ in range(40):
            file.write(minute)
    tracemalloc.start()
    n_parts = sum(1 for _ in cut(path, [(start, 7.0) for start in range(2390)]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_parts == 2390
    assert peak < 40e6


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


@pytest.mark.parametrize(
    ("start", "seconds"),
    [(5.0, 1.0), (1.5, 1.0), (2.0, None), (-1.0, 1.0), (0.0, 0.0), (float("nan"), 1.0)],
)
def test_parts_outside_the_file_are_refused(
    tmp_path: Path, start: float, seconds: float | None
) -> None:
    path = tmp_path / "a.wav"
    sf.write(path, tone(16_000), 16_000)
    with pytest.raises(AudioError, match=r"a\.wav: (a|the) part"):
        decode(path, start_s=start, duration_s=seconds)
    if seconds is not None:
        with pytest.raises(AudioError, match=r"a\.wav: (a|the) part"):
            list(cut(path, [(start, seconds)]))


def test_a_part_may_end_a_rounding_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    sf.write(path, tone(16_000), 16_000)
    assert len(decode(path, start_s=1.0, duration_s=1.04)) == 16_000


# --- writing --------------------------------------------------------------------------------


def test_sixteen_bit_survives_exactly(tmp_path: Path) -> None:
    integers = np.random.default_rng(1).integers(-32768, 32768, 5000).astype(np.int16)
    sf.write(tmp_path / "a.wav", integers, 16_000)
    write_wav(tmp_path / "b.wav", decode(tmp_path / "a.wav"))
    again, rate = sf.read(tmp_path / "b.wav", dtype="int16")
    assert rate == audio.SAMPLE_RATE
    np.testing.assert_array_equal(again, integers)


def test_too_loud_is_turned_down_not_clipped(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 8 * tone(16_000))
    is_tone(decode(tmp_path / "a.wav") / np.float32(2))
