"""Settings of the objective `min_wer`: which hypotheses, and which errors of theirs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from xlasr.config.base import Settings, dicts

KIND = "min_wer"


class MinWerSettings(Settings):
    """Expected errors over an n-best list; see ``objectives.min_wer``.

    The likelihood it is interpolated with is an objective beside it, with its own weight.
    """

    n_best: int = Field(
        4, ge=2, description="width of the beam, and most hypotheses of a clip (1712.01818: 4)"
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


def min_wer_misfits(name: str, stage: dict[str, Any]) -> list[str]:
    """What the objectives `min_wer` of a stage contradict; reads an unchecked tree.

    Args:
        name: Of the stage.
        stage: The stage.
    """
    problems = []
    objectives = dicts(stage.get("objectives"))
    if any(o.get("min_wer") is not None and o.get("kind") not in (None, KIND) for o in objectives):
        problems.append("min_wer is for the objective 'min_wer' only")
    own = [o.get("min_wer") or {} for o in objectives if o.get("kind") == KIND]
    if not own:
        return [f"stage {name!r}: {problem}" for problem in problems]
    if len(own) > 1:
        problems.append(f"min_wer stands there {len(own)} times; once is enough")
    data = dicts(stage.get("data"))
    if any(d.get("pairs") is not None or d.get("text") is not None for d in data):
        problems.append(
            "min_wer learns from what is heard, and the data have text without speech; leave that "
            "to a stage with cross_entropy alone"
        )
    if any(o.get("mode") == "replace" for o in dicts([stage.get("output")])):
        problems.append(
            "min_wer chooses between what the model writes already, and output.mode replace makes "
            "it forget that; replace in an earlier stage"
        )
    for how in dicts(own):
        if how.get("path") and how.get("lists") != "ahead":
            problems.append("min_wer.path is of lists made ahead; say min_wer.lists: ahead")
        if how.get("path") and len(data) > 1:
            problems.append(
                f"min_wer.path is of one corpus, and the stage learns {len(data)}; leave it out, "
                "and the lists are decoded"
            )
    return [f"stage {name!r}: {problem}" for problem in problems]
