"""What a recipe needs, opened before anything is trained; each stage's folder and content hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from xlasr.config import CorpusSettings, Recipe, Stage
from xlasr.config.corpora import KINDS_OF_DATA
from xlasr.data.corpus import Corpus
from xlasr.data.parallel import ParallelText, read_lines, read_pairs
from xlasr.data.phones import FORM, check_phones
from xlasr.data.synthesis import espeak_version
from xlasr.data.translation import translated
from xlasr.errors import ConfigError, XlasrError
from xlasr.features.conditions import open_condition
from xlasr.files import sha256
from xlasr.models.hub import SELF_SUPERVISED, Base
from xlasr.training.artefacts import STAGE_FORMAT, StageRun
from xlasr.training.lists import list_key, list_problems
from xlasr.training.references import aligner_key, aligner_problems


def plan_stages(
    recipe: Recipe, base: Base, main: Corpus, folder: Path, seed: int
) -> list[StageRun]:
    """Open every corpus of the recipe and give each stage its folder and content hash.

    Raises:
        ConfigError: Corpora and files that cannot be used, settings that do not fit; all of them.
    """
    problems: list[str] = []
    planned: list[StageRun] = []
    keys = {"base": base.sha256}
    for number, stage in enumerate(recipe.stages):
        data: list[Corpus | ParallelText] = []
        for settings in stage.data:
            try:
                opened = main if settings.path == "main" else _open(settings)
                # the command's corpus under its path is not another one; its text alone is
                same = isinstance(opened, Corpus) and opened.sha256 == main.sha256
                data.append(main if same else opened)
            except (XlasrError, OSError) as error:
                problems.append(f"stage {stage.name!r}: {error}")
        run = StageRun(stage, folder / "stages" / f"{number}-{stage.name}", "", data, main)
        family = recipe.family_of(stage)
        found = _problems(run) + list_problems(stage, family, base)
        problems += [f"stage {stage.name!r}: {p}" for p in found]
        content = {
            "format": STAGE_FORMAT,
            "stage": _without_folders(stage, data, main),
            "family": family,
            "context": recipe.context.model_dump(exclude_none=True),
            "init": keys[stage.init],
            "data": [d.sha256 for d in data],
            "language": run.dev.card.language,
            "seed": seed,
            "threads": torch.get_num_threads(),
        }
        # a stage of another family has neither, and is the same whatever they are
        if recipe.transducer is not None and family == "transducer":
            content["transducer"] = recipe.transducer.model_dump()
        if recipe.decoder is not None and family == "seq2seq":
            content["decoder"] = recipe.decoder.model_dump()
        if not problems and (kept := [o.corpus for o in stage.objectives if o.corpus]):
            content["kept"] = [Corpus.open(path).sha256 for path in kept]
        if stage.augment.spec is not None and base.model_type in SELF_SUPERVISED:
            content["spec"] = "masks positions"  # it was not applied before
        if recipe.prompt_language is not None:
            content["prompt_language"] = recipe.prompt_language
        elsewhere = stage.needs_text and main not in data
        if any(isinstance(d, ParallelText) for d in data) or run.dev not in data or elsewhere:
            content["main"] = main.sha256  # its dev steers, its texts are left out, its mean is fed
        if stage.output.text == FORM and not problems:
            content["phones"] = espeak_version()
        if stage.output.extra_text:
            content["extra_text"] = [_file_sha256(path) for path in stage.output.extra_text]
        content |= {**aligner_key(stage), **list_key(stage)} if not problems else {}
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        keys[stage.name] = key
        planned.append(replace(run, key=key))
    if problems:
        raise ConfigError(recipe.name, problems)
    return planned


def _without_folders(
    stage: Stage, data: Sequence[Corpus | ParallelText], main: Corpus
) -> dict[str, Any]:
    """The settings of a stage; its corpora are told by what they hold, wherever they lie."""
    settings = stage.model_dump(mode="json", exclude={"name", "family"})
    for entry, opened in zip(settings["data"], data, strict=False):  # those that cannot be opened
        (kind,) = (kind for kind in KINDS_OF_DATA if entry[kind] is not None)
        entry[kind] = "main" if opened is main else ""
    for objective in settings["objectives"]:
        objective["corpus"] = None
    return settings


def _open(settings: CorpusSettings) -> Corpus | ParallelText:
    if settings.pairs is not None:
        return read_pairs(settings.pairs)
    if settings.text is not None:
        return read_lines(settings.text)
    return Corpus.open(settings.path or "main")


def _problems(run: StageRun) -> list[str]:
    """What would end a stage hours later, found before the first one begins."""
    stage, corpora = run.stage, [d for d in run.data if isinstance(d, Corpus)]
    if len(corpora) < len(run.data) and stage.train.text_input == "mean":
        corpora.append(run.main)
    found = [f"{c.path} has no train split" for c in corpora if "train" not in c.splits]
    by_language = stage.output.heads == "by_language"
    if by_language and run.corpora and "dev" not in run.corpora[0].splits:
        found.append(f"{run.corpora[0].path} has no dev split, and its language has its own head")
    elif len(run.data) == len(stage.data) and "dev" not in run.dev.splits:
        found.append(f"{run.dev.path} has no dev split; the best weights are chosen on it")
    if len(run.data) == len(stage.data):
        targets = [entry.target for entry in stage.data]
        asked = [(c, "train", t) for c, t in zip(run.data, targets, strict=True)]
        for c, side, target in [*asked, (run.dev, "dev", run.target)]:
            try:
                if isinstance(c, Corpus) and side in c.splits:
                    translated(c.split(side), target)
            except XlasrError as error:
                found.append(str(error))
    found += [
        f"{c.path} has no transcripts, and {', '.join(o.kind for o in stage.objectives)} needs them"
        for c in corpora
        if stage.needs_text and not c.card.is_transcribed
    ]
    for objective in stage.objectives:
        try:
            if objective.corpus and "train" not in Corpus.open(objective.corpus).splits:
                found.append(f"ewc: {objective.corpus} has no train split")
        except (XlasrError, OSError) as error:
            found.append(f"ewc: {error}")
    found += aligner_problems(stage)
    for kind in stage.augment.codec.kinds if stage.augment.codec else []:
        try:
            open_condition(kind)
        except XlasrError as error:
            found.append(f"augment.codec: {error}")
    if stage.output.text == FORM:
        for language in sorted({c.language for c in run.corpora}):
            try:
                check_phones(language)
            except XlasrError as error:
                found.append(f"output.text phones: {error}")
    for path in stage.output.extra_text:
        try:
            Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            found.append(f"output.extra_text: cannot read {path} as UTF-8 ({error})")
    return found


def _file_sha256(path: str) -> str:
    try:
        return sha256(Path(path))
    except OSError:
        return ""  # reported by _problems
