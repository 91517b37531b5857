"""The verbs as functions with typed results: adapt, evaluate, transcribe.

The command line calls these and nothing else; they load torch, so ``import xlasr`` does not
import this module until a verb is used.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from xlasr import runs
from xlasr.config import Recipe, dump_recipe, load_recipe, parse_recipe
from xlasr.data.corpus import Corpus
from xlasr.errors import RunError, UsageError
from xlasr.models.hub import find_base
from xlasr.models.run import SpeechModel, load_model
from xlasr.training.metrics import Metrics, Progress
from xlasr.training.recipe import check_family, plan_stages, run_stages


@dataclass
class Run:
    """A finished (or interrupted) run on disk.

    Args:
        folder: Of the run.
    """

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """``run.json``: recipe, base, corpus, seed, environment, cost."""
        return runs.read(self.folder)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe, every field."""
        import yaml

        path = self.folder / "recipe.yaml"
        return parse_recipe(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))

    @property
    def summaries(self) -> list[dict[str, Any]]:
        """One a finished stage: updates, dev CER, guards, parameters."""
        found: list[dict[str, Any]] = self.facts.get("stages", [])
        return found

    @cached_property
    def model(self) -> SpeechModel:
        """The finished model, in evaluation mode.

        Raises:
            RunError: The run was not finished.
        """
        if not (self.folder / "model").exists():
            raise RunError(
                f"{self.folder} is not finished; go on with `xlasr adapt --resume {self.folder}`"
            )
        return load_model(self.folder / "model")

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Rows of ``metrics.jsonl``."""
        return Metrics(self.folder / "metrics.jsonl").rows()


def open_run(folder: str | Path) -> Run:
    """Open a run folder.

    Raises:
        RunError: It is none.
    """
    run = Run(Path(folder))
    _ = run.facts
    return run


def adapt(
    corpus: str | Path | None,
    *,
    base: str = "whisper-tiny.en",
    recipe: str | Recipe = "whisper-full",
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    seed: int = 0,
    threads: int | None = None,
    resume: str | Path | None = None,
    tensorboard: bool = False,
    console: Console | None = None,
) -> Run:
    """Adapt a base to a corpus with a recipe.

    Args:
        corpus: Corpus folder; with ``resume`` it may be left out.
        base: Built-in name, directory or hub id.
        recipe: Name, YAML file, or a ``Recipe``.
        out: New run folder.
        overrides: ``stage.field=value``.
        seed: Of weights, order, dropout and augmentation.
        threads: CPU threads (a resumed run takes the same number); None is all cores.
        resume: A run folder to go on with, instead of ``out``.
        tensorboard: Also write TensorBoard events (extra ``tensorboard``).
        console: Where progress is shown; None is silent.

    Returns:
        The finished run.

    Raises:
        UsageError, ConfigError: The call or the recipe is wrong.
        DataError, BaseError: Corpus or base cannot be used.
        RunError: The folder is taken, busy, or of another corpus.
        TrainingStopped: A guard ended the training.
        Interrupted: Ctrl-C; the state is saved.
    """
    if resume is not None:
        folder = Path(resume)
        facts = runs.read(folder)
        wanted = Corpus.open(corpus or facts["corpus"]["path"])
        if wanted.sha256 != facts["corpus"]["sha256"]:
            raise RunError(
                f"{folder} was begun on another corpus: {facts['corpus']['path']} had sha256 "
                f"{facts['corpus']['sha256'][:12]}, {wanted.path} has {wanted.sha256[:12]}. "
                "A run goes on with its own data; start a new run for other data"
            )
        plan = Run(folder).recipe
    else:
        if corpus is None or out is None:
            raise UsageError("give a corpus and --out RUN (or --resume RUN)")
        folder = Path(out)
        wanted = Corpus.open(corpus)
        plan = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
        facts = {}
    name = facts.get("base", {}).get("name", base)
    found = find_base(name)
    if facts and facts["base"]["sha256"] != found.sha256:
        raise RunError(f"{folder} was begun on other weights of {name}; they changed since")
    check_family(plan, found)
    torch.set_num_threads(facts.get("threads") or threads or torch.get_num_threads())
    if not facts:
        facts = _begin(folder, plan, found, wanted, seed)
    planned = plan_stages(plan, found, wanted, folder, facts["seed"])
    with runs.lock(folder):
        progress = Progress(console)
        metrics = Metrics(folder / "metrics.jsonl", folder / "tensorboard" if tensorboard else None)
        began, cpu = time.time(), _cpu_s()
        try:
            facts["stages"] = run_stages(
                plan, found, planned, folder, seed=facts["seed"], metrics=metrics, progress=progress
            )
        finally:
            progress.stop()
            cost = facts.setdefault("cost", {"cpu_s": 0.0, "wall_s": 0.0, "peak_memory_mb": 0})
            cost["cpu_s"] = round(cost["cpu_s"] + _cpu_s() - cpu, 1)
            cost["wall_s"] = round(cost["wall_s"] + time.time() - began, 1)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            cost["peak_memory_mb"] = max(cost["peak_memory_mb"], peak)
            runs.write(folder, facts)
    return Run(folder)


def _begin(folder: Path, recipe: Recipe, base: Any, corpus: Corpus, seed: int) -> dict[str, Any]:
    if (folder / "run.json").exists():
        raise RunError(
            f"{folder} holds a run already; go on with --resume {folder}, or give another --out"
        )
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty and no run; give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    facts = {
        "recipe": recipe.name,
        "base": {"name": base.name, "sha256": base.sha256, "model_type": base.model_type},
        "corpus": {"path": str(corpus.path), "sha256": corpus.sha256},
        "language": corpus.card.language,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "environment": runs.environment(),
    }
    runs.write(folder, facts)
    return facts


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
