"""Reference alignments for a stage whose transducer loss is restricted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xlasr.alignment.reference import letter_timer
from xlasr.config import Stage
from xlasr.errors import DataError, XlasrError
from xlasr.models.hub import find_base
from xlasr.models.run import load_model
from xlasr.training.sets import TrainingSet


def _aligner(stage: Stage) -> str | None:
    """The CTC run that a stage is aligned by."""
    losses = [o.transducer for o in stage.objectives if o.transducer is not None]
    return next((loss.aligner for loss in losses if loss.aligner), None)


def aligner_problems(stage: Stage) -> list[str]:
    """What is wrong with the aligner, before anything is trained."""
    name = _aligner(stage)
    if name is None:
        return []
    try:
        family = find_base(name).adapted
    except XlasrError as error:
        return [f"transducer.aligner: {error}"]
    if family == "ctc":
        return []
    return [f"transducer.aligner: {name} is no finished CTC run, and only such a run can align"]


def aligner_key(stage: Stage) -> dict[str, Any]:
    """What the stage's content hash must know of the aligner."""
    name = _aligner(stage)
    return {"aligner": find_base(name).sha256} if name else {}


def with_references(sets: Sequence[TrainingSet], stage: Stage) -> list[TrainingSet]:
    """Align every clip of the sets, where the stage asks for it.

    Clips are aligned one by one, so a resumed run finds the same times.

    Raises:
        DataError: No clip of a set can be aligned.
    """
    name = _aligner(stage)
    if name is None:
        return list(sets)
    timer = letter_timer(load_model(find_base(name).folder))
    found = []
    for data in sets:
        ends = {}
        for at, row in enumerate(data.rows.tolist()):
            times = timer(data.samples(at), data.text(at))
            if times is not None:
                ends[row] = times
        if not ends:
            raise DataError(
                f"{name} cannot align a single clip of split {data.split.name!r}: does it spell "
                "the same script?"
            )
        missing = len(data.rows) - len(ends)
        why = {"the aligner finds no alignment": missing} if missing else {}
        rows = np.asarray([row for row in data.rows.tolist() if row in ends], dtype=np.int64)
        found.append(replace(data, rows=rows, left_out={**data.left_out, **why}, ends_s=ends))
    return found
