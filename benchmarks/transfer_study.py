"""What does multilingual pretraining give a streaming transducer, and what MinWER?

    python benchmarks/transfer_study.py CORPORA FOLDER [--only CELL ...] [--list] [--test]

CORPORA holds asterisk-en, -es, -fr, -it, fillets-nl and -cs. Every cell is an ordinary run in
FOLDER (``benchmarks/study.py``): what was begun is resumed, what is finished is read, and a cell
that begins where another ends makes that one first. For each TARGET of it, fr, nl, cs:

* ``mono-T``: the recipe transducer-small on the target alone;
* ``pre-T``: transducer-pretrain on the five other languages;
* ``enc-T``, ``full-T``: transducer-transfer from it, the encoder carried over or everything;
* ``low-T``, ``mid-T``, ``up-T``: the encoder without its lowest, middle or highest layers;
* ``mono-minwer-T``, ``enc-minwer-T``: MinWER behind them; ``...-more-T``: as many updates of the
  same loss instead, so that the gain of MinWER is not that of training longer;
* ``whole-T``: mono-T with an encoder that hears the whole clip before it writes.

Of pretraining for Czech: ``mixN``: N % of the audio dialogues (Dutch), the rest prompts, at equal
minutes; ``enc-mixN`` from each; ``near`` (Italian from Spanish and French) and ``far`` (from Dutch
and Czech), at equal minutes. Chosen on dev, ``--test`` decodes test greedily.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from min_wer_study import KINDS, settings_of
from study import (
    CORPORA,
    budget,
    check_cells,
    note,
    row_of,
    run_cell,
    study_parser,
    test_scores,
    train_minutes,
)
from xlasr import api
from xlasr.config import load_recipe

TARGETS = ("it", "fr", "nl", "cs")
PROMPTS = ("en", "es", "fr", "it")
MIXES = (0, 25, 50, 75, 100)
LAYERS = {"low": [0], "mid": [1, 2], "up": [3]}
"""Of whisper-tiny.en's four: which are drawn anew."""


@dataclass(frozen=True)
class Cell:
    """A run.

    Args:
        recipe: Its name.
        target: Language of the command's corpus.
        settings: Of the recipe.
        base: Cell that it begins from; None is the default base.
    """

    recipe: str
    target: str
    settings: list[str] = field(default_factory=list)
    base: str | None = None


def mix_of(corpora: Path, minutes: dict[str, float]) -> str:
    """The ``data`` of a stage: so many minutes of each language, heard in this proportion."""
    first = next(iter(minutes.values()))
    entries = [
        f"{{path: {corpora / CORPORA[tag]}, minutes: {m:.4g}, weight: {m / first:.4g}}}"
        for tag, m in minutes.items()
    ]
    return f"[{', '.join(entries)}]"


