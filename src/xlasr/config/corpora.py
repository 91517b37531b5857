"""An entry of a stage's data: a corpus of speech, or text without speech, and what goes with it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from xlasr.config.base import Settings, dicts

KINDS_OF_DATA = ("path", "pairs", "text")
"""Fields of an entry of which exactly one is given."""


class CorpusSettings(Settings):
    """One corpus of the mix: speech (`path`), or text without speech (`pairs`, `text`)."""

    path: str | None = Field(
        None, description="a corpus folder, or `main` for the command's corpus (the default)"
    )
    pairs: str | None = Field(
        None, description="instead: a UTF-8 file of lines source<TAB>target; the target is learnt"
    )
    text: str | None = Field(
        None, description="instead: a UTF-8 file of lines, or a corpus folder (its transcripts)"
    )
    source: str = Field(
        "en", description="BCP-47 tag of the sources of `pairs`, for bases that read them"
    )
    target: str | None = Field(
        None,
        description="BCP-47 tag of the targets of `pairs` (of `text`), where they are not in the "
        "corpus's language; of speech (`path`): its translation into this language is learnt, "
        "not the transcript",
    )
    weight: float = Field(
        1.0,
        gt=0,
        description="share of the audio, relative to the others; text: data.parallel.durations_s",
    )
    minutes: float | None = Field(None, gt=0, description="take only this much, by groups")

    @model_validator(mode="before")
    @classmethod
    def _main(cls, tree: Any) -> Any:
        nothing = isinstance(tree, dict) and all(tree.get(key) is None for key in KINDS_OF_DATA)
        return {**tree, "path": "main"} if nothing else tree

    @model_validator(mode="after")
    def _one_kind(self) -> CorpusSettings:
        given = [key for key in KINDS_OF_DATA if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of `path`, `pairs` and `text`, not {given}")
        return self

    @property
    def spoken(self) -> bool:
        """Whether it is speech."""
        return self.path is not None


def text_misfits(name: str, stage: dict[str, Any], family: Any) -> list[str]:
    """What a stage with text in its data cannot do.

    Args:
        name: Of the stage.
        stage: An unchecked tree.
        family: As the recipe says.
    """
    data = dicts(stage.get("data"))
    texts = [d for d in data if d.get("pairs") is not None or d.get("text") is not None]
    problems = []
    for output in dicts([stage.get("output")]):
        asked = [
            f"{key} {value}"
            for key, value in (("heads", "by_language"), ("text", "phones"))
            if output.get(key) == value and any(d.get("target") for d in data if d not in texts)
        ]
        problems += [f"stage {name!r}: data.target learns translations, and output.{a} transcripts"
                     for a in asked]  # fmt: skip
    if texts and family in ("ctc", "transducer"):
        problems.append(
            f"stage {name!r}: text alone cannot train the family {family!r}, whose output is "
            "aligned with sound; take seq2seq, or speak the text: xlasr prepare --reader "
            "spoken-text"
        )
    if not texts or len(texts) < len(data):
        return problems
    for augment in dicts([stage.get("augment")]):
        asked = [key for key in ("noise", "codec", "spec") if augment.get(key) is not None]
        asked += ["speed"] if augment.get("speed", [1.0]) not in ([1.0], [1]) else []
        problems += [
            f"stage {name!r}: augment.{key} changes sound, and its data are only text"
            for key in asked
        ]
    for train in dicts([stage.get("train")]):
        part = train.get("part")
        where = [a.get("where", "encoder") for a in dicts([train.get("adapter", {})])]
        if part == "length_adapter" or (part == "adapter" and where in (["encoder"], ["length"])):
            problems.append(
                f"stage {name!r}: text does not pass the speech encoder, so train.part {part!r} "
                "would learn nothing there; say adapter and train.adapter.where: decoder"
            )
    return problems
