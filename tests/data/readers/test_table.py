"""Tables of any shape: the columns found, the rows refused, nothing guessed silently."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlasr.data.annotations import AnnotatedRecording, TimedText, render
from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import RawRecord, ReadOptions, guess_reader
from xlasr.data.readers.table import read
from xlasr.errors import DataError, UsageError


def write(folder: Path, content: str | bytes, name: str = "t.csv", *, sounds: str = "abc") -> Path:
    folder.mkdir(exist_ok=True)
    for letter in sounds:
        (folder / f"{letter}.wav").write_bytes(b"RIFF")
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def run(
    path: Path, columns: Mapping[str, str] | None = None, **options: Any
) -> tuple[list[RawRecord], Quarantine, str]:
    quarantine = Quarantine()
    said: list[str] = []
    given = ReadOptions(language="cs", columns=columns or {}, say=said.append, **options)
    return list(read(path, given, quarantine)), quarantine, "\n".join(said)


@pytest.mark.parametrize(
    "content",
    [
        "path,sentence\na.wav,Ano\n",
        "path;sentence\na.wav;Ano\n",
        "path\tsentence\na.wav\tAno\n",
        "path|sentence\na.wav|Ano\n",
        "\ufeffpath,sentence\r\na.wav,Ano\r\n\r\n",
        '"path","sentence"\n"a.wav","Ano"\n',
        "Audio Path,Transcript\na.wav,Ano",
        "file_name\ttranscription\na\tAno\n",
        "AUDIO_FILE;WORDS;age\na.wav;Ano;\n",
    ],
)
def test_delimiters_and_names_are_found(tmp_path: Path, content: str) -> None:
    (record,), quarantine, said = run(write(tmp_path, content))
    assert (record.id, record.text, record.audio.name) == ("a", "Ano", "a.wav")
    assert not len(quarantine)
    assert "(guessed)" in said


def test_common_voice_layout(tmp_path: Path) -> None:
    """Audio in ``clips``, lone quotation marks in sentences, a split nobody asked for."""
    (tmp_path / "clips").mkdir()
    for letter in "abc":
        (tmp_path / "clips" / f"{letter}.mp3").touch()
    path = write(
        tmp_path,
        "client_id\tpath\tsentence\tup_votes\tage\n"
        'x1\ta.mp3\tŘekl: "Ano\t2\t\n'
        'x2\tb.mp3\t"On řekl ""ne"" hned."\t2\tfifties\n',
        "validated.tsv",
        sounds="",
    )
    (one, two), quarantine, said = run(path)
    assert (one.text, one.speaker) == ('Řekl: "Ano', "x1")
    assert two.text == 'On řekl "ne" hned.'
    assert two.custom == {"up_votes": "2", "age": "fifties"}
    assert one.audio == tmp_path / "clips" / "a.mp3"
    assert not len(quarantine)
    assert "speaker = 'client_id' (guessed)" in said and "kept as extras: up_votes, age" in said
    assert "1 audio files beside the used ones are in no row" in said
    (note,) = quarantine.notes
    assert (note.record, note.reason) == ("c.mp3", "unused audio")
    assert note.detail == f"{tmp_path / 'clips' / 'c.mp3'}: no row of validated.tsv has it"


def test_given_columns_beat_guesses(tmp_path: Path) -> None:
    path = write(tmp_path, "path,text,norm,id,who\na.wav,Ano!,ano,7,Eva\n")
    (record,), _, said = run(path, {"text": "norm", "speaker": "who"})
    assert (record.text, record.id, record.speaker) == ("ano", "7", "Eva")
    assert record.custom == {"text": "Ano!"}
    assert "text = 'norm'," in said and "audio = 'path' (guessed)" in said


def test_times_in_seconds_and_milliseconds(tmp_path: Path) -> None:
    seconds = write(tmp_path, "path;start;end;text\na.wav;1,5;2.25;A\nb.wav;;;B\n")
    (one, two), _, _ = run(seconds)
    assert (one.start_s, one.duration_s) == (1.5, 0.75)
    assert (two.start_s, two.duration_s) == (0.0, None)
    assert one.id == "a-00001500"
    millis = write(tmp_path, "path,start_ms,duration_ms,text\na.wav,1500,750,A\n")
    (one,), _, _ = run(millis)
    assert (one.start_s, one.duration_s) == (1.5, 0.75)
    # A lone duration describes the file, in a unit nobody knows.
    lone = write(tmp_path, "path,duration,text\na.wav,4032,A\n")
    (one,), _, _ = run(lone)
    assert one.duration_s is None and one.custom == {"duration": "4032"}


def test_rows_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "id,path,start,end,text\n1,a.wav,0,1,A\n2,a.wav,0,1,A,extra\n3,a.wav,3,2,B\n"
        "4,nowhere.wav,0,1,C\n5,a.wav,zero,1,D\n6,,0,1,E\n7,b.wav,0,1,F\n",
    )
    records, quarantine, _ = run(path)
    assert [record.id for record in records] == ["1", "7"]
    assert [(e.record, e.reason) for e in quarantine] == [
        ("t.csv line 3", "bad row"),
        ("3", "bad row"),
        ("4", "missing audio"),
        ("5", "bad row"),
        ("6", "missing audio"),
    ]
    details = [entry.detail for entry in quarantine]
    assert "6 cells, the header has 5" in details[0]
    assert "t.csv line 4" in details[1] and "it ends at 2.0 s" in details[1]
    assert "'nowhere.wav'" in details[2]
    assert "'zero'" in details[3]


@pytest.mark.parametrize(
    ("content", "texts", "reasons"),
    [
        # A mark too many closes, opens, or stands after the end of a cell.
        ('a.wav,"An"o\nb.wav,B\n', ["B"], {2: "bad row"}),
        ('a.wav,"Ano\nb.wav,B\nc.wav,"C, ne"\n', ["B", "C, ne"], {2: "bad row"}),
        ('a.wav,A\nb.wav,B\nc.wav,"Ano', ["A", "B"], {4: "bad row"}),
        # Two stray marks make well-formed CSV of three rows: the rows between must not vanish.
        ('a.wav,"Ano\nb.wav,B\nc.wav,C"\n', ["B", 'C"'], {2: "bad row"}),
        ('a.wav,"Ano\nx.mp3,B\nc.wav,C"\n', ['C"'], {2: "bad row", 3: "missing audio"}),
        # Lines that belong to no row of their own are named one by one.
        ('a.wav,"Ano\nnic\nb.wav,B,"\nc.wav,C\n', ["C"], dict.fromkeys((2, 3, 4), "bad row")),
        # Texts of several lines stay whole.
        ('a.wav,"Ano,\n\nne ""x""\rtak"\nb.wav,B\n', ['Ano,\n\nne "x"\ntak', "B"], {}),
        (b"a.wav,A\nb.wav,\xe9\nc.wav,C\n", ["A", "C"], {3: "bad encoding"}),
        (b'a.wav,"A\n\xe9"\nc.wav,C\n', ["C"], {2: "bad row", 3: "bad encoding"}),
        ("a.wav,A\0\nb.wav,B\n", ["A\0", "B"], {}),
        (f'a.wav,"{"x" * 200_000}"\nb.wav,B\n', ["B"], {2: "bad row"}),
        ('a.wav,"Ano\nnic",x\nb.wav,B\n', ["B"], {2: "bad row", 3: "missing audio"}),
        ('b.wav,"B' + "\n" * 500 + 'b"\nc.wav,C\n', ["C"], {2: "bad row", 502: "bad row"}),
        (f"{'x' * 5000},A\nb.wav,B\n", ["B"], {2: "missing audio"}),
    ],
)
def test_a_bad_row_does_not_take_others_along(
    tmp_path: Path, content: str | bytes, texts: list[str], reasons: dict[int, str]
) -> None:
    content = content.encode() if isinstance(content, str) else content
    if sys.version_info < (3, 11) and b"\0" in content:
        pytest.skip("csv refuses the row, as it may")
    records, quarantine, _ = run(write(tmp_path, b"path,text\n" + content))
    assert [record.text for record in records] == texts
    found = {int(re.findall(r"t\.csv line (\d+)", e.detail)[0]): e.reason for e in quarantine}
    assert found == reasons and len(quarantine) == len(reasons)


GOOD = ["a.wav,A", 'b.wav,"B, ""b"""', 'c.wav,"C"']


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.sampled_from([*GOOD, '"', ",", 'c.wav,"C', "nic"]), max_size=8),
    marks=st.lists(st.integers(0, 60), max_size=3),
)
def test_no_intact_row_of_a_damaged_table_vanishes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], marks: list[int]
) -> None:
    text = "".join(f"{row}\n" for row in ["path,text", *rows])
    for at in marks:
        text = text[: 10 + at] + '"' + text[10 + at :]
    records, quarantine, _ = run(write(tmp_path_factory.mktemp("t"), text))
    found = [record.origin for record in records] + [entry.record for entry in quarantine]
    assert len(set(found)) == len(found)
    for number, line in enumerate(text.split("\n"), start=1):
        assert line not in GOOD or f"t.csv line {number}" in found


