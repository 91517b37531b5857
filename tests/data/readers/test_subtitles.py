"""Subtitles: files that webvtt-py wrote, and the oddities of others by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.readers.annotated import Read, read, sound

from xlasr.data.readers import guess_reader
from xlasr.errors import DataError, UsageError

SRT = """1
00:00:00,500 --> 00:00:01,750
<i>Dobrý</i> den.

2
00:00:02,000 --> 00:00:04,250 X1:40 X2:600
{\\an8}Jak se
<font color="#fff">máte?</font>

3
00:00:04,300 --> 00:00:06,000

4
00:00:06,000 --> 00:00:07,000
První odstavec.

Druhý < první.
"""
SRT_SPANS = [
    (0.5, 1.75, "Dobrý den."),
    (2.0, 4.25, "Jak se máte?"),
    (6.0, 7.0, "První odstavec. Druhý < první."),
]
VTT = """WEBVTT - titulky
Kind: captions

STYLE
::cue { color: red }

NOTE --
tohle nikdo neříká

úvod
00:00.500 --> 00:01.750 align:start
<v.loud Eva &amp; Co>Dobrý <c.red>den</c>.</v>

00:00:02.000 --> 00:00:04.250
<v Jan>Jak se</v>
m&aacute;te <00:03.000>&lt;dnes&gt;?

REGION
id:bill

