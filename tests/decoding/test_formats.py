"""What is written is parsed back."""

from __future__ import annotations

import html
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlasr.decoding.formats import FORMATS, TimedText, to_json, to_srt, to_txt, to_vtt
from xlasr.errors import UnknownName, UsageError

CUE = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)[.,](\d{3})")


def timed(triple: tuple[float, float, str]) -> TimedText:
    start, length, text = triple
    return TimedText(start, start + length, text)


times = st.floats(0, 500_000, allow_nan=False)
many = st.lists(st.builds(timed, st.tuples(times, st.floats(0, 30), st.text())), max_size=6)


def seconds(stamp: str) -> float:
    found = CUE.fullmatch(stamp)
    assert found, stamp
    hours, minutes, secs, milliseconds = map(int, found.groups())
    return hours * 3600 + minutes * 60 + secs + milliseconds / 1000


def parse(cues: str) -> list[tuple[float, float, str]]:
    """Cues end at a blank line; the line with the arrow holds the times."""
    parsed = []
    for block in cues.split("\n\n"):
        lines = block.split("\n")
        at = next((i for i, line in enumerate(lines) if " --> " in line), None)
        if at is not None:
            start, end = lines[at].split(" --> ")
            parsed.append((seconds(start), seconds(end), "\n".join(lines[at + 1 :])))
    return parsed


def check(parsed: list[tuple[float, float, str]], segments: list[TimedText], arrow: str) -> None:
    spoken = [s for s in segments if s.text.split()]
    assert len(parsed) == len(spoken)
    for (start, end, text), segment in zip(parsed, spoken, strict=True):
        assert start == pytest.approx(segment.start_s, abs=0.000501)
        assert end == pytest.approx(max(segment.end_s, start + 0.001), abs=0.000501)
        assert end > start
        assert text == " ".join(segment.text.split()).replace("-->", arrow)


@given(many)
def test_srt_parses_back(segments: list[TimedText]) -> None:
    written = to_srt(segments)
    check(parse(written), segments, "->")
    numbers = [block.split("\n")[0] for block in written.split("\n\n") if block]
    assert numbers == [str(i + 1) for i in range(len(numbers))]


@given(many)
def test_vtt_parses_back(segments: list[TimedText]) -> None:
    header, _, cues = to_vtt(segments).partition("\n\n")
    assert header == "WEBVTT"
    for _, _, text in parse(cues):
        assert "<" not in text
        assert not re.search("&(?!amp;|lt;|gt;)", text)
    check([(a, b, html.unescape(t)) for a, b, t in parse(cues)], segments, "-->")


@given(many)
def test_json_keeps_everything(segments: list[TimedText]) -> None:
    parsed = json.loads(to_json(segments))
    assert [row["text"] for row in parsed["segments"]] == [s.text for s in segments]
    assert [row["id"] for row in parsed["segments"]] == list(range(len(segments)))
    for row, segment in zip(parsed["segments"], segments, strict=True):
        assert row["start"] == pytest.approx(segment.start_s, abs=0.000501)
    assert parsed["text"].split() == to_txt(segments).split()


def test_rounding_carries_into_minutes_and_hours() -> None:
    assert "00:00:59,999 --> 00:01:00,000" in to_srt([TimedText(59.9994, 59.9996, "a")])
    assert "00:59:59.999 --> 01:00:00.000" in to_vtt([TimedText(3599.9985, 3599.9995, "a")])
    assert "00:00:00,001 --> 00:00:00,003" in to_srt([TimedText(0.0005, 0.0025, "a")])
    assert "100:00:00,000" in to_srt([TimedText(0, 360_000, "a")])


def test_words_and_letters_of_any_script() -> None:
    words = [TimedText(0.5, 0.9, "Ahoj"), TimedText(1.0, 1.4, "žábo")]
    written = to_json([TimedText(0.5, 1.4, "Ahoj žábo", words), TimedText(2, 2, "")])
    assert "žábo" in written
    first, second = json.loads(written)["segments"]
    assert first["words"][1] == {"start": 1.0, "end": 1.4, "word": "žábo"}
    assert second == {"id": 1, "start": 2.0, "end": 2.0, "text": ""}


def test_text_leaves_out_what_is_empty() -> None:
    assert (
        to_txt([TimedText(0, 1, " a\n b "), TimedText(1, 2, "  "), TimedText(2, 3, "c")])
        == "a b\nc\n"
    )


def test_nothing_said() -> None:
    assert [FORMATS[name]([]) for name in ("txt", "srt", "vtt")] == ["", "", "WEBVTT\n\n"]
    assert json.loads(FORMATS["json"]([])) == {"text": "", "segments": []}
    with pytest.raises(UnknownName, match="'srt'"):
        FORMATS["str"]


@pytest.mark.parametrize("span", [(2, 1), (-1, 1), (float("nan"), 1), (0, float("inf"))])
def test_impossible_times_are_refused(span: tuple[float, float]) -> None:
    with pytest.raises(UsageError):
        TimedText(*span, "a")