def test_an_old_mac_wrote_it(tmp_path: Path) -> None:
    records, quarantine, _ = run(write(tmp_path, "path,text\ra.wav,A\rb.wav\rc.wav,C\r"))
    assert [(r.text, r.origin) for r in records] == [("A", "t.csv line 2"), ("C", "t.csv line 4")]
    assert [entry.record for entry in quarantine] == ["t.csv line 3"]


def test_quotation_marks_of_a_sentence_stay(tmp_path: Path) -> None:
    """In TSV only doubled marks inside, or marks around every name, show that a cell is quoted."""
    rows = ['a.wav\t"Ja", sagte er, "nein"', 'b.wav\t"Ja."', 'c.wav\t"Er: ""ja"""']
    rows += ['c\t"Ja" und ""nein"']  # no way of quoting that
    records, _, _ = run(write(tmp_path, "path\ttext\n" + "\n".join(rows), "t.tsv"))
    texts = [record.text for record in records]
    assert texts == ['"Ja", sagte er, "nein"', '"Ja."', 'Er: "ja"', '"Ja" und ""nein"']
    quoted = write(tmp_path, '"path"\t"text"\n"a.wav"\t"Ja."\n"b.wav"\t"""Ja"", er"\n', "t.tsv")
    records, _, _ = run(quoted)
    assert [record.text for record in records] == ["Ja.", '"Ja", er']


