"""Groups, sides, repeated texts: what stands in train, dev and test, and what leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.data.test_prepare import read_notes, said, sound, texts

from xlasr.data.arrange import MIN_GROUPS
from xlasr.data.prepare import prepare
from xlasr.data.splits import side_of
from xlasr.errors import UsageError


def table(folder: Path, rows: Sequence[Mapping[str, str]], name: str = "t.tsv") -> Path:
    """A table, with a sound for each row that has none yet."""
    folder.mkdir(exist_ok=True)
    for row in rows:
        if not (folder / row["path"]).exists():
            sound(folder / row["path"])
    header = list(rows[0])
    lines = ["\t".join(header), *("\t".join(row[c] for c in header) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    return folder / name


def row(i: int, **cells: str) -> dict[str, str]:
    return {"path": f"{i}.wav", "sentence": f"věta {i}", **cells}


def test_whole_groups_stay_together(tmp_path: Path) -> None:
    rows = [row(i, scene=f"scene {i % 13}") for i in range(60)]
    corpus = prepare(table(tmp_path / "in", rows), tmp_path / "c", language="cs", progress=False)
    for name in corpus.splits:
        assert {side_of(u.group) for u in corpus.split(name)} == {name}
    assert sum(s.groups for s in corpus.card.splits.values()) == 13
    assert corpus.card.warnings == []


def test_repeated_texts_leave_dev_and_test(tmp_path: Path) -> None:
    """Planted: "Ano." on every side, "dobře" on dev and test, "ne" twice within test."""
    by_side: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for i in range(200):
        by_side[side_of(f"g{i}")].append(f"g{i}")
    said_on = [
        *(("train", "Ano."), ("train", "jen trénink"), ("train", "ANO")),
        *(("dev", "ano!"), ("dev", "Dobře."), ("dev", "jen dev")),
        *(("test", "Ano..."), ("test", "dobře"), ("test", "ne"), ("test", "ne")),
    ]
    rows = [row(i, text=t, scene=by_side[side][i % 5]) for i, (side, t) in enumerate(said_on)]
    corpus = prepare(
        table(tmp_path / "in", rows),
        tmp_path / "c",
        language="cs",
        progress=False,
        columns={"text": "text"},
    )
    assert texts(corpus) == {
        "train": ["Ano.", "jen trénink", "ANO"],
        "dev": ["jen dev"],
        "test": ["dobře", "ne", "ne"],
    }
    assert corpus.card.dropped == {
        "dev: text also in train": 1,
        "dev: text also in test": 1,
        "test: text also in train": 1,
    }
    notes = read_notes(corpus)
    assert [(n["record"], n["reason"], n["detail"]) for n in notes] == [
        ("3", "repeated text", "left out of dev: 'ano' is also in train (0)"),
        ("4", "repeated text", "left out of dev: 'dobře' is also in test (7)"),
        ("6", "repeated text", "left out of test: 'ano' is also in train (0)"),
    ]
    # A dropped line leaves no audio behind.
    kept = {u.audio for name in corpus.splits for u in corpus.split(name)}
    assert set((corpus.path / "audio").iterdir()) == kept


def test_speakers_on_both_sides_are_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(i, scene=f"s{i}", client_id="anna" if i % 2 else f"p{i}") for i in range(40)]
    corpus = prepare(table(tmp_path / "in", rows), tmp_path / "c", language="cs")
    (warning,) = corpus.card.warnings
    assert "1 speaker on more than one side (anna)" in warning
    assert "1 speaker on more than one side" in capsys.readouterr().err
    by_speaker = prepare(
        tmp_path / "in" / "t.tsv",
        tmp_path / "d",
        language="cs",
        group_by="speaker",
        progress=False,
    )
    assert by_speaker.card.warnings == []


@pytest.mark.parametrize(
    ("speakers", "folders", "rule"),
    [
        (MIN_GROUPS, 1, "speaker"),
        (MIN_GROUPS - 1, MIN_GROUPS, "parent folder"),
        (MIN_GROUPS - 1, 1, "recording"),
    ],
)
def test_what_a_group_is_when_nobody_says(
    tmp_path: Path, speakers: int, folders: int, rule: str
) -> None:
    rows = [row(i, path=f"f{i % folders}/{i}.wav", speaker=f"sp{i % speakers}") for i in range(30)]
    corpus = prepare(table(tmp_path / "in", rows), tmp_path / "c", language="cs", progress=False)
    assert corpus.card.group_rule == rule
    assert (
        sum(s.groups for s in corpus.card.splits.values())
        == {
            "speaker": speakers,
            "parent folder": folders,
            "recording": 30,
        }[rule]
    )


def test_the_sources_own_splits_win(tmp_path: Path) -> None:
    sides = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    rows = [row(i, split=sides[i], scene=f"s{i % 5}") for i in range(10)]
    corpus = prepare(table(tmp_path / "in", rows), tmp_path / "c", language="cs", progress=False)
    assert {n: len(corpus.split(n)) for n in corpus.splits} == {"train": 6, "dev": 2, "test": 2}
    assert corpus.card.split_rule == "as the source gives it"
    assert "4 groups on more than one side" in corpus.card.warnings[0]
    for side in ("train", "dev", "test"):
        said(tmp_path / "by folder" / side / "a.wav", f"věta {side}")
    corpus = prepare(tmp_path / "by folder", tmp_path / "d", language="cs", progress=False)
    assert texts(corpus) == {side: [f"věta {side}"] for side in ("train", "dev", "test")}


def test_one_recording_only_trains_and_says_so(tmp_path: Path) -> None:
    said(tmp_path / "in" / "a.wav", "jediná")
    corpus = prepare(tmp_path / "in", tmp_path / "c", language="cs", progress=False)
    assert corpus.splits == ["train"]
    why = "is empty: there is only 1 group (recording). More recordings are needed"
    assert corpus.card.warnings == [f"split '{side}' {why}" for side in ("dev", "test")]


def test_an_empty_side_says_what_helps(tmp_path: Path) -> None:
    rows = [row(i, scene="one") for i in range(4)]
    path = table(tmp_path / "in", rows)
    corpus = prepare(path, tmp_path / "c", language="cs", group_by="group", progress=False)
    assert len(corpus.card.warnings) == 2
    told = "only 1 group (group). Choose a finer --group-by"
    assert all(told in warning for warning in corpus.card.warnings)
    path = table(tmp_path / "in", [{**r, "split": "train"} for r in rows])
    corpus = prepare(path, tmp_path / "d", language="cs", progress=False)
    assert len(corpus.card.warnings) == 2
    assert all("the source gives its own sides" in warning for warning in corpus.card.warnings)


def test_a_column_that_is_read_as_a_field_goes_by_its_name(tmp_path: Path) -> None:
    path = table(tmp_path / "in", [row(i, scene=f"s{i % 5}") for i in range(20)])
    with pytest.raises(UsageError, match="read as speaker or group goes by that name"):
        prepare(path, tmp_path / "c", language="cs", group_by="scene", progress=False)


def test_training_alone_is_no_split(tmp_path: Path) -> None:
    """Somebody's folder, or a data set of the hub, that has only a part for training."""
    for i in range(20):
        said(tmp_path / f"in/train/{i}.wav", f"věta {i}")
        said(tmp_path / f"both/{'train' if i % 2 else 'test'}/{i}.wav", f"věta {i}")
    corpus = prepare(tmp_path / "in", tmp_path / "c", language="cs", progress=False)
    assert corpus.splits == ["train", "dev", "test"]
    corpus = prepare(tmp_path / "both", tmp_path / "d", language="cs", progress=False)
    assert {name: len(corpus.split(name)) for name in corpus.splits} == {"train": 10, "test": 10}
