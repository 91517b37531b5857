"""Run a recipe: stage after stage, each a folder that can be resumed and reused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xlasr.adaptation.lora import merged_state
from xlasr.adaptation.trainable import Trainable, count_trainable, make_trainable
from xlasr.adaptation.vocabulary import cut_to_text, extend_to_text
from xlasr.config import Recipe, Stage
from xlasr.data import cache_dir
from xlasr.data.corpus import Corpus
from xlasr.data.text import normalise
from xlasr.errors import ConfigError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Context
from xlasr.models.hub import Base
from xlasr.models.run import SpeechModel, from_base, load_model, save_model
from xlasr.models.tokenizer import CharTokenizer
from xlasr.training.development import Development
from xlasr.training.engine import Trainer
from xlasr.training.frozen import FrozenCache
from xlasr.training.metrics import Metrics, Progress
from xlasr.training.sets import TrainingSet, drop_unusable, open_set

STAGE_FORMAT = 1
FROZEN_CACHE_BYTES = 8 << 30


@dataclass
class StageRun:
    """Where a stage lives and what it depends on."""

    stage: Stage
    folder: Path
    key: str
    corpora: list[Corpus]


def plan_stages(
    recipe: Recipe, base: Base, main: Corpus, folder: Path, seed: int
) -> list[StageRun]:
    """Open every corpus of the recipe and give each stage its folder and content hash.

    Raises:
        ConfigError: Corpora that cannot be opened; all of them.
    """
    problems: list[str] = []
    planned: list[StageRun] = []
    keys = {"base": base.sha256}
    for number, stage in enumerate(recipe.stages):
        corpora: list[Corpus] = []
        for settings in stage.data:
            if settings.path == "main":
                corpora.append(main)
                continue
            try:
                corpora.append(Corpus.open(settings.path))
            except Exception as error:
                problems.append(f"stage {stage.name!r}: {error}")
        content = {
            "format": STAGE_FORMAT,
            "stage": stage.model_dump(mode="json", exclude={"name"}),
            "family": recipe.family,
            "context": recipe.context.model_dump(),
            "init": keys[stage.init],
            "data": [c.sha256 for c in corpora],
            "language": main.card.language,
            "seed": seed,
            "threads": torch.get_num_threads(),
        }
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        keys[stage.name] = key
        planned.append(StageRun(stage, folder / "stages" / f"{number}-{stage.name}", key, corpora))
    if problems:
        raise ConfigError(recipe.name, problems)
    return planned


def run_stages(
    recipe: Recipe,
    base: Base,
    planned: Sequence[StageRun],
    folder: Path,
    *,
    seed: int,
    metrics: Metrics,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Run the stages that are not finished; link ``model`` to the last one's.

    Returns:
        One summary a stage.
    """
    summaries = []
    folders: dict[str, Path] = {}
    for run in planned:
        if not _finished(run) and not _reuse(run, progress):
            _run_stage(recipe, base, run, folders, seed, metrics, progress)
        folders[run.stage.name] = run.folder
        summaries.append(json.loads((run.folder / "summary.json").read_text(encoding="utf-8")))
    link = folder / "model"
    if not link.exists():
        link.symlink_to((planned[-1].folder / "model").relative_to(folder))
    return summaries


def _finished(run: StageRun) -> bool:
    path = run.folder / "artefact.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["key"] == run.key


def _known(key: str) -> Path:
    return cache_dir() / "stages" / f"{key}.json"


def _reuse(run: StageRun, progress: Progress) -> bool:
    """Copy the result of an equal stage of an earlier run, if it still lies where it was."""
    pointer = _known(run.key)
    if not pointer.exists():
        return False
    source = Path(json.loads(pointer.read_text(encoding="utf-8"))["folder"])
    other = StageRun(run.stage, source, run.key, run.corpora)
    if source == run.folder or not _finished(other) or not (source / "model").is_dir():
        return False
    run.folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source / "model", run.folder / "model", dirs_exist_ok=True)
    for name in ("summary.json", "artefact.json"):
        shutil.copyfile(source / name, run.folder / name)
    progress.note(f"{run.stage.name}: already computed in {source.parent.parent.name}, reused")
    return True


def build_model(
    recipe: Recipe,
    base: Base,
    run: StageRun,
    folders: dict[str, Path],
    sets: Sequence[TrainingSet],
    seed: int,
) -> SpeechModel:
    """The stage's model before training: weights of its ``init``, its vocabulary."""
    stage = run.stage
    texts = [text for data in sets for text in data.texts()]
    for path in stage.output.extra_text:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        texts += [normalise(line, stage.output.text) for line in lines if line.strip()]
    settings = recipe.context
    context = Context(settings.slack, settings.multiple)
    language = run.corpora[0].card.language
    torch.manual_seed(seed)
    model: SpeechModel
    if stage.init == "base":
        alphabet = CharTokenizer.from_texts(texts) if recipe.family == "ctc" else None
        model = from_base(
            base, recipe.family, context=context, language=language, alphabet=alphabet
        )
    else:
        model = load_model(folders[stage.init] / "model")
        if stage.output.mode == "replace" and isinstance(model, CTCModel):
            model.tokenizer = CharTokenizer.from_texts(texts)
            model.head = torch.nn.Linear(model.encoder.dim, len(model.tokenizer))
    if stage.output.mode == "cut":
        cut_to_text(model, texts)
    elif stage.output.mode == "extend":
        extend_to_text(model, texts)
    model.info.update(language=language, text=stage.output.text)
    return model


