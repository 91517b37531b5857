"""The ways to adapt Whisper, at equal numbers of trained weights, on the same data.

    python benchmarks/adaptation_study.py CORPUS FOLDER [--updates 300] [--minutes 10] [--test]

Every cell is an ordinary run in FOLDER (``xlasr compare FOLDER/*`` draws them): what was begun is
resumed and what is finished is not computed again. Widths and ranks give about 1.57 million trained
weights in whisper-tiny.en (D 384, 4 + 4 layers); the whole model and the decoder are there for
comparison. Checkpoints are chosen on dev; ``--test`` decodes the test split greedily at the end
(``benchmarks/results_row.py FOLDER/*`` prints the rows).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ALL = '["q_proj","k_proj","v_proj","out_proj","fc1","fc2"]'
CELLS: dict[str, list[str]] = {
    "full": ["train.part=full", "optim.lr=1e-4"],
    "decoder": ["train.part=head", "optim.lr=1e-4"],
    "encoder-adapters": ["train.part=adapter", "train.adapter={width: 512, where: encoder}"],
    "decoder-adapters": ["train.part=adapter", "train.adapter={width: 512, where: decoder}"],
    "both-adapters": ["train.part=adapter", "train.adapter={width: 256, where: both}"],
    "lora-qv": ["train.part=lora", 'train.lora={r: 85, alpha: 170, targets: ["q_proj","v_proj"]}'],
    "lora-all": ["train.part=lora", f"train.lora={{r: 23, alpha: 46, targets: {ALL}}}"],
    "rslora-all": [
        "train.part=lora",
        f"train.lora={{r: 23, alpha: 9.6, rslora: true, targets: {ALL}}}",
    ],
    "dora-all": ["train.part=lora", f"train.lora={{r: 23, alpha: 46, dora: true, targets: {ALL}}}"],
    **{
        f"lora-r{r}": ["train.part=lora", f"train.lora={{r: {r}, alpha: {2 * r}, targets: {ALL}}}"]
        for r in (8, 64, 192, 384)
    },
}
RATES = {"adapters": "1e-3", "lora": "3e-4", "dora": "3e-4", "rslora": "3e-4"}
"""Peak rates, unless ``--lr`` says otherwise."""


def rate_of(name: str) -> list[str]:
    """The setting of a cell's rate, where it has none of its own."""
    found = [rate for key, rate in RATES.items() if key in name]
    return [f"optim.lr={found[0]}"] if found else []


def run_cell(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Run, resume or read one cell; returns its row."""
    from xlasr import api
    from xlasr.config import DecodeSettings

    settings = [*CELLS[name], *rate_of(name), f"stop.updates={given.updates}"]
    settings += [f"evaluate.every={given.every or given.updates}"]
    if given.lr:
        settings.append(f"optim.lr={given.lr}")
    if given.minutes:
        settings.append(f"data=[{{minutes: {given.minutes}}}]")
    label = "-".join([name, str(given.updates), *([f"lr{given.lr}"] if given.lr else [])])
    label += f"-{given.minutes:g}min" if given.minutes else ""
    folder = given.folder / f"{label}-seed{given.seed}"
    if (folder / "model").exists():
        run = api.open_run(folder)
    elif (folder / "run.json").exists():
        run = api.adapt(None, resume=folder)
    else:
        run = api.adapt(
            given.corpus,
            recipe="whisper-full",
            out=folder,
            overrides=[f"adapt.{s}" for s in settings],
            seed=given.seed,
            threads=given.threads,
        )
    summary, cost = run.summaries[-1], run.facts["cost"]
    row = {
        "cell": label,
        "seed": given.seed,
        "commit": run.facts["environment"]["commit"],
        "trained": summary["trainable_parameters"],
        "cpu_s": cost["cpu_s"],
        "peak_mb": cost["peak_memory_mb"],
        "dev_cer": round(100 * summary["dev_cer"], 1),
    }
    if given.test and not (folder / "evaluations" / "test.json").exists():
        run.evaluate(split="test", with_base=False, decode=DecodeSettings())
    return row


def main() -> None:
    """Run the cells that are asked for and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--every", type=int, help="updates between looks at dev; None: the end")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--lr")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--only", action="append", choices=list(CELLS))
    given = parser.parse_args()
    for name in given.only or CELLS:
        row = run_cell(name, given)
        print(json.dumps(row), flush=True)
        with (given.folder / "rows.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
