"""The verb ``evaluate``: base and adapted model side by side, with everything that is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress as Bar

from xlasr.api.opened import Run, open_run
from xlasr.config import DecodeSettings, dump_recipe
from xlasr.data.corpus import Corpus
from xlasr.errors import RunError, XlasrError
from xlasr.models.hub import find_base
from xlasr.reporting.evaluate import evaluate_model, write_hypotheses
from xlasr.reporting.evaluation import Evaluation
from xlasr.reporting.html import report_of_run
from xlasr.reporting.model_card import write_model_card
from xlasr.scoring.files import read_list
from xlasr.scoring.rare_words import RARE_BELOW


def evaluate(
    run: Run | str | Path,
    corpus: str | Path | None = None,
    *,
    split: str = "test",
    with_base: bool = True,
    decode: DecodeSettings | None = None,
    conditions: Sequence[str] = (),
    also: Sequence[str | Path] = (),
    terms: str | Path | None = None,
    rare_below: int = RARE_BELOW,
    console: Console | None = None,
) -> Evaluation:
    """Score a run and its unadapted base on a split; writes files.

    Into the run go ``evaluations/``, ``report.html`` and ``README.md``, the model card.

    Args:
        run: A finished run.
        corpus: Another corpus than the run's own.
        split: Of the corpus.
        with_base: Decode the base too (once; its transcripts are kept in the cache).
        decode: Other decoding settings than the recipe's; choose them on dev.
        conditions: Channels through which the split is scored too: ``noise:10``, ``gsm``,
            ``opus:6``.
        also: Corpora of languages and domains that should be kept; base and adapted model are
            scored on their split of the same name.
        terms: Text file of terms, one in a line.
        rare_below: Words with a lower training count are rare.
        console: Where progress is shown.

    Raises:
        RunError: The run was not finished.
        DataError: No such split, or it is empty; a corpus or the file of terms cannot be read.
        UnknownName, UsageError: A condition that does not exist.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    data = Corpus.open(corpus or opened.facts["corpus"]["path"])
    part = data.split(split)
    keep = [Corpus.open(path) for path in also]
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
            language=opened.facts["language"],
            training=_training_text(opened),
            terms=None if terms is None else read_list(Path(terms)),
            rare_below=rare_below,
            conditions=conditions,
            also=keep,
            progress=advance,
        )
    folder = opened.folder / "evaluations"
    folder.mkdir(exist_ok=True)
    settings = (decode or opened.recipe.decode).model_dump(mode="json")
    facts = {
        "corpus": str(data.path),
        "split": split,
        "split_sha256": part.sha256,
        "decode": settings,
        **result.to_dict(),
    }
    (folder / f"{split}.json").write_text(json.dumps(facts, ensure_ascii=False), "utf-8")
    write_hypotheses(folder / f"{split}.tsv", part, result)
    card = json.loads(data.card.to_json())
    write_model_card(opened.folder, opened.facts, card, facts)
    report_of_run(
        opened.folder / "report.html",
        facts=opened.facts,
        recipe=dump_recipe(opened.recipe),
        metrics=opened.metrics,
        card=card,
        evaluation=result,
        decode=settings,
    )
    return result


def _training_text(run: Run) -> list[str] | None:
    """Texts of the corpus that the run was trained on; None where it is gone or another one."""
    try:
        corpus = Corpus.open(run.facts["corpus"]["path"])
    except XlasrError:
        return None
    if corpus.sha256 != run.facts["corpus"]["sha256"]:
        return None
    return [utterance.text for utterance in corpus.split("train")]
