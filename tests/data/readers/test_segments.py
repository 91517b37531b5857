"""What all readers of annotated recordings share: overlaps, rows that add up, finding the sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.readers.annotated import read

from xlasr.data.audio import SLACK_S
from xlasr.data.quarantine import REASONS, Entry, Quarantine
from xlasr.data.readers.base import ReadOptions
from xlasr.data.readers.media import Media, path_of
from xlasr.data.readers.segments import Transcript, read_transcripts
from xlasr.data.readers.tiers import Annotation, Tier
from xlasr.data.spans import find_overlaps, overlapping_pairs
from xlasr.errors import DataError, UsageError

# --- overlaps -------------------------------------------------------------------------------

GRID = st.integers(0, 400).map(lambda n: n / 40)  # multiples of 25 ms: ends that touch are common


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """The definition, for one pair."""
    (a, b), (c, d) = sorted([one, other])
    return round(b - c, 6) > SLACK_S or d <= b or a == c


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(GRID, st.integers(4, 90)), max_size=12))
def test_overlaps_are_those_of_all_pairs(parts: list[tuple[float, int]]) -> None:
    spans = [(start, start + length / 40) for start, length in parts]
    expected = {
        i
        for i, one in enumerate(spans)
        for j, other in enumerate(spans)
        if i != j and overlap(one, other)
    }
    found = find_overlaps(spans)
    assert set(found) == expected
    assert all(overlap(spans[i], spans[j]) and i != j for i, j in found.items())
    pairs = list(overlapping_pairs(spans))
    assert len(pairs) == len(set(pairs)) and all(spans[i] <= spans[j] for i, j in pairs)
    assert {frozenset(pair) for pair in pairs} == {
        frozenset((i, j))
        for i, one in enumerate(spans)
        for j, other in enumerate(spans[:i])
        if overlap(one, other)
    }


def test_an_overlap_is_more_than_a_rounding() -> None:
    assert find_overlaps([(0.0, 1.0), (0.95, 2.0)]) == {}
    assert set(find_overlaps([(0.0, 1.0), (0.949, 2.0)])) == {0, 1}
    assert set(find_overlaps([(0.0, 1.0), (0.5, 0.51)])) == {0, 1}  # short, but inside
    assert set(find_overlaps([(0.0, 0.03), (0.0, 1.0)])) == {0, 1}
    assert set(find_overlaps([(0.0, float("inf")), (5.0, 6.0), (7.0, 8.0)])) == {0, 1, 2}


# --- rows in are rows out and rows listed ---------------------------------------------------

NUMBER = st.sampled_from([float("nan"), float("inf"), -float("inf"), -1.0, 1e300]) | GRID
ANNOTATION = st.tuples(NUMBER, NUMBER, st.sampled_from(["", " \t", "slovo", "[x]", "..."]))


@settings(max_examples=300, deadline=None)
@given(
    tiers=st.lists(
        st.tuples(st.sampled_from("ab"), st.lists(ANNOTATION, max_size=6), st.integers(0, 2)),
        max_size=3,
        unique_by=lambda tier: tier[0],
    ),
    offset_s=st.sampled_from([0.0, -2.0, 0.5]),
)
def test_rows_add_up(
    tmp_path_factory: pytest.TempPathFactory, tiers: list[Any], offset_s: float
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    (folder / "a.wav").touch()
    (folder / "a.eaf").touch()
    made = [
        Tier(
            name,
            [Annotation(f"a{n}", text, start, end) for n, (start, end, text) in enumerate(rows)],
            [Entry(f"p{n}", "bad annotation", "x") for n in range(n_problems)],
            index=index,
        )
        for index, (name, rows, n_problems) in enumerate(tiers)
    ]
    transcript = Transcript(folder / "a.eaf", "a", made, offsets={"a.wav": offset_s})
    quarantine = Quarantine()
    options = ReadOptions("cs", tiers=[tier.name for tier in made], say=lambda line: None)
    given = read_transcripts(
        folder, [folder / "a.eaf"], lambda *_: [transcript], options, quarantine
    )
    records = list(given)
    rows_in = sum(map(len, made))
    # A file without any annotation stands in the list as a file.
    assert len(records) + len(quarantine) == (rows_in or 1)
    assert set(quarantine.counts()) <= set(REASONS)
    for record in records:
        assert record.start_s >= 0 and record.text.strip()
        assert record.duration_s is None or record.duration_s > 0
    for name in {record.custom["tier"] for record in records}:
        spans = [
            (r.start_s, r.start_s + (r.duration_s or float("inf")))
            for r in records
            if r.custom["tier"] == name
        ]
        assert find_overlaps(spans) == {}


def test_a_millisecond_is_a_length(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.txt").write_text("1.0\t1.001\ta\n2.0\t2.0004\tb\n", "utf-8")
    result = read("subtitles", tmp_path)
    assert result.spans == [(1.0, 1.001, "a")]
    assert [reason for _, reason in result.reasons] == ["zero length"]


# --- the recording --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///C:/Users/Eva/a%20b.wav", "C:/Users/Eva/a b.wav"),
        ("C:\\Users\\Eva\\a b.wav", "C:/Users/Eva/a b.wav"),
        ("file:///home/eva/a.wav", "/home/eva/a.wav"),
        ("file:./a.wav", "./a.wav"),
        ("file:/a.wav", "/a.wav"),
        ("./sounds/a.wav", "./sounds/a.wav"),
        ("https://h.example/x/a.wav?token=1#t", "/x/a.wav"),
        ("s3://bucket/x/a.wav", "/x/a.wav"),
        ("/data/local-files/?d=day%201/b.wav", "day 1/b.wav"),
        ("https://[", "https://["),
        ("", ""),
    ],
)
def test_paths_in_references(url: str, path: str) -> None:
    assert path_of(url) == path


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(media: Media, transcript: Path, *names: str, **options: Sequence[str]) -> str | None:
    path, _ = media.find(transcript, names, **options)
    return None if path is None else path.name


def test_sound_before_video_and_case_as_a_last_resort(tmp_path: Path) -> None:
    files(
        tmp_path, "a.avi", "a.mp3", "a.flac", "B.WAV", "c.wav", "C.wav", "d.txt", "e.avi", "e.mp3"
    )
    media = Media(tmp_path, None)
    assert found(media, tmp_path / "a.eaf") == "a.flac"
    assert found(media, tmp_path / "b.eaf") == "B.WAV"
    assert found(media, tmp_path / "C.eaf") == "C.wav"
    assert found(media, tmp_path / "c.eaf") == "c.wav"
    assert found(media, tmp_path / "d.eaf") is None
    assert found(media, tmp_path / "e.eaf") == "e.mp3"
    assert found(media, tmp_path / "x.eaf", "a.avi", "a.mp3") == "a.mp3"
    assert media.find(tmp_path / "x.eaf", ["a.mp3", "c.wav"])[1].startswith("cuts a.mp3; not used")
    assert found(media, tmp_path / "a.eaf", "gone.wav", stems=()) is None
    assert found(media, tmp_path / "x.eaf", "x" * 5000 + ".wav", "\0.wav") is None


def test_a_folder_of_recordings(tmp_path: Path) -> None:
    texts, sounds = tmp_path / "texts", tmp_path / "sounds"
    files(texts, "day1/a.eaf", "day2/a.eaf", "b.eaf", "c.eaf")
    files(sounds, "day1/a.wav", "day2/a.wav", "x/b.wav", "x/b.mp3", "x/c.wav", "y/c.wav")
    files(sounds, ".hidden/d.wav")
    media = Media(texts, sounds, n_transcripts=4)
    path, _ = media.find(texts / "day2/a.eaf", ())
    assert path == sounds / "day2/a.wav"
    assert media.find(texts / "b.eaf", ["C:/day1/a.wav"])[0] == sounds / "day1/a.wav"
    assert media.find(texts / "b.eaf", ())[0] == sounds / "x/b.wav"
    path, told = media.find(texts / "c.eaf", ())
    assert path is None and "several recordings could be meant" in told and "y/c.wav" in told
    assert found(media, texts / "d.eaf") is None


def test_wrong_media(tmp_path: Path) -> None:
    files(tmp_path, "a.wav")
    with pytest.raises(UsageError, match=r"no such folder of recordings. Correct --media"):
        Media(tmp_path, tmp_path / "gone")
    with pytest.raises(UsageError, match=r"one recording and there are 2 transcripts"):
        Media(tmp_path, tmp_path / "a.wav", n_transcripts=2)


# --- limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["elan", "praat", "labelstudio", "subtitles"])
def test_a_huge_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    suffix: Mapping[str, str] = {"elan": "eaf", "praat": "TextGrid", "labelstudio": "json"}
    path = tmp_path / f"a.{suffix.get(reader, 'srt')}"
    with path.open("wb") as file:
        file.truncate(300 << 20)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    result = read(reader, path)
    assert result.reasons == [(path.name, "bad transcript")]
    assert "300 MiB; a transcript has at most 256 MiB" in result.quarantine.entries[0].detail


@pytest.mark.parametrize("reader", ["elan", "praat", "labelstudio", "subtitles"])
def test_nothing_to_read(tmp_path: Path, reader: str) -> None:
    with pytest.raises(DataError, match="file in it or its subfolders"):
        read(reader, tmp_path)