def cells(corpora: Path, given: argparse.Namespace) -> dict[str, Cell]:
    """All cells by name."""
    every, lattice = given.every, given.updates
    warm = budget("warm", given.warm, every)
    found: dict[str, Cell] = {}

    def pretrain(name: str, leading: str, minutes: dict[str, float]) -> None:
        mix = mix_of(corpora, minutes)
        length = [*warm, *budget("pretrain", lattice, every)]
        data = [f"warm.data={mix}", f"pretrain.data={mix}"]
        found[name] = Cell("transducer-pretrain", leading, [*length, *data])

    spoken = {tag: train_minutes(corpora / name) for tag, name in CORPORA.items()}
    # as many updates on the target as it has alone
    adapt = budget("adapt", given.warm + lattice, every)
    alone = [*warm, *budget("adapt", lattice, every)]
    for tag in TARGETS:
        found[f"mono-{tag}"] = Cell("transducer-small", tag, alone)
        whole = "context={slack: 16, multiple: 16}"
        found[f"whole-{tag}"] = Cell("transducer-small", tag, [*alone, whole])
        others = {other: m for other, m in spoken.items() if other != tag}
        pretrain(f"pre-{tag}", next(iter(others)), others)
        ways = {"enc": [], "full": ["adapt.output.mode=extend"]}
        for name, layers in LAYERS.items():
            ways[name] = [f"adapt.reset={{encoder: {layers}}}"]
        for name, settings in ways.items():
            way = [*adapt, *settings]
            found[f"{name}-{tag}"] = Cell("transducer-transfer", tag, way, f"pre-{tag}")
        for start in ("mono", "enc"):
            begin = f"{start}-{tag}"
            for kind in KINDS:
                changes = settings_of("transducer", kind, given.more, given.every)
                found[f"{start}-{kind}-{tag}"] = Cell("transducer-min-wer", tag, changes, begin)
    prompts = sum(spoken[tag] for tag in PROMPTS)
    hours = min(spoken["nl"], prompts)
    for share in MIXES:
        inside, outside = hours * share / 100, hours * (100 - share) / 100
        minutes = {"nl": inside} if share else {}
        minutes |= {tag: outside * spoken[tag] / prompts for tag in PROMPTS} if share < 100 else {}
        pretrain(f"mix{share}", next(iter(minutes)), minutes)
        found[f"enc-mix{share}"] = Cell("transducer-transfer", "cs", adapt, f"mix{share}")
    near = min(spoken["es"] + spoken["fr"], spoken["nl"] + spoken["cs"])
    for name, pair in (("near", ("es", "fr")), ("far", ("nl", "cs"))):
        total = sum(spoken[tag] for tag in pair)
        pretrain(name, pair[0], {tag: near * spoken[tag] / total for tag in pair})
        found[f"enc-{name}"] = Cell("transducer-transfer", "it", adapt, name)
    return found


def run_of(name: str, known: dict[str, Cell], given: argparse.Namespace) -> api.Run:
    """The run of a cell; those it begins from are made first."""
    cell = known[name]
    base = None if cell.base is None else str(run_of(cell.base, known, given).folder)
    stages = {stage.name for stage in load_recipe(cell.recipe).stages}
    of_all = [text for text in given.set if text.split(".")[0] in stages]
    return run_cell(
        given.folder / f"{name}-seed{given.seed}",
        given.corpora / CORPORA[cell.target],
        cell.recipe,
        [*cell.settings, *of_all],
        base=base,
        seed=given.seed,
        threads=given.threads,
    )


def updates_to(run: api.Run, cer: float) -> int | None:
    """Updates of the last stage after which dev CER was at most ``cer``."""
    last = run.recipe.stages[-1].name
    looks = [r for r in run.metrics if "dev_cer" in r and r["stage"] == last]
    return next((r["update"] for r in looks if r["dev_cer"] <= cer), None)


def main() -> None:
    """Run the cells that are asked for and print a row for each."""
    parser = study_parser(__doc__)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", action="store_true", help="name the cells and run none")
    parser.add_argument("--warm", type=int, default=400, help="updates of CTC alone")
    parser.add_argument("--updates", type=int, default=600, help="updates of the lattice")
    parser.add_argument("--more", type=int, default=150, help="updates of MinWER, or of more")
    parser.add_argument("--every", type=int, default=100, help="updates between looks at dev")
    given = parser.parse_args()
    given.corpora, given.folder = given.corpora.absolute(), given.folder.absolute()
    known = cells(given.corpora, given)
    check_cells(parser, given.only, known)
    if given.list:
        print("\n".join(known))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.only or known:
        run = run_of(name, known, given)
        row: dict[str, Any] = row_of(run, name)
        alone = given.folder / f"mono-{known[name].target}-seed{given.seed}"
        if (alone / "model").exists() and alone != run.folder:
            best = api.open_run(alone).summaries[-1]["dev_cer"]
            row["updates_to_mono"] = updates_to(run, best)
        if given.test and not name.startswith(("pre-", "mix", "near", "far")):
            row |= test_scores(run, [])
        note(given.folder, row)


if __name__ == "__main__":
    main()
