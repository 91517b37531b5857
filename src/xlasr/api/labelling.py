"""The verb ``label``: a run's own transcripts of speech without any, for self-training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress as Bar

from xlasr.alignment.recording import LEFT_OUT
from xlasr.api.opened import Run, open_run
from xlasr.config import DecodeSettings
from xlasr.data.card import Card
from xlasr.data.corpus import Corpus
from xlasr.data.phones import FORM
from xlasr.data.quarantine import Quarantine
from xlasr.data.writing import check_target, staging, write_manifests
from xlasr.decoding.recognise import Recognised
from xlasr.errors import DataError, UsageError
from xlasr.models.heads import turn_to
from xlasr.reporting.evaluate import transcribe_split


@dataclass(frozen=True)
class Labelled:
    """What ``label`` made.

    Args:
        corpus: With the kept utterances as its train split.
        least: The lowest confidence that was kept.
        left_out: Utterances by reason.
    """

    corpus: Corpus
    least: float
    left_out: dict[str, int]


def label(
    run: Run | str | Path,
    corpus: str | Path,
    out: str | Path,
    *,
    split: str = "train",
    keep: float = 0.5,
    min_confidence: float = 0.0,
    decode: DecodeSettings | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Labelled:
    """Transcribe a split and keep what the run is surest of, as a corpus to train on.

    The corpus that comes out has a train split only and refers to the same audio; what was not kept
    is in its ``left_out.jsonl``. Listed in
    ``data`` behind ``main``, it is self-training (pseudo-labels); what stands in dev or test of the
    main corpus is left out there.

    Source: Kahn et al. 2019 (arXiv 1909.09116), with filtering by confidence.

    Args:
        run: A finished run.
        corpus: Its transcripts are not looked at.
        out: The corpus folder to make.
        split: Of the corpus.
        keep: Share of the audio that is kept, the surest first.
        min_confidence: Nothing below is kept: the geometric mean of the tokens' probabilities.
        decode: Other decoding than the recipe's.
        threads: CPU threads; None leaves them as they are.
        overwrite: Replace a corpus that is there.
        console: Where progress is shown.

    Raises:
        RunError: The run was not finished.
        DataError: No such split, or nothing is left.
        UsageError: ``out`` is taken, the run has no head for the language, or it writes phones.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    data = Corpus.open(corpus)
    if opened.model.info["text"] == FORM:
        raise UsageError(
            f"{opened.folder} writes phones, and a corpus takes texts; use another run"
        )
    turn_to(opened.model, data.language)
    language = str(opened.model.info["language"])
    part = data.split(split)
    out = Path(out).absolute()
    check_target(out, overwrite=overwrite)
    if threads:
        import torch

        torch.set_num_threads(threads)
    with Bar(console=console or Console(quiet=True), transient=True) as bar:
        task = bar.add_task(f"{split} of {data.path.name}", total=float(part.durations_s.sum()))
        found = transcribe_split(
            opened.model, part, opened.options(decode), lambda s: bar.advance(task, s)
        )
    order, unsure = surest(found, part.durations_s, keep, min_confidence)
    kept = sorted(order)
    counts = Counter(unsure.values())
    if not kept:
        raise DataError(
            f"nothing of {data.path.name} ({split}, {len(part)} utterances) is left: "
            f"{dict(counts)}. Lower --min-confidence, or raise --keep"
        )
    utterances = (
        replace(
            part[row],
            text=found[row].text,
            language=language,
            custom={**part[row].custom, "confidence": round(found[row].confidence or 0.0, 4)},
        )
        for row in kept
    )
    least = min(found[row].confidence or 0.0 for row in kept)
    card = Card(
        language=language,
        source=f"{split} of {data.card.source}, transcribed by {opened.folder.name}",
        licence=data.card.licence,
        attribution=data.card.attribution,
        split_rule="train only",
        group_rule=data.card.group_rule,
        warnings=[f"transcripts by a machine, confidence {least:.3f} or more; never test on them"],
    )
    with staging(out, overwrite=overwrite) as folder:
        write_manifests(folder, {"train": utterances}, card, Quarantine())
        with (folder / LEFT_OUT).open("w", encoding="utf-8") as file:
            for row, reason in sorted(unsure.items()):
                entry = {"id": part[row].id, "reason": reason, "confidence": found[row].confidence}
                entry["heard"] = found[row].text
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    return Labelled(Corpus.open(out), least, dict(counts))


def surest(
    found: Sequence[Recognised], durations_s: NDArray[np.float32], keep: float, least: float
) -> tuple[list[int], dict[int, str]]:
    """Rows to keep, the surest first, and why the others are not.

    Args:
        found: Transcripts in order.
        durations_s: Of the clips.
        keep: Share of the audio of all of them.
        least: Lowest confidence.
    """
    why: dict[int, str] = {}
    sure: list[tuple[float, int]] = []
    for row, result in enumerate(found):
        if not result.text.strip():
            why[row] = "nothing was heard"
        elif result.confidence is None:
            why[row] = "a repetition was cut"
        elif result.confidence < least:
            why[row] = f"confidence below {least:g}"
        else:
            sure.append((-result.confidence, row))
    room = keep * float(durations_s.sum(dtype=np.float64))
    order: list[int] = []
    for _, row in sorted(sure):
        if room <= 0:
            why[row] = f"less sure than the kept {100 * keep:g} % of the audio"
        else:
            order.append(row)
        room -= float(durations_s[row])
    return order, why
