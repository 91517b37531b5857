"""Praat: files that Praat itself (parselmouth) and praatio wrote, in every form and encoding."""

from __future__ import annotations

from pathlib import Path

import parselmouth
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parselmouth.praat import call
from praatio import textgrid as praatio
from tests.data.readers.annotated import read, sound

from xlasr.data.quarantine import Quarantine
from xlasr.data.readers import ReadOptions, guess_reader, praat
from xlasr.errors import DataError, UsageError

FORMS = ["text", "short text", "binary"]
WORDS = [(1.5, "dobrý"), (2.25, 'řekl "ano"\nintervals [1]:'), (3.0, ""), (4.5, "! <exists> 7")]


def praat_grid() -> parselmouth.Data:
    """Two tiers of intervals and one of points; a boundary that Praat writes as 1e-05."""
    grid = call("Create TextGrid", 0.0, 5.25, "words body čeština", "body")
    for n, (end, text) in enumerate(WORDS, start=1):
        call(grid, "Insert boundary", 1, end)
        call(grid, "Set interval text", 1, n, text)
    call(grid, "Insert boundary", 3, 0.00001)
    call(grid, "Set interval text", 3, 2, "ž" * 300)
    call(grid, "Insert point", 2, 1.25, "bod")
    return grid


@pytest.mark.parametrize("form", FORMS)
def test_what_praat_writes(tmp_path: Path, form: str) -> None:
    sound(tmp_path / "a.wav")
    path = tmp_path / "a.TextGrid"
    call(praat_grid(), f"Save as {form} file", str(path))
    result = read("praat", tmp_path, tiers=["words"])
    starts = [0.0, *(end for end, _ in WORDS)]
    expected = [(s, e, text) for s, (e, text) in zip(starts, WORDS, strict=False) if text]
    assert result.spans == expected
    (entry,) = result.quarantine
    assert (entry.record, entry.reason, entry.n_records) == ("a words", "empty annotation", 2)
    assert "2 of 5 annotations have no text" in entry.detail
    first = result.records[0]
    assert (first.id, first.speaker, first.group) == ("a-words-00000000", None, "a")
    assert first.audio == tmp_path / "a.wav" and first.origin.endswith("interval 1")
    assert "not read (annotations): 'čeština' (2), 'body' (1)" in result.said
    by_number = read("praat", path, tier_index=2)
    assert by_number.spans == [(0.00001, 5.25, "ž" * 300)]
    assert guess_reader(path) == guess_reader(tmp_path) == "praat"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"(?s)several tiers could be meant: 'words', 'čeština'\.\n.*'body' \(number 1, 1 anno"
             r".*a tier of points.*Choose with --tier NAME \(may be repeated\), --tier-index N\.$"),
        ({"tiers": ["body"]}, r"no tier fits --tier 'body'\. 'body' is a tier of points"),
        ({"tiers": ["word"]}, r"no tier 'word'\. Did you mean 'words'"),
        ({"tier_index": 7}, r"no tier fits --tier-index 7"),
    ],
)  # fmt: skip
def test_a_choice_that_is_none(tmp_path: Path, options: dict[str, object], message: str) -> None:
    sound(tmp_path / "a.wav")
    call(praat_grid(), "Save as text file", str(tmp_path / "a.TextGrid"))
    with pytest.raises(UsageError, match=message):
        read("praat", tmp_path, **options)


