"""The one table over runs: groups of seeds, the reference, reductions, and cells for print."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from xlasr.errors import DataError
from xlasr.reporting import comparison
from xlasr.reporting.compare.notes import notes_of
from xlasr.reporting.compare.rows import RunRow
from xlasr.reporting.comparison import NAMES, Comparison, Pair
from xlasr.reporting.formatting import (
    decoding_words,
    duration,
    number,
    per_cent,
    short,
    span,
    whole,
)
from xlasr.scoring import RateInterval, Score, rate_interval, werr
from xlasr.scoring.error_rates import Metric

_JAPANESE: dict[str, Metric] = {"words": "wer", "readings": "cer"}
"""What is looked at in each of a row's Japanese scores."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only.

    Attributes:
        name: Short and unique: the recipe, with a run's label where recipes repeat.
        rows: Its runs, in the order given.
        differs: Settings that are not those of other groups of the same recipe, "" without one.
    """

    name: str
    rows: tuple[RunRow, ...]
    differs: str = ""

    def mean(self, metric: Metric) -> float:
        """Mean rate of its runs, a ratio."""
        return fmean(row.score.counts(metric).rate for row in self.rows)


@dataclass(frozen=True)
class Result:
    """One run of the comparison.

    Attributes:
        row: As read.
        rates: WER and CER with intervals, by metric; CER alone for scripts without spaces.
        more: Japanese by MeCab's words and by readings, by name; never mixed with ``rates``.
        reduction: Of the headline metric over the comparison's reference; None for that itself.
        versus: CER and WER beside the reference run, with the paired test; empty for that itself.
    """

    row: RunRow
    rates: dict[Metric, RateInterval]
    more: dict[str, RateInterval]
    reduction: RateInterval | None
    versus: tuple[Comparison, ...]


@dataclass(frozen=True)
class RunComparison:
    """Runs side by side, scored on the same speech.

    Attributes:
        results: One a run, in the order given.
        groups: Runs that differ in their seed only, in the order of their first.
        metric: The headline: "wer", or "cer" for scripts without spaces.
        reference: What reductions are over, in words.
        reference_run: Label of the run that the paired tests are against.
        base: Score of the unadapted base that all runs share; None where they do not.
        notes: What a person must know to read it.
    """

    results: tuple[Result, ...]
    groups: tuple[Group, ...]
    metric: Metric
    reference: str
    reference_run: str
    base: Score | None
    notes: tuple[str, ...]

    @property
    def reduction_name(self) -> str:
        """Name of the reduction: "WERR", or "CERR" for scripts without spaces."""
        return f"{self.metric.upper()}R"

    def group_of(self, row: RunRow) -> Group:
        """The group of a run."""
        return next(group for group in self.groups if row in group.rows)


def compare_rows(rows: Sequence[RunRow], against: RunRow | None = None) -> RunComparison:
    """Compare runs.

    Reductions are over ``against``; without it over the unadapted base where all runs have the
    same one, or else over the first run. Paired tests are against ``against`` or the first run.

    Args:
        rows: Of ``read_rows``; at least one.
        against: One of ``rows``.

    Raises:
        DataError: They were not scored on the same utterances, groups and references.
    """
    run = against or rows[0]
    metrics = comparison.metrics_of(run.score)[::-1]
    metric = metrics[0]
    over_base = against is None and _have_one_base(rows)
    reference = f"the unadapted base {run.base_name}" if over_base else f"the run {run.label}"
    japanese = all(row.japanese and row.dictionary == run.dictionary for row in rows)
    results = []
    for row in rows:
        paired_with = None if row is run or row.split_sha256 != run.split_sha256 else run
        alike = None if paired_with is None else paired_with.score
        over = row.base if over_base else alike
        try:
            results.append(
                Result(
                    row,
                    {m: rate_interval(row.score, m, speakers=row.speakers) for m in metrics},
                    _more_rates(row) if japanese else {},
                    None if over is None else werr(over, row.score, metric),
                    () if paired_with is None else _versus(paired_with, row, japanese),
                )
            )
        except DataError as error:
            raise DataError(f"{row.folder} and {run.folder}: {error}") from error
    groups = group_rows(rows)
    return RunComparison(
        tuple(results),
        tuple(groups),
        metric,
        reference,
        run.label,
        run.base if over_base and len({row.split_sha256 for row in rows}) == 1 else None,
        tuple(notes_of(rows, results, groups, metric)),
    )


def _versus(run: RunRow, row: RunRow, japanese: bool) -> tuple[Comparison, ...]:
    more: list[Pair] = []
    if japanese:
        more = [(m, run.japanese[name], row.japanese[name]) for name, m in _JAPANESE.items()]
    return tuple(comparison.compare(run.score, row.score, more=more, speakers=row.speakers))


def _more_rates(row: RunRow) -> dict[str, RateInterval]:
    return {
        metric.upper() + NAMES[row.japanese[name].normaliser]: rate_interval(
            row.japanese[name], metric, speakers=row.speakers
        )
        for name, metric in _JAPANESE.items()
    }


def group_rows(rows: Sequence[RunRow]) -> list[Group]:
    """Put runs together that differ in their seed only, and name the groups."""
    members: dict[str, list[RunRow]] = {}
    for row in rows:
        members.setdefault(json.dumps(_identity(row), sort_keys=True), []).append(row)
    found = []
    recipes = [group[0].recipe for group in members.values()]
    for same in members.values():
        first = same[0]
        name, differs = first.recipe, ""
        if recipes.count(name) > 1:
            rivals = [group[0] for group in members.values() if group[0].recipe == name]
            differs = _differs(first, rivals)
            name = f"{name} ({first.label})"
        found.append(Group(name, tuple(same), differs))
    names = [group.name for group in found]
    return [
        g if names.count(g.name) < 2 else replace(g, name=f"{g.name} ({g.rows[0].label})")
        for g in found
    ]


def _identity(row: RunRow) -> dict[str, Any]:
    """Everything that makes a run but its seed."""
    return {
        "recipe": row.recipe,
        "settings": dict(row.settings),
        "decode": dict(row.decode),
        "base": row.base_sha256,
        "corpus": row.corpus_sha256,
        # A run that was stopped, or whose corpus was read in part, is another experiment.
        "minutes": row.minutes,
        "other_minutes": row.other_minutes,
    }


def series_key(row: RunRow) -> tuple[str, ...]:
    """What runs of one line in a plot over minutes share: all but how much they heard."""
    flat = _flat(dict(row.settings))
    same = {
        k: v
        for k, v in flat.items()
        if not k.endswith(".minutes")
        and not {"stop", "evaluate"} & set(k.split("."))
        and not _idle(k, flat)
    }
    told = json.dumps([same, dict(row.decode)], sort_keys=True)
    return row.recipe, row.base_sha256, told


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        parts = ((part.get("name", str(i)), part) for i, part in enumerate(value))  # type: ignore[assignment]
    else:
        return {path: json.dumps(value, ensure_ascii=False)}
    found: dict[str, str] = {}
    for key, part in parts:
        # "main" data and one-objective lists need no number in their names
        key = "" if str(key) == "0" else str(key)
        found |= _flat(part, ".".join(filter(None, (path, key))))
    return found


def _differs(row: RunRow, rivals: Iterable[RunRow]) -> str:
    mine, told = _flat(_identity(row)), _flat({"settings": dict(row.told)})
    others = [_flat(_identity(rival)) for rival in rivals]
    # of what rivals have no room for, such as a second objective, defaults are not worth a word
    keys = [
        k
        for k, value in mine.items()
        if any(other[k] != value if k in other else k in told for other in others)
    ]
    derived = {"minutes", "other_minutes", "recipe"}
    shown = [
        k
        for k in keys
        if k not in derived and not k.endswith((".name", ".path")) and not _idle(k, mine)
    ]
    stages = row.settings.get("stages") or []
    # the name of the only stage tells nothing
    only = f"{stages[0].get('name', '')}." if len(stages) == 1 else ""
    return ", ".join(
        f"{k.removeprefix('settings.').removeprefix('stages.').removeprefix(only)}"
        f" {'none' if mine[k] == 'null' else mine[k].strip(chr(34))[:60]}"
        for k in shown
        if not k.startswith("decode.")  # has a column of its own
    )


def _idle(key: str, settings: Mapping[str, str]) -> bool:
    """Whether it is a setting of a part (LoRA, adapters) that the run does not train."""
    stage, _, field = key.partition(".train.")
    part, inside, _ = field.partition(".")
    return bool(inside) and part in ("lora", "adapter") and (
        settings.get(f"{stage}.train.part", json.dumps(part)) != json.dumps(part)
    )  # fmt: skip


def _have_one_base(rows: Sequence[RunRow]) -> bool:
    """Whether all runs began with the same base, and it says the same on the same speech."""
    heard: dict[str, Score] = {}
    for row in rows:
        if row.base is None or row.base_sha256 != rows[0].base_sha256:
            return False
        if heard.setdefault(row.split_sha256, row.base).utterances != row.base.utterances:
            return False
    return True


def decoding(row: RunRow) -> str:
    """Return how a run decodes, in words: "beam 8, 5-gram 0.6"."""
    extra = " with more text" if row.decode.get("lm_text") else ""
    return decoding_words(row.decode, f"{row.decode.get('lm_weight', 0):g}{extra}")


def minutes_cell(row: RunRow) -> str:
    """Return the minutes of speech: "64.9", or "64.9 + 391.3" with other corpora."""
    if row.minutes is None:
        return ""
    other = f" + {number(row.other_minutes)}" if row.other_minutes else ""
    return number(row.minutes) + other


def forgetting_cell(row: RunRow) -> str:
    """Return CER on other corpora, base to adapted: "en 5.1 to 9.3 %, worse"; "" is not scored."""
    return "; ".join(
        f"{f.language} {'' if f.base_cer is None else number(100 * f.base_cer) + ' to '}"
        f"{per_cent(f.adapted_cer)}{', ' + f.verdict if f.verdict else ''}"
        for f in row.forgetting
    )


def guards_cell(row: RunRow) -> str:
    """Return how often guards had something to say: "overfitting 1, repetition_loop 6"."""
    return ", ".join(f"{name} {count}" for name, count in sorted(row.guards.items()))


def _maybe(value: float | None, show: Callable[[float], str]) -> str:
    return "" if value is None else show(value)


def cost_cells(row: RunRow) -> dict[str, str]:
    """Return what a run cost and how it is decoded, for print, by column; "" is not known."""
    return {
        "trained": _maybe(row.trained, short),
        "disk": f"{number(row.size_bytes / 1e6, 0)}\u00a0MB",
        "minutes": minutes_cell(row),
        "training": _maybe(row.wall_s, duration),
        "cpu": _maybe(row.cpu_s, lambda s: f"{whole(s)}\u00a0s"),
        "memory": _maybe(row.peak_memory_mb, lambda mb: f"{whole(mb)}\u00a0MB"),
        "rtf": _maybe(row.real_time_factor, lambda x: number(x, 3)),
        "forgetting": forgetting_cell(row),
        "decoding": decoding(row),
        "guards": guards_cell(row),
    }


def rate_cells(result: Result) -> dict[str, str]:
    """Return rates and the reduction with intervals, for print: "wer", "wer_span", ..."""
    found: dict[str, str] = {}
    for metric, rate in result.rates.items():
        found[metric] = per_cent(rate.value)
        found[f"{metric}_span"] = _span(rate)
    found["reduction"] = "" if result.reduction is None else per_cent(result.reduction.value)
    found["reduction_span"] = "" if result.reduction is None else _span(result.reduction)
    return found


def more_cells(result: Result) -> list[tuple[str, str]]:
    """Return a run's other scores (Japanese by words, by readings) with intervals, for print."""
    return [(per_cent(rate.value), _span(rate)) for rate in result.more.values()]


