"""What do pictures, contrast and translated speech give an encoder that begins at random?

    python benchmarks/multistage_study.py CORPORA FOLDER [--only CELL ...] [--list] [--test]

CORPORA holds fillets-cs and fillets-nl and, rendered from them by ``--render``, the SYNTHETIC faces
of both (``faces-cs-medium``, ...); ``--languages it,es`` takes the prompts of these two instead,
which a small encoder learns to spell within an hour. A cell is ``PRE-MID-TARGET``: the three stages
of the recipe multistage, of which the first two may be missing, on ``audiovisual-small``. Every
cell is an ordinary run in FOLDER (``benchmarks/study.py``): what was begun is resumed, what is
finished is read, and equal stages of two cells are computed once. For each TARGET of the two:

* PRE, on the clips of both languages, without a word of text: ``none``; ``mae`` (masked
  autoencoding), ``clr`` (contrastive), ``both``; ``sound`` is masked autoencoding of the sound
  alone, at equal updates;
* MID: ``none``; ``own`` and ``other`` (the target's, or the other language's, speech to English);
  ``pairs`` (both); the controls ``asr-own``, ``asr-other`` and ``asr-pairs``: the same clips,
  updates and decoder, but the transcript instead of the translation;
* the end: CTC letters of the target on the frozen encoder, the same for all.
  ``PRE-MID-TARGET-full`` trains the encoder there too; ``direct-TARGET`` is that from random
  weights for ``--direct`` updates: give so many that it costs what the stages of another cell cost.

A row tells what each stage cost in CPU-seconds, also where another cell paid them; the memory is
that of the process, so give cells one by one where it matters. Stages of two corpora are steered by
dev of the first. Because translation brings the target's own sound under supervision once more, the
clean reading is ``other`` against ``asr-other`` and ``none``. ``--tie`` renders and uses faces
whose mouths follow the speech more or less. ``--base whisper-tiny.en`` asks what the middle gives
an encoder that has heard English for years instead of clips (PRE is none), and whose decoder
writes it already. Checkpoints are chosen on dev; ``--test`` decodes test greedily, ``--probe TASK``
asks what the encoder of the finished cell knows (``xlasr probe``).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study import (
    CORPORA,
    budget,
    check_cells,
    greedily,
    in_per_cent,
    note,
    row_of,
    run_cell,
    stage_costs,
    study_parser,
    test_scores,
    train_minutes,
)
from xlasr import api
from xlasr.config import Recipe, load_recipe
from xlasr.data import prepare
from xlasr.data.faces import FOLLOWS, render_faces
from xlasr.diagnosis.probes import probe

CONTRAST = "{kind: contrastive, pairs: {window_s: 0.32, temperature: 0.1}}"
PRE = {
    "none": None,
    "mae": "[{kind: masked_autoencoder}]",
    "clr": f"[{CONTRAST}]",
    "both": f"[{{kind: masked_autoencoder}}, {CONTRAST}]",
    "sound": "[{kind: masked_autoencoder, autoencoder: {video_weight: 0}}]",
}
MID = {
    "none": (),
    "own": ("own",),
    "other": ("other",),
    "pairs": ("own", "other"),
    "asr-own": ("own",),
    "asr-other": ("other",),
    "asr-pairs": ("own", "other"),
}
"""Whose speech is in the middle; ``asr-`` has its transcripts, the others their English."""
SCALE = [
    "clips.augment={crop: {seconds: 2, scale: [1, 1], ratio: [1, 1]}}",
    "clips.optim.lr=7e-4",
    "clips.optim.warmup=50",
    "translate.batch_s=15",
    "adapt.batch_s=15",
]
"""What two cores can do: short clips, batches of 15 s, a head that has learnt what it can."""
PROBES = {
    "phones": ("asterisk-it", "asterisk-es"),
    "intents": ("asterisk-en", "asterisk-es", "asterisk-fr", "asterisk-it"),
    "keywords": ("asterisk-es", "asterisk-es-co", "asterisk-fr", "asterisk-fr-armelle"),
    "speakers": ("asterisk-it", "asterisk-es", "fillets-cs", "fillets-nl"),
}
"""What each is asked on."""
BASES = {
    "audiovisual-small": ["adapt.optim.lr=2e-2"],
    "whisper-tiny.en": [
        "translate.init=base",
        "translate.output={mode: cut, text: headline}",
        "translate.objectives=[{kind: cross_entropy}]",
        "translate.train.unfreeze_at=0",
        "translate.optim.lr=1e-4",
        "adapt.optim.lr=1e-2",
    ],
}
"""What differs where the decoder of the middle has been trained; as in ``whisper-full``."""
SEEN = {
    "audiovisual-small": ["adapt.optim.lr=1e-3"],
    "whisper-tiny.en": ["adapt.optim.lr=3e-4", "adapt.optim.head_lr=2e-3"],
}
"""Rates where the end trains the encoder; as in ``ssl-small``, from random, and in ``ctc``."""


@dataclass(frozen=True)
class Cell:
    """What a run begins with.

    Args:
        pre: Of ``PRE``.
        mid: Of ``MID``.
        target: Language of the end.
        full: The end trains the encoder too.
        direct: There is nothing but the end, and it is longer.
    """

    pre: str
    mid: str
    target: str
    full: bool = False
    direct: bool = False


def cells(targets: list[str]) -> dict[str, Cell]:
    """All cells by name."""
    found = {}
    for target in targets:
        for pre in PRE:
            for mid in MID:
                for full in (False, True):
                    name = f"{pre}-{mid}-{target}" + ("-full" if full else "")
                    found[name] = Cell(pre, mid, target, full)
        found[f"direct-{target}"] = Cell("none", "none", target, full=True, direct=True)
    return found


def faces_of(corpora: Path, language: str, tie: str) -> Path:
    """The prepared corpus of a language's faces."""
    return corpora / f"faces-{language}-{tie}"


