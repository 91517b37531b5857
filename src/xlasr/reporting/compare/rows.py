"""What a comparison reads of a run: ``run.json``, its recipe, metrics and one evaluation."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from xlasr.config import Recipe
from xlasr.errors import DataError, RunError, UsageError
from xlasr.scoring import Score


@dataclass(frozen=True)
class Forgetting:
    """What a model lost on speech of another corpus.

    Attributes:
        corpus: Name of the corpus.
        language: BCP-47.
        base_cer: CER of the unadapted base there, a ratio; None where it was not scored.
        adapted_cer: CER of the adapted model.
        verdict: In words, as the evaluation says it.
    """

    corpus: str
    language: str
    base_cer: float | None
    adapted_cer: float
    verdict: str


@dataclass(frozen=True)
class RunRow:
    """One evaluation of one finished run.

    Attributes:
        label: Short and unique in the comparison.
        folder: Of the run.
        name: Of the evaluation: ``evaluations/NAME.json``.
        recipe: Name of its recipe.
        settings: The recipe with every field, without name, description, cost and decoding.
        told: Those of them that are not the defaults.
        base_name: The base it began with.
        base_sha256: Of the base's weights.
        corpus: Folder it was trained on.
        corpus_sha256: Of what was in it.
        seed: Of the run.
        commit: Of the program; "" where it is not known.
        decode: Settings of the evaluation.
        split: That was scored.
        split_sha256: Of what was in it.
        score: Headline score of the adapted model.
        base: The unadapted base's; None where it has no decoder or was left out.
        trained: Trained parameters, those of the largest stage.
        parameters: All parameters of the model.
        size_bytes: Of the finished model's files.
        minutes: Minutes of training speech of the run's own corpus; None where it is not known.
        other_minutes: Minutes of other corpora that were heard too (synthetic, replay).
        wall_s: Time of training.
        cpu_s: CPU time of training.
        peak_memory_mb: Of training.
        real_time_factor: Seconds to decode a second of audio; None where it was not measured.
        real_time_factor_cpu: CPU-seconds, likewise.
        forgetting: Other corpora that were scored with it.
        metrics: Rows of ``metrics.jsonl``.
        speakers: How many different speakers were scored; None or 0 is not known.
        guards: How often each guard had something to say, in training and in the evaluation.
        japanese: Scores by MeCab's "words" and by "readings"; empty where there are none.
        dictionary: What cut and read Japanese; "" likewise.
        source: Where the scored corpus comes from; "" is not known.
        split_rule: How its sides were chosen; "" is not known.
        folds: Labels of the runs that are pooled in this row; empty for a single run.
    """

    label: str
    folder: Path
    name: str
    recipe: str
    settings: Mapping[str, Any]
    base_name: str
    base_sha256: str
    corpus: str
    corpus_sha256: str
    seed: int
    commit: str
    decode: Mapping[str, Any]
    split: str
    split_sha256: str
    score: Score
    base: Score | None
    trained: int | None
    parameters: int | None
    size_bytes: int
    minutes: float | None
    other_minutes: float
    wall_s: float | None
    cpu_s: float | None
    peak_memory_mb: float | None
    real_time_factor: float | None
    real_time_factor_cpu: float | None
    forgetting: tuple[Forgetting, ...]
    metrics: tuple[Mapping[str, Any], ...]
    speakers: int | None = None
    guards: Mapping[str, int] = field(default_factory=dict)
    japanese: Mapping[str, Score] = field(default_factory=dict)
    dictionary: str = ""
    source: str = ""
    split_rule: str = ""
    folds: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)


def read_rows(
    runs: Sequence[str | Path], split: str = "test", name: str = "", *, folds: bool = False
) -> list[RunRow]:
    """Read runs, give each a label of its own and check that they were scored on the same speech.

    Args:
        runs: Run folders, or ``RUN:NAME`` for ``RUN/evaluations/NAME.json``.
        split: Name of the evaluation where none is given.
        name: Of the evaluation, for all runs that do not name one.
        folds: They are folds, to be pooled, and may be scored on different speech.

    Raises:
        UsageError: The same evaluation twice.
        RunError: A folder is no run, not finished, not evaluated, or damaged.
        DataError: They were scored on different speech or by different rules; all are named.
    """
    rows = [read_run(run, split, name) for run in runs]
    seen: dict[tuple[Path, str], None] = {}
    for row in rows:
        if (row.folder, row.name) in seen:
            raise UsageError(f"{row.folder} with its evaluation {row.name!r} is given twice")
        seen[row.folder, row.name] = None
    _same_speech(rows, folds)
    return _labelled(rows, name or split)


def read_run(run: str | Path, split: str = "test", name: str = "") -> RunRow:
    """Read one evaluation of one run; arguments and errors as for ``read_rows``."""
    folder, name = _evaluation(run, name or split)
    facts = _json(folder / "run.json", "no run of xlasr; `xlasr adapt CORPUS --out RUN` makes one")
    if not (folder / "model").exists() or not facts.get("stages"):
        raise RunError(f"{folder} is not finished; go on with `xlasr adapt --resume {folder}`")
    path = folder / "evaluations" / f"{name}.json"
    there = sorted(p.stem for p in path.parent.glob("*.json"))
    found = _json(
        path,
        f"{folder} has no evaluation {name!r}"
        f"{' (it has ' + ', '.join(there) + ': name one with RUN:NAME)' if there else ''};"
        f" make it with `xlasr evaluate {folder}{'' if name == 'test' else f' --split {split}'}`",
    )
    try:
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
        settings, told = _settings(recipe)
        stages, cost = facts["stages"], facts.get("cost", {})
        minutes, other = _minutes(recipe, stages, Path(facts["corpus"]["path"]))
        speed = found.get("speed") or {}
        audio_s = speed.get("audio_s") or 0.0
        japanese = (found.get("japanese") or {}).get("adapted") or {}
        return RunRow(
            label=folder.name,
            folder=folder,
            name=name,
            recipe=str(facts.get("recipe") or recipe.get("name", "")),
            settings=settings,
            told=told,
            base_name=str(facts["base"]["name"]),
            base_sha256=str(facts["base"]["sha256"]),
            corpus=str(facts["corpus"]["path"]),
            corpus_sha256=str(facts["corpus"]["sha256"]),
            seed=int(facts["seed"]),
            commit=str(facts.get("environment", {}).get("commit") or ""),
            decode=dict(found.get("decode") or {}),
            split=str(found["split"]),
            split_sha256=str(found["split_sha256"]),
            score=Score.from_dict(found["adapted"]),
            base=Score.from_dict(found["base"]) if found.get("base") else None,
            trained=max((s["trainable_parameters"] for s in stages), default=None),
            parameters=stages[-1].get("parameters"),
            size_bytes=sum(
                p.stat().st_size for p in (folder / "model").resolve().rglob("*") if p.is_file()
            ),
            minutes=minutes,
            other_minutes=other,
            wall_s=cost.get("wall_s"),
            cpu_s=cost.get("cpu_s"),
            peak_memory_mb=cost.get("peak_memory_mb"),
            real_time_factor=speed["wall_s"] / audio_s if audio_s else None,
            real_time_factor_cpu=speed["cpu_s"] / audio_s if audio_s else None,
            forgetting=tuple(
                Forgetting(
                    Path(str(entry["corpus"])).name,
                    str(entry["language"]),
                    entry.get("base_cer"),
                    float(entry["adapted_cer"]),
                    str(entry.get("verdict", "")),
                )
                for entry in found.get("also") or ()
            ),
            metrics=tuple(_lines(folder / "metrics.jsonl")),
            speakers=found.get("speakers"),
            guards=_guards([*stages, found]),
            japanese={
                key: Score.from_dict(japanese[key]) for key in ("words", "readings") if japanese
            },
            dictionary=str(japanese.get("dictionary", "")),
            source=str(found.get("source") or ""),
            split_rule=str(found.get("split_rule") or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError, OSError) as error:
        raise RunError(
            f"{folder}: run.json, recipe.yaml or {path.name} is damaged"
            f" ({type(error).__name__}: {error}). Evaluate again: `xlasr evaluate {folder}`"
        ) from error
    except DataError as error:
        raise RunError(f"{path}: {error}") from error


def _evaluation(run: str | Path, name: str) -> tuple[Path, str]:
    """Folder and name of ``RUN`` or ``RUN:NAME``; a folder may have a colon in its own name."""
    text = str(run)
    folder, colon, given = text.rpartition(":")
    if colon and folder and not Path(text).exists():
        text, name = folder, given
    if not name or Path(name).name != name:
        raise UsageError(f"{run}: an evaluation has the name of a file in RUN/evaluations/")
    return Path(os.path.abspath(text)), name


def _json(path: Path, absent: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is not there: {absent}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); make it again") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged (it holds no object); make it again")
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole rows of ``metrics.jsonl``; a kill may leave half a last line."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _minutes(
    recipe: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], corpus: Path
) -> tuple[float | None, float]:
    """Minutes of the run's own corpus and of all others, each at the stage that hears most of it.

    A stage says how much it heard in all. Where it mixes corpora the own part is what a stage on
    the own corpus alone has heard, or else what the corpus' card says.
    """
    settings = {stage.get("name"): stage for stage in recipe["stages"]}
    alone, mixed, limits, whole = [], [], [], False
    for stage in stages:
        heard = stage.get("train_minutes")
        if heard is None:
            continue
        data = settings.get(stage.get("stage"), {}).get("data") or [{"path": "main"}]
        own = [part for part in data if part.get("path") == "main"]
        if len(own) == len(data):
            alone.append(float(heard))
        else:
            mixed.append(float(heard))
            limits += [float(part["minutes"]) for part in own if part.get("minutes") is not None]
            whole = whole or any(part.get("minutes") is None for part in own)
    minutes = max(alone or limits, default=None)
    if whole and not alone:
        try:
            card = json.loads((corpus / "card.json").read_text(encoding="utf-8"))
            minutes = round(float(card["splits"]["train"]["minutes"]), 1)
        except (OSError, ValueError, KeyError, TypeError):
            minutes = None
    # Of a mix whose own part is not known all of it would be a wrong number on both sides.
    other = max(0.0, max(mixed, default=0.0) - minutes) if minutes is not None else 0.0
    return minutes, round(other, 1)


def _guards(parts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.get("guards") or {})
    return dict(counts)


def _same_speech(rows: Sequence[RunRow], folds: bool) -> None:
    speech = [(row.split, "" if folds else row.split_sha256[:12]) for row in rows]
    for what, kinds in (
        ("different speech", speech),
        (
            "the same speech by different rules",
            [(r.score.normaliser, f"v{r.score.normaliser_version}", r.score.costs) for r in rows],
        ),
    ):
        if len(set(kinds)) > 1:
            listed = "\n".join(
                f"  {row.folder}: {row.name}.json is {' '.join(kind)}"
                for row, kind in zip(rows, kinds, strict=True)
            )
            raise DataError(
                f"these runs were scored on {what}, so they are not compared:\n{listed}\n"
                "Evaluate all of them on one corpus: xlasr evaluate RUN CORPUS --split SPLIT;"
                " runs on the folds of a corpus are pooled by --folds"
            )


def _settings(recipe: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All settings, and those that are not the defaults; of a recipe of an older xlasr too.

    What it did not know yet has today's default, which is what it did. One that today's xlasr does
    not understand is taken as it stands.
    """
    away = {"name", "description", "cost", "decode"}
    try:
        known = Recipe.model_validate(recipe)
    except ValidationError:
        plain = {key: value for key, value in recipe.items() if key not in away}
        return plain, plain
    whole = known.model_dump(mode="json", exclude=away)
    return whole, known.model_dump(mode="json", exclude=away, exclude_defaults=True)


def _labelled(rows: Sequence[RunRow], usual: str) -> list[RunRow]:
    names = [r.folder.name if r.name == usual else f"{r.folder.name}:{r.name}" for r in rows]
    longer = [f"{r.folder.parent.name}/{n}" for r, n in zip(rows, names, strict=True)]
    longest = [f"{r.folder}:{r.name}" for r in rows]
    found = []
    for choices in zip(rows, names, longer, longest, strict=True):
        row, options = choices[0], choices[1:]
        unique = (o for o, all_ in zip(options, (names, longer), strict=False) if all_.count(o) < 2)
        found.append(replace(row, label=next(unique, options[-1])))
    return found
