"""What to train on a corpus, why, and what it will cost: a recipe as a proposal.

The rules are what docs/RESULTS.md measured on Czech; where a rule reaches beyond that, its reason
says so. The cost is measured here and now: some updates with these settings, on this machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xlasr.config import Recipe, load_recipe
from xlasr.data.corpus import Corpus
from xlasr.errors import DataError, TrainingStopped, UsageError
from xlasr.models.hub import Base, find_base

MEASURED_MINUTES, MEASURED_UPDATES = 65.0, 3000
"""What the recipe ``ctc`` was tuned on: an hour of Czech."""
LEAST_UPDATES = 1200
"""CTC leaves its all-blank plateau after 350 to 480 updates, whatever the amount of data."""
TIMED_UPDATES = 20


@dataclass(frozen=True)
class Plan:
    """A proposal.

    Args:
        recipe: Complete; ``config.dump_recipe`` writes it.
        because: One sentence for each choice.
        cpu_s_an_update: Process CPU-seconds, measured; None where it was not.
    """

    recipe: Recipe
    because: list[str] = field(default_factory=list)
    cpu_s_an_update: float | None = None

    @property
    def updates(self) -> int:
        """Of all stages."""
        return sum(stage.stop.updates or 0 for stage in self.recipe.stages)


def plan(
    corpus: str | Path,
    base: str = "whisper-tiny.en",
    *,
    text: Sequence[str] = (),
    keep: str | None = None,
    parts: bool = False,
    related: Sequence[str | Path] = (),
    threads: int | None = None,
    measure: bool = True,
) -> Plan:
    """Propose a recipe for a corpus.

    Args:
        corpus: Folder.
        base: Name, directory or hub id.
        text: Text files or corpora of the language, for the language model.
        keep: A corpus of a language that the base knows and must not forget.
        parts: Whether many languages should share one frozen base.
        related: Corpora of other languages; the nearest one is learnt first (``xlasr pivots``).
        threads: CPU threads of the timed updates; None is all cores.
        measure: Whether to time updates on this machine.

    Raises:
        DataError: The corpus has nothing to train on.
        UsageError: Wishes that contradict each other.
    """
    opened = Corpus.open(corpus)
    if "train" not in opened.splits or "dev" not in opened.splits:
        raise DataError(f"{opened.path} has no train and dev split; make it with xlasr prepare")
    found = find_base(base)
    minutes = float(opened.split("train").durations_s.sum()) / 60
    name, because = _method(found, minutes, keep, parts)
    settings, more = _settings(name, minutes, text, keep)
    if related:
        name, settings, near = _behind_related(name, opened, settings, related)
        more += near
    recipe = load_recipe(name, settings)
    described = (
        f"{name} for {minutes:.0f} minutes of {opened.card.language}, proposed by xlasr plan"
    )
    proposal = Plan(recipe.model_copy(update={"description": described}), because + more)
    return _timed(proposal, opened, base, threads) if measure else proposal


def _method(base: Base, minutes: float, keep: str | None, parts: bool) -> tuple[str, list[str]]:
    whisper = "seq2seq" in base.families
    if keep and parts:
        raise UsageError("a frozen base forgets nothing: leave out --keep, or --parts")
    if keep and (not whisper or "ctc" not in base.families):
        raise UsageError(
            f"{base.name} has no recogniser of its own that could be kept; --keep is for Whisper"
        )
    if keep:
        return "whisper-replay", [f"a tenth of the audio is of {keep}, so that it is not forgotten"]
    if "ctc" not in base.families:
        raise UsageError(
            f"{base.name} is a {base.model_type} model, and nothing was measured here of which a "
            "plan for it could be made; choose its recipe yourself (xlasr recipes), such as "
            "seamless-length"
        )
    if parts:
        return "ctc-adapters", [
            "the base stays as it is, so that every language is one small part of it"
        ]
    if not whisper:
        return "ctc", [f"{base.name} is an encoder without a decoder: a new CTC head"]
    why = (
        "at an hour of Czech a CTC head with a language model had the fewest errors of all recipes "
        "(16.5 % CER; Whisper's own decoder 20.3 to 22.4 %)"
    )
    return "ctc", [why if minutes < 600 else f"{why}; at {minutes / 60:.0f} hours not measured"]


def _behind_related(
    name: str, corpus: Corpus, settings: list[str], related: Sequence[str | Path]
) -> tuple[str, list[str], list[str]]:
    """The recipe that learns the nearest of the languages first, its settings and reasons."""
    from xlasr.diagnosis.pivots import pivots

    if name != "ctc":
        raise UsageError(f"--related is for a new CTC head, and this plan is {name}: leave it out")
    languages: dict[str, str] = {}
    for path in related:
        other = Corpus.open(path)
        if "train" not in other.splits:
            raise DataError(f"{path} has no train split; make it with xlasr prepare")
        if other.language == corpus.language:
            raise UsageError(
                f"{path} is {other.language} too, the target itself: --related is for other "
                "languages"
            )
        languages.setdefault(other.language, str(path))
    ranking = pivots(corpus.language, [corpus.path, *languages.values()], audio=False)
    first = ranking.candidates[0]
    path = languages[first.language]
    others = ", ".join(c.name for c in ranking.candidates[1:])
    because = [
        f"{first.name} first: the nearest to {ranking.name}"
        + (f" of what is at hand (behind it: {others}; xlasr pivots shows why)" if others else "")
        + "; letters that both have are kept. With 14 minutes of Italian, Spanish first was level "
        "with Italian alone (8.4 and 8.3 % CER at equal updates); with less it was not measured"
    ]
    updates = next(s for s in settings if s.startswith("adapt.stop.updates="))
    of_stage = [updates.replace("adapt", "related", 1), f'related.data=[{{path: "{path}"}}]']
    return "ctc-related", [*settings, *of_stage], because


def _settings(
    name: str, minutes: float, text: Sequence[str], keep: str | None
) -> tuple[list[str], list[str]]:
    because = []
    usual = sum(stage.stop.updates or 0 for stage in load_recipe(name).stages)
    scale = (minutes / MEASURED_MINUTES) ** 0.5
    updates = max(LEAST_UPDATES, int(round(usual * scale, -2)))
    if minutes < MEASURED_MINUTES:
        because.append(
            f"{updates} updates: fewer than the recipe's {usual}, for {minutes:.0f} minutes are "
            f"heard again sooner; not below {LEAST_UPDATES}, for CTC needs hundreds to begin at all"
        )
    else:
        because.append(
            f"{updates} updates: the recipe's {usual} for {MEASURED_MINUTES:.0f} minutes, growing "
            "with the square root of the data (not measured beyond an hour)"
        )
    settings = [f"adapt.stop.updates={updates}", f"adapt.evaluate.every={max(100, updates // 10)}"]
    if minutes < 20:
        settings.append("adapt.batch_s=15")
        because.append(
            "batches of 15 s: with little data many small steps leave the plateau sooner"
        )
    if keep:
        settings.append(f"adapt.data.1.path={keep}")
    if name.startswith("ctc") and text:
        settings.append("decode.lm_text=[" + ", ".join(f'"{t}"' for t in text) + "]")
        because.append("your text goes into the language model: on Czech it took a quarter off")
    elif name.startswith("ctc"):
        because.append(
            "the language model has only the transcripts: any text of the language (--text) helps "
            "more than any setting"
        )
    if minutes < 40:
        because.append(
            "doubling the minutes took a fifth to a quarter of the errors off, from 5 to 40: more "
            "recordings are the best thing to add"
        )
    return settings, because


def _timed(proposal: Plan, corpus: Corpus, base: str, threads: int | None) -> Plan:
    from xlasr.api.adapting import adapt
    from xlasr.training.metrics import Metrics

    recipe = proposal.recipe
    timed: list[Any] = []
    for stage in recipe.stages:
        stop = stage.stop.model_copy(update={"updates": TIMED_UPDATES})
        look = stage.evaluate.model_copy(update={"every": TIMED_UPDATES, "seconds": 1.0})
        timed.append(stage.model_copy(update={"stop": stop, "evaluate": look}))
    short = recipe.model_copy(update={"stages": timed})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        with suppress(TrainingStopped):  # twenty updates teach nothing, as a guard will notice
            adapt(corpus.path, base=base, recipe=short, out=out, threads=threads)
        rows = [row for row in Metrics(out / "metrics.jsonl").rows() if "loss" in row]
    first, last = rows[0], rows[-1]
    spent = last["time"]["cpu_s"] - first["time"]["cpu_s"]
    cost = spent / (last["update"] - first["update"])
    return replace(proposal, cpu_s_an_update=cost)