def render(corpora: Path, languages: list[str], tie: str, seed: int) -> None:
    """Draw and prepare the faces of both languages, once."""
    for language in languages:
        out = faces_of(corpora, language, tie)
        if out.exists():
            continue
        videos = out.with_name(f"{out.name}-videos")
        if not videos.exists():
            render_faces(corpora / CORPORA[language], videos, tie=tie, seed=seed)
        prepare(videos, out, language=language)


def mix_of(folders: list[Path], more: str = "") -> str:
    """The ``data`` of a stage: corpora heard in the proportion of their minutes."""
    minutes = [train_minutes(folder) for folder in folders]
    entries = [
        f"{{path: {folder}, weight: {m / minutes[0]:.4g}{more}}}"
        for folder, m in zip(folders, minutes, strict=True)
    ]
    return f"[{', '.join(entries)}]"


def recipe_of(cell: Cell, given: argparse.Namespace) -> Recipe:
    """The stages of multistage that a cell has, with the study's data and budgets."""
    (other,) = set(given.languages) - {cell.target}
    speech = {"own": cell.target, "other": other}
    of_stage = {"clips": given.clips, "translate": given.translate, "adapt": given.updates}
    if cell.direct:
        of_stage["adapt"] = given.direct
    # two corpora of one stage in one order, so that the other target's cell shares the stage
    both = sorted(given.languages)
    settings = []
    if objectives := PRE[cell.pre]:
        faces = [faces_of(given.corpora, tag, given.tie) for tag in both]
        settings += [f"clips.data={mix_of(faces)}", f"clips.objectives={objectives}"]
    tags = sorted(speech[who] for who in MID[cell.mid])
    if tags:
        target = "" if cell.mid.startswith("asr") else ", target: en"
        folders = [given.corpora / CORPORA[tag] for tag in tags]
        settings.append(f"translate.data={mix_of(folders, target)}")
    for stage, updates in of_stage.items():
        settings += budget(stage, updates, given.every)
    if cell.full:
        settings += ["adapt.train.part=full", *SEEN[given.base]]
    recipe = load_recipe("multistage", [*SCALE, *BASES[given.base], *settings, *given.set])
    wanted = {"adapt"} | ({"clips"} if objectives else set()) | ({"translate"} if tags else set())
    stages, before = [], "base"
    for stage in recipe.stages:
        if stage.name in wanted:
            stages.append(stage.model_copy(update={"init": before}))
            before = stage.name
    new = any(s.family == "seq2seq" and s.output.mode == "replace" for s in stages)
    decoder = recipe.decoder if new else None
    return greedily(recipe.model_copy(update={"stages": stages, "decoder": decoder}))


def run_of(name: str, cell: Cell, given: argparse.Namespace) -> api.Run:
    """The run of a cell."""
    label = name if cell.pre == "none" else f"{name}-{given.tie}"
    return run_cell(
        given.folder / f"{label}-seed{given.seed}",
        given.corpora / CORPORA[cell.target],
        recipe_of(cell, given),
        [],
        base=given.base,
        seed=given.seed,
        threads=given.threads,
    )


def main() -> None:
    """Run the cells that are asked for and print a row for each."""
    parser = study_parser(__doc__)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", action="store_true", help="name the cells and run none")
    parser.add_argument("--render", action="store_true", help="draw the faces first, where missing")
    parser.add_argument("--languages", default="cs,nl", help="two of those with an English side")
    parser.add_argument("--tie", default="medium", choices=list(FOLLOWS))
    parser.add_argument("--base", default="audiovisual-small", choices=list(BASES))
    parser.add_argument("--clips", type=int, default=400, help="updates on clips")
    parser.add_argument("--translate", type=int, default=800, help="updates in the middle")
    parser.add_argument("--updates", type=int, default=1200, help="updates on letters")
    parser.add_argument("--direct", type=int, default=1800, help="updates of direct-TARGET")
    parser.add_argument("--every", type=int, default=200, help="updates between looks at dev")
    parser.add_argument("--probe", action="append", default=[], choices=list(PROBES))
    given = parser.parse_args()
    given.corpora, given.folder = given.corpora.absolute(), given.folder.absolute()
    given.languages = given.languages.split(",")
    if len(set(given.languages)) != 2 or not set(given.languages) <= set(CORPORA) - {"en"}:
        parser.error(f"--languages: two of {', '.join(sorted(set(CORPORA) - {'en'}))}")
    known = cells(given.languages)
    if given.base != "audiovisual-small":  # it has no room for pictures
        known = {name: cell for name, cell in known.items() if cell.pre == "none"}
    check_cells(parser, given.only, known)
    if given.list:
        print("\n".join(known))
        return
    if given.render:
        render(given.corpora, given.languages, given.tie, given.seed)
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.only or known:
        run = run_of(name, known[name], given)
        row: dict[str, Any] = row_of(run, name)
        row["tie"] = given.tie
        costs = stage_costs(run)
        row["stages"] = {
            s["stage"]: {
                **{key: s[key] for key in ("updates", "dev_loss") if key in s},
                "cpu_s": costs.get(s["stage"]),
            }
            for s in run.summaries
        }
        if given.test:
            row |= test_scores(run, [])
        for task in given.probe:
            asked = [given.corpora / corpus for corpus in PROBES[task]]
            row[f"{task}_error"] = in_per_cent(probe(run.folder, asked, task).error)
        note(given.folder, row)


if __name__ == "__main__":
    main()
