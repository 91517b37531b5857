"""The one table over runs: groups of seeds, the reference, reductions, and cells for print."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from xlasr.errors import DataError
from xlasr.reporting import comparison
from xlasr.reporting.compare.rows import RunRow
from xlasr.reporting.comparison import Comparison
from xlasr.reporting.formatting import duration, number, per_cent, short, span, whole
from xlasr.scoring import RateInterval, Score, paired, rate_interval, werr
from xlasr.scoring.error_rates import Metric
from xlasr.scoring.normalisers import is_unspaced


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
        rates: WER and CER with intervals, by metric.
        reduction: Of the headline metric over the comparison's reference; None for that itself.
        versus: CER and WER beside the reference run, with the paired test; empty for that itself.
    """

    row: RunRow
    rates: dict[Metric, RateInterval]
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
    metric: Metric = "cer" if is_unspaced(u.reference for u in run.score.utterances) else "wer"
    base = _common_base(rows)
    over, reference = run.score, f"the run {run.label}"
    if against is None and base is not None:
        over, reference = base, f"the unadapted base {run.base_name}"
    metrics: tuple[Metric, Metric] = ("wer", "cer")
    results = []
    for row in rows:
        try:
            results.append(
                Result(
                    row,
                    {m: rate_interval(row.score, m) for m in metrics},
                    None if row.score is over else werr(over, row.score, metric),
                    () if row is run else tuple(comparison.compare(run.score, row.score)),
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
        base,
        tuple(_notes(rows, results, groups, metric)),
    )


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
    mine = _flat(_identity(row))
    others = [_flat(_identity(rival)) for rival in rivals]
    keys = [k for k in mine if any(other.get(k) != mine[k] for other in others)]
    derived = {"minutes", "other_minutes", "recipe"}
    shown = [k for k in keys if k not in derived and not k.endswith((".name", ".path"))]
    stages = row.settings.get("stages") or []
    # the name of the only stage tells nothing
    only = f"{stages[0].get('name', '')}." if len(stages) == 1 else ""
    return ", ".join(
        f"{k.removeprefix('settings.').removeprefix('stages.').removeprefix(only)}"
        f" {'none' if mine[k] == 'null' else mine[k].strip(chr(34))[:60]}"
        for k in shown
        if not k.startswith("decode.")  # has a column of its own
    )


def _common_base(rows: Sequence[RunRow]) -> Score | None:
    """The base's score where all runs have one and it says the same."""
    first = rows[0].base
    if first is None:
        return None
    same = all(
        row.base is not None
        and row.base_sha256 == rows[0].base_sha256
        and row.base.utterances == first.utterances
        for row in rows
    )
    return first if same else None


def _notes(
    rows: Sequence[RunRow], results: Sequence[Result], groups: Sequence[Group], metric: Metric
) -> list[str]:
    notes = []
    if metric == "cer":
        notes.append(
            "this script does without spaces between words: CER is the headline, WER has no words"
        )
    notes += [r.rates[metric].note for r in results]
    if len({row.corpus_sha256 for row in rows}) > 1:
        notes.append("the runs were trained on different corpora")
    if len({json.dumps(dict(row.decode), sort_keys=True) for row in rows}) > 1:
        notes.append("the runs were decoded with different settings (column decoding)")
    for group in groups:
        commits = sorted({row.commit for row in group.rows})
        if len(commits) > 1:
            notes.append(
                f"seeds of {group.name} were run by different versions of the program:"
                f" {', '.join(commit or 'unknown' for commit in commits)}"
            )
    others = [row.label for row in rows if row.other_minutes]
    if others:
        notes.append(
            f"{', '.join(others)} also heard speech of other corpora (synthetic speech, replay);"
            " minutes count the run's own corpus, the rest stands behind a +"
        )
    if any(row.minutes is None for row in rows):
        notes.append("minutes are empty where the run's own corpus is one part of a mix and gone")
    return [note for note in dict.fromkeys(notes) if note]


def decoding(row: RunRow) -> str:
    """Return how a run decodes, in words: "beam 8, 5-gram 0.6"."""
    decode = row.decode
    beam = int(decode.get("beam", 1))
    text = "greedy" if beam == 1 else f"beam {beam}"
    if decode.get("lm_order"):
        extra = " with more text" if decode.get("lm_text") else ""
        text += f", {decode['lm_order']}-gram {decode.get('lm_weight', 0):g}{extra}"
    return text


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


def _span(rate: RateInterval) -> str:
    shown = span(rate.ends)
    return "" if shown == "n/a" else shown


def table_csv(found: RunComparison) -> str:
    """Return the table as CSV: ratios, seconds, bytes and minutes; an empty cell is not known."""
    rows = []
    by_label = {result.row.label: result for result in found.results}
    reference = by_label[found.reference_run].row.score
    for result in found.results:
        row, reduction = result.row, result.reduction
        p = None if row.score is reference else paired(reference, row.score, found.metric).p_value
        cells: dict[str, Any] = {
            "run": row.label,
            "folder": row.folder,
            "group": found.group_of(row).name,
            "recipe": row.recipe,
            "seed": row.seed,
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
