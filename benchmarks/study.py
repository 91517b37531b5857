"""Run a study: a table of cells, each an ordinary run of a recipe with other settings.

    python benchmarks/study.py benchmarks/studies/adaptation.yaml CORPUS FOLDER [--only CELL ...]

A table names a recipe, settings of all cells and settings of each. Every cell is a run in FOLDER
(``xlasr compare FOLDER/*`` draws them), so what was begun is resumed and what is finished is not
computed again. Checkpoints are chosen on dev; ``--test`` decodes the test split greedily then,
``--also`` those of other corpora too, ``--dev`` the corpus's dev with cell and base (what steered
may have been another's). ``<language>`` in a setting is the corpus's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from xlasr import api
from xlasr.config import DecodeSettings, Recipe, load_recipe
from xlasr.data.corpus import Corpus
from xlasr.scoring import RateInterval, Score, rate_interval

CORPORA = {tag: f"asterisk-{tag}" for tag in ("en", "es", "fr", "it")}
CORPORA |= {tag: f"fillets-{tag}" for tag in ("nl", "cs")}
"""Folder of each language of the free speech."""


def study_parser(doc: str | None, *, cells: bool = True) -> argparse.ArgumentParser:
    """The options that every study has, ``--only`` where it has named cells; its own are added."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if cells:
        parser.add_argument("--only", nargs="+", action="extend", help="cells; default: all")
    parser.add_argument("--set", action="append", default=[], help="stage.field=value, all cells")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--test", action="store_true", help="decode the test split too, greedily")
    return parser


def check_cells(
    parser: argparse.ArgumentParser, only: list[str] | None, known: Iterable[str]
) -> None:
    """End with the names there are where ``--only`` names another."""
    known = list(known)
    if wrong := sorted(set(only or []) - set(known)):
        parser.error(f"no cell {', '.join(wrong)}; there are: {', '.join(known)}")


def budget(stage: str, updates: int, every: int | None = None) -> list[str]:
    """Settings of a stage's length; without ``every`` dev is looked at once, at the end."""
    looks = min(every or updates, updates)
    return [f"{stage}.stop.updates={updates}", f"{stage}.evaluate.every={looks}"]


def greedily(recipe: Recipe) -> Recipe:
    """The recipe without beam and language model."""
    plain = {"lm_order": 0, "beam": 1, "length_bonus": 0.0}
    return recipe.model_copy(update={"decode": recipe.decode.model_copy(update=plain)})


def train_minutes(corpus: Path) -> float:
    """Minutes of its train side."""
    return Corpus.open(corpus).card.splits["train"].minutes


def in_per_cent(found: RateInterval) -> str:
    """A rate and its interval as they stand in a table."""
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def read_table(path: Path) -> dict[str, Any]:
    """A study's table: ``recipe``, ``set`` (of all cells), ``cells`` (name: settings)."""
    table: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if unknown := set(table) - {"recipe", "base", "set", "cells"}:
        raise SystemExit(f"{path}: unknown keys {sorted(unknown)}; known: recipe, base, set, cells")
    return table


def run_cell(
    folder: Path,
    corpus: Path,
    recipe: str | Recipe,
    settings: list[str],
    *,
    base: str | None = None,
    seed: int = 0,
    threads: int = 1,
) -> api.Run:
    """Run, resume or open one cell.

    Studies may share a folder, and their cells names: what is there is taken only if it was begun
    with this recipe, these settings, corpus and seed.

    Args:
        folder: Of the run.
        corpus: The command's corpus.
        recipe: Name, file, or a recipe that settings alone do not make.
        settings: ``stage.field=value``.
        base: None is the default base.
        seed: Of the run.
        threads: Of PyTorch.
    """
    plan = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, settings)
    given = {"base": base} if base else {}
    if not (folder / "run.json").exists():
        return api.adapt(corpus, recipe=plan, out=folder, seed=seed, threads=threads, **given)
    held = api.open_run(folder)
    if other := _other_cell(held, plan, corpus, seed):
        raise SystemExit(
            f"{folder} is a run of another cell: {other}. Give another folder or --suffix, or "
            "remove that run"
        )
    return held if (folder / "model").exists() else api.adapt(None, resume=folder)