def test_two_tiers_of_one_name_are_told_apart_by_number(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    grid = call("Create TextGrid", 0.0, 1.0, "x x", "")
    call(grid, "Set interval text", 1, 1, "eins")
    call(grid, "Set interval text", 2, 1, "zwei")
    call(grid, "Save as text file", str(tmp_path / "a.TextGrid"))
    with pytest.raises(UsageError, match="--tier 'x' fits several tiers"):
        read("praat", tmp_path, tiers=["x"])
    assert [r.text for r in read("praat", tmp_path, tier_index=1).records] == ["zwei"]


def written_by_praatio(path: Path, form: str, texts: str = "áčď") -> None:
    grid = praatio.Textgrid()
    entries = [(float(n), n + 1.0, text) for n, text in enumerate(texts)]
    grid.addTier(praatio.IntervalTier("slova", entries, 0, 10.5))
    grid.save(str(path), form, includeBlankSpaces=True)


@pytest.mark.parametrize("form", ["long_textgrid", "short_textgrid"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1250"]
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, form: str, encoding: str, line_end: str) -> None:
    sound(tmp_path / "a.wav")
    path = tmp_path / "a.TextGrid"
    written_by_praatio(path, form)
    text = path.read_text("utf-8").replace("\n", line_end)
    path.write_bytes(text.encode(encoding))
    given = {"encoding": "cp1250"} if encoding == "cp1250" else {}
    result = read("praat", tmp_path, **given)
    assert result.spans == [(0.0, 1.0, "á"), (1.0, 2.0, "č"), (2.0, 3.0, "ď")]
    assert len(result.quarantine) == 1  # the blank that praatio added


def test_an_unknown_encoding_is_told(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    written_by_praatio(tmp_path / "a.TextGrid", "long_textgrid")
    text = (tmp_path / "a.TextGrid").read_text("utf-8")
    (tmp_path / "a.TextGrid").write_bytes(text.encode("cp1250"))
    result = read("praat", tmp_path)
    assert result.reasons == [("a.TextGrid", "bad transcript")]
    assert "--encoding cp1252" in result.quarantine.entries[0].detail


def test_comments_and_words_are_decoration(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    grid = '"ooTextFile short" ! 7 "x"\n"TextGrid" from 0 to 2 seconds <exists> [9] 1 tier:\n'
    grid += '"IntervalTier" named "t" 0 2 with 2 of 0 1 "á" ! <absent> 5\n1 2 "b"\n'
    (tmp_path / "a.TextGrid").write_text(grid, "utf-8")
    praats = parselmouth.read(str(tmp_path / "a.TextGrid"))
    assert [call(praats, "Get label of interval", 1, n) for n in (1, 2)] == ["á", "b"]
    assert read("praat", tmp_path).spans == [(0.0, 1.0, "á"), (1.0, 2.0, "b")]


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_file_never_gives_fewer_rows(tmp_path: Path, form: str) -> None:
    """praatio ends quietly where the short form does; here every cut is an error."""
    path = tmp_path / "a.TextGrid"
    call(praat_grid(), f"Save as {form} file", str(path))
    whole = path.read_bytes()
    options, whole_text = ReadOptions("cs"), len(whole.rstrip())
    n_rows = sum(map(len, praat.parse(path, "a", options, Quarantine())[0].tiers))
    assert n_rows == 8
    step = max(1, len(whole) // 150)
    for cut in [*range(0, len(whole), step), whole_text - 3, len(whole) - 2]:
        path.write_bytes(whole[:cut])
        try:
            (transcript,) = praat.parse(path, "a", options, Quarantine())
        except DataError:
            continue
        assert sum(map(len, transcript.tiers)) == n_rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("xmin = 0 \nxmax = 5.25 \ntiers", "xmin = 2 \nxmax = 5.25 \ntiers"), "begin at 2 s"),
        (("size = 5", "size = 4"), "a quoted text is expected"),
        (("size = 5", "size = 6"), "a number is expected"),
        (("size = 3", "size = 2"), "more than was announced"),
        (("size = 3", "size = -3"), "a number of tiers or intervals is expected"),
        (("size = 5", "size = 5e300"), "a number is expected"),
        (("xmax = 1.5", "xmax = 1.5.5"), "a number is expected; found '1.5.5'"),
        (("xmax = 1.5", "xmax = 1e999"), "a number is expected; found '1e999'"),
        (("<exists>", "<maybe>"), "<exists> is expected"),
        (('"IntervalTier"', '"PitchTier"'), "the unknown class 'PitchTier'"),
        (('"TextGrid"', '"Sound"'), "not a TextGrid"),
        (('"ooTextFile"', '"Collection"'), "not a TextGrid"),
    ],
)
def test_damaged_text_files(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = sound(tmp_path / "a.wav").with_suffix(".TextGrid")
    call(praat_grid(), "Save as text file", str(path))
    text = path.read_text("utf-16")
    assert change[0] in text
    path.write_text(text.replace(*change, 1), "utf-8")
    result = read("praat", path, tiers=["words"])
    assert result.reasons == [("a.TextGrid", "bad transcript")]
    assert message in result.quarantine.entries[0].detail


def test_other_files_of_praat(tmp_path: Path) -> None:
    grid = praat_grid()
    call(grid, "Save as chronological text file", str(tmp_path / "chronological.TextGrid"))
    call([grid, grid], "Save as binary file", str(tmp_path / "collection.TextGrid"))
    call([grid, grid], "Save as text file", str(tmp_path / "collection2.TextGrid"))
    (tmp_path / "empty.TextGrid").touch()
    result = read("praat", tmp_path)
    details = {entry.record: entry.detail for entry in result.quarantine}
    assert "chronological TextGrid. Open it in Praat" in details["chronological.TextGrid"]
    assert "a binary file of Praat that holds b'Collection'" in details["collection.TextGrid"]
    assert "not a TextGrid" in details["collection2.TextGrid"]
    assert "not a TextGrid" in details["empty.TextGrid"]


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=9)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.floats(0.01, 3), TEXTS), min_size=1, max_size=8),
    form=st.sampled_from(["long_textgrid", "short_textgrid"]),
)
def test_what_praatio_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[tuple[float, str]], form: str
) -> None:
    path = tmp_path_factory.mktemp("grid") / "a.TextGrid"
    entries, at = [], 0.0
    for length, text in lengths:
        begin, at = at, round(at + length, 5)
        entries.append((begin, at, text.strip()))
    grid = praatio.Textgrid()
    grid.addTier(praatio.IntervalTier("t", entries, 0, at))
    grid.save(str(path), form, includeBlankSpaces=True)
    (transcript,) = praat.parse(path, "a", ReadOptions("cs"), Quarantine())
    got = [(a.start_s, a.end_s, a.text) for a in transcript.tiers[0].annotations]
    assert got == entries


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6), form=st.sampled_from(FORMS))
def test_what_praat_writes_is_what_praat_reads(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], form: str
) -> None:
    path = tmp_path_factory.mktemp("grid") / "a.TextGrid"
    grid = call("Create TextGrid", 0.0, float(len(texts)), "t", "")
    for n, text in enumerate(texts, start=1):
        if n < len(texts):
            call(grid, "Insert boundary", 1, float(n))
        call(grid, "Set interval text", 1, n, text)
    call(grid, f"Save as {form} file", str(path))
    again = parselmouth.read(str(path))
    n_intervals = call(again, "Get number of intervals", 1)
    expected = [
        (
            call(again, "Get start time of interval", 1, n),
            call(again, "Get end time of interval", 1, n),
            call(again, "Get label of interval", 1, n),
        )
        for n in range(1, n_intervals + 1)
    ]
    (transcript,) = praat.parse(path, "a", ReadOptions("cs"), Quarantine())
    assert [(a.start_s, a.end_s, a.text) for a in transcript.tiers[0].annotations] == expected
