"""Run a recipe: stage after stage, each a folder that can be resumed and reused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xlasr.adaptation.lora import outnumbering
from xlasr.adaptation.trainable import Trainable, count_trainable, make_trainable
from xlasr.config import Recipe, Stage
from xlasr.data import cache_dir
from xlasr.data.corpus import Corpus
from xlasr.data.phones import FORM
from xlasr.errors import Interrupted, TrainingStopped, UsageError
from xlasr.files import write_text
from xlasr.models.aids import Aided, aids_wanted, set_aids
from xlasr.models.ctc import CTCModel
from xlasr.models.heads import turn_to
from xlasr.models.hub import Base
from xlasr.models.run import SpeechModel
from xlasr.models.whisper_chunks import ChunkedWhisperEncoder
from xlasr.objectives import OBJECTIVES
from xlasr.objectives.ewc import Anchor, make_anchor
from xlasr.training.artefacts import (
    StageRun,
    check_key,
    is_finished,
    read_json,
    reuse,
    write_result,
)
from xlasr.training.beginning import build_model, dev_sets, part_of, training_sets
from xlasr.training.clips import stretches
from xlasr.training.development import Development
from xlasr.training.engine import Trainer
from xlasr.training.frames import measure_frames
from xlasr.training.frozen import FrozenCache
from xlasr.training.lists import with_lists
from xlasr.training.loss import LossOf
from xlasr.training.metrics import Metrics, Progress
from xlasr.training.references import with_references
from xlasr.training.sets import TextSet, TrainingSet, drop_unusable, open_set
from xlasr.training.text_input import set_text_input

FROZEN_CACHE_BYTES = 8 << 30
_PICTURES = ("audiovisual", "bases that know pictures (audiovisual-small, audiovisual-base)")
BASES_OF = {
    "masked_contrastive": ("wav2vec2", "Wav2Vec2-class bases (Wav2Vec2, XLS-R, MMS)"),
    "masked_autoencoder": _PICTURES,
    "contrastive": _PICTURES,
}
"""Objectives that are for one kind of base only."""


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

    Raises:
        Interrupted: Ctrl-C.
        CheckpointError: A stage was begun with other settings, or the disk is full.
        TrainingStopped: A guard gave up.
    """
    summaries = []
    folders: dict[str, Path] = {}
    for run in planned:
        check_key(run)
        if not is_finished(run) and not reuse(run, metrics, progress):
            try:
                _run_stage(recipe, base, run, folders, seed, metrics, progress)
            except KeyboardInterrupt:
                raise Interrupted(
                    "stopped at once; what came after the last checkpoint is computed again. "
                    f"Go on with: xlasr adapt --resume {folder}"
                ) from None
        folders[run.stage.name] = run.folder
        summaries.append(read_json(run.folder / "summary.json"))
    link = folder / "model"
    if not link.exists():
        link.symlink_to((planned[-1].folder / "model").relative_to(folder))
    return summaries


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
    given = training_sets(recipe, run)
    model = build_model(recipe, base, run, folders, given, seed)
    if isinstance(model, Aided):
        bare = stage.init == "base" and base.adapted is None
        kinds = aids_wanted(model, [o.kind for o in stage.objectives])
        for line in set_aids(model, kinds, base.folder if bare else None):
            progress.note(f"{stage.name}: {line}")
    elif "ctc" in kinds_of(stage):
        raise _ctc_beside_own_decoder(stage)
    room = None if stage.needs_text else stage.positions_wanted()
    sets = [
        drop_unusable(
            stretches(data, model, stage),
            model,
            stage.augment.speed,
            positions_wanted=room,
            objectives=stage.objectives,
        )
        for data in given
    ]
    sets = with_references(sets, stage)
    measure_frames(model, sets, run.folder)
    sets = with_lists(sets, stage, model, run.folder, progress)
    judged = dev_sets(run, model)
    torch.manual_seed(seed)
    trained = list(dict.fromkeys(data.part for data in sets if data.part is not None))
    trainable = make_trainable(model, stage.train, trained, has_text=stage.needs_text)
    model.anchor = _anchor(model, trainable, stage)
    set_text_input(model, sets, stage.train.text_input, run.main, run.folder)
    cache = _cache_for(model, trainable, stage, base, run)
    speech = [data for data in sets if not isinstance(data, TextSet)]
    trainer = Trainer(
        model,
        trainable,
        stage,
        sets,
        Development(judged, stage.evaluate.seconds),
        run.folder,
        seed=seed,
        full_share=recipe.context.full_share if speech else 0.0,
        metrics=metrics,
        progress=progress,
        cache=cache,
    )
    _tell(trainer, model, given, judged, run)
    for name, data in [
        *((f"train of {c.path.name}", d) for c, d in zip(run.data, sets, strict=True)),
        *((f"dev of {d.part}" if d.part else "dev", d) for d in judged),
    ]:
        for note in data.notes(name):
            progress.note(f"{stage.name}: {note}")
    try:
        summary = trainer.run()
    except TrainingStopped as error:
        guards = {"guards": trainer.guards.counts, "events": trainer.guards.events}
        write_text(run.folder / "stopped.json", json.dumps({"reason": str(error), **guards}))
        raise
    chosen = trainer.load_result()
    given[0].turn(model)
    summary.update(
        result=chosen,
        guards=trainer.guards.counts,
        dev_left_out=dict(sum((Counter(data.left_out) for data in judged), Counter())),
        **{trainer.steered_by: trainer.state.best},
        trainable_parameters=count_trainable(model),
        parameters=sum(p.numel() for p in model.parameters()),
        train_minutes=round(float(sum(s.durations_s.sum() for s in speech)) / 60, 1),
        train_clips=sum(len(s.rows) for s in speech),
        train_lines=sum(len(s.rows) for s in sets) - sum(len(s.rows) for s in speech),
        target=run.target,
    )
    configs = base.folder if stage.init == "base" else folders[stage.init] / "model"
    write_result(run, model, configs, summary)


