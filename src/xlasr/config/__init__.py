"""Recipes: typed settings, and how they are read."""

from xlasr.config.base import Settings
from xlasr.config.corpora import CorpusSettings
from xlasr.config.load import (
    RECIPE_FOLDERS,
    dump_recipe,
    load_recipe,
    parse_recipe,
    recipe_files,
    recipes,
)
from xlasr.config.settings import (
    AdapterSettings,
    AugmentSettings,
    ContextSettings,
    DecodeSettings,
    EvaluateSettings,
    LayerNumbers,
    LoraSettings,
    NoiseSettings,
    ObjectiveSettings,
    OptimSettings,
    OutputSettings,
    Recipe,
    SpecAugmentSettings,
    Stage,
    StopSettings,
    TrainSettings,
)

__all__ = [
    "RECIPE_FOLDERS",
    "AdapterSettings",
    "AugmentSettings",
    "ContextSettings",
    "CorpusSettings",
    "DecodeSettings",
    "EvaluateSettings",
    "LayerNumbers",
    "LoraSettings",
    "NoiseSettings",
    "ObjectiveSettings",
    "OptimSettings",
    "OutputSettings",
    "Recipe",
    "Settings",
    "SpecAugmentSettings",
    "Stage",
    "StopSettings",
    "TrainSettings",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_files",
    "recipes",
]
