"""Families of stages, and the attention decoder that a stage can put on an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from xlasr.config.base import Settings, dicts
from xlasr.config.unlabelled import WITHOUT_TEXT

Family = Literal["ctc", "seq2seq", "transducer"]


class DecoderSettings(Settings):
    """A new attention decoder, as wide as the encoder; see ``models.attention``."""

    layers: int = Field(2, ge=1, description="6 in the large models")
    ffn_dim: int | None = Field(None, ge=1, description="None: four times the encoder's width")
    dropout: float = Field(0.1, ge=0, lt=1)
    max_tokens: int = Field(448, ge=8, description="the longest text, in letters or pieces")


def family_of(stage: Mapping[str, Any], recipe: Mapping[str, Any]) -> Any:
    """The family of a stage: its own, or the recipe's; reads an unchecked tree."""
    own = stage.get("family")
    return recipe.get("family") if own is None else own


def family_misfits(recipe: Mapping[str, Any]) -> list[str]:
    """What the families of the stages contradict, and new decoders; reads an unchecked tree."""
    problems = []
    wordless: set[str] = set()  # stages whose models have no letters that could be kept
    stages = dicts(recipe.get("stages"))
    families = {str(stage.get("name")): family_of(stage, recipe) for stage in stages}
    for stage in stages:
        name, init = str(stage.get("name")), str(stage.get("init", "base"))
        family, before = families[name], families.get(init)
        objectives = dicts(stage.get("objectives"))
        is_new = any(o.get("mode") == "replace" for o in dicts([stage.get("output")]))
        learns_text = any(o.get("kind") not in WITHOUT_TEXT for o in objectives)
        wordless |= set() if learns_text else {name}
        keeps = learns_text and not is_new and before not in (None, family)
        if keeps and ("seq2seq" in (before, family) or init in wordless):
            problems.append(
                f"stage {name!r} is of the family {family!r} and begins from {init!r}, of "
                f"{before!r}: only the encoder is carried over; say output.mode: replace"
            )
        if family == "seq2seq" and is_new and any(o.get("bpe_dropout") for o in objectives):
            problems.append(
                f"stage {name!r}: bpe_dropout is for Whisper's pieces, and output.mode replace "
                "makes a decoder of letters or of SentencePiece's pieces"
            )
    if stages and (last := family_of(stages[-1], recipe)) != recipe.get("family"):
        problems.append(
            f"the recipe's family is {recipe.get('family')!r}, and its last stage, whose model is "
            f"the result, is of {last!r}; give the recipe that, and earlier stages their own"
        )
    if recipe.get("transducer") is not None and "transducer" not in families.values():
        problems.append("transducer: sizes are for the family 'transducer'")
    if recipe.get("decoder") is not None and "seq2seq" not in families.values():
        problems.append("decoder: sizes are for the family 'seq2seq', under output.mode: replace")
    return problems
