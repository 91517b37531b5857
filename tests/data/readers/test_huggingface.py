"""Data sets that ``datasets`` and pyarrow wrote: Parquet, save_to_disk, AudioFolder."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.mutated_inputs import damage
from tests.data.readers.annotated import read, sound

from xlasr.data.audio import decode
from xlasr.data.prepare import prepare
from xlasr.data.readers import guess_reader, huggingface
from xlasr.errors import DataError, UsageError

pytest.importorskip("pyarrow")


def rows(folder: Path, n: int, *, held: bool = True) -> list[dict[str, Any]]:
    """Rows as ``Audio(decode=False)`` gives them."""
    made = []
    for i in range(n):
        path = sound(folder / f"s{i}.flac", 0.4 + i / 10)
        audio = {
            "bytes": path.read_bytes() if held else None,
            "path": path.name if held else str(path),
        }
        made.append({"audio": audio, "sentence": f"věta {i}", "client_id": f"x{i}", "age": i})
    return made


def parquet(path: Path, made: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made), path)
    return path


def test_parquet_with_bytes(tmp_path: Path) -> None:
    made = rows(tmp_path / "sounds", 5)
    made[3]["sentence"] = None
    made[4]["audio"] = {"bytes": None, "path": None}
    for side in ("train", "validation", "test"):
        parquet(tmp_path / f"hub/data/{side}-00000-of-00001.parquet", made)
    assert guess_reader(tmp_path / "hub") == "huggingface"
    result = read("huggingface", tmp_path / "hub", scratch=tmp_path / "scratch")
    assert [r.split for r in result.records] == ["test"] * 3 + ["train"] * 3 + ["dev"] * 3
    first = result.records[0]
    assert (first.text, first.speaker, first.custom) == ("věta 0", "x0", {"age": 0})
    assert [reason for _, reason in result.reasons] == ["missing text", "missing audio"] * 3
    assert result.n_rows == 15
    for i in range(3):
        ours, source = decode(result.records[i].audio), decode(tmp_path / f"sounds/s{i}.flac")
        np.testing.assert_array_equal(ours, source)
    assert len({r.id for r in result.records}) == 9


def test_parts_for_training_alone_leave_the_choice_of_dev_and_test(tmp_path: Path) -> None:
    for shard in range(2):
        parquet(tmp_path / f"hub/data/train-0000{shard}-of-00002.parquet", rows(tmp_path, 2))
    result = read("huggingface", tmp_path / "hub", scratch=tmp_path / "scratch")
    assert [r.split for r in result.records] == [None] * 4
    assert "train-00000-of-00002.parquet: split ours" in result.said


def test_paths_and_given_columns(tmp_path: Path) -> None:
    made = [{**r, "norm": r["sentence"].upper()} for r in rows(tmp_path / "s", 2, held=False)]
    path = parquet(tmp_path / "a.parquet", made)
    assert guess_reader(path) == "huggingface"
    result = read("huggingface", path, columns={"text": "norm", "id": "client_id"})
    assert [(r.id, r.text, r.split) for r in result.records] == [
        ("x0", "VĚTA 0", None), ("x1", "VĚTA 1", None)
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"no column 'nor'. Did you mean 'norm'"):
        read("huggingface", path, columns={"text": "nor"})
    with pytest.raises(DataError, match="cannot tell which column is text"):
        read("huggingface", parquet(tmp_path / "b.parquet", [{"audio": "x", "y": "z"}]))


def test_saved_to_disk_by_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = rows(tmp_path / "sounds", 6)
    # Not Features(...) at once: that would encode, which wants torchcodec.
    whole = datasets.Dataset.from_list(made).cast_column("audio", datasets.Audio(decode=False))
    saved = datasets.DatasetDict(
        train=whole.select([5, 0, 2]), validation=whole.select([3]), test=whole.select([4])
    )
    saved.save_to_disk(tmp_path / "saved", num_shards={"train": 2, "validation": 1, "test": 1})
    assert guess_reader(tmp_path / "saved") == "huggingface"
    result = read("huggingface", tmp_path / "saved", scratch=tmp_path / "scratch")
    assert sorted((r.text, r.split) for r in result.records) == [
        ("věta 0", "train"),
        ("věta 2", "train"),
        ("věta 3", "dev"),
        ("věta 4", "test"),
        ("věta 5", "train"),
    ]
    for record in result.records:
        source = decode(tmp_path / f"sounds/s{record.text[-1]}.flac")
        np.testing.assert_array_equal(decode(record.audio), source)
    whole.save_to_disk(tmp_path / "one")
    corpus = prepare(tmp_path / "one", tmp_path / "out", language="cs", progress=False)
    assert sum(len(corpus.split(side)) for side in corpus.splits) == 6


def test_audio_folder(tmp_path: Path) -> None:
    for side in ("train", "test"):
        sound(tmp_path / side / "a.wav", 0.2)
    lines = [
        {"file_name": "a.wav", "transcription": "Ano", "speaker_id": 3},
        {"file_name": "b.wav"},
    ]
    (tmp_path / "train/metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "test/metadata.csv").write_text(
        'file_name,transcription\na.wav,"Ne, ne"\nb.wav,A\n'
    )
    assert guess_reader(tmp_path) == "huggingface"
    result = read("huggingface", tmp_path)
    assert sorted((r.id, r.text, r.split, r.speaker) for r in result.records) == [
        ("test-a", "Ne, ne", "test", None), ("train-a", "Ano", "train", "3")
    ]  # fmt: skip
    assert sorted(reason for _, reason in result.reasons) == ["missing audio", "missing text"]


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "a.parquet", rows(tmp_path, 1))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'xlasr\[huggingface\]'"):
        read("huggingface", path)


def test_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[tuple[Any, ...]] = []

    def snapshot(name: str, *, repo_type: str, revision: str | None, allow_patterns: Any) -> str:
        asked.append((name, repo_type, revision, "cs/*.parquet" in allow_patterns))
        if revision is None:
            return str(tmp_path / "empty")
        parquet(tmp_path / "hub/cs/train.parquet", rows(tmp_path / "s", 4))
        return str(tmp_path / "hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    name = "owner/name:cs"
    corpus = prepare(name, tmp_path / "out", language="cs", reader="huggingface", progress=False)
    assert corpus.card.source == name
    assert asked == [
        ("owner/name", "dataset", None, True),
        ("owner/name", "dataset", "refs/convert/parquet", True),
    ]

    def unreachable(*_: Any, **__: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(DataError, match="cannot be fetched: no network\nIs the name right"):
        huggingface.fetch(name)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    """Nothing crashes, and a file is read, or stands in the list."""
    import pyarrow

    made = [{"path": "s0.flac", "sentence": f"věta {i}"} for i in range(40)]
    rows(tmp_path, 1)
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        parquet(path, made)
    else:
        table = pyarrow.Table.from_pylist(made)
        with (
            pyarrow.OSFile(str(path), "wb") as file,
            pyarrow.ipc.new_stream(file, table.schema) as w,
        ):
            w.write_table(table, max_chunksize=10)
    whole = path.read_bytes()
    assert len(read("huggingface", path).records) == 40
    rng = random.Random(50)
    outcomes = set()
    for _ in range(50):
        path.write_bytes(damage(whole, rng))
        try:
            result = read("huggingface", path)
        except DataError:
            outcomes.add("refused")
            continue
        assert result.n_rows
        outcomes.add("listed" if len(result.quarantine) else "read")
    assert "listed" in outcomes


def test_rows_lost_in_a_damaged_file_are_counted(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows(tmp_path, 1)
    table = pyarrow.table({"path": ["s0.flac"] * 40, "sentence": [f"věta {i}" for i in range(40)]})
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=20, compression="none")
    group = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(1)
    content = bytearray(path.read_bytes())
    start = group.dictionary_page_offset or group.data_page_offset
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    result = read("huggingface", path)
    assert 0 < len(result.records) < 40 and result.n_rows == 40
