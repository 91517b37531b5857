"""What is written is read back: by our own readers, by pympi, praatio, webvtt, csv and json."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlasr.data.annotations import FORMATS, AnnotatedRecording, TimedText, not_kept, render
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import READERS, RawRecord, ReadOptions
from xlasr.errors import UnknownName, UsageError

READER = {"eaf": "elan", "textgrid": "praat", "srt": "subtitles", "vtt": "subtitles"}
READER |= {"csv": "table", "nemo": "nemo", "labelstudio": "labelstudio"}
EXACT = ("eaf", "nemo", "labelstudio")  # white space too
NO_CONTROLS = ("eaf", "textgrid", "csv")

Rows = list[tuple[int, int, str]]  # ms, ms, text


def legal_in_xml(char: str) -> bool:
    return char in "\t\n\r" or (ord(char) >= 0x20 and char not in "\ufffe\uffff")


def expected(text: str, format: str) -> str:
    if format in NO_CONTROLS:
        text = "".join(c if legal_in_xml(c) else "\ufffd" for c in text)
    if format not in EXACT:
        text = " ".join(text.split())
    return text.replace("-->", "->") if format == "srt" else text


def without_gaps(text: str, format: str) -> str:
    """Without the spaces that keep SRT's readers from taking "<b>" for a mark."""
    text = text.replace("< ", "<").replace("{ ", "{") if format == "srt" else text
    return text.strip()


odd = st.text(
    st.sampled_from("ab ř\"'&;#<>-{}[]\\=,\t\n\r\x00\x0b\x1c\x7f\x85\u2028\ufeff\uffff🐟1")
)
any_text = st.one_of(odd, st.text(max_size=12)).filter(lambda t: t.split())


@st.composite
def row_lists(draw: st.DrawFn, text: st.SearchStrategy[str] = any_text) -> Rows:
    """Stretches that do not overlap, by time; some touch."""
    at, rows = draw(st.integers(0, 10_000_000)), []
    for said in draw(st.lists(text, min_size=1, max_size=5)):
        length = draw(st.integers(1, 20_000))
        rows.append((at, at + length, said))
        at += length + draw(st.sampled_from([0, 0, 1, 250]))
    return rows


def segments(rows: Rows, noise: float = 0.0004) -> list[TimedText]:
    """Times that are not whole milliseconds, so that writers have to round."""
    return [
        TimedText((a - noise * 1000 * (a > 0)) / 1000, (b + noise * 1000) / 1000, t)
        for a, b, t in rows
    ]


def read_back(
    format: str, text: str, folder: Path, tiers: Sequence[str] = ()
) -> tuple[list[RawRecord], Quarantine]:
    path = folder / f"a b{FORMATS[format].suffix}"
    path.write_text(text, encoding="utf-8", newline="")
    quarantine = Quarantine()
    options = ReadOptions("cs", tiers=tiers, say=lambda line: None)
    return list(READERS[READER[format]](path, options, quarantine)), quarantine


def in_ms(records: Sequence[RawRecord]) -> Rows:
    found = []
    for r in records:
        assert r.duration_s is not None
        found.append((round(r.start_s * 1000), round((r.start_s + r.duration_s) * 1000), r.text))
    return found


@pytest.mark.parametrize("format", READER)
@given(rows=row_lists())
@settings(max_examples=60, deadline=None)
def test_our_own_readers_read_the_same_texts_and_times(format: str, rows: Rows) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        media = folder / "a b.wav"
        media.touch()
        recording = AnnotatedRecording(media, segments(rows), 30_000.0)
        records, quarantine = read_back(format, render(format, [recording], folder), folder)
        # The pipeline folds white space later; players strip what stands around a cue.
        assert [(a, b, without_gaps(t, format)) for a, b, t in in_ms(records)] == [
            (a, b, without_gaps(expected(t, format), format)) for a, b, t in rows
        ]
        if format in EXACT:
            assert [t for _, _, t in in_ms(records)] == [expected(t, format) for *_, t in rows]
        assert {r.audio.resolve() for r in records} == {media.resolve()}
        pauses = {"empty annotation"} if format == "textgrid" else set()
        assert set(quarantine.counts()) <= pauses


