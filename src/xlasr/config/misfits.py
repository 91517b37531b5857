"""What is wrong between the fields of a recipe; read off an unchecked tree, so that all is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xlasr.config.base import dicts
from xlasr.config.corpora import text_misfits
from xlasr.config.decoder import family_misfits, family_of
from xlasr.config.min_wer import min_wer_misfits
from xlasr.config.transducer import transducer_misfits
from xlasr.config.unlabelled import WITHOUT_TEXT, unlabelled_misfits, video_misfits
from xlasr.errors import did_you_mean

OBJECTIVE_OF = {"ctc": "ctc", "seq2seq": "cross_entropy", "transducer": "transducer"}
"""The objective of each family."""
BESIDE = {"transducer": "ctc", "seq2seq": "ctc"}
"""What a family can learn beside that."""
MODES_OF = {
    "ctc": ("keep", "replace", "extend"),
    "seq2seq": ("keep", "cut", "replace"),
    "transducer": ("keep", "replace", "extend"),
}
"""What may happen to its vocabulary."""


def misfits(tree: Mapping[str, Any]) -> list[str]:
    """What is wrong between fields; reads an unchecked tree, so that every problem is told."""
    problems = family_misfits(tree)
    seen: list[str] = []
    for stage in dicts(tree.get("stages")):
        family = family_of(stage, tree)
        wanted = OBJECTIVE_OF.get(str(family))
        modes = MODES_OF.get(str(family))
        name, init = str(stage.get("name")), str(stage.get("init", "base"))
        if name in seen:
            problems.append(f"two stages are called {name!r}")
        if init != "base" and init not in seen:
            hint = did_you_mean(init, ["base", *seen])
            problems.append(
                f"stage {name!r} starts from {init!r}, which is no earlier stage.{hint}"
            )
        for objective in dicts(stage.get("objectives")):
            kind = objective.get("kind")
            problems += transducer_misfits(name, objective, tree.get("transducer"))
            if kind == "ewc":
                problems += _ewc_misfits(name, stage, objective)
            elif kind in WITHOUT_TEXT:
                problems += unlabelled_misfits(name, kind, stage, family)
            elif kind not in (None, "min_wer", *OBJECTIVE_OF.values()):
                known = [*OBJECTIVE_OF.values(), "min_wer", "ewc", *WITHOUT_TEXT]
                hint = did_you_mean(str(kind), known)
                problems.append(f"stage {name!r}: unknown objective {kind!r}.{hint}")
            elif wanted and kind and kind not in (wanted, "min_wer", BESIDE.get(str(family))):
                problems.append(
                    f"stage {name!r}: objective {kind!r} does not fit the family {family!r}, "
                    f"which takes {wanted!r}"
                )
            elif kind != "cross_entropy":
                problems += [
                    f"stage {name!r}: {key} is for cross_entropy only"
                    for key in ("label_smoothing", "bpe_dropout")
                    if objective.get(key)
                ]
        kinds = [o.get("kind") for o in dicts(stage.get("objectives"))]
        if family == "seq2seq" and "ctc" in kinds and not {"cross_entropy", "min_wer"} & {*kinds}:
            problems.append(
                f"stage {name!r}: ctc stands beside a decoder and does not train it; add "
                "cross_entropy, or take the family 'ctc'"
            )
        problems += text_misfits(name, stage, family) + video_misfits(name, stage)
        problems += min_wer_misfits(name, stage)
        problems += [f"stage {name!r}: {p}" for p in _head_misfits(family, stage, tree)]
        parts = [train.get("part") for train in dicts([stage.get("train")])]
        for output in dicts([stage.get("output")]):
            mode = output.get("mode", "keep")
            rests = parts and parts[0] in ("lora", "adapter", "length_adapter")
            if family == "seq2seq" and mode == "replace" and rests:
                problems.append(
                    f"stage {name!r}: output.mode replace makes a decoder of random weights, and "
                    f"under train.part {parts[0]!r} it would stay so; say full or head"
                )
            if output.get("pieces") and (
                family == "ctc" or (family == "seq2seq" and mode != "replace")
            ):
                problems.append(
                    f"stage {name!r}: output.pieces is for the family 'transducer', and for "
                    "seq2seq under output.mode: replace"
                )
            if modes and mode in ("cut", "replace", "extend") and mode not in modes:
                problems.append(
                    f"stage {name!r}: output.mode {mode!r} does not fit the family {family!r}, "
                    f"which takes {', '.join(modes)}"
                )
        for train in dicts([stage.get("train")]):
            if train.get("part") == "layers" and not train.get("top_layers"):
                problems.append(f"stage {name!r}: train.part layers needs train.top_layers")
            where = [a.get("where") for a in dicts([train.get("adapter")])]
            if (
                family in ("ctc", "transducer")
                and train.get("part") == "adapter"
                and where not in ([], ["encoder"])
            ):
                needed = "SeamlessM4T's length adapter" if where[0] == "length" else "a decoder"
                problems.append(
                    f"stage {name!r}: train.adapter.where {where[0]!r} needs {needed}, and the "
                    f"family {family!r} has none; say encoder"
                )
        seen.append(name)
    for decode in dicts([tree.get("decode")]):
        if tree.get("family") == "seq2seq" and decode.get("length_bonus"):
            problems.append("decode.length_bonus is for ctc; Whisper's beam normalises by length")
    return problems


def _head_misfits(family: Any, stage: dict[str, Any], recipe: Mapping[str, Any]) -> Iterator[str]:
    """What heads of languages, phones and letters that begin as phones need."""
    for output in dicts([stage.get("output")]):
        by_language = output.get("heads") == "by_language"
        if family == "seq2seq":
            for key, value in (("text", "phones"), ("heads", "by_language"), ("start", "phones")):
                if output.get(key) == value:
                    yield f"output.{key} {value!r} is for ctc; Whisper has its own vocabulary"
        if family == "transducer":
            for key, value in (("text", "phones"), ("heads", "by_language"), ("start", "phones")):
                if output.get(key) == value:
                    yield f"output.{key} {value!r} is for ctc"
        if output.get("start") == "phones":
            if output.get("mode") != "replace":
                yield "output.start phones makes new letters; say output.mode: replace"
            if output.get("text") == "phones":
                yield "output.start phones is for letters; output.text is phones already"
        if by_language and any(d.get("lm_text") for d in dicts([recipe.get("decode")])):
            yield "decode.lm_text is of one language, and output.heads by_language has several"
        if by_language and any(
            adapter.get("kind") == "mms"
            for train in dicts([stage.get("train")])
            for adapter in dicts([train.get("adapter")])
        ):
            yield (
                "train.adapter.kind mms has adapters for one language at a time; output.heads "
                "by_language takes bottleneck"
            )


def _ewc_misfits(name: str, stage: dict[str, Any], objective: dict[str, Any]) -> list[str]:
    """What elastic weight consolidation lacks to mean anything."""
    problems = []
    if not objective.get("corpus"):
        problems.append(f"stage {name!r}: ewc needs `corpus`, of what should stay known")
    if all(o.get("kind") == "ewc" for o in dicts(stage.get("objectives"))):
        problems.append(f"stage {name!r}: ewc alone teaches nothing; add ctc or cross_entropy")
    part = [t.get("part", "full") for t in dicts([stage.get("train")])]
    if part and part[0] in ("lora", "adapter"):
        problems.append(
            f"stage {name!r}: ewc with train.part {part[0]!r}: the base is frozen and forgets "
            "nothing"
        )
    return problems
