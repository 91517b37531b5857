"""Hypotheses decoded ahead, for a stage that minimises word errors (``min_wer.lists: ahead``).

One file for each corpus of the stage, in the stage's folder: JSON lines ``{"id": utterance,
"hypotheses": [text, ...]}``, the best first. A resumed run reads it; lists made elsewhere come as a
file of the same form (``min_wer.path``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xlasr.config import MinWerSettings, Stage
from xlasr.data.phones import FORM
from xlasr.decoding.recognise import n_best_lists
from xlasr.errors import DataError, UsageError
from xlasr.files import sha256, write_text
from xlasr.models.hub import Base
from xlasr.models.run import SpeechModel
from xlasr.objectives.min_wer import count_errors, distinct_texts, evaluation_mode, list_options
from xlasr.scoring.normalisers import is_unspaced
from xlasr.training.metrics import Progress
from xlasr.training.sets import TrainingSet

Lists = dict[str, tuple[str, ...]]
LOOKED_AT = 200
"""Texts from which the script is told."""


def list_problems(stage: Stage, family: str, base: Base) -> list[str]:
    """What would leave a stage without hypotheses, before anything is trained."""
    how, found = stage.min_wer, []
    if how is None:
        return []
    if stage.init == "base" and family != "seq2seq" and base.adapted != family:
        found.append(
            f"min_wer chooses between what a model writes already, and {base.name} is no finished "
            f"run of the family {family!r}: give one as --base, or begin from an earlier stage"
        )
    if how.path is not None:
        try:
            read_lists(Path(how.path))
        except DataError as error:
            found.append(f"min_wer.path: {error}")
    return found


def list_key(stage: Stage) -> dict[str, Any]:
    """What the stage's content hash must know of lists made elsewhere."""
    path = stage.min_wer and stage.min_wer.path
    return {"lists": sha256(Path(path))} if path else {}


def read_lists(path: Path) -> Lists:
    """Hypotheses by utterance id.

    Raises:
        DataError: The file cannot be read, or a line of it is no list, or of an id again.
    """
    found: Lists = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the hypotheses in {path} ({error})") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            name, texts = row["id"], row["hypotheses"]
            if not isinstance(name, str) or not isinstance(texts, list):
                raise TypeError("id is a string, hypotheses a list")
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("a hypothesis is a string")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"line {number} of {path} is no list of hypotheses ({error!r}); allowed is "
                '{"id": "UTTERANCE", "hypotheses": ["TEXT", ...]}'
            ) from error
        if name in found:
            raise DataError(f"line {number} of {path} gives {name!r} a second list; keep one")
        found[name] = tuple(texts)
    return found


def with_lists(
    sets: Sequence[TrainingSet],
    stage: Stage,
    model: SpeechModel,
    folder: Path,
    progress: Progress,
) -> list[TrainingSet]:
    """Give every clip of the sets its hypotheses, where the stage wants them ahead.

    Args:
        sets: Usable clips.
        stage: Its ``min_wer``.
        model: As the stage begins; left as it was.
        folder: Of the stage; the lists are kept there.
        progress: Told what the lists hold.

    Raises:
        UsageError: Words are to be counted in a script that does not part them.
        DataError: A file of lists lacks a clip.
    """
    how = stage.min_wer
    if how is not None and how.unit == "word" and stage.output.text != FORM:
        said = [data.text(i) for data in sets for i in range(len(data.rows))[:LOOKED_AT]]
        if is_unspaced(said):
            raise UsageError(
                f"stage {stage.name!r}: min_wer.unit word, and the transcripts are in a script "
                "without spaces between words; say min_wer.unit: character"
            )
    if how is None or how.lists != "ahead":
        return list(sets)
    found = []
    for number, data in enumerate(sets):
        path = Path(how.path) if how.path else folder / f"lists-{number}.jsonl"
        if not path.exists():
            _decode(data, how, model, path)
        lists = read_lists(path)
        given = replace(data, hypotheses=_by_row(data, lists, path))
        progress.note(f"{stage.name}: {_describe(given, how)}")
        if unused := len(lists) - len(data.rows):
            progress.note(f"{stage.name}: {unused} lists of {path} are of clips not trained on")
        found.append(given)
    return found


def _decode(data: TrainingSet, how: MinWerSettings, model: SpeechModel, path: Path) -> None:
    """Write what the model writes of every clip, heard as it was recorded."""
    from accelerate import Accelerator

    before = next(model.parameters()).device
    model.to(Accelerator().device)
    with evaluation_mode(data.turn(model)):
        lists = n_best_lists(
            model,
            data.samples,
            data.durations_s.tolist(),
            list_options(how),
            how.n_best,
        )
    model.to(before)
    names = [data.split[row].id for row in data.rows.tolist()]
    lines = [
        json.dumps({"id": name, "hypotheses": distinct_texts(model, one)}, ensure_ascii=False)
        for name, one in zip(names, lists, strict=True)
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))


def _by_row(data: TrainingSet, lists: Lists, path: Path) -> dict[int, tuple[str, ...]]:
    names = {row: data.split[row].id for row in data.rows.tolist()}
    if missing := [name for name in names.values() if name not in lists]:
        raise DataError(
            f"{path} has no hypotheses for {len(missing)} of {len(names)} clips of split "
            f"{data.split.name!r}, for example {missing[0]!r}; give every clip a list (it may be "
            "empty), or leave min_wer.path out, and they are decoded"
        )
    return {row: lists[name] for row, name in names.items()}


def _describe(data: TrainingSet, how: MinWerSettings) -> str:
    """How much there is to choose from: the first of each list, the best, and those that differ."""
    texts = data.texts()
    lists = [(data.hypotheses or {})[row] for row in data.rows.tolist()]
    errors, n_symbols = count_errors(texts, lists, how.unit, data.form)
    differ = sum(len(set(row)) > 1 for row in errors)
    first, best = (
        100 * sum(pick(row) for row in errors if row) / max(1, n_symbols)
        for pick in (lambda row: row[0], min)
    )
    return (
        f"{len(lists)} lists of hypotheses made ahead, {differ} with something to choose from: "
        f"{how.unit} errors {first:.1f} % (the first of each list), {best:.1f} % (the best)"
    )
