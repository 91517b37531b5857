"""What makes two runs of one recipe different, as a comparison tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xlasr.config import Recipe
from xlasr.reporting.compare.rows import read_rows
from xlasr.reporting.compare.table import compare_rows

from .planted import run_at


def test_other_settings_or_decoding_make_another_group(tmp_path: Path) -> None:
    plain = run_at(tmp_path / "plain")
    stage = {"name": "adapt", "data": [{"path": "main", "minutes": None}], "lr": 0.2}
    faster = run_at(tmp_path / "faster", seed=1, recipe={"stages": [stage]})
    greedy = run_at(tmp_path / "greedy", seed=2, decode={"beam": 1})
    found = compare_rows(read_rows([plain, faster, greedy]))
    assert [g.differs for g in found.groups] == ["lr 0.1", "lr 0.2", "lr 0.1"]
    assert "the runs were decoded with different settings (column decoding)" in found.notes


def test_only_what_differs_and_does_something_is_told(tmp_path: Path) -> None:
    def run(name: str, seed: int, without: str = "", **changes: Any) -> Path:
        stage = {"name": "adapt", "objectives": [{"kind": "ctc"}], "stop": {"updates": 9}}
        recipe = Recipe.model_validate(
            {"name": "ctc", "family": "ctc", "stages": [stage | changes]}
        )
        content = recipe.model_dump(mode="json")
        content["stages"][0].pop(without, None)  # as an older xlasr wrote it
        return run_at(tmp_path / name, seed, recipe=content)

    lora = {"part": "lora", "lora": {"r": 8, "alpha": 16}}
    ewc = [{"kind": "ctc"}, {"kind": "ewc", "corpus": "x", "weight": 0.1}]
    found = compare_rows(
        read_rows(
            [
                run("full", 0, without="augment"),
                run("lora", 1, train=lora),
                run("ewc", 2, objectives=ewc),
            ]
        )
    )
    assert [g.differs for g in found.groups] == [
        "train.part full",
        "train.part lora, train.lora.r 8, train.lora.alpha 16.0",
        "train.part full, objectives.1.kind ewc, objectives.1.weight 0.1, objectives.1.corpus x",
    ]
