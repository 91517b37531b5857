"""Paired effects of one method against another, over several corpora together.

    python benchmarks/effects.py BEFORE=AFTER [BEFORE=AFTER ...] [--name test-greedy]

Each pair are two finished, evaluated runs that were scored on the same clips (``xlasr compare``
draws such runs; this adds up pairs of other languages and corpora). For every pair and for all
together: how many errors AFTER has less, in per cent of those of BEFORE, WER and CER, with its 95 %
interval over groups, which are drawn for both runs alike. All together counts every error once, so
that large corpora with many errors weigh most. Rare and common words are those of the scorecards.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from study import in_per_cent
from xlasr.reporting.compare.folds import together
from xlasr.scoring import Score, werr


def evaluation_of(run: Path, name: str) -> dict[str, Any]:
    """What an evaluation of a run saved."""
    path = run / "evaluations" / f"{name}.json"
    if not path.exists():
        raise SystemExit(f"{path} is missing: the run was not evaluated under this name")
    held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return held


def score_of(held: dict[str, Any]) -> Score:
    """Its score; ids and groups bear the corpus's name."""
    score, corpus = Score.from_dict(held["adapted"]), Path(held["corpus"]).name
    mine = (
        replace(u, id=f"{corpus} {u.id}", group=f"{corpus} {u.group}") for u in score.utterances
    )
    return replace(score, utterances=tuple(mine))


def rare_of(held: dict[str, Any]) -> dict[str, float]:
    """Error rates of words that training had never, seldom (below 5 times) and often."""
    found: dict[str, Any] = (held.get("scorecard") or {}).get("rare_words") or {}
    kinds = ("unseen", "rare", "common")
    return {kind: round(100 * found[kind]["rate"], 1) for kind in kinds if kind in found}


def effect(before: Score, after: Score) -> dict[str, str]:
    """Fewer errors in per cent, with intervals."""
    row = {}
    for metric in ("wer", "cer"):
        row[f"fewer {metric} %"] = in_per_cent(werr(before, after, metric))  # type: ignore[arg-type]
    return row


def main() -> None:
    """Print a row for each pair, and one for all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="+", metavar="BEFORE=AFTER")
    parser.add_argument("--name", default="test-greedy", help="of the evaluations")
    given = parser.parse_args()
    before, after = [], []
    for pair in given.pairs:
        one, separator, other = pair.partition("=")
        if not separator:
            parser.error(f"{pair!r} is no pair; write BEFORE=AFTER, two folders of runs")
        held = [evaluation_of(Path(run), given.name) for run in (one, other)]
        before.append(score_of(held[0]))
        after.append(score_of(held[1]))
        row: dict[str, Any] = {"pair": f"{Path(one).name} -> {Path(other).name}"}
        row |= effect(before[-1], after[-1])
        row["words before"], row["words after"] = map(rare_of, held)
        print(json.dumps(row, ensure_ascii=False))
    if len(before) > 1:
        row = {"pair": f"all {len(before)}"} | effect(together(before), together(after))
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
