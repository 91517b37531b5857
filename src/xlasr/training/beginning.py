"""What a stage begins with: its clips, and its model before training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import nn

from xlasr.adaptation.layers import reset_layers
from xlasr.adaptation.vocabulary import cut_to_text, extend_to_text, heads_by_language
from xlasr.alignment.letters import letter_head
from xlasr.config import DecoderSettings, Recipe, Stage
from xlasr.data.corpus import Corpus
from xlasr.data.parallel import ParallelText
from xlasr.data.phones import FORM, in_form
from xlasr.data.synthesis import espeak_version
from xlasr.data.text import normalise
from xlasr.data.translation import translated, translation_of
from xlasr.errors import UsageError
from xlasr.models.attention import DecoderShape
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Context, SelfSupervisedEncoder
from xlasr.models.hub import Base
from xlasr.models.pieces import SymbolTokenizer, symbol_tokenizer
from xlasr.models.run import SpeechModel, from_base, load_model, on_encoder
from xlasr.models.tokenizer import CharTokenizer
from xlasr.models.transducer import Transducer, TransducerShape
from xlasr.models.whisper_chunks import Chunks
from xlasr.objectives import SOUND_OBJECTIVES
from xlasr.training.artefacts import StageRun
from xlasr.training.clips import stretches
from xlasr.training.sets import (
    TrainingSet,
    drop_unusable,
    leave_out_texts,
    open_data,
    open_set,
)


def part_of(data: Corpus | ParallelText, stage: Stage) -> str | None:
    """The part that learns a corpus, where languages have heads of their own."""
    if stage.output.heads != "by_language" or not isinstance(data, Corpus):
        return None
    return data.language


def judged_corpora(run: StageRun) -> list[Corpus]:
    """Those whose dev steers the stage: one, or all where languages have heads of their own."""
    return run.corpora if run.stage.output.heads == "by_language" else [run.dev]


def spoken_corpora(run: StageRun) -> list[Corpus]:
    """The first corpus of each language that the result has a head for; else the command's."""
    if run.stage.output.heads != "by_language":
        return [run.main]
    found: dict[str, Corpus] = {}
    for corpus in run.corpora:
        found.setdefault(corpus.language, corpus)
    return list(found.values())


def training_sets(recipe: Recipe, run: StageRun) -> list[TrainingSet]:
    """What is learnt from each entry of data, without what dev and test of the others ask for."""
    stage, language = run.stage, run.dev.card.language
    prompt = recipe.prompt_language or language
    sets = [
        open_data(data, entry, stage.output.text, language, prompt, part_of(data, stage))
        for data, entry in zip(run.data, stage.data, strict=True)
    ]
    if not stage.needs_text or all(data is run.main for data in run.data):
        return sets
    asked = {id(corpus): corpus for corpus in (*judged_corpora(run), run.main)}
    targets = {entry.target for entry in stage.data if entry.spoken and entry.target}
    held_out = {key: held_out_texts(corpus, targets) for key, corpus in asked.items()}
    found = []
    for data, opened in zip(run.data, sets, strict=True):
        others = [texts for key, texts in held_out.items() if key != id(data)]
        found.append(leave_out_texts(opened, set().union(*others)))
    return found


def held_out_texts(corpus: Corpus, targets: Iterable[str] = ()) -> set[str]:
    """Texts of dev and test, and their translations, so that no other corpus teaches them."""
    lines = [u for name in corpus.splits if name != "train" for u in corpus.split(name)]
    told = {normalise(translation_of(u, t) or "") for t in targets for u in lines} - {""}
    return told | {normalise(u.text) for u in lines}


def dev_sets(run: StageRun, model: SpeechModel) -> list[TrainingSet]:
    """Usable dev clips of the corpus that steers; or of every language that has some.

    Of two corpora of one language the first counts.
    """
    stage = run.stage
    room = None if stage.needs_text else stage.positions_wanted()
    found: dict[str | None, TrainingSet] = {}
    for corpus in judged_corpora(run):
        part = part_of(corpus, stage)
        if part not in found and "dev" in corpus.splits:
            found[part] = drop_unusable(
                stretches(
                    open_set(
                        translated(corpus.split("dev"), run.target_of(corpus)),
                        stage.output.text,
                        part=part,
                    ),
                    model,
                    stage,
                ),
                model,
                positions_wanted=room,
                objectives=stage.objectives,
            )
    return list(found.values())