def _run_stage(
    recipe: Recipe,
    base: Base,
    run: StageRun,
    folders: dict[str, Path],
    seed: int,
    metrics: Metrics,
    progress: Progress,
) -> None:
    stage = run.stage
    run.folder.mkdir(parents=True, exist_ok=True)
    form = stage.output.text
    sets = [
        open_set(corpus.split("train"), form, settings.minutes)
        for corpus, settings in zip(run.corpora, stage.data, strict=True)
    ]
    model = build_model(recipe, base, run, folders, sets, seed)
    slowest = min(stage.augment.speed)
    sets = [drop_unusable(data, model, slowest) for data in sets]
    dev_set = drop_unusable(open_set(run.corpora[0].split("dev"), form), model, 1.0)
    unseen = model.tokenizer.unknown(dev_set.texts())
    torch.manual_seed(seed)
    trainable = make_trainable(model, stage.train)
    cache = _cache_for(model, trainable, stage, base, run)
    trainer = Trainer(
        model,
        trainable,
        stage,
        sets,
        Development(dev_set, stage.evaluate.seconds),
        run.folder,
        seed=seed,
        full_share=recipe.context.full_share,
        metrics=metrics,
        progress=progress,
        cache=cache,
    )
    if unseen:
        trainer.guards.tell(
            "unseen_letters",
            0,
            "dev has letters that training never saw: "
            + ", ".join(f"{c!r} x{n}" for c, n in unseen.items()),
            "they count as errors; check the transcripts (NFC, look-alikes)",
        )
    for data in sets:
        for why, count in data.left_out.items():
            progress.note(f"{stage.name}: left out {count} clips of train: {why}")
    summary = trainer.run()
    chosen = trainer.load_result()
    summary.update(
        result=chosen,
        dev_cer=trainer.state.best_cer,
        trainable_parameters=count_trainable(model),
        parameters=sum(p.numel() for p in model.parameters()),
        train_minutes=round(float(sum(s.durations_s.sum() for s in sets)) / 60, 1),
        train_clips=sum(len(s.rows) for s in sets),
    )
    _write_result(model, run, base, folders, summary)


def _cache_for(
    model: SpeechModel, trainable: Trainable, stage: Stage, base: Base, run: StageRun
) -> FrozenCache | None:
    """A cache of frozen states, where the trained part begins behind frozen layers."""
    augment = stage.augment
    layer = trainable.frozen_layers
    whole_only = model.encoder.max_positions is None
    if layer < 1 or (whole_only and layer < model.encoder.n_layers):
        return None
    if augment.speed != [1.0] or augment.noise is not None or augment.spec is not None:
        return None  # the input changes from epoch to epoch
    key = {
        "weights": [base.sha256, stage.init, run.key if stage.init != "base" else ""],
        "layer": layer,
        "precision": stage.optim.precision,
        "corpora": [c.sha256 for c in run.corpora],
        "minutes": [d.minutes for d in stage.data],
    }
    return FrozenCache(cache_dir() / "frozen", key, layer, FROZEN_CACHE_BYTES)


def _write_result(
    model: SpeechModel,
    run: StageRun,
    base: Base,
    folders: dict[str, Path],
    summary: dict[str, Any],
) -> None:
    """Write model, summary and key; the key comes last and makes the stage finished."""
    temporary = run.folder / ".tmp-model"
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir()
    configs = base.folder if run.stage.init == "base" else folders[run.stage.init] / "model"
    state = merged_state(model) if model.adapter is not None else None
    save_model(model, temporary, configs, state)
    final = run.folder / "model"
    if final.exists():
        shutil.rmtree(final)
    os.rename(temporary, final)
    (run.folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    (run.folder / "artefact.json").write_text(json.dumps({"key": run.key}), encoding="utf-8")
    pointer = _known(run.key)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.write_text(json.dumps({"folder": str(run.folder.resolve())}), encoding="utf-8")


def check_family(recipe: Recipe, base: Base) -> None:
    """Refuse a base that has no such family, before any data is read.

    Raises:
        UsageError: With the recipes that would fit.
    """
    if recipe.family not in base.families:
        raise UsageError(
            f"recipe {recipe.name!r} needs a base of family {recipe.family!r}; {base.name} is a "
            f"{base.model_type} model and serves {', '.join(base.families)}. Use a recipe of that "
            "family (xlasr recipes), or a Whisper base"
        )
