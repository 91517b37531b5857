"""Checkpoints: safetensors and JSON, written to a temporary folder, fsynced, renamed.

A checkpoint is whole or absent: its ``manifest.json`` lists size and sha256 of every file and is
written last, and the folder gets its name by one rename. A kill at any moment leaves at worst a
temporary folder, which the next save removes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xlasr.errors import CheckpointError

PREFIX = "last-"


@dataclass
class Checkpoint:
    """What was read back.

    Args:
        tensors: By file stem (``model``, ``optimizer``), then by name.
        state: The JSON state.
        folder: Where it lies.
    """

    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    folder: Path


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def write_checkpoint(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint atomically.

    Args:
        folder: Its final name; an older one of that name is replaced.
        tensors: One safetensors file for each entry.
        state: JSON.

    Raises:
        CheckpointError: The disk is full (or another OS error); what was there before is intact.
    """
    from safetensors.torch import save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".tmp-{folder.name}"
    try:
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir()
        for stem, named in tensors.items():
            plain = {k: v.detach().cpu().contiguous() for k, v in named.items()}
            save_file(plain, str(temporary / f"{stem}.safetensors"))
        (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")
        files = {
            p.name: {"bytes": p.stat().st_size, "sha256": _sha256(p)}
            for p in sorted(temporary.iterdir())
        }
        (temporary / "manifest.json").write_text(json.dumps(files, indent=1), encoding="utf-8")
        for path in temporary.iterdir():
            _sync(path)
        _sync(temporary)
        if folder.exists():
            old = folder.parent / f".old-{folder.name}"
            if old.exists():
                shutil.rmtree(old)
            os.rename(folder, old)
            os.rename(temporary, folder)
            shutil.rmtree(old)
        else:
            os.rename(temporary, folder)
        _sync(folder.parent)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"could not save {folder}: {error}. Checkpoints saved before are intact; make room "
            "and go on with `xlasr adapt --resume`"
        ) from error


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and check every byte against its manifest.

    Raises:
        CheckpointError: A file is missing, short or changed.
    """
    from safetensors.torch import load_file

    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} has no readable manifest.json ({error})") from error
    for name, wanted in manifest.items():
        path = folder / name
        if not path.exists():
            raise CheckpointError(f"{folder}: {name} is missing")
        found = path.stat().st_size
        if found != wanted["bytes"]:
            raise CheckpointError(f"{path} has {found} bytes, {wanted['bytes']} were written")
        if _sha256(path) != wanted["sha256"]:
            raise CheckpointError(f"{path} was changed after it was written (sha256 differs)")
    tensors = {p.stem: load_file(str(p)) for p in folder.glob("*.safetensors")}
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return Checkpoint(tensors, state, folder)


def save_last(
    stage_folder: Path,
    update: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    keep: int = 2,
) -> None:
    """Save the checkpoint of an update and remove all but the newest ``keep``."""
    write_checkpoint(stage_folder / f"{PREFIX}{update:08d}", tensors, state)
    for old in sorted(stage_folder.glob(f"{PREFIX}*"))[:-keep]:
        shutil.rmtree(old)


def newest(stage_folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Read the newest whole checkpoint.

    Returns:
        The checkpoint, or None where there is none, and one line for each damaged one passed by.
    """
    damaged: list[str] = []
    for folder in sorted(stage_folder.glob(f"{PREFIX}*"), reverse=True):
        try:
            return read_checkpoint(folder), damaged
        except CheckpointError as error:
            damaged.append(str(error))
    return None, damaged


def snapshot_folder(stage_folder: Path, update: int) -> Path:
    """Where the weights of one evaluation are kept for averaging."""
    return stage_folder / f"snapshot-{update:08d}"


def remove_snapshots(stage_folder: Path, before: int) -> None:
    """Remove the snapshots of updates smaller than ``before``.

    The caller keeps one more than it averages: after a kill the run goes back by one evaluation.
    """
    for folder in stage_folder.glob("snapshot-*"):
        if int(folder.name.split("-")[1]) < before:
            shutil.rmtree(folder)


def mean_of_snapshots(stage_folder: Path, updates: Sequence[int]) -> dict[str, Tensor]:
    """Mean of the weights of several evaluations.

    Source: checkpoint averaging, as in Vaswani et al. 2017, section 6.1.
    """
    mean: dict[str, Tensor] = {}
    for update in updates:
        weights = read_checkpoint(snapshot_folder(stage_folder, update)).tensors["model"]
        for name, value in weights.items():
            part = value / len(updates)
            mean[name] = mean[name] + part if name in mean else part
    return mean


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state as named tensors."""
    found: dict[str, Tensor] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            found[f"{index}.{key}"] = torch.as_tensor(value)
    return found


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of ``optimizer_tensors``."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    tree = optimizer.state_dict()
    tree["state"] = state
    optimizer.load_state_dict(tree)