def build_model(
    recipe: Recipe,
    base: Base,
    run: StageRun,
    folders: dict[str, Path],
    sets: Sequence[TrainingSet],
    seed: int,
) -> SpeechModel:
    """The stage's model before training: weights of its ``init``, its vocabulary.

    Raises:
        UsageError: Vocabularies that do not fit each other.
    """
    stage, output = run.stage, run.stage.output
    language = run.dev.card.language
    texts: dict[str, list[str]] = {}  # by language where each has its head; else all under one name
    for data in sets:
        texts.setdefault(data.part or language, []).extend(data.texts())
    texts[language] += _extra_texts(output.extra_text, output.text, language)
    spaced = output.text == FORM
    settings = recipe.context
    context: Context | Chunks = Context(settings.slack, settings.multiple)
    if settings.chunk is not None:
        context = Chunks(settings.chunk.positions, settings.chunk.left)
    torch.manual_seed(seed)
    model: SpeechModel
    family = recipe.family_of(stage)
    shape = TransducerShape(**recipe.transducer.model_dump()) if recipe.transducer else None
    decoder = None
    if family == "seq2seq" and output.mode == "replace":
        decoder = DecoderShape(**(recipe.decoder or DecoderSettings()).model_dump())
    alphabet: SymbolTokenizer | None = None
    if stage.init == "base":
        alphabet = _alphabet(stage, family, base.adapted, texts[language])
        model = from_base(
            base,
            family,
            context=context,
            language=language,
            prompt_language=recipe.prompt_language,
            alphabet=alphabet,
            shape=shape,
            decoder=decoder,
        )
    else:
        model = load_model(folders[stage.init] / "model")
        if model.family != family or decoder is not None:
            info = {"family": family, "base": model.info["base"]}
            alphabet = _alphabet(stage, family, model.family, texts[language])
            model = on_encoder(model, family, info, alphabet, shape, decoder)
    reset_layers(model, stage.reset)
    if isinstance(model, CTCModel):
        _heads(model, stage, texts, sets)
    elif isinstance(model, Transducer):
        _symbols(model, stage, texts[language], alphabet)
    elif output.mode == "cut":
        cut_to_text(model, texts[language])
    model.info.update(language=language, text=output.text)
    model.info.pop("target", None)
    if run.target:
        model.info["target"] = run.target
    if spaced:
        model.info["phones"] = f"espeak-ng {espeak_version()}"
    if base.is_random:
        model.info["base"]["seed"] = seed
    if isinstance(model.encoder, SelfSupervisedEncoder):
        wants_masks = stage.augment.spec is not None or any(
            o.kind in SOUND_OBJECTIVES for o in stage.objectives
        )
        model.encoder.masks = model.encoder.can_mask and wants_masks
    return model


def _alphabet(
    stage: Stage, family: str, begun: str | None, texts: Sequence[str]
) -> SymbolTokenizer | None:
    """What a new head, transducer or decoder writes; None keeps what there is.

    Args:
        stage: Its output.
        family: Of the stage.
        begun: Family of the finished model that it begins from; None for a bare base.
        texts: What is learnt.
    """
    output = stage.output
    if family == "ctc":
        spaced = output.text == FORM
        return (
            CharTokenizer.from_texts(texts, spaced=spaced)
            if stage.needs_text
            else CharTokenizer([], spaced=spaced)
        )
    kept = output.mode != "replace"
    if family == "transducer":
        kept = begun == "transducer" or (begun is not None and kept)
    return None if kept else symbol_tokenizer(texts, output.pieces)


def _symbols(
    model: Transducer, stage: Stage, texts: Sequence[str], alphabet: SymbolTokenizer | None
) -> None:
    """Give a transducer the symbols that the stage asks for, and say what of it can write.

    Args:
        model: Changed in place.
        stage: Its output and objectives.
        texts: What is learnt.
        alphabet: Learnt from them already (pieces take long), or None.

    Raises:
        UsageError: MinWER for one whose joiner has learnt nothing yet.
    """
    kinds = {o.kind for o in stage.objectives}
    if model.by_ctc and "min_wer" in kinds and "transducer" not in kinds:
        raise UsageError(
            f"stage {stage.name!r}: min_wer chooses between what the joiner writes, and only the "
            "CTC head beside it has been trained; put a stage with the objective transducer before"
        )
    if stage.output.mode == "replace":
        model.replace(alphabet or symbol_tokenizer(texts, stage.output.pieces))
    elif stage.output.mode == "extend":
        extend_to_text(model, texts)
    if kinds <= {"ctc", "ewc"}:
        model.info["decoder"] = "ctc"  # predictor and joiner are not trained
    else:
        model.info.pop("decoder", None)


def _heads(
    model: CTCModel, stage: Stage, texts: dict[str, list[str]], sets: Sequence[TrainingSet]
) -> None:
    """Give the model the heads and alphabets that the stage asks for."""
    output, known = stage.output, model.tokenizer
    spaced, language = output.text == FORM, next(iter(texts))
    if output.mode != "replace" and known.spaced != spaced:
        kinds = ("phones", "letters") if known.spaced else ("letters", "phones")
        raise UsageError(
            f"stage {stage.name!r} learns {kinds[1]}, and the head it would keep knows {kinds[0]}: "
            "say output.mode: replace"
        )
    if output.start == "phones" and not known.spaced:
        raise UsageError(
            f"stage {stage.name!r}: output.start phones needs a model with a phone head to begin "
            "from: an earlier stage, or a run as --base, whose output.text is phones"
        )

    def new_head(name: str, tokenizer: CharTokenizer) -> nn.Linear:
        if output.start == "random":
            return nn.Linear(model.encoder.dim, len(tokenizer))
        spoken = next(data for data in sets if data.part in (name, None))
        return letter_head(model, tokenizer, spoken.samples, spoken.texts(), spoken.durations_s)

    if output.heads == "by_language":
        heads_by_language(model, texts, output.mode, new_head, spaced=spaced)
    elif model.heads:
        raise UsageError(
            f"stage {stage.name!r} begins from a model with a head for each of "
            f"{', '.join(model.parts)}; say output.heads: by_language"
        )
    elif output.mode == "replace":
        tokenizer = CharTokenizer.from_texts(texts[language], spaced=spaced)
        model.head = new_head(language, tokenizer)
        model.tokenizer = tokenizer
    elif output.mode == "extend":
        extend_to_text(model, texts[language])


def _extra_texts(paths: Iterable[str], form: str, language: str) -> list[str]:
    lines = (line for p in paths for line in Path(p).read_text(encoding="utf-8").splitlines())
    return [in_form(line, form, language) for line in lines if line.strip()]
