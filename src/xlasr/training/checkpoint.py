"""Checkpoints: safetensors and JSON, written to a temporary folder, fsynced, renamed.

A checkpoint is whole or absent: its ``manifest.json`` lists size and sha256 of every file and is
written last, and the folder gets its name by one rename. A kill at any moment leaves at worst a
temporary folder, which the next save removes, or a replaced folder under its other name, which
the next read puts back.
"""

from __future__ import annotations

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
from xlasr.files import sha256, sync

PREFIX = "last-"
KEEP = 2
"""How many `last` checkpoints stay: the newest may turn out to be damaged."""


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


def _put_back(folder: Path) -> Path:
    """Undo a replacement that was cut between its two renames; returns the old one's name."""
    old = folder.parent / f".old-{folder.name}"
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, folder)
    return old


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
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    temporary = folder.parent / f".tmp-{folder.name}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        old = _put_back(folder)
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir()
        for stem, named in tensors.items():
            plain = {k: v.detach().cpu().contiguous() for k, v in named.items()}
            save_file(plain, str(temporary / f"{stem}.safetensors"))
        (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")
        files = {
            p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)}
            for p in sorted(temporary.iterdir())
        }
        (temporary / "manifest.json").write_text(json.dumps(files, indent=1), encoding="utf-8")
        for path in temporary.iterdir():
            sync(path)
        sync(temporary)
        if folder.exists():
            os.rename(folder, old)
            os.rename(temporary, folder)
            shutil.rmtree(old)
        else:
            os.rename(temporary, folder)
        sync(folder.parent)
    except (OSError, SafetensorError) as error:
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
        wanted = {str(n): (int(f["bytes"]), str(f["sha256"])) for n, f in manifest.items()}
        if not {"state.json", "model.safetensors"} <= set(wanted):
            raise CheckpointError(f"{folder}: manifest.json is damaged (it lists {sorted(wanted)})")
        for name, (size, expected) in wanted.items():
            path = folder / name
            if not path.exists():
                raise CheckpointError(f"{folder}: {name} is missing")
            found = path.stat().st_size
            if found != size:
                raise CheckpointError(f"{path} has {found} bytes, {size} were written")
            if sha256(path) != expected:
                raise CheckpointError(f"{path} was changed after it was written (sha256 differs)")
        stems = [Path(name).stem for name in wanted if name.endswith(".safetensors")]
        tensors = {stem: load_file(str(folder / f"{stem}.safetensors")) for stem in stems}
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder}: manifest.json is damaged ({error!r})") from error
    return Checkpoint(tensors, state, folder)


def save_last(
    stage_folder: Path,
    update: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
) -> None:
    """Save the checkpoint of an update and remove all but the newest ``KEEP``."""
    write_checkpoint(stage_folder / f"{PREFIX}{update:08d}", tensors, state)
    _prune(stage_folder)


def _prune(stage_folder: Path) -> None:
    for old in sorted(stage_folder.glob(f"{PREFIX}*"))[:-KEEP]:
        shutil.rmtree(old)


def newest(stage_folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Read the newest whole checkpoint, and clean up what a kill left half done.

    Damaged checkpoints that are newer are removed: they would count as one of those that stay.

    Returns:
        The checkpoint, or None where none was saved yet, and one line for each damaged one.

    Raises:
        CheckpointError: There are checkpoints, and every one of them is damaged.
    """
    damaged: list[str] = []
    for old in list(stage_folder.glob(".old-*")):
        _put_back(stage_folder / old.name.removeprefix(".old-"))
    for half in list(stage_folder.glob(".tmp-*")):
        shutil.rmtree(half) if half.is_dir() else half.unlink()
    for folder in sorted(stage_folder.glob(f"{PREFIX}*"), reverse=True):
        try:
            found = read_checkpoint(folder)
        except CheckpointError as error:
            damaged.append(str(error))
            continue
        for useless in sorted(stage_folder.glob(f"{PREFIX}*"), reverse=True)[: len(damaged)]:
            shutil.rmtree(useless)
        _prune(stage_folder)
        return found, damaged
    if damaged:
        raise CheckpointError(
            f"every checkpoint in {stage_folder} is damaged, so there is nothing to go on with: "
            + "; ".join(damaged)
            + f". Look at the disk; then bring {stage_folder.name} back from a backup, or remove "
            f"the folder {stage_folder} to train this stage again from its beginning"
        )
    return None, damaged


def snapshot_folder(stage_folder: Path, update: int) -> Path:
    """Where the weights of one evaluation are kept for averaging."""
    return stage_folder / f"snapshot-{update:08d}"


def save_snapshot(
    stage_folder: Path,
    update: int,
    weights: Mapping[str, Tensor],
    window: Sequence[int],
    *,
    width: int,
    every: int,
) -> list[int]:
    """Keep the weights of an evaluation for averaging and remove those that left the window.

    Args:
        stage_folder: Of the stage.
        update: Of the evaluation.
        weights: By name.
        window: Updates whose snapshots are averaged so far.
        width: How many are averaged.
        every: Updates from one evaluation to the next. One snapshot before the window stays:
            after a kill the run goes back by one evaluation.

    Returns:
        The new window.
    """
    write_checkpoint(snapshot_folder(stage_folder, update), {"model": weights}, {"update": update})
    new = [*window, update][-width:]
    for folder in stage_folder.glob("snapshot-*"):
        if int(folder.name.split("-")[1]) < new[0] - every:
            shutil.rmtree(folder)
    return new


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
