"""Every kind of file decodes to the planted tone, whole and in parts."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.sounds import Floats, chirp, encode, is_tone, tone

from xlasr.data import audio
from xlasr.data.audio import cut, decode, stream, write_wav
from xlasr.errors import AudioError

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


# --- parts that are not there -------------------------------------------------------------


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