def _anchor(model: SpeechModel, trainable: Trainable, stage: Stage) -> Anchor | None:
    """Weights and their importance for what should stay known, where the stage asks for it."""
    wanted = next((o for o in stage.objectives if o.kind == "ewc"), None)
    if wanted is None or wanted.corpus is None:
        return None
    corpus = Corpus.open(wanted.corpus)
    turn_to(model, corpus.language)
    part = part_of(corpus, stage)
    data = drop_unusable(
        open_set(corpus.split("train"), stage.output.text, part=part),
        model,
        objectives=stage.objectives,
    )
    order = np.random.default_rng(0).permutation(len(data.rows))[: wanted.clips]

    loss = LossOf(model, stage, data_only=True)

    def loss_of(at: int) -> torch.Tensor:
        features = model.features([data.samples(at)])
        return loss(features, [data.text(at)])  # type: ignore[no-any-return]

    return make_anchor(model, trainable.names, order.tolist(), loss_of)


def _tell(
    trainer: Trainer,
    model: SpeechModel,
    given: Sequence[TrainingSet],
    judged: Sequence[TrainingSet],
    run: StageRun,
) -> None:
    """Record what the data and the settings already say, before the first update."""
    for part in dict.fromkeys(data.part for data in given if run.stage.needs_text):
        mine = [data for data in given if data.part == part]
        corpus = next((c for c in run.corpora if part == c.language), run.dev)
        mine[0].turn(model)
        _tell_letters(trainer, model, mine, [d for d in judged if d.part == part], corpus)
    masks = model.encoder.max_positions or getattr(model.encoder, "can_mask", False)
    if run.stage.augment.spec is not None and not masks:
        trainer.guards.tell(
            "augment_not_applied",
            0,
            "augment.spec masks log-mel frames, or positions with the base's mask embedding, and "
            "xlasr can do neither on this base",
            "trained without it; speed and noise are applied",
        )
    if outnumbered := outnumbering(model):
        trainer.guards.tell(
            "lora_outnumbers",
            0,
            f"LoRA of rank {run.stage.train.lora.r} has at least as many weights as the matrix it "
            f"adapts in {len(outnumbered)} layers, for example {outnumbered[0]}",
            "trained as asked; train.part full or layers costs less and can do more",
        )
    languages = {c.language for c in run.corpora} if trainer.dev.samples[0].data.part else set()
    if unseen := languages - {data.part for data in judged}:
        trainer.guards.tell(
            "no_dev",
            0,
            f"no dev split in {', '.join(sorted(unseen))}",
            "the best weights are chosen without these languages",
        )