@given(rows=row_lists(st.text(st.sampled_from("aéř \"'<>&={}1|\n"), min_size=1)))
@settings(max_examples=40, deadline=None)
def test_pympi_and_praatio_open_them_with_the_same_times(rows: Rows) -> None:
    elan = pytest.importorskip("pympi.Elan")
    textgrid = pytest.importorskip("praatio.textgrid")
    with tempfile.TemporaryDirectory() as name:
        recording = AnnotatedRecording(Path(name) / "a b.wav", segments(rows), 30_000.0)
        path = Path(name) / "a.eaf"
        path.write_text(render("eaf", [recording], name), encoding="utf-8", newline="")
        found = elan.Eaf(str(path)).get_annotation_data_for_tier("text")
        assert sorted((a, b, t or "") for a, b, t in found) == sorted(rows)
        path = Path(name) / "a.TextGrid"
        path.write_text(render("textgrid", [recording]), encoding="utf-8", newline="")
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
        entries = [
            (round(a * 1000), round(b * 1000), t) for a, b, t in grid.getTier("text").entries
        ]
        assert entries == [(a, b, " ".join(t.split())) for a, b, t in rows if t.split()]
        assert grid.maxTimestamp == 30_000.0


WORDS = [
    TimedText(0.26, 0.7, "Řekl:", confidence=0.91),
    TimedText(0.7, 1.2, '"ano"', confidence=0.5),
    TimedText(1.3, 1.3, "x"),
]
TALK = AnnotatedRecording(
    Path("/x/a b.wav"),
    [
        TimedText(0.2504, 1.75, 'Řekl: "ano"', WORDS, speaker="Eva", confidence=0.8766),
        TimedText(1.5, 2.5, "Ne!", speaker="Jan & syn", channel=1, extra={"take": 3, "text": "?"}),
        TimedText(1.7, 3.0, "Zároveň.", speaker="Eva", confidence=0.25),
        TimedText(3.0, 3.0, "", speaker="Eva"),
    ],
    4.0,
)


def test_elan_gets_a_tier_a_speaker_with_confidence_and_words_and_nothing_moves(
    tmp_path: Path,
) -> None:
    elan = pytest.importorskip("pympi.Elan")
    path = tmp_path / "x" / "a.eaf"
    path.parent.mkdir()
    path.write_text(render("eaf", [TALK], tmp_path / "x"), encoding="utf-8")
    eaf = elan.Eaf(str(path))
    data = {name: sorted(eaf.get_annotation_data_for_tier(name)) for name in eaf.get_tier_names()}
    assert {name: [(a, b, t) for a, b, t, *_ in rows] for name, rows in data.items()} == {
        "text@Eva": [(250, 1750, 'Řekl: "ano"'), (3000, 3001, "")],
        "confidence@Eva": [(250, 1750, "0.877")],
        "text@Eva 2": [(1700, 3000, "Zároveň.")],  # two at once do not fit into one tier
        "confidence@Eva 2": [(1700, 3000, "0.250")],
        "words@Eva": [(260, 700, "Řekl:"), (700, 1200, '"ano"'), (1300, 1301, "x")],
        "word confidence@Eva": [(260, 700, "0.910"), (700, 1200, "0.500")],
        "text@Jan & syn": [(1500, 2500, "Ne!")],
    }
    assert eaf.get_parameters_for_tier("text@Jan & syn")["PARTICIPANT"] == "Jan & syn"
    assert eaf.get_parameters_for_tier("confidence@Eva")["PARENT_REF"] == "text@Eva"
    assert eaf.get_linked_files()[0]["MEDIA_URL"] == "file:///x/a%20b.wav"
    link = eaf.get_linked_files()[0]["RELATIVE_MEDIA_URL"]
    assert (tmp_path / "x" / link).resolve() == Path("/x/a b.wav")
    slots = list(eaf.timeslots.values())
    assert slots == sorted(slots)  # ELAN wants the order of time


def test_praat_gets_the_same_tiers(tmp_path: Path) -> None:
    textgrid = pytest.importorskip("praatio.textgrid")
    path = tmp_path / "a.TextGrid"
    path.write_text(render("textgrid", [TALK]), encoding="utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    assert {name: [tuple(e) for e in grid.getTier(name).entries] for name in grid.tierNames} == {
        "text@Eva": [(0.25, 1.75, 'Řekl: "ano"')],
        "confidence@Eva": [(0.25, 1.75, "0.877")],
        "text@Eva 2": [(1.7, 3.0, "Zároveň.")],
        "confidence@Eva 2": [(1.7, 3.0, "0.250")],
        "words@Eva": [(0.26, 0.7, "Řekl:"), (0.7, 1.2, '"ano"'), (1.3, 1.301, "x")],
        "word confidence@Eva": [(0.26, 0.7, "0.910"), (0.7, 1.2, "0.500")],
        "text@Jan & syn": [(1.5, 2.5, "Ne!")],
    }
    assert grid.maxTimestamp == 4.0
    whole = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    for name in whole.tierNames:  # Praat refuses tiers with gaps
        entries = whole.getTier(name).entries
        assert [e.start for e in entries] == [0.0, *(e.end for e in entries[:-1])]
        assert entries[-1].end == 4.0


