"""Recipes: typed settings, and how they are read."""

from xlasr.config.base import Settings
from xlasr.config.corpora import CorpusSettings
from xlasr.config.decoder import DecoderSettings
from xlasr.config.load import (
    RECIPE_FOLDERS,
    dump_recipe,
    load_recipe,
    parse_recipe,
    recipe_files,
    recipes,
)
from xlasr.config.min_wer import MinWerSettings
from xlasr.config.settings import (
    AdapterSettings,
    AugmentSettings,
    ContextSettings,
    DecodeSettings,
    FreezeSettings,
    LayerNumbers,
    LoraSettings,
    NoiseSettings,
    ObjectiveSettings,
    OptimSettings,
    OutputSettings,
    Recipe,
    SpecAugmentSettings,
    Stage,
    TrainSettings,
)
from xlasr.config.steering import EvaluateSettings, StopSettings
from xlasr.config.transducer import TransducerLossSettings, TransducerSettings
from xlasr.config.unlabelled import (
    WITHOUT_TEXT,
    AutoencoderSettings,
    ContrastiveSettings,
    CropSettings,
    PairSettings,
)

__all__ = [
    "RECIPE_FOLDERS",
    "WITHOUT_TEXT",
    "AdapterSettings",
    "AugmentSettings",
    "AutoencoderSettings",
    "ContextSettings",
    "ContrastiveSettings",
    "CorpusSettings",
    "CropSettings",
    "DecodeSettings",
    "DecoderSettings",
    "EvaluateSettings",
    "FreezeSettings",
    "LayerNumbers",
    "LoraSettings",
    "MinWerSettings",
    "NoiseSettings",
    "ObjectiveSettings",
    "OptimSettings",
    "OutputSettings",
    "PairSettings",
    "Recipe",
    "Settings",
    "SpecAugmentSettings",
    "Stage",
    "StopSettings",
    "TrainSettings",
    "TransducerLossSettings",
    "TransducerSettings",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_files",
    "recipes",
]