def _tell_letters(
    trainer: Trainer,
    model: SpeechModel,
    given: Sequence[TrainingSet],
    judged: Sequence[TrainingSet],
    corpus: Corpus,
) -> None:
    """Record symbols that the active head lacks, and those that training never saw."""
    tell = trainer.guards.tell
    split = model.tokenizer.split if isinstance(model, CTCModel) else str
    letters = Counter(c for data in given for text in data.texts() for c in split(text))
    alphabet = model.tokenizer.symbols if isinstance(model, CTCModel) else []
    unknown = model.tokenizer.unknown(letters)
    lacking = [f"{c!r} x{n}" for c, n in letters.items() if c in unknown]
    if lacking:
        tell(
            "letters_left_out",
            0,
            f"training transcripts have letters that the model lacks: {', '.join(lacking)}",
            "they are not learnt; set output.mode to extend or replace"
            if model.family == "ctc"
            else "they are not learnt: the pieces of the base do not spell them",
        )
    seen = {*letters, *alphabet}
    dev_texts = (text for data in judged for text in data.texts())
    in_dev = Counter(c for text in dev_texts for c in split(text) if c not in seen)
    unseen = [f"{c!r} (dev, x{n})" for c, n in in_dev.most_common()]
    test = corpus.card.splits.get("test")
    if test and given[0].form != FORM and "target" not in model.info:  # the card counts letters
        unseen += [f"{c!r} (test)" for c in test.unseen if c not in seen]
    if unseen:
        tell(
            "unseen_letters",
            0,
            f"dev or test has letters that training never saw: {', '.join(unseen)}",
            "they count as errors; check the transcripts (NFC, look-alikes)",
        )


def _cache_for(
    model: SpeechModel, trainable: Trainable, stage: Stage, base: Base, run: StageRun
) -> FrozenCache | None:
    """A cache of frozen states, where the trained part begins behind frozen layers."""
    augment = stage.augment
    layer = trainable.frozen_layers
    whole_only = model.encoder.max_positions is None
    if not all(o.kind in OBJECTIVES for o in stage.objectives):
        return None  # one that encodes for itself
    if layer < 1 or (whole_only and layer < model.encoder.n_layers):
        return None
    if not all(isinstance(data, Corpus) for data in run.data):
        return None  # text has no states behind a layer
    changes = (augment.noise, augment.codec, augment.spec)
    if augment.speed != [1.0] or any(changed is not None for changed in changes):
        return None  # the input changes from epoch to epoch
    # weights, or what they are fed, that the base alone does not say: of this very stage
    chunked = isinstance(model.encoder, ChunkedWhisperEncoder)
    own = stage.init != "base" or base.is_random or chunked
    own = own or bool(stage.reset.encoder or stage.reset.decoder)
    key = {
        "weights": [base.sha256, stage.init, run.key if own else ""],
        "layer": layer,
        "precision": stage.optim.precision,
        "corpora": [d.sha256 for d in run.data],
        "threads": torch.get_num_threads(),
    }
    targets = [entry.target for entry in stage.data]
    if any(targets):
        key["rows"] = targets  # of each corpus the clips with a translation
    return FrozenCache(cache_dir() / "frozen", key, layer, FROZEN_CACHE_BYTES)


def kinds_of(stage: Stage) -> set[str]:
    """The objectives of a stage."""
    return {o.kind for o in stage.objectives}


def _ctc_beside_own_decoder(stage: Stage) -> UsageError:
    return UsageError(
        f"stage {stage.name!r}: ctc stands beside a decoder of letters or pieces of its own; "
        "this one is the base's. Say decoder: {} and output.mode: replace for a new one"
    )


def check_family(recipe: Recipe, base: Base) -> None:
    """Refuse a base that has no such family, before any data is read.

    Raises:
        UsageError: With the recipes that would fit.
    """
    new = {"base": base.adapted == "seq2seq"}  # stages whose decoder is not the base's
    for stage in recipe.stages:
        family = recipe.family_of(stage)
        new_decoder = family == "seq2seq" and stage.output.mode == "replace"
        new[stage.name] = new_decoder or new[stage.init]
        if family == "seq2seq" and not new[stage.name] and "ctc" in kinds_of(stage):
            raise _ctc_beside_own_decoder(stage)
        first = stage.init == "base"
        fits = family in base.families
        if base.takes_decoder and (fits or new_decoder or not first):
            continue
        if fits and not new_decoder:
            continue
        advice = "Use a recipe of that family (xlasr recipes), or a Whisper base"
        if family == "seq2seq" and not fits:
            advice += "; or say output.mode: replace, and its encoder gets a new decoder"
        if new_decoder:
            advice = "Its encoder is of use to its own decoder only: say output.mode: keep"
        raise UsageError(
            f"recipe {recipe.name!r} needs a base of family {family!r}; {base.name} is a "
            f"{base.model_type} model and serves {', '.join(base.families)}. {advice}"
        )
    for kind in sorted(set().union(*map(kinds_of, recipe.stages)) & set(BASES_OF)):
        model_type, called = BASES_OF[kind]
        if base.model_type != model_type:
            raise UsageError(
                f"recipe {recipe.name!r} has the objective {kind}, which is for {called}; "
                f"{base.name} is a {base.model_type} model"
            )
