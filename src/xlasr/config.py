"""A recipe: a list of stages, as typed objects and as YAML.

Every field is documented once, here. An unknown key is an error with close matches, and all
problems of a recipe are reported together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xlasr.errors import ConfigError, UnknownName, UsageError, did_you_mean

RECIPE_FOLDERS = (Path(__file__).parents[2] / "recipes", Path(__file__).parent / "recipes")


class Settings(BaseModel):
    """Base of all recipe objects: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ContextSettings(Settings):
    """How much audio Whisper's encoder is given; see ``models.encoders.Context``."""

    slack: int = Field(64, ge=0, description="encoder positions (20 ms) behind the speech")
    multiple: int = Field(32, ge=1, description="context is rounded up to a multiple of this")
    full_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of training batches whose context is drawn between need and 30 s, so "
        "that runtimes that always pad to 30 s can use the model too",
    )


class LoraSettings(Settings):
    """Low-rank adaptation, through peft."""

    r: int = Field(48, ge=1, description="rank")
    alpha: float = Field(96.0, gt=0, description="scale; the update is multiplied by alpha / r")
    dropout: float = Field(0.05, ge=0, lt=1)
    targets: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
        min_length=1,
        description="names of linear layers; nothing matched is an error",
    )


class TrainSettings(Settings):
    """Which part of the model is trained."""

    part: Literal["full", "head", "layers", "lora"] = Field(
        "full",
        description="head: CTC head, or Whisper's decoder; layers: head and the top encoder layers",
    )
    top_layers: int = Field(0, ge=0, description="encoder layers trained under `layers`")
    lora: LoraSettings = LoraSettings()
    unfreeze_at: float = Field(
        0.0, ge=0, lt=1, description="share of the updates in which only the head is trained"
    )


class OutputSettings(Settings):
    """What happens to the vocabulary."""

    mode: Literal["keep", "cut", "replace", "extend"] = Field(
        "keep",
        description="keep; cut Whisper's pieces to those the text uses; replace: a new CTC "
        "alphabet; extend: new letters behind the ones a head has",
    )
    text: Literal["headline", "raw"] = Field(
        "headline",
        description="the form of text that is learnt: without case and punctuation, or as written",
    )
    extra_text: list[str] = Field([], description="text files whose pieces are kept under `cut`")


class CorpusSettings(Settings):
    """One corpus of the mix."""

    path: str = Field("main", description="a corpus folder, or `main` for the command's corpus")
    weight: float = Field(1.0, gt=0, description="share of the audio, relative to the others")
    minutes: float | None = Field(None, gt=0, description="take only this much, by groups")


class SpecAugmentSettings(Settings):
    """SpecAugment (arXiv 1904.08779) on log-mel frames."""

    time_masks: int = Field(2, ge=0)
    time_width: int = Field(40, ge=0, description="widest mask, in 10 ms frames")
    time_share: float = Field(0.15, ge=0, le=1, description="widest mask as a share of the clip")
    freq_masks: int = Field(2, ge=0)
    freq_width: int = Field(20, ge=0, description="widest mask, in mel bins")


class NoiseSettings(Settings):
    """Additive pink noise."""

    probability: float = Field(0.3, ge=0, le=1)
    snr_db: tuple[float, float] = Field((5.0, 25.0), description="lowest and highest ratio")


class AugmentSettings(Settings):
    """Augmentation of training audio."""

    speed: list[Annotated[float, Field(gt=0.5, lt=2.0)]] = Field(
        [1.0], min_length=1, description="factors drawn for each clip and epoch"
    )
    noise: NoiseSettings | None = None
    spec: SpecAugmentSettings | None = None


class ObjectiveSettings(Settings):
    """One term of the loss."""

    kind: str = Field(description="ctc, cross_entropy")
    weight: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="cross_entropy only")


class OptimSettings(Settings):
    """AdamW and its schedule."""

    lr: float = Field(1e-4, gt=0, description="peak learning rate")
    head_lr: float | None = Field(None, gt=0, description="for the head; None: same as lr")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="rate is multiplied by this for each encoder layer downwards"
    )
    warmup: int = Field(50, ge=0, description="updates of linear warm-up")
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    final: float = Field(0.0, ge=0, le=1, description="rate at the end, relative to the peak")
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, description="gradient norm")
    average: int = Field(
        1, ge=1, description="the result is the mean of the last this many evaluation points"
    )
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "auto", description="of matrix products; auto: bfloat16 where the processor has it"
    )


