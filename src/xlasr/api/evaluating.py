"""The verb ``evaluate``: base and adapted model side by side, with everything that is written.

An evaluation is a file ``RUN/evaluations/NAME.json``. The main one, on the run's own corpus with
its recipe's decoding, is named after the split; the run's ``report.html`` and ``README.md`` are of
it. Another corpus or another decoding gets another name, so that none takes another's place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress as Bar

from xlasr.api.opened import Run, open_run
from xlasr.config import DecodeSettings, dump_recipe
from xlasr.data.corpus import Corpus
from xlasr.data.phones import FORM
from xlasr.data.splits import SPLITS
from xlasr.errors import CorpusError, RunError, UsageError, XlasrError
from xlasr.files import write_text
from xlasr.models.heads import turn_to
from xlasr.models.hub import find_base
from xlasr.models.int8 import Int8Cost, compared_outputs
from xlasr.reporting.evaluate import evaluate_model, write_hypotheses, written_split
from xlasr.reporting.evaluation import Evaluation
from xlasr.reporting.html import report_of_run
from xlasr.reporting.model_card import write_model_card
from xlasr.scoring.files import read_list
from xlasr.scoring.rare_words import RARE_BELOW

MAIN = "test"
"""The evaluation whose report and model card are the run's, once there is one."""


