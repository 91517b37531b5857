"""Transcript files: what is read, what is guessed, and what is refused with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xlasr.errors import DataError, UsageError, XlasrError
from xlasr.scoring.files import read_list, read_training, read_transcripts


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_with_guessed_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "ref.tsv",
        '\ufeffutt_id\tScene\tsentence\nb\ts1\tŘekl "ano".\r\na\ts2\t\n\nq\ts2\t"Ano ""ne"""\n',
    )
    found = read_transcripts(path, "reference")
    assert found.texts == {"b": 'Řekl "ano".', "a": "", "q": 'Ano "ne"'}
    assert list(found.texts) == ["b", "a", "q"]
    assert found.groups == {"b": "s1", "a": "s2", "q": "s2"}
    assert found.columns == {"id": "utt_id", "text": "sentence", "group": "Scene"}


def test_quotation_marks_of_a_sentence_stay(tmp_path: Path) -> None:
    rows = 'a\t"Ja", sagte er, "nein"\nb\t"Ja."\nc\t"Er: ""ja"""\n'
    found = read_transcripts(write(tmp_path, "ref.tsv", rows), "reference")
    assert found.texts == {"a": '"Ja", sagte er, "nein"', "b": '"Ja."', "c": 'Er: "ja"'}
    quoted = write(tmp_path, "hyp.tsv", '"id"\t"text"\n"a"\t"Ja."\n"b"\t""\n')
    assert read_transcripts(quoted, "hypothesis").texts == {"a": "Ja.", "b": ""}


def test_text_is_guessed_by_role(tmp_path: Path) -> None:
    path = write(tmp_path, "both.csv", 'id,reference,prediction\n1,"a, b",c\n2,d,"e\nf"\n')
    assert read_transcripts(path, "reference").texts == {"1": "a, b", "2": "d"}
    assert read_transcripts(path, "hypothesis").texts == {"1": "c", "2": "e\nf"}
    nemo = write(
        tmp_path,
        "manifest.jsonl",
        '{"audio_filepath": "a.wav", "text": "said", "pred_text": "heard", "duration": 1.5}\n\n',
    )
    assert read_transcripts(nemo, "reference").texts == {"a.wav": "said"}
    assert read_transcripts(nemo, "hypothesis").texts == {"a.wav": "heard"}
    assert read_transcripts(nemo, "hypothesis").groups is None


def test_columns_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path, "hyp.tsv", "id\treference\tadapted\tbase\n1\ta\tb\tc\n")
    assert read_transcripts(path, "hypothesis", {"text": "base"}).texts == {"1": "c"}
    odd = write(tmp_path, "odd.tsv", "foo\tbar\tbaz\n1\ta\tx\n")
    found = read_transcripts(odd, "reference", {"id": "foo", "text": "bar", "group": "baz"})
    assert (found.texts, found.groups) == ({"1": "a"}, {"1": "x"})
    speakers = write(tmp_path, "spk.tsv", "id\ttext\tspeaker\n1\ta\t\n")
    assert read_transcripts(speakers, "reference", {"group": ""}).groups is None
    with pytest.raises(DataError, match="line 2 has an empty 'speaker'"):
        read_transcripts(speakers, "reference")


def test_two_columns_need_no_header(tmp_path: Path) -> None:
    path = write(tmp_path, "hyp.txt", "a01\tto je pes\na02\t\n")
    assert read_transcripts(path, "hypothesis").texts == {"a01": "to je pes", "a02": ""}


