"""``benchmarks/study.py``: what is there is taken only for the cell that it is of."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
from benchmarks.study import run_cell


def test_a_run_of_another_cell_is_no_result(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    def cell(updates: int, seed: int = 0) -> Path:
        stage = small.stage("ctc", stop={"updates": updates})
        plan = small.recipe("ctc", stage)
        return run_cell(tmp_path / "c", speech, plan, [], base=str(whisper_dir), seed=seed).folder

    first = cell(2)
    made = (first / "model/model.safetensors").stat().st_mtime_ns
    assert cell(2) == first
    assert (first / "model/model.safetensors").stat().st_mtime_ns == made
    with pytest.raises(SystemExit, match=r"another cell: stages.0.stop.updates 2, not 3\. Give"):
        cell(3)
    with pytest.raises(SystemExit, match="another cell: seed 0, not 1"):
        cell(2, seed=1)