def evaluate(
    run: Run | str | Path,
    corpus: str | Path | None = None,
    *,
    split: str = "test",
    name: str = "",
    with_base: bool = True,
    decode: DecodeSettings | None = None,
    conditions: Sequence[str] = (),
    also: Sequence[str | Path] = (),
    terms: str | Path | None = None,
    rare_below: int = RARE_BELOW,
    licence: str | None = None,
    threads: int | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Score a run and its unadapted base on a split; writes files.

    Into the run go ``evaluations/NAME.json`` and ``.tsv``, and for the main evaluation
    ``report.html`` and ``README.md``, the model card; others have ``evaluations/NAME.html``.

    Args:
        run: A finished run.
        corpus: Another corpus than the run's own.
        split: Of the corpus.
        name: Of the evaluation. Without it the split's, and behind it what differs from the run's
            own corpus and its recipe's decoding: ``test-fillets-nl``, ``test-beam5``.
        with_base: Decode the base too (once; its transcripts are kept in the cache).
        decode: Other decoding settings than the recipe's; choose them on dev.
        conditions: Channels through which the split is scored too: ``noise:10``, ``gsm``,
            ``opus:6``.
        also: Corpora of languages and domains that should be kept; base and adapted model are
            scored on their split of the same name.
        terms: Text file of terms, one in a line.
        rare_below: Words with a lower training count are rare.
        licence: Of the weights, for the model card, as an SPDX expression; it is remembered. None
            takes the one that was said before, or else that of the speech.
        threads: CPU threads; None leaves them as they are.
        console: Where progress is shown.

    Raises:
        RunError: The run was not finished.
        DataError: No such split, or it is empty; a corpus or the file of terms cannot be read.
        UnknownName, UsageError: A condition that does not exist, a name that cannot be used or that
            another configuration has, or a language that the run has no head for.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    data = Corpus.open(corpus or opened.facts["corpus"]["path"])
    turn_to(opened.model, data.language)
    spoken = data.language if opened.by_language else str(opened.facts["language"])
    form = str(opened.model.info["text"])
    part = written_split(data.split(split), opened.model)
    settings = (decode or opened.recipe.decode).model_dump(mode="json")
    usual = opened.recipe.decode.model_dump(mode="json")
    settings |= {"int8": True} if opened.int8 else {}
    other = "" if data.sha256 == opened.facts["corpus"]["sha256"] else data.path.name
    chosen = _name(split, other, settings, usual, name)
    folder = opened.folder / "evaluations"
    facts: dict[str, Any] = {
        "corpus": str(data.path),
        "source": data.card.source,
        "split_rule": data.card.split_rule,
        "split": split,
        "split_sha256": part.sha256,
        "decode": settings,
    }
    earlier = _earlier(folder / f"{chosen}.json", facts)
    if console is not None and (lost := _lost(earlier, with_base, conditions, also)):
        console.print(
            f"note: {chosen}.json is written again, without its earlier {', '.join(lost)}",
            highlight=False,
        )
    keep = [Corpus.open(path) for path in also]
    for corpus_of in keep:
        if opened.by_language and corpus_of.language != spoken:
            raise UsageError(
                f"--also {corpus_of.path}: {opened.folder} has a head for each language; evaluate "
                f"each by itself: xlasr evaluate {opened.folder} {corpus_of.path}"
            )
    if threads:
        import torch

        torch.set_num_threads(threads)
    try:
        base = find_base(opened.facts["base"]["name"]) if with_base else None
    except XlasrError as error:
        raise RunError(
            f"the base of {opened.folder}: {error} Without it: --no-base (with_base=False)"
        ) from error
    with Bar(console=console or Console(quiet=True), transient=True) as bar:
        tasks: dict[str, Any] = {}
        totals = {other.path.name: float(other.split(split).durations_s.sum()) for other in keep}

        def advance(what: str, seconds: float) -> None:
            if what not in tasks:
                total = totals.get(what.partition(", ")[2], float(part.durations_s.sum()))
                tasks[what] = bar.add_task(what, total=total)
            bar.advance(tasks[what], seconds)

        result = evaluate_model(
            opened.model,
            base,
            part,
            opened.options(decode),
            language=opened.model.info.get("prompt_language") or spoken,
            training=None
            if form == FORM or spoken != opened.facts["language"]
            else _training_text(opened),
            terms=None if terms is None else read_list(Path(terms)),
            rare_below=rare_below,
            conditions=conditions,
            also=keep,
            progress=advance,
        )
    main = chosen == split and (split == MAIN or not (folder / f"{MAIN}.json").exists())
    result.name = chosen
    result.report = opened.folder / "report.html" if main else folder / f"{chosen}.html"
    facts |= {"licence": earlier.get("licence")} | result.to_dict()
    folder.mkdir(exist_ok=True)
    write_text(folder / f"{chosen}.json", json.dumps(facts, ensure_ascii=False))
    write_hypotheses(folder / f"{chosen}.tsv", part, result)
    report_of_run(
        result.report,
        facts=opened.facts,
        recipe=dump_recipe(opened.recipe),
        metrics=opened.metrics,
        card=json.loads(data.card.to_json()),
        evaluation=result,
        decode=settings,
    )
    _model_card(opened, folder / f"{chosen if main else MAIN}.json", facts, licence)
    return result


def int8_cost(
    run: Run | str | Path, corpus: str | Path | None = None, split: str = "test", n_clips: int = 5
) -> Int8Cost:
    """What 8-bit weights change in a finished run: size, and error on the first clips of a split.

    Args:
        run: A finished run.
        corpus: Another corpus than the run's own.
        split: Of the corpus.
        n_clips: So many are heard.

    Raises:
        RunError: The run was not finished.
        DataError: No such split, or it is empty.
    """
    given = run if isinstance(run, Run) else open_run(run)
    exact, rounded = (
        given if given.int8 == int8 else open_run(given.folder, int8=int8) for int8 in (False, True)
    )
    data = Corpus.open(corpus or exact.facts["corpus"]["path"])
    part = written_split(data.split(split), exact.model)
    clips = [np.asarray(part[i].load(), np.float32) for i in range(min(n_clips, len(part)))]
    for opened in (exact, rounded):
        turn_to(opened.model, data.language)
    return compared_outputs(exact.model, rounded.model, clips)


def _name(
    split: str, other: str, decode: Mapping[str, Any], usual: Mapping[str, Any], given: str
) -> str:
    """The evaluation's name: the one given, or the split and what differs from the usual."""
    if given and not re.fullmatch(r"\w[\w.+-]*", given):
        raise UsageError(
            f"--name {given!r} is no name of a file: letters, digits, dots and dashes, such as"
            " test-telephone"
        )
    differs = [other] if other else []
    # without a language model its weight and texts do nothing, and that its bonus is gone is usual
    idle, gone = ((), ()) if decode["lm_order"] else (("lm_weight", "lm_text"), ("length_bonus",))
    for key, value in decode.items():
        if value == usual.get(key) or (key in gone and not value) or key in idle:
            continue
        if key == "beam":
            differs.append("greedy" if value == 1 else f"beam{value}")
        elif key == "lm_order":
            differs.append(f"lm{value}" if value else "no-lm")
        elif key == "int8":
            differs.append("int8")
        elif key == "one_a_frame":
            differs.append("one-a-frame" if value else "any-a-frame")
        elif key == "lm_text":
            differs.append("+".join(Path(text).stem for text in value) or "no-lm-text")
        else:
            differs.append(f"{key.removeprefix('lm_').replace('_', '-')}{value:g}")
    name = "-".join(re.sub(r"[^\w.+-]+", "-", part) for part in (split, *differs))
    if given in (split, *SPLITS) and given != name:
        raise UsageError(
            f"--name {given} is for the split {given} of the run's own corpus with its recipe's"
            f" decoding, and this is another evaluation; without --name it is called {name}"
        )
    return given or name


def _earlier(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the file holds, if it is of the same speech and decoding; empty without one."""
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        decode = {**DecodeSettings().model_dump(mode="json"), **found["decode"]}
        same = decode == facts["decode"] and found["split_sha256"] == facts["split_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); remove it and evaluate again") from error
    if not same:
        raise UsageError(
            f"{path} holds another evaluation (of {found['corpus']}, decoded with"
            f" {found['decode']}). Give this one a name of its own (--name NAME), or rename that"
            " file and the .tsv beside it"
        )
    return found


def _lost(
    earlier: Mapping[str, Any], base: bool, conditions: Sequence[str], also: Sequence[str | Path]
) -> list[str]:
    """What the earlier evaluation had and this one will not have, in words."""
    lost = ["base"] if earlier.get("base") and not base else []
    lost += [c["name"] for c in earlier.get("conditions") or () if c["name"] not in conditions]
    named = {Path(path).name for path in also}
    kept = [Path(found["corpus"]).name for found in earlier.get("also") or ()]
    return lost + [name for name in kept if name not in named]


def _model_card(
    opened: Run, leading: Path, facts: Mapping[str, Any], licence: str | None
) -> None:  # fmt: skip
    """Write ``README.md``: of the main evaluation where there is one, or else of this one."""
    shown: dict[str, Any] = dict(facts)
    if leading.exists():
        shown = json.loads(leading.read_text(encoding="utf-8"))
        if licence:
            shown["licence"] = licence
            write_text(leading, json.dumps(shown, ensure_ascii=False))
    try:
        card = json.loads(Corpus.open(shown["corpus"]).card.to_json())
    except CorpusError:
        return  # the main evaluation's corpus is gone: its card stays as it is
    write_model_card(
        opened.folder, opened.facts, card, shown, licence=licence or shown.get("licence")
    )


def _training_text(run: Run) -> list[str] | None:
    """Texts of the corpus that the run was trained on; None where it is gone or another one."""
    try:
        corpus = Corpus.open(run.facts["corpus"]["path"])
    except XlasrError:
        return None
    if corpus.sha256 != run.facts["corpus"]["sha256"]:
        return None
    return [utterance.text for utterance in written_split(corpus.split("train"), run.model)]
