"""Tables of any shape: the columns found, the rows refused, nothing guessed silently."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

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
        ("path,text\na.wav,žluť\n".encode("cp1250"), {}, {}, "--encoding cp1252"),
        ("path,text\na.wav,žluť\n".encode("utf-16"), {}, {}, "--encoding utf-16"),
        ('path,text\na.wav,"An"o\nb.wav,B\n', {}, {}, "lone quotation mark"),
        ('path,text\na.wav,"Ano\nb.wav,B\n', {}, {}, "lone quotation mark"),
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
