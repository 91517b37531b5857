"""The verb ``adapt``: a run is begun or gone on with, under a lock, and its cost is kept."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from xlasr import runs
from xlasr.api.opened import Run
from xlasr.config import Recipe, dump_recipe, load_recipe
from xlasr.data.corpus import Corpus
from xlasr.decoding.fusion import extra_lines, keeps_language_model, save_language_model
from xlasr.errors import RunError, TrainingStopped, UsageError
from xlasr.models.catalogue import BUILT_IN
from xlasr.models.heads import turn_to
from xlasr.models.hub import find_base
from xlasr.training.beginning import spoken_corpora
from xlasr.training.metrics import Metrics, Progress
from xlasr.training.planned import plan_stages
from xlasr.training.recipe import check_family, run_stages


def adapt(
    corpus: str | Path | None,
    *,
    base: str = "whisper-tiny.en",
    recipe: str | Recipe = "ctc",
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    seed: int = 0,
    threads: int | None = None,
    resume: str | Path | None = None,
    tensorboard: bool = False,
    convert_bin: bool = False,
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
        convert_bin: Convert a base that has only pickled weights; see ``find_base``.
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
    found = find_base(name, convert_bin=convert_bin)
    if facts and facts["base"]["sha256"] != found.sha256:
        raise RunError(f"{folder} was begun on other weights of {name}; they changed since")
    check_family(plan, found)
    torch.set_num_threads(facts.get("threads") or threads or torch.get_num_threads())
    planned = plan_stages(plan, found, wanted, folder, facts.get("seed", seed))
    if not keeps_language_model(folder):
        extra_lines(plan.decode)  # a text that cannot be read is said now, not after the training
    if not facts:
        facts = _begin(folder, plan, found, wanted, seed)
    with runs.lock(folder):
        progress = Progress(console)
        metrics = Metrics(folder / "metrics.jsonl", folder / "tensorboard" if tensorboard else None)
        began, cpu = time.time(), _cpu_s()
        cost = facts.setdefault("cost", {"cpu_s": 0.0, "wall_s": 0.0, "peak_memory_mb": 0})
        _count_killed(facts, metrics)
        facts["attempt_began"] = began
        facts["corpus"]["path"] = str(wanted.path)  # the same one may have been moved
        facts.pop("stopped", None)
        runs.write(folder, facts)
        try:
            facts["stages"] = run_stages(
                plan, found, planned, folder, seed=facts["seed"], metrics=metrics, progress=progress
            )
            if plan.decode.lm_order:
                model = Run(folder).model
                for spoken in spoken_corpora(planned[-1]):
                    turn_to(model, spoken.language)
                    save_language_model(folder, model, spoken, plan.decode)
        except TrainingStopped as error:
            facts["stopped"] = str(error)
            raise
        finally:
            progress.stop()
            del facts["attempt_began"]
            cost["cpu_s"] = round(cost["cpu_s"] + _cpu_s() - cpu, 1)
            cost["wall_s"] = round(cost["wall_s"] + time.time() - began, 1)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            cost["peak_memory_mb"] = max(cost["peak_memory_mb"], peak)
            runs.write(folder, facts)
    return Run(folder)


def _begin(folder: Path, recipe: Recipe, base: Any, corpus: Corpus, seed: int) -> dict[str, Any]:
    if (folder / "run.json").exists():
        raise RunError(
            f"{folder} holds a run already; go on with --resume {folder}, give another --out, "
            "or remove it"
        )
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give another --out")
    begun = {"recipe.yaml", ".tmp-run.json"}  # what a kill in the lines below leaves
    if folder.exists() and any(path.name not in begun for path in folder.iterdir()):
        raise RunError(f"{folder} is not empty and no run; give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    name = base.name
    if name not in BUILT_IN and Path(name).is_dir():
        name = str(Path(name).absolute())  # the run is opened from other folders too
    facts = {
        "recipe": recipe.name,
        "base": {"name": name, "sha256": base.sha256, "model_type": base.model_type},
        "corpus": {"path": str(corpus.path), "sha256": corpus.sha256},
        "language": corpus.card.language,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "environment": runs.environment(),
    }
    runs.write(folder, facts)
    return facts


def _count_killed(facts: dict[str, Any], metrics: Metrics) -> None:
    """Add what an attempt had used that was killed before it could write its cost."""
    began = facts.get("attempt_began")
    if began is not None:
        clocks = [row["time"] for row in metrics.rows() if row["time"]["unix"] >= began]
        last = max(clocks, key=lambda clock: clock["unix"], default={"unix": began, "cpu_s": 0.0})
        facts["cost"]["cpu_s"] = round(facts["cost"]["cpu_s"] + last["cpu_s"], 1)
        facts["cost"]["wall_s"] = round(facts["cost"]["wall_s"] + last["unix"] - began, 1)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