def test_words_of_our_own_tables_are_no_utterances(tmp_path: Path) -> None:
    words = [TimedText(0.5, 1.0, "Dobrý"), TimedText(1.0, 1.5, "den.")]
    spoken = [TimedText(0.5, 1.5, "Dobrý den.", words), TimedText(2.0, 3.0, "Ano.")]
    write(tmp_path, "")
    recording = AnnotatedRecording(tmp_path / "a.wav", spoken)
    path = write(tmp_path, render("csv", [recording], tmp_path))
    records, quarantine, said = run(path)
    assert [(r.text, r.start_s, r.custom) for r in records] == [
        ("Dobrý den.", 0.5, {}),
        ("Ano.", 2.0, {}),
    ]
    assert not len(quarantine) and "2 rows of the kind 'word' are not read" in said
    # Somebody else's column of that name means something else.
    other = write(tmp_path, "kind,path,text\nword,a.wav,Ano\n")
    (record,), _, _ = run(other)
    assert record.custom == {"kind": "word"}
    # Words alone are nothing to read, but do not vanish.
    lines = render("csv", [recording], tmp_path).splitlines()
    only = [lines[0], *(line for line in lines if line.startswith("word,"))]
    records, quarantine, _ = run(write(tmp_path, "\n".join(only)))
    assert not records and "only 2 words" in quarantine.entries[0].detail


