"""Which runs a line of the plots joins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xlasr.reporting.compare.figures import minutes_plot
from xlasr.reporting.compare.rows import read_rows
from xlasr.reporting.compare.table import compare_rows

from .planted import run_at


def test_a_line_joins_runs_that_differ_in_what_they_heard_alone(tmp_path: Path) -> None:
    def plan(lr: float, minutes: float | None, updates: int) -> dict[str, Any]:
        data = [{"path": "main", "minutes": minutes}]
        return {"stages": [{"name": "adapt", "data": data, "lr": lr, "stop": {"updates": updates}}]}

    cells = {"ten": (0.1, 10.0, 40), "all": (0.1, None, 80), "faster": (0.2, 20.0, 40)}
    folders = [
        run_at(tmp_path / name, recipe=plan(*cell), minutes=cell[1] or 60.0)
        for name, cell in cells.items()
    ]
    plot = minutes_plot(compare_rows(read_rows(folders)))
    assert plot is not None
    for axes in plot.figure().axes:
        assert len([t for t in axes.texts if t.arrow_patch is not None]) == 1
