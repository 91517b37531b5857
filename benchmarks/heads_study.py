"""Six languages on one frozen encoder, and letters that begin as phones.

    python benchmarks/heads_study.py CORPORA FOLDER [--updates 1500] [--only LANG-CELL ...] [--test]
    python benchmarks/heads_study.py CORPORA FOLDER --phones [--updates 1500] [--minutes 10]

CORPORA holds asterisk-en, -es, -fr, -it, fillets-nl and -cs. Every cell is an ordinary run in
FOLDER (``benchmarks/study.py``): begun is resumed, finished is read. For each language: a linear
head, a head with encoder adapters of three widths, and the whole model, at equal updates; then all
heads together (``joint``). MB is what a language adds on disk. At the end every part that is there
is put on one base and switched to and fro; outputs must be equal to the last bit.

With ``--phones``: one phone head over the five other languages, scored on Czech, which it never
heard (PER against espeak-ng); then Czech letters at some minutes from it, begun as phones and at
random, and from the plain base.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from study import (
    CORPORA,
    budget,
    check_cells,
    note,
    row_of,
    run_cell,
    study_parser,
    test_scores,
)
from xlasr import api
from xlasr.data.corpus import Corpus
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.parts import load_part, use_part
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer

WIDTHS = (16, 64, 256)
FULL = ["adapt.train={part: full, unfreeze_at: 0.05}", "adapt.optim.lr=3e-4"]
KINDS: dict[str, list[str]] = {
    "linear": ["adapt.train.part=head", "adapt.optim.lr=2e-3"],
    **{f"adapters{w}": [f"adapt.train.adapter.width={w}"] for w in WIDTHS},
    "full": FULL,
}


def language_cells(corpora: Path) -> dict[str, tuple[Path, list[str]]]:
    """Corpus and settings of every cell of the study of heads."""
    cells = {
        f"{tag}-{kind}": (corpora / name, [*settings, "adapt.data=[{path: main}]"])
        for kind, settings in KINDS.items()
        for tag, name in CORPORA.items()
    }
    for tag in CORPORA:  # a model of its own, as any other CTC run (a pivot for pivot_study too)
        cells[f"{tag}-full"][1].append("adapt.output.heads=shared")
    first, *others = CORPORA.values()
    paths = ["{path: main}", *(f"{{path: {corpora / name}}}" for name in others)]
    together = f"adapt.data=[{', '.join(paths)}]"
    for kind, settings in KINDS.items():
        cells[f"joint-{kind}"] = (corpora / first, [*settings, together])
    return cells


def more_of(run: api.Run) -> dict[str, Any]:
    """What a cell says besides ``row_of``: MB a language, CER by language, seconds an update."""
    model = run.folder / "model"
    parts = sorted((model / "parts").glob("*")) or [model]
    frozen = run.recipe.stages[-1].train.part in ("head", "adapter")
    files = [p for part in parts for p in part.rglob("*")]
    size = sum(p.stat().st_size for p in (files if frozen else model.rglob("*")) if p.is_file())
    rows = run.metrics
    losses = [row for row in rows if "loss" in row]
    best = min((row for row in rows if "dev_cer" in row), key=lambda row: row["dev_cer"])
    each = {k.removeprefix("dev_cer_"): round(100 * v, 1) for k, v in best.items() if "cer_" in k}
    found: dict[str, Any] = {"mb_a_language": round(size / len(parts) / 1e6, 2)}
    if each:
        found["dev_cer_each"] = each
    if len(losses) > 1:
        first, last = losses[0], losses[-1]
        spent = last["time"]["cpu_s"] - first["time"]["cpu_s"]
        found["cpu_s_an_update"] = round(spent / (last["update"] - first["update"]), 3)
    return found


def study_heads(given: argparse.Namespace) -> None:
    """Run the cells and switch between their parts."""
    for name, (corpus, settings) in language_cells(given.corpora).items():
        if given.only and name not in given.only:
            continue
        folder = given.folder / f"{name}-{given.updates}-seed{given.seed}"
        length = budget("adapt", given.updates, given.every)
        if name.startswith("joint"):  # as many updates for each language
            every = given.every and len(CORPORA) * given.every
            length = budget("adapt", len(CORPORA) * given.updates, every)
        run = run_cell(
            folder,
            corpus,
            "ctc-heads",
            [*settings, *length, *given.set, "decode={}"],
            seed=given.seed,
            threads=given.threads,
        )
        row = row_of(run, name) | more_of(run)
        if given.test:
            tags = CORPORA if name.startswith("joint") else [run.facts["language"]]
            own = run.facts["language"]
            others = [given.corpora / CORPORA[tag] for tag in tags if tag != own]
            row |= test_scores(run, others)
        note(given.folder, row)
    switch(given)


def switch(given: argparse.Namespace) -> None:
    """Put every frozen part on one base, switch to and fro, and compare outputs bit by bit."""
    frozen = [kind for kind in KINDS if kind != "full"]
    ends = f"-{given.updates}-seed{given.seed}"
    runs = [
        path
        for tag in (*CORPORA, "joint")
        for kind in frozen
        if (path := given.folder / f"{tag}-{kind}{ends}" / "model").exists()
    ]
    if not runs:
        return
    context = api.open_run(runs[0].parent).recipe.context
    model: Any = from_base(
        find_base("whisper-tiny.en"),
        "ctc",
        context=Context(context.slack, context.multiple),
        language="en",
        alphabet=CharTokenizer(["a"]),
    ).eval()
    clip = Corpus.open(given.corpora / CORPORA["cs"]).split("dev")[0].load()
    alone, names = {}, []
    for folder in runs:
        own = api.open_run(folder.parent).model
        for part in sorted((folder / "parts").iterdir()):
            name = f"{folder.parent.name.split(ends)[0]}-{part.name}"
            use_part(own, part.name)
            with torch.inference_mode():
                alone[name] = own(own.features([clip]))[0]
            names.append(load_part(model, part, name))
    took = []
    for name in [*names, *reversed(names), *names]:
        began = time.perf_counter()
        use_part(model, name)
        took.append(time.perf_counter() - began)
        with torch.inference_mode():
            heard = model(model.features([clip]))[0]
        if not torch.equal(heard, alone[name]):
            raise SystemExit(f"{name} says something else after switching")
    print(f"{len(names)} parts on one base, {len(took)} switches, all outputs bit-equal; "
          f"a switch takes {1e3 * sum(took) / len(took):.2f} ms")  # fmt: skip


def study_phones(given: argparse.Namespace) -> None:
    """Phones of five languages; Czech from them, begun as phones and at random."""
    czech = given.corpora / CORPORA["cs"]
    heard = [given.corpora / name for tag, name in CORPORA.items() if tag != "cs"]
    heard.sort(key=lambda path: "nl" not in path.name)  # the longest one leads
    data = [f"{{path: {path}, weight: {1 if not at else 0.3}}}" for at, path in enumerate(heard)]
    phones = run_cell(
        given.folder / f"phones-{given.updates}-seed{given.seed}",
        heard[0],
        "ctc",
        [
            "adapt.output={mode: replace, text: phones}",
            f"adapt.data=[{', '.join(data)}]",
            "decode={}",
            *budget("adapt", given.updates, given.every),
            *given.set,
        ],
        seed=given.seed,
        threads=given.threads,
    )
    unheard = test_scores(phones, [czech]) if given.test else {}
    note(given.folder, row_of(phones, "phones") | unheard)
    for name, start, base in (
        ("from-phones", "phones", str(phones.folder)),
        ("from-phones-random-head", "random", str(phones.folder)),
        ("from-base", "random", None),
    ):
        settings = [
            f"adapt.output={{mode: replace, start: {start}}}",
            f"adapt.data=[{{path: main, minutes: {given.minutes:g}}}]",
            "decode={}",
            *budget("adapt", given.updates, given.every),
            *given.set,
        ]
        folder = given.folder / f"cs-{name}-{given.minutes:g}min-{given.updates}-seed{given.seed}"
        run = run_cell(
            folder, czech, "ctc", settings, base=base, seed=given.seed, threads=given.threads
        )
        curve = [[r["update"], round(100 * r["dev_cer"], 1)] for r in run.metrics if "dev_cer" in r]
        tested = test_scores(run, []) if given.test else {}
        note(given.folder, row_of(run, name) | {"dev_curve": curve} | tested)


def main() -> None:
    """Run one of the two studies."""
    parser = study_parser(__doc__)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--phones", action="store_true")
    parser.add_argument("--updates", type=int, default=1500, help="for each language")
    parser.add_argument("--every", type=int, help="updates between looks at dev; default: the end")
    parser.add_argument("--minutes", type=float, default=10.0, help="of Czech, with --phones")
    given = parser.parse_args()
    given.corpora, given.folder = given.corpora.absolute(), given.folder.absolute()
    known = language_cells(given.corpora)
    check_cells(parser, given.only, known)
    given.folder.mkdir(parents=True, exist_ok=True)
    (study_phones if given.phones else study_heads)(given)


if __name__ == "__main__":
    main()
