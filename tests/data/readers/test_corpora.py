"""Corpora in the layouts in which they are handed out: every row out, or in the list."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.readers.annotated import Read, read, sound

from xlasr.data.readers import guess_reader
from xlasr.errors import DataError, UsageError

COLUMNS = "client_id path sentence up_votes down_votes age gender accents locale segment".split()


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def put(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def texts(result: Read) -> dict[str, str]:
    return {record.id: record.text for record in result.records}


# --- Common Voice ---------------------------------------------------------------------------


def row(client: str, clip: str, sentence: str, votes: str = "2") -> str:
    return "\t".join([client, clip, sentence, votes, "0", "", "", "Praha", "cs", ""])


def release(folder: Path, **tables: list[str]) -> Path:
    touch(folder, *(f"clips/{letter}.mp3" for letter in "abcdef"))
    for name, rows in tables.items():
        put(folder / f"{name}.tsv", "\t".join(COLUMNS), *rows)
    return folder


def test_common_voice_with_its_own_splits(tmp_path: Path) -> None:
    folder = release(
        tmp_path / "cv-corpus-17.0/cs",
        train=[row("x1", "a.mp3", 'Řekl: "Ano'), row("x2", "b.mp3", '"On řekl ""ne"" hned."')],
        dev=[row("x3", "c.mp3", '"Celá věta."')],
        test=[row("x4", "d.mp3", "Dva\tsloupce")],
        validated=[row("x1", "e.mp3", "Jen zde")],
    )
    assert guess_reader(folder) == guess_reader(tmp_path / "cv-corpus-17.0") == "common_voice"
    for root in (folder, tmp_path):
        result = read("common_voice", root)
        assert texts(result) == {
            "a": 'Řekl: "Ano',
            "b": 'On řekl "ne" hned.',
            "c": '"Celá věta."',
            "d": "Dva sloupce",
        }
        assert [(r.split, r.speaker) for r in result.records] == [
            ("train", "x1"), ("train", "x2"), ("dev", "x3"), ("test", "x4")
        ]  # fmt: skip
        assert not len(result.quarantine)
    assert result.records[0].custom["accents"] == "Praha"
    assert result.records[0].audio == folder / "clips/a.mp3"
    assert "name " + str(folder / "validated.tsv") in result.said
    assert "1 sentences with tabs" in result.said


def test_all_that_was_validated_with_our_split(tmp_path: Path) -> None:
    folder = release(tmp_path, train=[row("x", "a.mp3", "A")], validated=[row("y", "b.mp3", "B")])
    assert guess_reader(folder / "validated.tsv") == "common_voice"
    (record,) = read("common_voice", folder / "validated.tsv").records
    assert (record.id, record.split) == ("b", None)
    (folder / "train.tsv").unlink()
    result = read("common_voice", folder)
    assert texts(result) == {"b": "B"} and "no train.tsv" in result.said


def test_the_other_spellings_of_columns(tmp_path: Path) -> None:
    old = release(tmp_path / "old")
    put(old / "train.tsv", "client_id\tpath\tsentence\tup_votes\tdown_votes\taccent",
        "x\ta\tVěta\t2\t0\tBrno")  # fmt: skip
    (record,) = read("common_voice", old).records
    assert record.audio.name == "a.mp3" and record.custom["accents"] == "Brno"
    new = tmp_path / "sps-corpus-1.0-cs"
    touch(new, "audios/q.mp3")
    table = "client_id\taudio_file\tduration_ms\tprompt\ttranscription\tvotes\tsplit"
    put(new / "ss-corpus-cs.tsv", table, "x\tq.mp3\t900\tJak?\tNo tak\t2\tdev")
    assert guess_reader(new) == "common_voice"
    (record,) = read("common_voice", new).records
    assert (record.id, record.text, record.split) == ("q", "No tak", "dev")


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    folder = release(
        tmp_path,
        train=[
            row("x", "a.mp3", "tab\tand no", "votes"),
            "x\tb.mp3\tcut off",
            row("x", "gone.mp3", "A"),
            row("x", "", "A"),
            row("x", "c.mp3", "A"),
        ],
    )
    result = read("common_voice", folder)
    assert texts(result) == {"c": "A"}
    assert result.reasons == [
        ("train.tsv line 2", "bad row"),
        ("train.tsv line 3", "bad row"),
        ("gone", "missing audio"),
        ("train.tsv line 5", "missing audio"),
    ]
    put(folder / "train.tsv", "client_id\tpath\ttext", "x\ta.mp3\tA")
    with pytest.raises(DataError, match=r"no column sentence or transcription; found: 'client_id'"):
        read("common_voice", folder)


CELL = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELL, st.sampled_from("abcdefgh"), CELL), max_size=6))
def test_common_voice_rows_add_up(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("cv")
    rows = [row(c, f"{clip}.mp3", sentence) for c, clip, sentence in cells]
    result = read("common_voice", release(folder, train=rows))
    assert result.n_rows == (len(rows) or 1)  # a table without rows stands in the list itself


# --- one line, one utterance ----------------------------------------------------------------


def test_jsut_and_jvs(tmp_path: Path) -> None:
    jsut = tmp_path / "jsut"
    touch(jsut, "basic5000/wav/B_1.wav", "basic5000/wav/B_9.wav", "loanword128/wav/L_1.wav")
    put(jsut / "basic5000/transcript_utf8.txt", "B_1:水を、飲む:時。", "B_2:ない", "no colon")
    put(jsut / "loanword128/transcript_utf8.txt", "L_1:ウオ")
    assert guess_reader(jsut) == "jsut"
    result = read("jsut", jsut)
    assert texts(result) == {"B_1": "水を、飲む:時。", "L_1": "ウオ"}
    assert {r.speaker for r in result.records} == {"jsut"}
    assert result.reasons == [
        ("B_2", "missing audio"),
        ("basic5000/transcript_utf8.txt line 3", "bad row"),
        ("B_9", "missing text"),
    ]
    jvs = tmp_path / "jvs"
    for speaker in ("jvs001", "jvs002"):
        touch(jvs, f"{speaker}/parallel100/wav24kHz16bit/V_1.wav")
        put(jvs / speaker / "parallel100/transcripts_utf8.txt", "V_1:あ")
    assert [(r.id, r.speaker) for r in read("jsut", jvs).records] == [
        ("jvs001-V_1", "jvs001"), ("jvs002-V_1", "jvs002")
    ]  # fmt: skip


def test_librispeech_agrees_with_lhotse(tmp_path: Path) -> None:
    from lhotse.recipes import prepare_librispeech

    for part, key in (("train-clean-5", "19-198"), ("dev-clean-2", "84-12"), ("test-clean", "1-2")):
        folder = tmp_path / part / key.split("-")[0] / key.split("-")[1]
        for n in range(2):
            sound(folder / f"{key}-000{n}.flac", 0.3 + n / 10)
        put(folder / f"{key}.trans.txt", f"{key}-0000 FIRST LINE", f"{key}-0001 SECOND  LINE")
    assert guess_reader(tmp_path) == "librispeech"
    result = read("librispeech", tmp_path)
    theirs = {}
    parts = ["train-clean-5", "dev-clean-2", "test-clean"]
    for part, found in prepare_librispeech(tmp_path, dataset_parts=parts).items():
        for s in found["supervisions"]:
            theirs[s.id] = (part.split("-")[0], s.speaker, s.text.split())
    ours = {r.id: (r.split, r.speaker, r.text.split()) for r in result.records}
    assert ours == theirs and len(ours) == 6 and not len(result.quarantine)
    single = read("librispeech", tmp_path / "train-clean-5")
    assert {r.split for r in single.records} == {None} and len(single.records) == 2


def test_librispeech_leftovers(tmp_path: Path) -> None:
    touch(tmp_path, "1/2/1-2-0000.flac", "1/2/1-2-0007.flac")
    put(tmp_path / "1/2/1-2.trans.txt", "1-2-0000 A", "1-2-0001 B")
    result = read("librispeech", tmp_path)
    assert texts(result) == {"1-2-0000": "A"}
    assert result.reasons == [("1-2-0001", "missing audio"), ("1-2-0007", "missing text")]


def test_mls_agrees_with_lhotse(tmp_path: Path) -> None:
    from lhotse.recipes import prepare_mls

    folder = tmp_path / "mls_polish"
    put(folder / "metainfo.txt", "7 | M", "8 | F")
    for side, key in (("train", "7_3_000001"), ("dev", "8_4_000002"), ("test", "7_5_000003")):
        speaker, book, _ = key.split("_")
        sound(folder / side / "audio" / speaker / book / f"{key}.flac", 0.3)
        put(folder / side / "transcripts.txt", f"{key}\tpo polsku {side}")
    assert guess_reader(folder) == "mls"
    result = read("mls", folder)
    theirs = {
        s.id: (side, s.speaker, s.text)
        for side, found in prepare_mls(tmp_path, opus=False)["polish"].items()
        for s in found["supervisions"]
    }
    assert {r.id: (r.split, r.speaker, r.text) for r in result.records} == theirs
    assert len(theirs) == 3
    put(folder / "dev/transcripts.txt", "8_4_000002 no tab", "8_4\tshort", "8_4_9\tgone", "")
    result = read("mls", folder)
    assert [reason for _, reason in result.reasons] == ["bad row", "bad row", "missing audio"]


def test_fleurs_agrees_with_lhotse(tmp_path: Path) -> None:
    from lhotse.recipes.fleurs import prepare_fleurs

    rows = {"train": ("5", "11.wav"), "dev": ("6", "12.wav"), "test": ("5", "13.wav")}
    for side, (sentence, name) in rows.items():
        sound(tmp_path / f"cs_cz/{side}/{name}", 0.5)
        cells = [sentence, name, f"Věta {side}.", f"věta {side}", "v ě t a |", "8000", "FEMALE"]
        put(tmp_path / f"metadata/cs_cz/{side}.tsv", "\t".join(cells))
    theirs = prepare_fleurs(tmp_path, tmp_path / "out", languages="cs_cz")["cs_cz"]
    assert guess_reader(tmp_path / "cs_cz") == "fleurs"
    result = read("fleurs", tmp_path / "cs_cz")
    for side, found in theirs.items():
        (supervision,) = found["supervisions"]
        (record,) = (r for r in result.records if r.split == side)
        assert record.audio.stem == supervision.recording_id
        assert record.text == supervision.custom["raw_text"]
    assert [r.group for r in result.records] == ["5", "6", "5"]
    put(tmp_path / "other/train.tsv", *["\t".join("1 x.wav A a a 1 MALE".split()), "1\tx.wav"])
    result = read("fleurs", tmp_path / "other")
    assert [reason for _, reason in result.reasons] == ["missing audio", "bad row"]


def test_reazonspeech(tmp_path: Path) -> None:
    touch(tmp_path, "000/ab.flac", "audio/001/cd.flac")
    put(
        tmp_path / "tiny.tsv",
        "000/ab.flac\t今日は",
        "001/cd.flac\tはい",
        "002/ef.flac\tえ",
        "x",
        "/\ta",
    )
    assert guess_reader(tmp_path) == guess_reader(tmp_path / "tiny.tsv") == "reazonspeech"
    result = read("reazonspeech", tmp_path)
    assert texts(result) == {"000/ab": "今日は", "001/cd": "はい"}
    assert [reason for _, reason in result.reasons] == ["missing audio", "bad row", "missing audio"]
    put(tmp_path / "small.tsv", "000/ab.flac\t今日は")
    with pytest.raises(DataError, match=r"found: small.tsv, tiny.tsv. Name one"):
        read("reazonspeech", tmp_path)


# --- MuST-C ---------------------------------------------------------------------------------


def mustc(folder: Path, part: str, rows: list[str], lines: list[str]) -> None:
    touch(folder, f"data/{part}/wav/ted_1.wav")
    put(folder / f"data/{part}/txt/{part}.yaml", *rows)
    put(folder / f"data/{part}/txt/{part}.en", *lines)


def test_mustc(tmp_path: Path) -> None:
    import yaml

    root = tmp_path / "MUSTC/en-de"
    more = {"rW": 9, "uW": 0, "wav": "ted_1.wav"}
    talks = [
        {"duration": 3.5, "offset": 16.08, "speaker_id": "spk.1", **more},
        {"duration": 1e-1, "offset": 20.0, "speaker_id": "spk, 1", **more},
    ]
    rows = [
        f"- {yaml.safe_dump(talk, default_flow_style=True, width=10**6).strip()}" for talk in talks
    ]
    for part in ("train", "dev", "tst-COMMON"):
        mustc(root, part, rows, ["Thank you.", "Yes: {no}"])
    assert guess_reader(root) == "mustc"
    result = read("mustc", root, language="en-US")
    assert [(r.split, r.start_s, r.duration_s, r.text, r.speaker, r.group) for r in result.records][
        :2
    ] == [
        ("dev", 16.08, 3.5, "Thank you.", "spk.1", "ted_1"),
        ("dev", 20.0, 0.1, "Yes: {no}", "spk, 1", "ted_1"),
    ]
    assert {r.split for r in result.records} == {"train", "dev", "test"}
    assert result.n_rows == 6 and not len(result.quarantine)
    with pytest.raises(UsageError, match=r"its text in 'de' is a translation. Give --language en"):
        read("mustc", root, language="de")
    # only the folder above data names the pair
    there = tmp_path / "my-asr/MUSTC"
    mustc(there, "train", rows, ["Thank you.", "Yes", "", ""])  # with empty lines behind the last
    assert [r.text for r in read("mustc", there, language="en").records] == ["Thank you.", "Yes"]


def test_mustc_rows_that_do_not_fit(tmp_path: Path) -> None:
    good = "- {duration: 1.0, offset: 0.0, speaker_id: s, wav: ted_1.wav}"
    rows = [good, good.replace("1.0", "no"), "- [1]", good.replace("ted_1", "gone"), good]
    mustc(tmp_path, "train", rows, ["A", "B", "C", "D", "E"])
    path = tmp_path / "data/train/txt/train.en"
    path.write_bytes(path.read_bytes().replace(b"E", b"\xff"))
    result = read("mustc", tmp_path, language="en")
    assert [r.text for r in result.records] == ["A"]
    assert [reason for _, reason in result.reasons] == [
        "bad encoding", "bad row", "bad row", "missing audio"
    ]  # fmt: skip
    mustc(tmp_path, "train", rows, ["A", "B"])
    result = read("mustc", tmp_path, language="en")
    assert result.reasons == [("train", "ambiguous")] and result.n_rows == 5


def test_mustc_keeps_the_translations_beside_the_text(tmp_path: Path) -> None:
    row = "- {duration: 1.0, offset: 0.0, speaker_id: s, wav: ted_1.wav}"
    mustc(tmp_path, "train", [row] * 3, ["A", "B", "C"])
    text = tmp_path / "data/train/txt"
    put(text / "train.de", "Ah", "", "Ce")
    put(text / "train.nl", "Aa", "Be")  # a line is missing, and nobody knows which
    put(text / "train.fr", "Un", "Deux", "Trois")
    (text / "train.fr").write_bytes((text / "train.fr").read_bytes().replace(b"Deux", b"\xff"))
    put(text / "train.hyp.de", "x", "y", "z")  # no language
    result = read("mustc", tmp_path, language="en")
    assert [r.custom for r in result.records] == [
        {"part": "train", "translation_de": "Ah", "translation_fr": "Un"},
        {"part": "train"},
        {"part": "train", "translation_de": "Ce", "translation_fr": "Trois"},
    ]
    assert not len(result.quarantine)
    assert [(n.record, n.reason, n.n_records) for n in result.quarantine.notes] == [
        ("train.fr", "no translation", 1), ("train.nl", "no translation", 3)
    ]  # fmt: skip


def test_a_table_is_still_a_table(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file, delimiter="|").writerows([["path", "text"], ["a.wav", "A"]])
    assert guess_reader(tmp_path) == "table"
