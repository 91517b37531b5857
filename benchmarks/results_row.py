"""Print the row of docs/RESULTS.md for finished, evaluated runs.

    python benchmarks/results_row.py RUN [RUN ...] [--split test]

Every number comes from the run's own files; nothing is typed by hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Literal

from study import in_per_cent
from xlasr.scoring import Score, rate_interval

HEADER = (
    "| run | what | seed | commit | trainable | updates | CPU-s | peak MB "
    "| dev CER | WER | CER | base CER |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def cell(score: Score, metric: Literal["wer", "cer"]) -> str:
    """A rate with its 95 % interval, in per cent."""
    return in_per_cent(rate_interval(score, metric))


def row(run: Path, split: str) -> str:
    """One table row."""
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    found = json.loads((run / "evaluations" / f"{split}.json").read_text(encoding="utf-8"))
    adapted = Score.from_dict(found["adapted"])
    base = "-" if found["base"] is None else f"{100 * Score.from_dict(found['base']).cer:.1f}"
    last = facts["stages"][-1]
    updates = sum(stage["updates"] for stage in facts["stages"])
    fields = [
        run.name,
        f"{facts['recipe']} on {last['train_minutes']} min {facts['language']}",
        facts["seed"],
        facts["environment"]["commit"],
        f"{last['trainable_parameters']:,}",
        updates,
        f"{facts['cost']['cpu_s']:.0f}",
        facts["cost"]["peak_memory_mb"],
        f"{100 * last['dev_cer']:.1f}",
        cell(adapted, "wer"),
        cell(adapted, "cer"),
        base,
    ]
    return "| " + " | ".join(str(f) for f in fields) + " |"


def main() -> None:
    """Print header and rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--split", default="test")
    given = parser.parse_args()
    print(HEADER)
    for run in given.runs:
        print(row(run, given.split))


if __name__ == "__main__":
    main()
