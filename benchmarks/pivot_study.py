"""Does the order of ``xlasr pivots`` agree with what transfer really does?

    python -m benchmarks.pivot_study FOLDER --corpus CS --corpus EN --corpus ES --corpus FR
        --corpus IT --corpus NL [--targets it,cs,nl] [--minutes 15] [--updates 1200] [--run CTC_RUN]

Each candidate's corpus gives one CTC recogniser over its own letters: the same recipe, minutes,
updates, base (whisper-tiny.en) and seed. It transcribes the *dev* side of every target without one
second of the target's speech in training, greedily and without a language model, and the character
error rate is set beside the ranking and beside each column of its evidence, by Spearman's rank
correlation with its exact permutation p (one-sided: the closer, the fewer errors). Over targets the
correlations are averaged; under the null hypothesis each target's order is permuted by itself.

A recogniser is trained once for all targets. What was begun is resumed, what is finished is read:
FOLDER/PIVOT-... are ordinary runs, FOLDER/pivots.json is the result. Letters that only the target
has are errors of every pivot alike. The corpora are of few voices, so a pivot is also a speaker, a
room and a style; three targets with five candidates each resolve only strong relations (the
smallest p is 1/120 for one target).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.study import run_cell

SCORE = "score"
"""The ranking itself, beside the keys of its columns."""


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Rank correlation; equal values share a rank. NaN where one side is all equal."""
    from xlasr.diagnosis.pivots.ranking import ranks

    first, second = (list(ranks(dict(enumerate(map(float, v)))).values()) for v in (one, other))
    middle = (len(first) + 1) / 2
    products = sum((a - middle) * (b - middle) for a, b in zip(first, second, strict=True))
    sizes = [sum((a - middle) ** 2 for a in v) for v in (first, second)]
    return products / math.sqrt(sizes[0] * sizes[1]) if all(sizes) else math.nan


def null_of(one: Sequence[float], other: Sequence[float]) -> dict[float, float]:
    """Exact distribution of Spearman's rho when ``other`` is in any order: rho -> probability."""
    counts = Counter(round(spearman(one, order), 9) for order in itertools.permutations(other))
    total = math.factorial(len(other))
    return {rho: n / total for rho, n in counts.items()}


def combined(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, float]:
    """Mean rho over targets, and the chance of one at least as large.

    Args:
        pairs: (distances, error rates) of each target's candidates. Targets where all distances
            are equal say nothing and are left out.
    """
    usable = [pair for pair in pairs if not math.isnan(spearman(*pair))]
    if not usable:
        return math.nan, math.nan
    sums: dict[float, float] = {0.0: 1.0}
    for pair in usable:
        grown: Counter[float] = Counter()
        for (total, p), (rho, q) in itertools.product(sums.items(), null_of(*pair).items()):
            grown[round(total + rho, 9)] += p * q
        sums = dict(grown)
    found = sum(round(spearman(*pair), 9) for pair in usable)
    chance = sum(p for total, p in sums.items() if total >= found - 1e-6)
    return found / len(usable), min(1.0, chance)


def table(rankings: Mapping[str, Any], cer: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Correlation of every column, and of the score, with the error rates.

    Args:
        rankings: Target -> ``PivotRanking.to_dict()``.
        cer: Target -> pivot -> character error rate.
    """
    measures = next(iter(rankings.values()))["measures"]
    signs = {SCORE: 1} | {m["key"]: -1 if m["more"] else 1 for m in measures}
    columns: dict[str, Any] = {}
    for key, sign in signs.items():
        pairs, each = {}, {}
        for target, ranking in rankings.items():
            values = {
                c["language"]: c[SCORE] if key == SCORE else c["evidence"][key]["value"]
                for c in ranking["candidates"]
            }
            having = [tag for tag, value in values.items() if value is not None]
            if len(having) < 3:
                continue
            pair = [sign * values[tag] for tag in having], [cer[target][tag] for tag in having]
            pairs[target] = pair
            rho, p = combined([pair])
            each[target] = {"rho": _number(rho), "p": _number(p), "n": len(having)}
        rho, p = combined(list(pairs.values()))
        columns[key] = {"rho": _number(rho), "p": _number(p), "targets": each}
    return columns


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def error_rates(
    given: argparse.Namespace, paths: Mapping[str, Path]
) -> dict[str, dict[str, float]]:
    """Train every pivot, transcribe every target's dev side: target -> pivot -> CER."""
    from xlasr import api
    from xlasr.config import DecodeSettings

    settings = [
        f"adapt.stop.updates={given.updates}",
        f"adapt.evaluate.every={given.updates}",
        f"adapt.data=[{{minutes: {given.minutes}}}]",
        *given.set,
    ]
    greedy = DecodeSettings(beam=1, lm_order=0)
    found: dict[str, dict[str, float]] = {target: {} for target in given.targets}
    for pivot in paths:
        others = [target for target in given.targets if target != pivot]
        if not others:
            continue
        label = f"{pivot}-{given.updates}-{given.minutes:g}min-seed{given.seed}"
        if given.runs is not None:
            run = api.open_run(given.runs.format(pivot))
        else:
            run = run_cell(
                given.folder / label,
                paths[pivot],
                "ctc",
                settings,
                seed=given.seed,
                threads=given.threads,
            )
        for target in others:
            name = f"dev-of-{target}"
            file = run.folder / "evaluations" / f"{name}.json"
            if not file.exists():
                run.evaluate(paths[target], split="dev", name=name, with_base=False, decode=greedy)
            found[target][pivot] = _cer(file)
            print(json.dumps({"pivot": pivot, "target": target, "cer": found[target][pivot]}))
    return found


def _cer(file: Path) -> float:
    facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return float(facts["adapted"]["cer"])


def main() -> None:
    """Train, transcribe, rank, correlate; print a line for each column."""
    import xlasr

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpus", type=Path, action="append", required=True)
    parser.add_argument("--targets", type=lambda text: text.split(","), default=["it", "cs", "nl"])
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--updates", type=int, default=1200)
    parser.add_argument(
        "--runs", help="CTC runs that are there already, such as heads/{}-full-600-seed0"
    )
    parser.add_argument("--listen", type=float, default=3.0, help="minutes of each for the ranking")
    parser.add_argument("--run", type=Path, help="CTC run that times letters")
    parser.add_argument("--set", action="append", default=[], help="adapt.field=value, all pivots")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    paths = {xlasr.Corpus.open(path).language: path for path in given.corpus}
    rankings = {
        target: xlasr.pivots(
            target, list(paths.values()), run=given.run, minutes=given.listen
        ).to_dict()
        for target in given.targets
    }
    cer = error_rates(given, paths)
    columns = table(rankings, cer)
    result = {
        "settings": {k: str(v) for k, v in vars(given).items()},
        "cer": cer,
        "correlation": columns,
        "rankings": rankings,
    }
    file = given.folder / "pivots.json"
    file.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for key, column in columns.items():
        each = {target: one["rho"] for target, one in column["targets"].items()}
        print(json.dumps({"column": key, "rho": column["rho"], "p": column["p"], "each": each}))
    print(file)


if __name__ == "__main__":
    main()