def _other_cell(held: api.Run, plan: Recipe, corpus: Path, seed: int) -> str:
    """In what a run that is there differs from what is asked for; empty: in nothing."""
    told = {"name", "description", "cost", "decode"}  # changes nothing of what was trained
    there, asked = (_leaves(recipe.model_dump(exclude=told)) for recipe in (held.recipe, plan))
    there |= {"corpus": held.facts["corpus"]["sha256"][:12], "seed": held.facts["seed"]}
    asked |= {"corpus": Corpus.open(corpus).sha256[:12], "seed": seed}
    keys = [key for key in {**there, **asked} if there.get(key) != asked.get(key)]
    return "; ".join(f"{key} {there.get(key)!r}, not {asked.get(key)!r}" for key in keys[:4])


def _leaves(tree: Any, at: str = "") -> dict[str, Any]:
    """Every single value of a tree of mappings and lists, by its dotted place."""
    if not isinstance(tree, dict | list):
        return {at: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    inner = [_leaves(value, f"{at}.{key}" if at else str(key)) for key, value in items]
    return {key: value for leaves in inner for key, value in leaves.items()}


def row_of(run: api.Run, label: str) -> dict[str, Any]:
    """What a finished cell has cost and reached on dev."""
    summary, cost = run.summaries[-1], run.facts["cost"]
    return {
        "cell": label,
        "seed": run.facts["seed"],
        "commit": run.facts["environment"]["commit"],
        "trained": summary["trainable_parameters"],
        "minutes": summary["train_minutes"],
        "cpu_s": cost["cpu_s"],
        "peak_mb": cost["peak_memory_mb"],
        "dev_cer": round(100 * summary["dev_cer"], 1),
    }


def stage_costs(run: api.Run) -> dict[str, float]:
    """CPU-seconds of each stage from its first row of metrics to its last, whichever run paid them.

    A stage that was resumed, or computed by another process, begins a new count where it went on.
    """
    spent: dict[str, float] = {}
    last: dict[str, float] = {}
    for row in run.metrics:
        stage, now = row["stage"], row["time"]["cpu_s"]
        spent[stage] = spent.get(stage, 0.0) + max(0.0, now - last.get(stage, now))
        last[stage] = now
    return {stage: round(seconds, 1) for stage, seconds in spent.items()}


def note(folder: Path, row: dict[str, Any]) -> None:
    """Print a row and keep it."""
    print(json.dumps(row), flush=True)
    with (folder / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def dev_scores(run: api.Run) -> dict[str, float]:
    """Greedy CER on dev of the command's corpus, of the cell and of what it began from."""
    done = api.evaluate(run, split="dev", name="dev-greedy", decode=DecodeSettings())
    found = {"dev_cer_of_corpus": done.adapted, "dev_cer_of_base": done.base}
    return {key: round(100 * score.cer, 1) for key, score in found.items() if score is not None}


def test_scores(run: api.Run, also: list[Path]) -> dict[str, str]:
    """Greedy WER and CER with their intervals, on the run's corpus and others; decoded once."""
    found = {}
    for corpus in [None, *also]:
        name = "test-greedy" if corpus is None else f"test-greedy-{corpus.name}"
        saved = run.folder / "evaluations" / f"{name}.json"
        if saved.exists():
            held = json.loads(saved.read_text(encoding="utf-8"))
            scored = Score.from_dict(held["adapted"])
        else:
            greedy = DecodeSettings()
            done = api.evaluate(run, corpus, name=name, with_base=False, decode=greedy)
            scored = done.adapted
        for metric in ("cer", "wer"):
            found[f"{name}_{metric}"] = in_per_cent(rate_interval(scored, metric))
    return found


def main() -> None:
    """Run the cells that are asked for and print a row for each."""
    parser = study_parser(__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suffix", default="", help="of the runs' names, for other settings")
    parser.add_argument("--also", action="append", type=Path, default=[], help="and these corpora")
    parser.add_argument("--dev", action="store_true", help="decode dev of CORPUS, with the base")
    given = parser.parse_args()
    table = read_table(given.table)
    cells: dict[str, list[str]] = table["cells"]
    check_cells(parser, given.only, cells)
    language = Corpus.open(given.corpus).card.language
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.only or cells:
        label = f"{name}{given.suffix}-seed{given.seed}"
        settings = [*table.get("set", []), *cells[name], *given.set]
        settings = [text.replace("<language>", language) for text in settings]
        run = run_cell(
            given.folder / label,
            given.corpus,
            table["recipe"],
            settings,
            base=table.get("base"),
            seed=given.seed,
            threads=given.threads,
        )
        row = row_of(run, label)
        if given.dev:
            row |= dev_scores(run)
        if given.test:
            row |= test_scores(run, given.also)
        note(given.folder, row)


if __name__ == "__main__":
    main()