def test_tier_names_are_unique_whatever_speakers_are_called(tmp_path: Path) -> None:
    names = ["Eva", "Eva 2", "Eva\n2", "E\x00", "E\x01", "", None, "a"]
    said = [TimedText(0, 1, f"t{n}", speaker=name) for n, name in enumerate([*names, "Eva"])]
    recording = AnnotatedRecording(tmp_path / "a b.wav", said)
    (tmp_path / "a b.wav").touch()
    for format in ("eaf", "textgrid"):
        wanted = ["text@Eva", "text@Eva 2", "text@Eva 2 2", "text@Eva 2 3", "text@E\ufffd"]
        wanted += ["text@E\ufffd 2", "text@", "text", "text@a"]
        records, _ = read_back(format, render(format, [recording], tmp_path), tmp_path, wanted)
        assert {r.text for r in records} == {f"t{n}" for n in range(9)}


def test_csv_json_nemo_and_label_studio_keep_speaker_confidence_and_channel() -> None:
    rows = list(csv.DictReader(io.StringIO(render("csv", [TALK], "/x"))))
    assert [row["kind"] for row in rows] == ["utterance", *["word"] * 3, *["utterance"] * 3]
    assert rows[0]["audio"] == "a b.wav"
    assert [row["confidence"] for row in rows[:4]] == ["0.8766", "0.9100", "0.5000", ""]
    assert (rows[1]["text"], rows[1]["speaker"], rows[1]["end_s"]) == ("Řekl:", "Eva", "0.700")
    assert rows[4]["custom_text"] == "?"  # an extra field may be called as a column is
    assert (rows[4]["channel"], rows[4]["take"], rows[4]["speaker"]) == ("1", "3", "Jan & syn")
    document = json.loads(render("json", [TALK]))
    assert document["segments"][1] == {
        "id": 1, "start": 1.5, "end": 2.5, "text": "Ne!", "speaker": "Jan & syn", "channel": 1,
        "take": 3, "custom_text": "?",
    }  # fmt: skip
    assert (document["audio"], document["duration"]) == ("/x/a b.wav", 4.0)
    assert document["segments"][0]["confidence"] == 0.8766
    assert document["segments"][0]["words"][1:] == [
        {"start": 0.7, "end": 1.2, "word": '"ano"', "confidence": 0.5},
        {"start": 1.3, "end": 1.3, "word": "x"},
    ]
    lines = [json.loads(line) for line in render("nemo", [TALK, TALK], "/y").splitlines()]
    assert len(lines) == 8
    assert lines[0].pop("words")[0]["confidence"] == 0.91
    assert lines[0] == {
        "audio_filepath": "../x/a b.wav", "offset": 0.25, "duration": 1.5,
        "text": 'Řekl: "ano"', "speaker": "Eva", "confidence": 0.8766,
    }  # fmt: skip
    (task,) = json.loads(render("labelstudio", [TALK]))
    assert task["data"] == {"audio": "/data/local-files/?d=/x/a%20b.wav"}
    label, text, second, *_ = task["annotations"][0]["result"]
    assert label["id"] == text["id"] != second["id"]
    assert (label["value"]["labels"], text["value"]["text"]) == (["Eva"], ['Řekl: "ano"'])
    assert (text["score"], text["original_length"], second["value"]["channel"]) == (0.8766, 4.0, 1)


