"""Two hundred damaged files of each format; ``benchmarks/mutated_inputs.py`` takes ten thousand."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path

import pytest
from benchmarks.mutated_formats import FORMATS
from benchmarks.mutated_inputs import damage, read, set_up

from xlasr.data.readers import READERS, rows


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_listed(tmp_path: Path, name: str) -> None:
    """No crash, no hang (two seconds of CPU time), no row that vanishes without a word."""
    format = FORMATS[name]
    folder, work = tmp_path / "in", tmp_path / "work"
    set_up(format, folder)
    rng = random.Random(200)
    outcomes = set()
    for n in range(200):
        content = damage(rng.choice(format.good), rng)
        outcome = read(format, content, folder, work)
        assert outcome != "silent", (n, content)
        outcomes.add(outcome)
    whole = {read(format, content, folder, work) for content in format.good}
    assert outcomes >= {"listed"} | whole


@pytest.mark.parametrize("name", FORMATS)
def test_the_whole_files_are_read(tmp_path: Path, name: str) -> None:
    """And what they must account for is what they have: a count of 0 would see no loss."""
    format = FORMATS[name]
    set_up(format, tmp_path / "in")
    for content in format.good:
        assert read(format, content, tmp_path / "in", tmp_path / "work") in ("read", "listed")
        assert format.rows(content, [], "") >= 1 + (name not in ("lhotse-cuts-gz",))


def test_every_reader_of_files_is_damaged() -> None:
    """But for the fetched sources, whose layout is fixed, synthetic speech, sound alone, video."""
    known = {format.reader for format in FORMATS.values()}
    undamaged = {"fillets", "asterisk", "spoken-text", "fortunes", "recordings"}
    undamaged |= {"lrs3", "voxceleb2", "kinetics"}  # tests/data/readers/test_videos.py
    assert set(READERS) - known == undamaged


@pytest.mark.parametrize("name", ["nemo", "table-tsv", "jsut"])
def test_a_reader_that_skips_a_line_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The check itself: a parser that loses one row of several is "silent"."""
    format = FORMATS[name]
    set_up(format, tmp_path / "in")
    real = rows.read_lines

    def lossy(*args: object, **options: object) -> object:
        return (line for line in real(*args, **options) if line[0] != 2)  # type: ignore[arg-type]

    for module in (rows, import_module(f"xlasr.data.readers.{format.reader}")):
        monkeypatch.setattr(module, "read_lines", lossy, raising=False)
    assert read(format, format.good[0], tmp_path / "in", tmp_path / "work") == "silent"
