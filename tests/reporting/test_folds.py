"""Runs on the folds of a corpus, pooled: sums by group, paired where the folds are the same."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import xlasr
from xlasr.data.splits import assign
from xlasr.errors import DataError, UsageError
from xlasr.reporting.compare.folds import pool_folds
from xlasr.reporting.compare.page import figures_of, render
from xlasr.reporting.compare.rows import read_rows
from xlasr.reporting.compare.table import compare_rows
from xlasr.reporting.compare.terminal import show_comparison
from xlasr.scoring import paired, rate_interval, score, werr

from .planted import heard, run_at
from .test_html import Page

SCENES = [f"s{i}" for i in range(40)]


def fold(number: int, of: int = 3) -> tuple[dict[str, str], str]:
    """Lines of the test side of a fold, by the rule that ``xlasr prepare`` uses, and the rule."""
    sides, rule = assign(SCENES, fold=f"{number}/{of}" if number > 1 else None)
    scenes = [scene for scene, side in sides.items() if side == "test"]
    return {f"{s}.{i}": f"dobrý den pane číslo {i}" for s in scenes for i in range(3)}, rule


def fold_run(folder: Path, number: int, wrong: int, **more: Any) -> Path:
    said, rule = fold(number)
    facts: dict[str, Any] = {"split_rule": rule, "source": "planted", **more}
    return run_at(folder, wrong, said=said, split_sha256=f"{number}" * 64, **facts)


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two methods on three folds."""
    lora = {"name": "lora"}
    return [
        *(fold_run(tmp_path / f"ctc{n}", n, 3 * n, minutes=10.0 * n) for n in (1, 2, 3)),
        *(fold_run(tmp_path / f"lora{n}", n, n, recipe=lora, trained=9) for n in (3, 1, 2)),
    ]


def pooled(wrong: tuple[int, ...]) -> Any:
    said: dict[str, str] = {}
    told: dict[str, str] = {}
    for number, count in enumerate(wrong, 1):
        lines, _ = fold(number)
        said |= lines
        told |= heard(count, lines)
    return score(said, told, {key: key.split(".")[0] for key in said})


def test_the_pool_is_the_score_of_all_folds(runs: list[Path], tmp_path: Path) -> None:
    found = xlasr.compare(runs, folds=True, out=tmp_path / "out")
    ctc, lora = (result.row for result in found.results)
    assert (ctc.label, lora.label) == ("ctc (3 folds)", "lora (3 folds)")
    assert ctc.folds == ("ctc1", "ctc2", "ctc3") and set(lora.folds) == {"lora1", "lora2", "lora3"}
    ours, theirs = pooled((3, 6, 9)), pooled((1, 2, 3))
    assert ctc.score.words == ours.words and lora.score.words == theirs.words
    assert len(ctc.score.per_group("wer")[0]) == len(ours.per_group("wer")[0]) > 20
    for result, expected in zip(found.results, (ours, theirs), strict=True):
        assert result.rates["wer"] == rate_interval(expected, "wer")
    versus = {row.metric: row for row in found.results[1].versus}
    assert versus["wer"].paired == paired(ours, theirs, "wer")
    everything = pooled((20, 20, 20))
    assert found.results[0].reduction == werr(everything, ours, "wer")
    assert (ctc.minutes, ctc.wall_s, ctc.peak_memory_mb) == (20.0, 120.0, 900)
    cells = list(csv.DictReader(io.StringIO((tmp_path / "out" / "compare.csv").read_text("utf-8"))))
    assert [row["folds"] for row in cells] == ["3", "3"]
    assert float(cells[1]["p_wer_against_ctc (3 folds)"]) == paired(ours, theirs, "wer").p_value
    words = Page((tmp_path / "out" / "compare.html").read_text("utf-8")).words
    for told in ("2 methods on test, pooled over folds", "3 folds: ctc1, ctc2, ctc3",
                 "share training speech", "Each fold was trained on other texts",
                 "folds have one each"):  # fmt: skip
        assert told in words, told
    out = io.StringIO()
    show_comparison(Console(file=out, width=80), found)
    assert "test of 3 folds:" in out.getvalue() and "ctc (3 folds)" in out.getvalue()


def test_methods_with_other_folds_are_shown_and_not_paired(runs: list[Path]) -> None:
    found = xlasr.compare([*runs[:3], *runs[4:]], folds=True)  # lora has two of the three
    ctc, lora = found.results
    assert lora.row.label == "lora (2 folds)" and lora.versus == ()
    assert lora.reduction is not None and ctc.reduction is not None  # each over its own base
    assert found.base is None and any("no paired test" in note for note in found.notes)
    assert "Not all are scored on the same speech" in Page(render(found, figures_of(found))).words
    alone = xlasr.compare([*runs[:3], *runs[4:]], folds=True, against=runs[0])
    assert alone.reference_run == "ctc (3 folds)" and alone.results[1].reduction is None


def test_seeds_on_the_same_folds_are_rows_of_one_group(runs: list[Path], tmp_path: Path) -> None:
    again = [fold_run(tmp_path / f"b{n}", n, n, seed=1, minutes=10.0 * n) for n in (1, 2, 3)]
    rows = pool_folds(read_rows([*runs[:3], *again], folds=True))
    assert [row.label for row in rows] == ["ctc (3 folds) ctc1", "ctc (3 folds) b1"]
    (group,) = compare_rows(rows).groups
    assert len(group.rows) == 2


def test_a_seed_for_each_fold_is_one_row(tmp_path: Path) -> None:
    runs = [fold_run(tmp_path / f"r{n}", n, n, seed=n) for n in (1, 2, 3)]
    (row,) = pool_folds(read_rows(runs, folds=True))
    assert len(row.folds) == 3


def test_what_are_no_folds_of_one_corpus_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pooled by --folds"):
        xlasr.compare(runs)
    with pytest.raises(UsageError, match="no two of these 2 runs"):
        xlasr.compare([runs[0], runs[3]], folds=True)
    said, rule = fold(2, of=4)  # of another number of folds: some scenes are in both test sides
    overlap = run_at(
        tmp_path / "other", said=said, split_sha256="f" * 64, split_rule=rule, source="planted"
    )
    with pytest.raises(DataError, match="both tested on the group"):
        xlasr.compare([runs[1], overlap], folds=True)
    stranger = {f"x{i}.1": "dobrý den" for i in range(9)}
    for name, facts in (
        ("source", {"source": "elsewhere", "split_rule": rule}),
        ("rule", {"source": "planted", "split_rule": "given by hand"}),
    ):
        run = run_at(tmp_path / name, said=stranger, split_sha256="e" * 64, **facts)
        with pytest.raises(DataError, match="not of folds of one corpus"):
            xlasr.compare([runs[0], run], folds=True)
    dev = fold_run(tmp_path / "dev", 3, 1, split="dev")
    with pytest.raises(DataError, match="different speech"):
        xlasr.compare([runs[0], dev], folds=True)