01:00:00.000 --> 01:00:01.000
<v Eva>A</v> <v Jan>B</v>
"""
VTT_SPANS = [
    (0.5, 1.75, "Dobrý den."),
    (2.0, 4.25, "Jak se máte <dnes>?"),
    (3600.0, 3601.0, "A B"),
]
LABELS = (
    "\ufeff0.5\t1.75\tDobrý den.\n\\\t100.0\t2000.0\n2,0\t4,25\tJak se\tmáte?\n"
    "5.0\t6.0\t\n7\t7\tbod\n"
)


def write(folder: Path, name: str, content: str | bytes, audio: str = "a.wav") -> Read:
    sound(folder / audio)
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert guess_reader(path) == "subtitles"
    return read("subtitles", path)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_srt(tmp_path: Path, line_end: str, encoding: str) -> None:
    result = write(tmp_path, "a.srt", SRT.replace("\n", line_end).encode(encoding))
    assert result.spans == SRT_SPANS
    assert [(e.record, e.reason, e.n_records) for e in result.quarantine] == [
        ("a", "empty annotation", 1)
    ]
    first = result.records[0]
    assert (first.id, first.group, first.custom) == ("a-00000500", "a", {})
    assert first.origin == "a.srt line 2" and first.audio == tmp_path / "a.wav"


def test_the_times_of_a_cue_are_lost(tmp_path: Path) -> None:
    """Its number tells where it began; without a number its text would be that of the cue above."""
    times = "00:00:02,000 --> 00:00:04,250 X1:40 X2:600\n"
    result = write(tmp_path, "a.srt", SRT.replace(times, ""))
    assert result.spans == [SRT_SPANS[0], SRT_SPANS[2]]
    assert result.reasons[0] == ("a line 5", "bad annotation")
    assert "a number, and no times: '2 {" in result.quarantine.entries[0].detail
    # A number that is not the next one is a part of the text, as is a blank line.
    result = write(tmp_path, "a.srt", SRT.replace("Druhý < první", "7"))
    assert result.spans[2] == (6.0, 7.0, "První odstavec. 7.") and "jump" not in result.said


def test_numbers_of_cues_with_a_gap_are_told(tmp_path: Path) -> None:
    begin, end = SRT.index("2\n00:00:02"), SRT.index("4\n00:00:06")
    result = write(tmp_path, "a.srt", SRT[:begin] + SRT[end:])
    assert result.spans == [SRT_SPANS[0], SRT_SPANS[2]]
    assert "a.srt: cue numbers jump, first from 1 to 4 (2): are cues lost" in result.said


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.vtt", VTT.replace("00:00:02.000 --> 00:00:04", "00:00:02.000 -> 00:00:04"),
         "line 14: text without times: '00:00:02.000 ->"),
        ("a.srt", SRT.replace("00:02,000 --> ", "00:02,000 -> ").replace("\n\n2\n", "\n"),
         "line 2: times in its text, as if those of another cue were damaged: '00:00:02,000'"),
        ("a.srt", SRT.replace("00:00:01,750\n", "00:00:1,750\n").replace("0,500", "0:500"),
         "'00:00:00:500 --> 00:00:1,750'; its text: '<i>Dobrý</i> den.'"),
        ("a.vtt", "WEBVTT\n\n<v Jan>Jak se</v>\n00:01.000 --> 00:02.000\nAno.\n",
         "line 3: text without times: '<v Jan>Jak se</v>'"),
    ],
)  # fmt: skip
def test_texts_whose_times_are_damaged_are_listed(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    result = write(tmp_path, name, content)
    assert told in "\n".join(entry.detail for entry in result.quarantine)
    times = "A 1:23.456, B 2:00.000."  # of a race
    cue = f"WEBVTT\n\n00:01.000 --> 00:02.000\n{times}\n"
    assert write(tmp_path, "b.vtt", cue, audio="b.wav").spans == [(1.0, 2.0, times)]


@pytest.mark.parametrize(("at", "put"), [(0, b""), (40, b"\xff"), (41, b"\n"), (64, b"9")])
def test_utf16_out_of_step_is_refused(tmp_path: Path, at: int, put: bytes) -> None:
    """What lies between two odd bytes would be other characters, line feeds among them."""
    content = SRT.encode("utf-16")
    if put:
        content = content[:at] + put + content[at:240] + put + content[240:]
    else:  # two lines changed places as bytes, and the byte order mark with them
        lines = content.split(b"\n")
        lines[0], lines[7] = lines[7], lines[0]
        content = b"\n".join(lines)
    result = write(tmp_path, "a.srt", content)
    assert not result.records and result.reasons == [("a.srt", "bad transcript")]
    assert "bytes are lost or too many" in result.quarantine.entries[0].detail


def test_a_text_before_the_first_cue_is_no_name(tmp_path: Path) -> None:
    """In WebVTT a cue can have any name, in SRT a number."""
    cue = "00:00:00,500 --> 00:00:01,750\nDobrý den.\n"
    result = write(tmp_path, "a.srt", f"Jak se\n{cue}")
    assert len(result.records) == 1 and result.reasons == [("a line 1", "bad annotation")]
    assert "text without times: 'Jak se'" in result.quarantine.entries[0].detail
    assert not write(tmp_path, "a.srt", f"1\n{cue}").reasons


def test_vtt(tmp_path: Path) -> None:
    result = write(tmp_path, "a.vtt", VTT, audio="a.ogg")
    assert result.spans == VTT_SPANS
    assert [r.speaker for r in result.records] == ["Eva & Co", "Jan", None]
    assert not result.reasons
    assert [r.id for r in result.records][1:] == ["a-Jan-00002000", "a-03600000"]
    by_voice = read("subtitles", tmp_path, channels={"Jan": 1})
    assert [r.channel for r in by_voice.records] == [None, 1, None]
    with pytest.raises(UsageError, match=r"'Jana', and no tier or speaker.*Did you mean 'Jan'"):
        read("subtitles", tmp_path, channels={"Jana": 1})


def test_audacity_labels(tmp_path: Path) -> None:
    result = write(tmp_path, "a.txt", LABELS)
    assert result.spans == [(0.5, 1.75, "Dobrý den."), (2.0, 4.25, "Jak se\tmáte?")]
    assert result.reasons == [("a line 5", "zero length"), ("a", "empty annotation")]
    assert guess_reader(tmp_path) == "subtitles"


@pytest.mark.parametrize(
    ("name", "content", "kept", "listed"),
    [
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nA\n2\n00:00:03,000 --> 00:00:04,000\nB",
         ["A", "B"], []),  # no blank lines: the numbers go on
        ("a.srt", "00:00:01,000 --> 00:00:02,000\n1984\n\n00:00:03,000 --> 00:00:04,000\n42",
         ["1984", "42"], []),  # no numbers at all
        ("a.srt", "00:00:01 --> 00:00:02\nA", ["A"], []),
        ("a.srt", "Titulky: Eva\n\n1\n00:00:01,000 --> 00:00:02,000\nA", ["A"], ["line 1"]),
        ("a.srt", "1\n00:00:01,000 --> 00:00:0x,000\nA\n\n2\n00:00:03,000 --> 00:00:04,000\nB",
         ["B"], ["line 2"]),
        ("a.srt", "1\n00:61:01,000 --> 00:62:02,000\nA", [], ["line 2"]),
        ("a.srt", "1\n00:00:01,50 --> 00:00:02,000\nA", [], ["line 2"]),
        # An arrow inside a text, or times that cannot be read: it is not known what is said.
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nJdi\ntam --> sem\n", [], ["line 2", "line 4"]),
        ("a.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nA\n\nB\n\nC\n00:03.000 --> 00:04.000\nD",
         ["A", "D"], ["line 6"]),
        ("a.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nA\n00:03.000 --> 00:04.000\nD",
         ["A", "D"], []),
        ("a.vtt", "WEBVTT\n\n00:00:01.000 --> 00:00:00.500\nA\n\n00:07.000 --> 00:07.000\nB",
         [], ["line 3", "line 6"]),
        ("a.txt", "1.0\t2.0\tA\n3.0 4.0 B\n5.0\t6.0\tC", ["A", "C"], ["line 2"]),
    ],
)  # fmt: skip
def test_odd_files(
    tmp_path: Path, name: str, content: str, kept: list[str], listed: list[str]
) -> None:
    result = write(tmp_path, name, content)
    assert [record.text for record in result.records] == kept
    assert [record for record, _ in result.reasons] == [f"a {line}" for line in listed]


def test_overlapping_cues_are_listed_but_rounded_ends_are_not(tmp_path: Path) -> None:
    times = [(0, 1000), (960, 2000), (2000, 3000), (2900, 4000), (4000, 5000), (4200, 4300)]
    cues = "".join(f"{a / 1000:.3f}\t{b / 1000:.3f}\tt{n}\n" for n, (a, b) in enumerate(times))
    result = write(tmp_path, "a.txt", cues)
    assert [r.text for r in result.records] == ["t0", "t1"]
    assert result.reasons == [(f"a-0000{start}", "overlap") for start in (2000, 2900, 4000, 4200)]
    detail = result.quarantine.entries[0].detail
    assert "a.txt line 3 (2.000 to 3.000 s) and a.txt line 4 (2.900 to 4.000 s)" in detail


def test_the_language_in_the_name(tmp_path: Path) -> None:
    for name in ("a.cs.vtt", "a.en.vtt", "b.mix.vtt", "c.vtt"):
        (tmp_path / name).write_text(VTT, "utf-8")
    for name in ("a.mp4", "a.wav", "b.mix.wav", "c.mkv"):
        sound(tmp_path / name) if name.endswith("wav") else (tmp_path / name).touch()
    result = read("subtitles", tmp_path)
    assert {r.audio.name for r in result.records} == {"a.wav", "b.mix.wav", "c.mkv"}
    assert len(result.records) == 9
    assert result.reasons == [("a.en.vtt", "other language")]
    assert "'en', and the corpus is in 'cs'" in result.quarantine.entries[0].detail


def test_two_files_for_one_recording_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text(VTT, "utf-8")
    (tmp_path / "a.srt").write_text(SRT, "utf-8")
    sound(tmp_path / "a.wav")
    result = read("subtitles", tmp_path)
    assert not result.records
    assert [(e.reason, e.n_records) for e in result.quarantine] == [
        ("ambiguous", 4), ("ambiguous", 3),
    ]  # fmt: skip
    assert "a.srt, a.vtt are all for a.wav; leave one" in result.quarantine.entries[0].detail


def test_files_that_are_none(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "a.srt").write_text("Just a text.\n", "utf-8")
    (tmp_path / "b.txt").write_text("\n\n", "utf-8")
    (tmp_path / "c.vtt").write_bytes(b"WEBVTT\n\n00:01.000 --> 00:02.000\n\xe1\xe8")
    (tmp_path / "d.vtt").write_text(VTT, "utf-8")
    result = read("subtitles", tmp_path)
    details = {e.record: (e.reason, e.detail, e.n_records) for e in result.quarantine}
    assert "not one stretch with times in it" in details["a.srt"][1]
    assert "'Just a text.'" in details["a.srt"][1]
    assert "not one stretch with times in it" in details["b.txt"][1]
    assert "--encoding cp1252" in details["c.vtt"][1]
    assert details["d"][0] == "missing audio" and details["d"][2] == 3
    assert "looked for 'd' with the suffix of a recording" in details["d"][1]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match=r"no \.srt or \.txt or \.vtt file"):
        read("subtitles", tmp_path / "nothing")


def test_which_reader_fits(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("Dobrý den.", "utf-8")
    assert guess_reader(tmp_path) == "folder"
    (tmp_path / "a.srt").write_text(SRT, "utf-8")
    with pytest.raises(DataError, match=r"1 \.srt; 1 \.txt.*--reader subtitles or --reader folder"):
        guess_reader(tmp_path)
    (tmp_path / "a.txt").write_text(LABELS, "utf-8")
    assert guess_reader(tmp_path) == "subtitles"
    (tmp_path / "a.TextGrid").touch()
    with pytest.raises(DataError, match=r"--reader praat or --reader subtitles"):
        guess_reader(tmp_path)


LINES = st.lists(
    st.text(
        st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="<>&{}-"),
        min_size=1,
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(
    cues=st.lists(
        st.tuples(st.integers(0, 4000), st.integers(1, 9_000_000), LINES), min_size=1, max_size=8
    ),
    suffix=st.sampled_from(["srt", "vtt"]),
)
def test_what_webvtt_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    cues: list[tuple[int, int, list[str]]],
    suffix: str,
) -> None:
    folder = tmp_path_factory.mktemp("cues")
    (folder / "a.wav").touch()
    file, at, expected = webvtt.WebVTT(), 0, []
    for gap, length, lines in cues:
        begin, at = at + gap, at + gap + length
        times = [f"{t // 3600000:02}:{t // 60000 % 60:02}:{t // 1000 % 60:02}.{t % 1000:03}"
                 for t in (begin, at)]  # fmt: skip
        file.captions.append(webvtt.Caption(*times, lines))
        expected.append((begin / 1000, at / 1000, " ".join(lines)))
    if suffix == "vtt":
        file.save(str(folder / "a.vtt"))
    else:
        file.save_as_srt(str(folder / "a.srt"))
    assert read("subtitles", folder).spans == expected