def test_numbers_are_ids_in_json(tmp_path: Path) -> None:
    path = write(tmp_path, "r.jsonl", '{"id": 7, "text": "a", "speaker": 3}\n')
    found = read_transcripts(path, "reference")
    assert (found.texts, found.groups) == ({"7": "a"}, {"7": "3"})


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("r.tsv", "id\ttext\na\tx\na\ty\n", r"'a' is there twice, in lines 2 and 3"),
        ("r.tsv", "id\ttext\na\n", r"line 2 has 1 columns, and 2 are expected \(id, text\)"),
        ("r.tsv", "id\ttext\na\tx\ty\n", r"line 2 has 3 columns.*A tab inside a text"),
        ("r.tsv", "id text\na x\n", "line 1 has one column only: 'id text'"),
        ("r.tsv", "1\ta\tb\n", "line 1 has 3 columns and is no header"),
        ("r.tsv", "id\tadapted\na\tx\n", r"which column is text.*'adapted'.*--ref-column text=N"),
        ("r.tsv", "id\ttext\ttext\na\tx\ty\n", "columns with the same name: 'text'"),
        ("r.tsv", "id\ttext\n\tx\n", "line 2 has an empty 'id'"),
        ("r.tsv", "", "there is no utterance"),
        ("r.tsv", "id\ttext\n", "there is no utterance"),
        ("r.tsv", "id\ttext\na\tx\nb\t\xff\n".encode("latin-1"), "line 3 is not UTF-8"),
        ("r.csv", 'id,text\na,"x"y"\n', "line 2.*A lone quotation mark"),
        ("r.jsonl", '{"id": "a", "text": "x"}\n{"id": "b"}\n', "line 2 has no 'text'"),
        ("r.jsonl", '{"id": "a", "text": null}\n', "line 1 has null as its 'text'.*gives \"\""),
        ("r.jsonl", '{"id": true, "text": "x"}\n', "line 1 has true as its 'id'"),
        ("r.jsonl", '{"id": "a", "text": 5}\n', "line 1 has 5 as its 'text'"),
        ("r.jsonl", '["a", "x"]\n', "line 1 is no JSON object but list"),
        ("r.jsonl", '{"id": "a",\n "text": "x"}\n', "line 1 is not JSON"),
        ("r.jsonl", "[" * 100_000 + "\n", "line 1 is not JSON"),
        ("r.jsonl", '{"id": "a", "text": "\\ud800"}\n', "'text' is no text"),
        ("r.json", '{"foo": "a"}\n', "which column is id and which is text"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, told: str
) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=told) as caught:
        read_transcripts(path, "reference")
    assert str(path) in str(caught.value)


def test_wrong_calls(tmp_path: Path) -> None:
    path = write(tmp_path, "r.tsv", "id\ttext\na\tx\n")
    with pytest.raises(UsageError, match=r"unknown field 'txt'.*Did you mean 'text'"):
        read_transcripts(path, "reference", {"txt": "text"})
    with pytest.raises(DataError, match=r"no column 'txet'. Did you mean 'text'"):
        read_transcripts(path, "reference", {"text": "txet"})
    with pytest.raises(DataError, match=r"cannot read .*gone.tsv: No such file"):
        read_transcripts(tmp_path / "gone.tsv", "reference")
    with pytest.raises(DataError, match="cannot read"):
        read_transcripts(tmp_path, "reference")


def test_lists_and_training_text(tmp_path: Path) -> None:
    plain = write(tmp_path, "t.txt", "To je pes.\n\n  Ano. \n")
    assert read_list(plain) == ["To je pes.", "Ano."]
    assert read_training(plain) == ["To je pes.", "Ano."]
    table = write(tmp_path, "t.tsv", "id\ttext\tspeaker\n1\tTo je pes.\t\n")
    assert read_training(table) == ["To je pes."]
    with pytest.raises(DataError, match="no line with text"):
        read_list(write(tmp_path, "empty.txt", "\n \n"))


CELL = st.text(
    st.characters(exclude_characters="\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", codec="utf-8"),
    max_size=12,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(CELL.map(lambda t: f"u{t.strip()}"), CELL, min_size=1, max_size=6))
def test_what_is_written_is_read(tmp_path: Path, texts: dict[str, str]) -> None:
    rows = "".join(
        json.dumps({"id": k, "text": v}, ensure_ascii=False) + "\n" for k, v in texts.items()
    )
    assert read_transcripts(write(tmp_path, "r.jsonl", rows), "reference").texts == texts
    if not any(t[:1] == t[-1:] == '"' and '""' in t for t in texts.values()):
        rows = "id\ttext\n" + "".join(f"{k}\t{v}\n" for k, v in texts.items())
        assert read_transcripts(write(tmp_path, "r.tsv", rows), "reference").texts == texts


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["r.tsv", "r.csv", "r.jsonl"]),
    st.integers(0, 60),
    st.binary(max_size=8),
    st.integers(0, 6),
)
def test_mutated_files_are_read_or_refused(
    tmp_path: Path, name: str, at: int, put: bytes, cut: int
) -> None:
    whole = {
        "r.tsv": b"id\ttext\tgroup\nu1\tto je pes\ts1\nu2\t\ts2\n",
        "r.csv": b'id,text,group\nu1,"to, je pes",s1\nu2,,s2\n',
        "r.jsonl": b'{"id": "u1", "text": "to je", "group": "s1"}\n{"id": "u2", "text": ""}\n',
    }[name]
    path = write(tmp_path, name, whole[:at] + put + whole[at + cut :])
    try:
        found = read_transcripts(path, "reference")
    except XlasrError:
        return
    assert found.texts
    assert found.groups is None or found.groups.keys() == found.texts.keys()