def test_duplicate_ids_name_both_rows(tmp_path: Path) -> None:
    from xlasr.data.prepare import prepare

    path = write(tmp_path / "in", "id,path,text\n7,a.wav,A\n8,b.wav,B\n7,c.wav,C\n")
    with pytest.raises(DataError):  # none of the sounds can be decoded
        prepare(path, tmp_path / "out", language="cs", progress=False)
    first = (tmp_path / "out.quarantine.jsonl").read_text().splitlines()[0]
    assert "duplicate id" in first and "t.csv line 2 and t.csv line 4" in first


@pytest.mark.parametrize(
    ("content", "columns", "options", "message"),
    [
        (
            "path,words2\na.wav,A\n",
            {},
            {},
            r"which column is text.*'path', 'words2'.*--column text",
        ),
        ("x,y\na.wav,A\n", {}, {}, "which is text"),
        ("path,text\na.wav,A\n", {"text": "txt"}, {}, r"no column 'txt'. Did you mean 'text'"),
        ("path,text,text\na.wav,A,B\n", {}, {}, "columns with the same name: 'text'"),
        ("path,text\na.wav,A\n", {}, {"delimiter": ";"}, r"the delimiter is wrong"),
        ("just a line\nand another\n", {}, {}, "no tab, comma, semicolon or bar"),
        ("", {}, {}, "no tab, comma, semicolon or bar"),
        ("path,žluť\na.wav,A\n".encode("cp1250"), {}, {}, "line 1: .*--encoding cp1252"),
        ("path,text\na.wav,žluť\n".encode("utf-16"), {}, {}, "--encoding utf-16"),
        (
            "path,text\na.wav,A".encode("utf-16") + b"x",
            {},
            {"encoding": "utf-16"},
            "truncated data",
        ),
        ('path,"te"xt\na.wav,A\n', {}, {}, "line 1 names the columns: .*lone quotation mark"),
    ],
)
def test_tables_that_cannot_be_read(
    tmp_path: Path,
    content: str | bytes,
    columns: dict[str, str],
    options: dict[str, str],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        run(write(tmp_path, content), columns, **options)
    assert "t.csv" in str(caught.value)


def test_wrong_options_are_usage_errors(tmp_path: Path) -> None:
    path = write(tmp_path, "path,text\na.wav,A\n")
    with pytest.raises(UsageError, match=r"unknown field 'txt'.*Did you mean 'text'"):
        run(path, {"txt": "text"})
    with pytest.raises(UsageError, match="give one character"):
        run(path, delimiter="::")


def test_named_delimiters_and_encodings(tmp_path: Path) -> None:
    content = "path\ttext\na.wav\tžluť, ano\n".encode("utf-16")
    (record,), _, _ = run(write(tmp_path, content), delimiter="tab", encoding="utf-16")
    assert record.text == "žluť, ano"


def test_which_reader_fits(tmp_path: Path) -> None:
    path = write(tmp_path / "one", "path,text\na.wav,A\n")
    assert guess_reader(path) == guess_reader(path.parent) == "table"
    (tmp_path / "one" / "a.txt").write_text("A")
    assert guess_reader(path.parent) == "folder"
    (tmp_path / "audio.mp3").touch()
    with pytest.raises(DataError, match="not a table"):
        guess_reader(tmp_path / "audio.mp3")
    write(tmp_path / "two", "path,text\n", "train.tsv")
    write(tmp_path / "two", "path,text\n", "test.tsv")
    with pytest.raises(DataError, match=r"test\.tsv, train\.tsv. Name one"):
        run(tmp_path / "two")
