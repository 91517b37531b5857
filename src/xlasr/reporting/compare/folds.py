"""Rotation over folds: the runs of one method on the folds of one corpus, pooled as one row.

``xlasr prepare --fold K/N`` turns a corpus so that every fold is tested on other groups. One test
side is small; the folds' test sides together are most of the corpus, and a claim that holds on them
does not hang on which scenes came out of the hash. Errors and symbols are added up by group, so
that the interval and the paired test resample the groups of all folds.

The models of the folds share most of their training speech, and an interval over groups does not
know that: it is that of the method on this corpus.

Source: K. Gorman and S. Bedrick, "We need to talk about standard splits", ACL 2019; Y. Bengio and
Y. Grandvalet, "No unbiased estimator of the variance of k-fold cross-validation", JMLR 5, 2004.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from xlasr.errors import DataError, UsageError
from xlasr.reporting.compare.rows import RunRow
from xlasr.scoring import Counts, Score


def pool_folds(rows: Sequence[RunRow]) -> list[RunRow]:
    """Return one row for each method, its folds together; costs and minutes are means of a fold.

    Runs of one method have the same recipe, settings, decoding and base. Where one of them has a
    fold twice, by another seed, every seed is a row of its own.

    Args:
        rows: Of single runs.

    Raises:
        UsageError: No method has two folds.
        DataError: Two folds of a method have a test group in common, or are not of one corpus.
    """
    methods: dict[str, list[RunRow]] = {}
    for row in rows:
        methods.setdefault(_method(row), []).append(row)
    pooled = []
    for runs in methods.values():
        seeds = {row.seed: [r for r in runs if r.seed == row.seed] for row in runs}
        twice = len({row.split_sha256 for row in runs}) < len(runs)
        pooled += [_pool(same) for same in (seeds.values() if twice else [runs])]
    if all(len(row.folds) < 2 for row in pooled):
        raise UsageError(
            "--folds pools runs of one recipe, base and decoding on the folds of a corpus (`xlasr"
            f" prepare --fold K/N`), and no two of these {len(rows)} runs are such; leave it out"
        )
    labels = [row.label for row in pooled]
    return [
        row if labels.count(row.label) < 2 else replace(row, label=f"{row.label} {row.folds[0]}")
        for row in pooled
    ]


def together(scores: Sequence[Score]) -> Score:
    """Return the utterances of several scores as one."""
    return replace(
        scores[0],
        utterances=tuple(u for score in scores for u in score.utterances),
        words=sum((score.words for score in scores), Counts()),
        characters=sum((score.characters for score in scores), Counts()),
    )


def _method(row: RunRow) -> str:
    parts = [row.recipe, row.settings, row.decode, row.base_sha256]
    return json.dumps(parts, sort_keys=True, default=dict)


def _pool(runs: Sequence[RunRow]) -> RunRow:
    runs = sorted(runs, key=lambda row: row.split_sha256)  # the same folds make the same row
    _check(runs)
    first, count = runs[0], len(runs)
    bases = [row.base for row in runs if row.base is not None]
    japanese = {
        name: together([row.japanese[name] for row in runs])
        for name in first.japanese
        if all(name in row.japanese and row.dictionary == first.dictionary for row in runs)
    }
    return replace(
        first,
        label=f"{first.recipe} ({count} fold{'s' if count > 1 else ''})",
        folds=tuple(row.label for row in runs),
        corpus_sha256=_hash(row.corpus_sha256 for row in runs),
        split_sha256=_hash(row.split_sha256 for row in runs),
        score=together([row.score for row in runs]),
        base=together(bases) if len(bases) == count else None,
        japanese=japanese,
        speakers=_known(max, [row.speakers for row in runs]),
        trained=_known(max, [row.trained for row in runs]),
        size_bytes=max(row.size_bytes for row in runs),
        minutes=_known(fmean, [row.minutes for row in runs]),
        other_minutes=fmean(row.other_minutes for row in runs),
        wall_s=_known(fmean, [row.wall_s for row in runs]),
        cpu_s=_known(fmean, [row.cpu_s for row in runs]),
        peak_memory_mb=_known(max, [row.peak_memory_mb for row in runs]),
        real_time_factor=_known(fmean, [row.real_time_factor for row in runs]),
        real_time_factor_cpu=_known(fmean, [row.real_time_factor_cpu for row in runs]),
        guards={
            name: sum(row.guards.get(name, 0) for row in runs)
            for name in dict.fromkeys(name for row in runs for name in row.guards)
        },
        forgetting=(),
        metrics=(),
    )


def _known(join: Any, values: Sequence[Any]) -> Any:
    """Join values; None where one of them is not known."""
    return None if None in values else join(values)


def _hash(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _check(runs: Sequence[RunRow]) -> None:
    owners: dict[str, RunRow] = {}
    for row in runs:
        for group in {u.group for u in row.score.utterances}:
            if group in owners:
                raise DataError(
                    f"{owners[group].folder} and {row.folder} were both tested on the group"
                    f" {group!r}, so they are no two folds of one rotation. Make the corpora with"
                    " one number of folds: xlasr prepare ... --fold 1/4, 2/4, 3/4, 4/4"
                )
            owners[group] = row
    # a corpus turned by other ratios, or another corpus, is no fold of this one
    kinds = {
        (row.source, re.sub(r"; fold \d+/\d+", "", row.split_rule)): row
        for row in runs
        if row.split_rule
    }
    if len(kinds) > 1:
        listed = "\n".join(
            f"  {row.folder}: {source}, {rule}" for (source, rule), row in kinds.items()
        )
        raise DataError(f"these runs are of one method and not of folds of one corpus:\n{listed}")