def test_what_a_model_wrote_is_a_prediction_in_label_studio(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    guessed = AnnotatedRecording(tmp_path / "a.wav", TALK.segments, by_machine=True)
    (task,) = json.loads(text := render("labelstudio", [guessed]))
    assert "annotations" not in task
    assert len(task["predictions"][0]["result"]) == 8
    assert task["predictions"][0]["result"][0]["score"] == 0.8766
    records, quarantine = read_back("labelstudio", text, tmp_path)
    assert not records  # unchecked texts are no transcripts to train on
    assert len(quarantine)


def test_marks_in_subtitles_are_text() -> None:
    webvtt = pytest.importorskip("webvtt")
    said = ["a <b>c</b> d", r"{\an8}x", "<00:01.000>", "1 < 2 & {3}", "a --> b &amp; <v Jan>"]
    marks = AnnotatedRecording(
        Path("a"), [TimedText(n, n + 1, t, speaker="E&<va>") for n, t in enumerate(said)]
    )
    cues = render("srt", [marks]).split("\n\n")[:-1]
    assert [cue.split("\n")[2] for cue in cues] == [
        "a < b>c< /b> d", r"{ \an8}x", "< 00:01.000>", "1 < 2 & {3}", "a -> b &amp; < v Jan>",
    ]  # fmt: skip
    found = webvtt.from_string(render("vtt", [marks]))
    assert [cue.voice for cue in found] == ["E&amp;&lt;va&gt;"] * 5
    assert found[0].raw_text.endswith(">a &lt;b&gt;c&lt;/b&gt; d")
    assert found[1].raw_text.endswith(r">&#123;\an8}x")


def test_our_readers_take_marks_in_vtt_for_text_and_know_its_speaker(tmp_path: Path) -> None:
    (tmp_path / "a b.wav").touch()
    said = [r"{\an8}x", "<i>no</i> &lt; --> <v Jan> {1}"]
    recording = AnnotatedRecording(
        tmp_path / "a b.wav",
        [TimedText(n, n + 1, t, speaker="E & <va>") for n, t in enumerate(said)],
    )
    records, _ = read_back("vtt", render("vtt", [recording]), tmp_path)
    assert [(r.text, r.speaker) for r in records] == [(text, "E & <va>") for text in said]


def test_rounding_carries_into_minutes_and_hours() -> None:
    def cue(format: str, start_s: float, end_s: float) -> str:
        text = TimedText(start_s, end_s, "a")
        return render(format, [AnnotatedRecording(Path("a"), [text])])

    assert "00:00:59,999 --> 00:01:00,000" in cue("srt", 59.9994, 59.9996)
    assert "00:59:59.999 --> 01:00:00.000" in cue("vtt", 3599.9985, 3599.9995)
    assert "00:00:00,001 --> 00:00:00,003" in cue("srt", 0.0005, 0.0025)
    assert "100:00:00,000" in cue("srt", 0, 360_000)
    assert "00:00:02,000 --> 00:00:02,001" in cue("srt", 2, 2)


def test_text_leaves_out_what_is_empty() -> None:
    said = [TimedText(0, 1, " a\n b "), TimedText(1, 2, "  "), TimedText(2, 3, "c\ud800")]
    recording = AnnotatedRecording(Path("a"), said)
    assert render("txt", [recording, recording]) == "a b\nc\ufffd\n" * 2
    assert "\n2\n00:00:02,000" in render("srt", [recording])
    assert not_kept("srt", said) == {"empty text": 1}
    assert json.loads(render("json", [recording]))["text"] == "a b c\ufffd"


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_half_a_surrogate_pair_can_be_stored_everywhere(format: str) -> None:
    odd = TimedText(0, 1, "c\ud800", [TimedText(0, 1, "\udfff")], "\ud800", extra={"x": "\ud800"})
    render(format, [AnnotatedRecording(Path("\udcff.wav"), [odd])]).encode("utf-8")


def test_nothing_said(tmp_path: Path) -> None:
    textgrid = pytest.importorskip("praatio.textgrid")
    elan = pytest.importorskip("pympi.Elan")
    silent = AnnotatedRecording(tmp_path / "a.wav", [], 2.0)
    assert [render(name, [silent]) for name in ("txt", "srt", "vtt", "nemo")] == [
        "", "", "WEBVTT\n\n", "",
    ]  # fmt: skip
    assert json.loads(render("json", [silent]))["segments"] == []
    assert render("csv", [silent]) == "audio,start_s,end_s,text\r\n"
    (tmp_path / "a.eaf").write_text(render("eaf", [silent]))
    assert elan.Eaf(str(tmp_path / "a.eaf")).get_annotation_data_for_tier("text") == []
    (tmp_path / "a.TextGrid").write_text(render("textgrid", [silent]))
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=True)
    assert (grid.maxTimestamp, grid.tierNames) == (2.0, ("text",))


def test_what_a_format_has_no_place_for_is_counted() -> None:
    assert not_kept("json", TALK.segments) == {}
    assert not_kept("eaf", TALK.segments) == {"channel": 1, "take": 1, "text": 1}
    assert not_kept("vtt", TALK.segments) == {
        "confidence": 2, "words": 1, "channel": 1, "take": 1, "text": 1, "empty text": 1,
    }  # fmt: skip


def test_wrong_calls() -> None:
    with pytest.raises(UnknownName, match="'textgrid'"):
        render("textgrd", [TALK])
    with pytest.raises(UsageError, match="holds one recording, not 2"):
        render("eaf", [TALK, TALK])
    with pytest.raises(UsageError, match="from 0 to 1"):
        TimedText(0, 1, "a", confidence=float("nan"))


@pytest.mark.parametrize("span", [(2, 1), (-1, 1), (float("nan"), 1), (0, float("inf"))])
def test_impossible_times_are_refused(span: tuple[float, float]) -> None:
    with pytest.raises(UsageError):
        TimedText(*span, "a")
