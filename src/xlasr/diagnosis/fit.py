"""A base without its weights: how many frames it makes of a clip, and what it can spell."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xlasr.errors import BaseError

if TYPE_CHECKING:
    from xlasr.config import Recipe
    from xlasr.models.hub import Base
    from xlasr.models.seamless_tokens import SeamlessTokens
    from xlasr.models.tokenizer import WhisperTokens


@dataclass(frozen=True)
class BaseFit:
    """What the checks need to know of a base.

    Args:
        name: As the user typed it.
        families: What it will be used as: ``ctc``, ``seq2seq``, or both where nobody said.
        frames: Encoder positions of a clip of so many samples.
        max_samples: The longest clip it hears at once.
        letters: The letters of a CTC head that is kept; None where a new head learns them.
        tokens: Pieces of a decoder; None for other bases.
        max_tokens: Pieces of text that its decoder can write; 0 without a decoder.
    """

    name: str
    families: tuple[str, ...]
    frames: Callable[[int], int]
    max_samples: int
    letters: frozenset[str] | None = None
    tokens: WhisperTokens | SeamlessTokens | None = None
    max_tokens: int = 0


def fit(name: str, recipe: Recipe | None, language: str) -> BaseFit:
    """Find a base and read its configs, not its weights.

    Args:
        name: A built-in, a directory, a finished run or a hub id.
        recipe: How it will be used; None is not known yet.
        language: BCP-47 tag.

    Raises:
        BaseError, UsageError: No such base, or the recipe is not for it.
    """
    import torch

    from xlasr.models.hub import find_base

    base = find_base(name)
    if recipe is not None:
        from xlasr.training.recipe import check_family

        check_family(recipe, base)
    families = base.families if recipe is None else (recipe.family,)
    with torch.device("meta"):  # the architecture alone: no memory, no time
        encoder = _encoder(base)

    def frames(n_samples: int) -> int:
        return int(encoder.out_lens(torch.tensor([n_samples]))[0])

    letters = None
    modes = {stage.output.mode for stage in recipe.stages} if recipe else set()
    new_heads = recipe is not None and any(
        stage.output.heads == "by_language" for stage in recipe.stages
    )
    if base.adapted == "ctc" and not (modes & {"extend", "replace"} or new_heads):
        from xlasr.models.tokenizer import CharTokenizer

        alphabet = CharTokenizer.load(base.folder)
        letters = None if alphabet.spaced else frozenset(alphabet.symbols)  # phones are no letters
    tokens, room = None, 0
    if "seq2seq" in families and "replace" not in modes:  # else a new decoder learns its letters
        prompted = recipe.prompt_language if recipe else None
        tokens, room = _pieces(base, prompted or language)
    return BaseFit(name, families, frames, encoder.max_samples, letters, tokens, room)


def _encoder(base: Base) -> Any:
    from xlasr.models.hub import empty_encoder
    from xlasr.models.multimodal import MULTIMODAL, MultimodalEncoder, multimodal_class
    from xlasr.models.seamless import SEAMLESS, seamless_class, seamless_encoder

    if base.model_type in SEAMLESS:
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(base.folder)
        hf = seamless_class(base.model_type, with_text=False)(config)
        return seamless_encoder(hf, None)
    if base.model_type == MULTIMODAL:
        kind = multimodal_class()
        return MultimodalEncoder(kind(kind.config_class.from_pretrained(base.folder)), None)
    return empty_encoder(base.folder, base.model_type)


def _pieces(base: Base, language: str) -> tuple[WhisperTokens | SeamlessTokens, int]:
    """The decoder's tokenizer, and how many pieces of text fit behind its prompt."""
    from xlasr.models.seamless import SEAMLESS
    from xlasr.models.seamless_tokens import SeamlessTokens
    from xlasr.models.tokenizer import WhisperTokens

    folder = base.folder
    limit = "max_position_embeddings" if base.model_type in SEAMLESS else "max_target_positions"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        room, n_vocab = int(config[limit]), int(config["vocab_size"])
        path = folder / "generation_config.json"
        generation = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaseError(f"{folder}: its configs cannot be read ({error}); copy it again") from error
    if base.model_type in SEAMLESS:
        pieces = SeamlessTokens.load(folder, n_vocab, language)
        return pieces, room - len(pieces.prompt) - 1
    multilingual = generation.get("is_multilingual")
    tokens = WhisperTokens.load(folder, n_vocab, language, multilingual=multilingual)
    return tokens, room - len(tokens.prompt) - 1