def _span(rate: RateInterval) -> str:
    shown = span(rate.ends)
    return "" if shown == "n/a" else shown


def table_csv(found: RunComparison) -> str:
    """Return the table as CSV: ratios, seconds, bytes and minutes; an empty cell is not known."""
    rows = []
    for result in found.results:
        row, reduction = result.row, result.reduction
        tests = [c.paired for c in result.versus if c.metric == found.metric and c.paired]
        p = tests[0].p_value if tests else None
        cells: dict[str, Any] = {
            "run": row.label,
            "folder": row.folder,
            "group": found.group_of(row).name,
            "recipe": row.recipe,
            "seed": row.seed,
            "folds": len(row.folds) or None,
            "base": row.base_name,
            "decoding": decoding(row),
            "trained_parameters": row.trained,
            "parameters": row.parameters,
            "size_bytes": row.size_bytes,
            "minutes": row.minutes,
            "other_minutes": row.other_minutes,
            "train_wall_s": row.wall_s,
            "train_cpu_s": row.cpu_s,
            "peak_memory_mb": row.peak_memory_mb,
        }
        for metric, rate in result.rates.items():
            cells |= {metric: rate.value, f"{metric}_low": rate.low, f"{metric}_high": rate.high}
        for name, rate in zip(("mecab_wer", "reading_cer"), result.more.values(), strict=False):
            cells |= {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}
        name = found.reduction_name.lower()
        cells |= {
            name: None if reduction is None else reduction.value,
            f"{name}_low": None if reduction is None else reduction.low,
            f"{name}_high": None if reduction is None else reduction.high,
            f"{name}_over": "" if reduction is None else found.reference,
            f"p_{found.metric}_against_{found.reference_run}": p,
            "real_time_factor": row.real_time_factor,
            "real_time_factor_cpu": row.real_time_factor_cpu,
            "forgetting": forgetting_cell(row),
            "guards": guards_cell(row),
        }
        rows.append(cells)
    return csv_text(list(rows[0]), [list(cells.values()) for cells in rows])


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV; None and NaN are empty cells."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    # NaN alone differs from itself
    writer.writerows(["" if c is None or c != c else c for c in row] for row in rows)
    return out.getvalue()
