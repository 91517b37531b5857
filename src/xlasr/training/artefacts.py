"""A stage on disk: begun, finished, reused.

``stage.json`` holds the content hash of what was begun, ``model/`` and ``summary.json`` the result;
``artefact.json`` comes last and makes the stage finished. The cache knows where the result of each
hash lies, so that an equal stage of another run is not computed twice.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xlasr.adaptation.lora import merged_state
from xlasr.config import Stage
from xlasr.data import cache_dir
from xlasr.data.corpus import Corpus
from xlasr.data.parallel import ParallelText
from xlasr.errors import CheckpointError
from xlasr.files import sync, write_text
from xlasr.models.run import SpeechModel, save_model
from xlasr.training.metrics import Metrics, Progress

STAGE_FORMAT = 1
"""Part of the content hash; raised when the same settings would give another result."""


@dataclass
class StageRun:
    """Where a stage lives and what it depends on.

    Args:
        stage: Of the recipe.
        folder: Of the stage in the run.
        key: Content hash of all that the result depends on.
        data: What the stage's entries of data name, in their order.
        main: The command's corpus.
    """

    stage: Stage
    folder: Path
    key: str
    data: list[Corpus | ParallelText]
    main: Corpus

    @property
    def corpora(self) -> list[Corpus]:
        """Those of speech."""
        return [data for data in self.data if isinstance(data, Corpus)]

    @property
    def dev(self) -> Corpus:
        """Whose dev steers the stage: its first corpus of speech; the command's, if that has none.

        So text is steered by speech, and synthetic speech, which is all training, by recordings.
        """
        first = next((d for d in self.data if isinstance(d, Corpus)), self.main)
        return first if "dev" in first.splits else self.main

    def target_of(self, corpus: Corpus) -> str | None:
        """Language of the translation that is learnt of a corpus; None is its transcript.

        The command's corpus, where it only steers, is judged as the first entry is learnt.
        """
        entries = list(zip(self.data, self.stage.data, strict=True))
        targets = [entry.target for data, entry in entries if data is corpus]
        targets += [entry.target for data, entry in entries if isinstance(data, Corpus)]
        return targets[0] if targets else None

    @property
    def target(self) -> str | None:
        """Language of the translation that dev is scored on; None where it is the transcript."""
        return self.target_of(self.dev)


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON file; empty where there is none or it is damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def check_key(run: StageRun) -> None:
    """Refuse to go on with checkpoints of other settings; note the key of a stage that begins.

    Raises:
        CheckpointError: The folder was begun with another key.
    """
    path = run.folder / "stage.json"
    begun = read_json(path).get("key", run.key)
    if begun != run.key:
        raise CheckpointError(
            f"{run.folder} was begun with another recipe, base, corpus, seed or number of threads "
            f"(recipe.yaml was edited?). Bring that back, start a new run with --out, or remove "
            f"{run.folder} to train the stage again"
        )
    if not path.exists():
        run.folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"key": run.key}))


def is_finished(run: StageRun) -> bool:
    """Whether the result of exactly these settings lies in the folder."""
    return read_json(run.folder / "artefact.json").get("key") == run.key


def _known(key: str) -> Path:
    return cache_dir() / "stages" / f"{key}.json"


def reuse(run: StageRun, metrics: Metrics, progress: Progress) -> bool:
    """Copy the result of an equal stage of an earlier run, if it still lies where it was."""
    pointer = read_json(_known(run.key))
    if "folder" not in pointer:
        return False
    source = Path(pointer["folder"])
    other = replace(run, folder=source)
    if source == run.folder.resolve() or not is_finished(other) or not (source / "model").is_dir():
        return False
    with _writing(run):
        shutil.copytree(source / "model", run.folder / "model", dirs_exist_ok=True)
        _sync_files(run.folder / "model")
        summary = read_json(source / "summary.json")
        its_metrics = Metrics(source.parents[1] / "metrics.jsonl")
        metrics.take_over(run.stage.name, its_metrics, summary["stage"])
        summary.update(stage=run.stage.name, reused_from=str(source))
        _finish(run, summary)
    progress.note(f"{run.stage.name}: already computed in {source.parents[1]}, reused")
    return True


@contextmanager
def _writing(run: StageRun) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"could not write the result to {run.folder}: {error}. The checkpoints are intact; "
            "make room and go on with `xlasr adapt --resume`"
        ) from error


def _sync_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)


def _finish(run: StageRun, summary: dict[str, Any]) -> None:
    """Write summary and key; the key comes last and makes the stage finished."""
    write_text(run.folder / "summary.json", json.dumps(summary, indent=1))
    write_text(run.folder / "artefact.json", json.dumps({"key": run.key}))


def write_result(run: StageRun, model: SpeechModel, configs: Path, summary: dict[str, Any]) -> None:
    """Write model, summary and key, and note in the cache where they are.

    Args:
        run: The stage.
        model: With its final weights; LoRA is merged.
        configs: Folder of the model it began from.
        summary: For ``summary.json``.

    Raises:
        CheckpointError: The disk is full; the checkpoints are intact.
    """
    temporary, final = run.folder / ".tmp-model", run.folder / "model"
    with _writing(run):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        state = merged_state(model) if model.adapter is not None else None
        save_model(model, temporary, configs, state)
        _sync_files(temporary)
        if final.exists():
            shutil.rmtree(final)
        os.rename(temporary, final)
        _finish(run, summary)
        pointer = _known(run.key)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        write_text(pointer, json.dumps({"folder": str(run.folder.resolve())}))
