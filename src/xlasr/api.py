"""The verbs as functions with typed results: adapt, evaluate, transcribe, align, export.

The command line calls these and nothing else; they load torch, so ``import xlasr`` does not
import this module until a verb is used.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from xlasr import runs
from xlasr.alignment.recording import cut_recording, read_transcript
from xlasr.alignment.segment import Matching, Segmentation
from xlasr.config import DecodeSettings, Recipe, dump_recipe, load_recipe
from xlasr.data.corpus import Corpus
from xlasr.decoding.formats import TimedText
from xlasr.decoding.recognise import DecodeOptions
from xlasr.decoding.transcribe import transcribe_file
from xlasr.errors import RunError, TrainingStopped, UsageError, XlasrError
from xlasr.models.catalogue import BUILT_IN
from xlasr.models.hub import find_base
from xlasr.models.run import SpeechModel, load_model
from xlasr.reporting.evaluate import Evaluation, evaluate_model, write_hypotheses
from xlasr.training.metrics import Metrics, Progress
from xlasr.training.recipe import check_family, plan_stages, run_stages


@dataclass
class Run:
    """A finished (or interrupted) run on disk.

    Args:
        folder: Of the run.
    """

    folder: Path
    _options: dict[str, DecodeOptions] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """``run.json``: recipe, base, corpus, seed, environment, cost."""
        return runs.read(self.folder)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe, every field.

        Raises:
            RunError: It is gone or damaged.
        """
        try:
            return load_recipe(str(self.folder / "recipe.yaml"))
        except UsageError as error:
            raise RunError(f"{error}\nPut it back as it was, or start a new run") from error

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

    def options(self, decode: DecodeSettings | None = None) -> DecodeOptions:
        """How the run decodes: its recipe's settings, or those given."""
        from xlasr.decoding.fusion import language_model

        settings = decode or self.recipe.decode
        if settings.length_bonus and self.model.family == "seq2seq":
            raise UsageError("length_bonus is for ctc runs; Whisper's beam normalises by length")
        key = settings.model_dump_json()
        if key not in self._options:  # a language model is built once, not for every recording
            lm = None
            if settings.lm_order:
                corpus = Corpus.open(self.facts["corpus"]["path"])
                lm = language_model(self.model, corpus, settings)
            self._options[key] = DecodeOptions(
                beam=settings.beam,
                lm=lm,
                lm_weight=settings.lm_weight,
                length_bonus=settings.length_bonus,
            )
        return self._options[key]

    def transcribe(
        self, audio: str | Path, *, decode: DecodeSettings | None = None
    ) -> Iterator[TimedText]:
        """Transcribe a recording of any length, segment by segment.

        Raises:
            AudioError: It cannot be decoded.
            RunError: The run was not finished.
        """
        return transcribe_file(self.model, audio, self.options(decode))

    def evaluate(
        self,
        corpus: str | Path | None = None,
        *,
        split: str = "test",
        with_base: bool = True,
        decode: DecodeSettings | None = None,
        console: Console | None = None,
    ) -> Evaluation:
        """Score the model beside its unadapted base; see ``evaluate``."""
        return evaluate(
            self, corpus, split=split, with_base=with_base, decode=decode, console=console
        )


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
    planned = plan_stages(plan, found, wanted, folder, facts.get("seed", seed))
    if not facts:
        facts = _begin(folder, plan, found, wanted, seed)
    with runs.lock(folder):
        progress = Progress(console)
        metrics = Metrics(folder / "metrics.jsonl", folder / "tensorboard" if tensorboard else None)
        began, cpu = time.time(), _cpu_s()
        cost = facts.setdefault("cost", {"cpu_s": 0.0, "wall_s": 0.0, "peak_memory_mb": 0})
        _count_killed(facts, metrics)
        facts["attempt_began"] = began
        facts.pop("stopped", None)
        runs.write(folder, facts)
        try:
            facts["stages"] = run_stages(
                plan, found, planned, folder, seed=facts["seed"], metrics=metrics, progress=progress
            )
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


def evaluate(
    run: Run | str | Path,
    corpus: str | Path | None = None,
    *,
    split: str = "test",
    with_base: bool = True,
    decode: DecodeSettings | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Score a run and its unadapted base on a split; writes ``evaluations/`` and ``report.html``.

    Args:
        run: A finished run.
        corpus: Another corpus than the run's own.
        split: Of the corpus.
        with_base: Decode the base too (once; its transcripts are kept in the cache).
        decode: Other decoding settings than the recipe's; choose them on dev.
        console: Where progress is shown.

    Raises:
        RunError: The run was not finished.
        DataError: No such split, or it is empty.
    """
    from rich.progress import Progress as Bar

    from xlasr.reporting.html import report_of_run

    opened = run if isinstance(run, Run) else open_run(run)
    data = Corpus.open(corpus or opened.facts["corpus"]["path"])
    part = data.split(split)
    try:
        base = find_base(opened.facts["base"]["name"]) if with_base else None
    except XlasrError as error:
        raise RunError(
            f"the base of {opened.folder}: {error} Without it: --no-base (with_base=False)"
        ) from error
    with Bar(console=console or Console(quiet=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def advance(what: str, seconds: float) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=float(part.durations_s.sum()))
            bar.advance(tasks[what], seconds)

        result = evaluate_model(
            opened.model,
            base,
            part,
            opened.options(decode),
            language=opened.facts["language"],
            progress=advance,
        )
    folder = opened.folder / "evaluations"
    folder.mkdir(exist_ok=True)
    settings = (decode or opened.recipe.decode).model_dump(mode="json")
    facts = {
        "corpus": str(data.path),
        "split": split,
        "split_sha256": part.sha256,
        "decode": settings,
        **result.to_dict(),
    }
    (folder / f"{split}.json").write_text(json.dumps(facts, ensure_ascii=False), "utf-8")
    write_hypotheses(folder / f"{split}.tsv", part, result)
    report_of_run(
        opened.folder / "report.html",
        facts=opened.facts,
        recipe=dump_recipe(opened.recipe),
        metrics=opened.metrics,
        card=json.loads(data.card.to_json()),
        evaluation=result,
        decode=settings,
    )
    return result


def export(run: str | Path, out: str | Path, *, format: str = "ct2") -> Path:
    """Export a finished run for another runtime.

    Args:
        run: A finished run.
        out: New folder.
        format: ``ct2`` (CTranslate2, faster-whisper) or ``transformers``.

    Raises:
        UsageError: The family has no such export.
        RunError: The run was not finished.
    """
    from xlasr.export import EXPORTERS

    exporter = EXPORTERS[format]
    opened = open_run(run)
    if opened.model.family != "seq2seq":
        raise UsageError(
            f"format {format!r} takes Whisper runs; {run} is a {opened.model.family} run. Its "
            f"folder {opened.folder / 'model'} holds safetensors and JSON that xlasr opens"
        )
    exporter((opened.folder / "model").resolve(), Path(out))
    return Path(out)


def align(
    run: str | Path, audio: str | Path, text: str | Path, *, unit: str = "line"
) -> Segmentation:
    """Cut a long recording by its transcript (a ``Path`` is a text file), with word times.

    Raises:
        UsageError: The run is no CTC run, or ``unit`` is neither ``line`` nor ``sentence``.
        DataError: Sound or text cannot be read, or nothing of the text is heard.
    """
    content = read_transcript(text) if isinstance(text, Path) else text
    return cut_recording(open_run(run).model, Path(audio), content, Matching(unit=unit))
