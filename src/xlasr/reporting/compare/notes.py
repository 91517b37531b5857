"""What a person must know to read a comparison, in sentences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xlasr.reporting.compare.rows import RunRow
from xlasr.scoring.error_rates import Metric
from xlasr.scoring.japanese import is_japanese

if TYPE_CHECKING:
    from xlasr.reporting.compare.table import Group, Result


def notes_of(
    rows: Sequence[RunRow], results: Sequence[Result], groups: Sequence[Group], metric: Metric
) -> list[str]:
    """Return the notes of a comparison, each once."""
    notes = []
    if metric == "cer":
        notes.append(
            "this script does without spaces between words: CER is the headline, WER has no words"
        )
        notes += _japanese_notes(rows)
    notes += _fold_notes(rows)
    notes += [r.rates[metric].note for r in results]
    notes += [
        f"{row.label} is no better than its unadapted base (guard worse_than_base)"
        for row in rows
        if row.guards.get("worse_than_base")
    ]
    if len({row.corpus_sha256 for row in rows}) > 1 and not any(row.folds for row in rows):
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


def _japanese_notes(rows: Sequence[RunRow]) -> list[str]:
    if not is_japanese(u.reference for u in rows[0].score.utterances):
        return []
    if missing := [row.label for row in rows if not row.japanese]:
        return [
            f"no scores by MeCab's words and by readings: {', '.join(missing)} were evaluated"
            " without them (pip install 'xlasr[japanese]' and evaluate again)"
        ]
    names = sorted({row.dictionary for row in rows})
    if len(names) > 1:
        return [f"no scores by MeCab's words and by readings: by different {'; '.join(names)}"]
    return [f"words and readings by {names[0]}"]


def _fold_notes(rows: Sequence[RunRow]) -> list[str]:
    if not any(row.folds for row in rows):
        return []
    told = [
        "errors of all folds by group; minutes and costs are means of a fold, memory the most; the"
        " folds' models share training speech, which the intervals do not know"
    ]
    others = [row.label for row in rows if row.split_sha256 != rows[0].split_sha256]
    if others:
        told.append(
            f"{', '.join(others)} has other folds than {rows[0].label}: rates on different speech,"
            " and no paired test"
        )
    return told
