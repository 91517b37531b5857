"""What does MinWER give, beyond training longer?

    python benchmarks/min_wer_study.py CORPORA FOLDER --runs "runs/{}-seed0" --languages it,fr,nl,cs

Finished runs of one family (CTC, transducer, Whisper), one for each language, go on for as many
updates once with MinWER (and a twentieth of their likelihood beside it) and once with their
likelihood alone; rates, augmentation and all else are those of the recipe ctc-, transducer- or
whisper-min-wer. Cells are ordinary runs in FOLDER (``benchmarks/study.py``): ``minwer-LANGUAGE``
and ``more-LANGUAGE``. All are decoded greedily on test (``--test``), the runs that they begin from
too, and the effects are those of ``benchmarks/effects.py``, each language and all together.
"""

from __future__ import annotations

import json
from pathlib import Path

from effects import effect, evaluation_of, score_of
from study import CORPORA, budget, note, row_of, run_cell, study_parser, test_scores
from xlasr import api
from xlasr.reporting.compare.folds import together
from xlasr.scoring import Score

RECIPES = {
    "ctc": "ctc-min-wer",
    "transducer": "transducer-min-wer",
    "seq2seq": "whisper-min-wer",
}
LIKELIHOODS = {
    "ctc": "{kind: ctc}",
    "transducer": "{kind: transducer, transducer: {kind: pruned}}",
    "seq2seq": "{kind: cross_entropy}",
}
KINDS = ("minwer", "more")


def settings_of(family: str, kind: str, updates: int, every: int, unit: str = "word") -> list[str]:
    """Of the family's recipe: MinWER, or as many updates of the likelihood alone.

    Args:
        family: Of the run that goes on.
        kind: Of ``KINDS``.
        updates: Of both.
        every: Updates between looks at dev.
        unit: What MinWER counts: "word" or "character".
    """
    alone = f"min-wer.objectives=[{LIKELIHOODS[family]}]"
    counted = f"min-wer.objectives.0.min_wer.unit={unit}"
    return [*budget("min-wer", updates, every), alone if kind == "more" else counted]


def main() -> None:
    """Make the cells, print their rows, then the effects."""
    parser = study_parser(__doc__, cells=False)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", required=True, help="folders of the runs; {} is the language")
    parser.add_argument("--languages", default="it,fr,nl,cs")
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--every", type=int, default=50, help="updates between looks at dev")
    parser.add_argument("--unit", default="word", choices=["word", "character"])
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Score]] = {kind: [] for kind in ("start", *KINDS)}
    for tag in given.languages.split(","):
        start = api.open_run(Path(given.runs.format(tag)))
        runs = {"start": start}
        for kind in KINDS:
            unit = f"-{given.unit}" if kind == "minwer" else ""
            label = f"{kind}{unit}-{tag}-{given.updates}"
            changes = settings_of(start.recipe.family, kind, given.updates, given.every, given.unit)
            runs[kind] = run_cell(
                given.folder / f"{label}-seed{given.seed}",
                given.corpora / CORPORA[tag],
                RECIPES[start.recipe.family],
                [*changes, *given.set],
                base=str(start.folder),
                seed=given.seed,
                threads=given.threads,
            )
            row = row_of(runs[kind], label)
            note(given.folder, row | (test_scores(runs[kind], []) if given.test else {}))
        if given.test:
            test_scores(start, [])
            for kind, run in runs.items():
                found[kind].append(score_of(evaluation_of(run.folder, "test-greedy")))
    for before in ("start", "more") if given.test else ():
        pairs = list(zip(given.languages.split(","), found[before], found["minwer"], strict=True))
        for tag, one, other in pairs:
            print(json.dumps({"pair": f"{before} -> minwer, {tag}"} | effect(one, other)))
        whole = effect(together(found[before]), together(found["minwer"]))
        print(json.dumps({"pair": f"{before} -> minwer, all {len(pairs)}"} | whole), flush=True)


if __name__ == "__main__":
    main()