class StopSettings(Settings):
    """The budget, in updates or audio: never in minutes, so that a run can be repeated."""

    updates: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    patience: int | None = Field(
        None, ge=1, description="stop after this many evaluations without a better dev CER"
    )

    @model_validator(mode="after")
    def _one_budget(self) -> StopSettings:
        if (self.updates is None) == (self.epochs is None):
            raise ValueError("give exactly one of `updates` and `epochs`")
        return self


class EvaluateSettings(Settings):
    """How often dev is looked at."""

    every: int = Field(100, ge=1, description="updates")
    seconds: float = Field(240.0, gt=0, description="dev audio decoded each time (a fixed sample)")


class Stage(Settings):
    """One stage: start from these weights, train this part, on this data, with this objective."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    kind: Literal["train"] = "train"
    init: str = Field("base", description="`base`, or the name of an earlier stage")
    output: OutputSettings = OutputSettings()
    train: TrainSettings = TrainSettings()
    data: list[CorpusSettings] = Field([CorpusSettings()], min_length=1)
    objectives: list[ObjectiveSettings] = Field(min_length=1)
    augment: AugmentSettings = AugmentSettings()
    batch_s: float = Field(40.0, gt=0, description="seconds of padded audio in a batch")
    batch_clips: int | None = Field(None, ge=1, description="no more clips in a batch than this")
    optim: OptimSettings = OptimSettings()
    stop: StopSettings
    evaluate: EvaluateSettings = EvaluateSettings()


class DecodeSettings(Settings):
    """How the finished model is decoded; chosen on dev."""

    beam: int = Field(1, ge=1)
    lm_order: int = Field(
        0, ge=0, description="0: no language model; else the order of its n-grams"
    )
    lm_weight: float = Field(0.3, ge=0)
    length_bonus: float = Field(0.0, description="added for each symbol")
    lm_text: list[str] = Field([], description="text files besides the training transcripts")


class Recipe(Settings):
    """A transfer method, as data."""

    name: str
    description: str = ""
    family: Literal["ctc", "seq2seq"]
    context: ContextSettings = ContextSettings()
    stages: list[Stage] = Field(min_length=1)
    decode: DecodeSettings = DecodeSettings()

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        problems = _misfits(self.model_dump())
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _misfits(tree: Mapping[str, Any]) -> list[str]:
    """What is wrong between fields; reads an unchecked tree, so that every problem is told."""
    problems = []
    seen: list[str] = []
    family = tree.get("family")
    wanted = {"ctc": "ctc", "seq2seq": "cross_entropy"}.get(str(family))
    modes = {"ctc": ("keep", "replace", "extend"), "seq2seq": ("keep", "cut")}.get(str(family))
    for stage in _dicts(tree.get("stages")):
        name, init = str(stage.get("name")), str(stage.get("init", "base"))
        if name in seen:
            problems.append(f"two stages are called {name!r}")
        if init != "base" and init not in seen:
            hint = did_you_mean(init, ["base", *seen])
            problems.append(
                f"stage {name!r} starts from {init!r}, which is no earlier stage.{hint}"
            )
        for objective in _dicts(stage.get("objectives")):
            kind = objective.get("kind")
            if kind not in (None, "ctc", "cross_entropy"):
                hint = did_you_mean(str(kind), ["ctc", "cross_entropy"])
                problems.append(f"stage {name!r}: unknown objective {kind!r}.{hint}")
            elif wanted and kind and kind != wanted:
                problems.append(
                    f"stage {name!r}: objective {kind!r} does not fit the family {family!r}, "
                    f"which takes {wanted!r}"
                )
            elif kind == "ctc" and objective.get("label_smoothing"):
                problems.append(f"stage {name!r}: label_smoothing is for cross_entropy only")
        for output in _dicts([stage.get("output")]):
            mode = output.get("mode", "keep")
            if modes and mode in ("cut", "replace", "extend") and mode not in modes:
                problems.append(
                    f"stage {name!r}: output.mode {mode!r} does not fit the family {family!r}, "
                    f"which takes {', '.join(modes)}"
                )
        for train in _dicts([stage.get("train")]):
            if train.get("part") == "layers" and not train.get("top_layers"):
                problems.append(f"stage {name!r}: train.part layers needs train.top_layers")
        seen.append(name)
    return problems


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def parse_recipe(tree: Mapping[str, Any], source: str) -> Recipe:
    """Check a recipe.

    Args:
        tree: Parsed YAML.
        source: For messages.

    Raises:
        ConfigError: With every problem found.
    """
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        # pydantic looks at what lies between fields only where every field is right
        found = [dict(e) for e in error.errors() if e["type"] != "value_error" or e["loc"]]
        misfits = _misfits(tree) if isinstance(tree, Mapping) else []
        raise ConfigError(source, [_explain(e) for e in found] + misfits) from None


def _explain(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "recipe"
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        known = _fields_at(error["loc"][:-1])
        return f"{where}: unknown key.{did_you_mean(key, known)}"
    found = "" if error["type"] == "missing" else f" (found {error['input']!r:.60})"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}{found if error['loc'] else ''}"


def _fields_at(loc: Sequence[Any]) -> list[str]:
    """Names of the fields of the settings object at a location in a recipe."""
    model: Any = Recipe
    for part in loc:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        model = _settings_in(field.annotation)
        if model is None:
            return []
    return list(model.model_fields)


def _settings_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _settings_in(argument)
        if found is not None:
            return found
    return None


def recipe_files() -> dict[str, Path]:
    """Recipes that come with xlasr, by name."""
    found: dict[str, Path] = {}
    for folder in RECIPE_FOLDERS:
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path, with ``stage.field.field=value`` overrides.

    Args:
        name: A name that ``xlasr recipes`` lists, or a YAML file.
        overrides: ``adapt.optim.lr=3e-4`` changes the stage called ``adapt``;
            ``decode.beam=4`` and ``context.slack=32`` change the recipe itself.

    Raises:
        ConfigError: With every problem of the file and of the overrides.
        UnknownName: No such recipe.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        files = recipe_files()
        if name not in files:
            raise UnknownName("recipe", name, files)
        path = files[name]
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the recipe {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(str(path), [f"not YAML: {error}"]) from error
    if not isinstance(tree, dict):
        raise ConfigError(str(path), ["a recipe is a mapping with `family` and `stages`"])
    problems = [f"--set {p}" for p in (_override(tree, o) for o in overrides) if p]
    try:
        recipe = parse_recipe(tree, str(path))
    except ConfigError as error:
        raise ConfigError(str(path), problems + error.problems) from None
    if problems:
        raise ConfigError(str(path), problems)
    return recipe


def _override(tree: dict[str, Any], text: str) -> str | None:
    key, equals, value = text.partition("=")
    if not equals:
        return f"{text!r}: write stage.field=value"
    first, *rest = key.split(".")
    stages = {str(s.get("name")): s for s in _dicts(tree.get("stages"))}
    if first in stages:
        node: Any = stages[first]
    elif first in Recipe.model_fields and first != "stages":
        node, rest = tree, [first, *rest]
    else:
        known = [*stages, *(f for f in Recipe.model_fields if f != "stages")]
        return f"{text!r}: no stage {first!r}.{did_you_mean(first, known)} Known: {known}"
    if not all(rest) or not rest:
        return f"{text!r}: name a field of {first!r}"
    try:
        parsed = yaml.safe_load(value)
        for part in rest[:-1]:
            at: Any = int(part) if isinstance(node, list) else part
            if isinstance(node, dict) and node.get(part) is None:
                node[part] = {}  # `noise.probability=0.5` turns on what was null
            node = node[at]
        node[int(rest[-1]) if isinstance(node, list) else rest[-1]] = parsed
    except yaml.YAMLError:
        return f"{text!r}: {value!r} is not YAML"
    except (TypeError, ValueError, IndexError):
        return f"{text!r}: there is no such field (a list takes a number from 0)"
    return None


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every field spelled out."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=100)
    return text
