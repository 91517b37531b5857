"""What sound without transcripts is worth to a small model that begins with random weights.

    python benchmarks/ssl_study.py MAIN FOLDER [--more CORPUS ...] [--updates N] [--pretrain N]

* ``random``: the small base, letters only;
* ``ssl``: masked_contrastive on the train sides of MAIN and of every ``--more``, without their
  transcripts, then letters: as many updates of ``ctc``, on the same clips;
* ``ssl-frozen``: as ``ssl``, the convolutions frozen while letters are learnt.

Each with all minutes of MAIN and with ``--minutes`` of it. Every cell is an ordinary run in FOLDER:
what was begun is resumed, what is finished is not computed again, and the cells share their
pretraining through the cache of stages. Greedy dev CER of the last stage is printed: no test side
is looked at. Corpora are mixed by their minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from study import (
    budget,
    check_cells,
    greedily,
    note,
    row_of,
    run_cell,
    study_parser,
    test_scores,
    train_minutes,
)

BASE = Path(__file__).parents[1] / "recipes" / "bases" / "wav2vec2-small"
CELLS = {
    f"{kind}-{minutes}": (kind, minutes)
    for minutes in ("all", "few")
    for kind in ("random", "ssl", "ssl-frozen")
}


def recipe_of(kind: str, minutes: str, given: argparse.Namespace) -> Any:
    """The recipe of a cell: ssl-small with other data and budgets; for ``random`` its end alone."""
    from xlasr.config import load_recipe

    main = train_minutes(given.corpus)
    mix = ["{path: main}"]
    for path in given.more:
        weight = train_minutes(path) / main
        mix.append(f"{{path: {path.absolute()}, weight: {weight:.4f}}}")
    settings = [
        f"pretrain.data=[{', '.join(mix)}]",
        *budget("pretrain", given.pretrain, 200),
        *budget("adapt", given.updates, given.every),
        "adapt.optim.average=1",
    ]
    if minutes == "few":
        settings.append(f"adapt.data=[{{minutes: {given.minutes}}}]")
    settings += given.set
    if kind == "ssl-frozen":
        settings.append("adapt.train.freeze={feature_encoder: true}")
    recipe = greedily(load_recipe("ssl-small", settings))
    if kind == "random":
        alone = recipe.stages[-1].model_copy(update={"init": "base"})
        recipe = recipe.model_copy(update={"stages": [alone]})
    return recipe


def main() -> None:
    """Run the cells that are asked for and print a row for each."""
    parser = study_parser(__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="corpora of other sound")
    parser.add_argument("--updates", type=int, default=3000, help="of ctc, in every cell")
    parser.add_argument("--pretrain", type=int, default=2000, help="updates on sound alone")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the cells called few")
    parser.add_argument("--every", type=int, help="updates between looks at dev; None: the end")
    parser.add_argument("--base", type=Path, default=BASE)
    given = parser.parse_args()
    check_cells(parser, given.only, CELLS)
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.only or CELLS:
        kind, minutes = CELLS[name]
        label = f"{name}-{given.updates}"
        label += "" if kind == "random" else f"-after{given.pretrain}"
        run = run_cell(
            given.folder / f"{label}-seed{given.seed}",
            given.corpus,
            recipe_of(kind, minutes, given),
            [],
            base=str(given.base),
            seed=given.seed,
            threads=given.threads,
        )
        row = row_of(run, label)
        if kind != "random":
            row["pretrain_dev_loss"] = round(run.summaries[0]["dev_loss"], 3)
            row["pretrain_audio_s"] = run.summaries[0]["audio_s"]
        if given.test:
            row |= test_scores(run, [])
        note(given.folder, row)


if __name__ == "__main__":
    main()
