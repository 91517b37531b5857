"""Settings of the objective `min_wer`: which hypotheses, and which errors of theirs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from xlasr.config.base import Settings, dicts


class MinWerSettings(Settings):
    """Expected errors over an n-best list; see ``objectives.min_wer``.

    The likelihood it is interpolated with is an objective beside it, with its own weight.
    """

    n_best: int = Field(
        4,
        ge=2,
        description="width of the beam, and the most hypotheses of a clip (4 in 1712.01818)",
    )
    unit: Literal["word", "character"] = Field(
        "word", description="errors that are counted; character where words are not parted"
    )
    add_reference: bool = Field(
        False, description="the reference joins the list, if the beam has not found it"
    )
    lists: Literal["on_the_fly", "ahead"] = Field(
        "on_the_fly",
        description="when the lists are made: by the weights of the moment, at every update; or "
        "ahead, once, by the weights that the stage begins with (2007.13802: much cheaper)",
    )
    path: str | None = Field(
        None,
        description="ahead only: instead of decoding, a file of JSON lines {id, hypotheses: [text, "
        "...]}, the best first, with a line for every utterance that is trained on",
    )


def min_wer_misfits(name: str, stage: dict[str, Any], objective: dict[str, Any]) -> list[str]:
    """What an objective `min_wer` contradicts; reads an unchecked tree.

    Args:
        name: Of the stage.
        stage: The stage.
        objective: One of its objectives.
    """
    how, problems = objective.get("min_wer"), []
    if objective.get("kind") not in (None, "min_wer"):
        return [f"stage {name!r}: min_wer is for the objective 'min_wer' only"] if how else []
    if objective.get("kind") is None:
        return []
    if isinstance(how, dict) and how.get("path") and how.get("lists") != "ahead":
        problems.append(f"stage {name!r}: min_wer.path is of lists made ahead; say lists: ahead")
    for output in dicts([stage.get("output")]):
        if output.get("mode") == "replace":
            problems.append(
                f"stage {name!r}: min_wer chooses between what the model writes already, and "
                "output.mode replace makes it forget that; replace in an earlier stage"
            )
    data = dicts(stage.get("data"))
    if any(d.get("pairs") is not None or d.get("text") is not None for d in data):
        problems.append(
            f"stage {name!r}: min_wer needs speech; text without it teaches a likelihood"
        )
    spoken = [d for d in data if d.get("pairs") is None and d.get("text") is None]
    if isinstance(how, dict) and how.get("path") and len(spoken) > 1:
        problems.append(
            f"stage {name!r}: min_wer.path is of one corpus, and the stage learns {len(spoken)}; "
            "leave it out, and the lists are decoded"
        )
    return problems
