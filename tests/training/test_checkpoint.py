"""A checkpoint is whole or absent; damage is seen; a full disk costs nothing that was saved."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from xlasr.errors import CheckpointError, RunError
from xlasr.training import checkpoint
from xlasr.training.checkpoint import (
    mean_of_snapshots,
    newest,
    read_checkpoint,
    save_last,
    save_snapshot,
    write_checkpoint,
)
from xlasr.training.metrics import Metrics


def tensors(value: float) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(int(value * 8))
    weights = torch.randn(40, 30, generator=generator)
    return {
        "model": {"a": weights, "b.c": weights.t()[:5], "scalar": torch.tensor(value)},
        "optimizer": {"0.step": torch.tensor(value), "0.exp_avg": weights * 2},
    }


def assert_is(found: checkpoint.Checkpoint, value: float) -> None:
    wanted = tensors(value)
    assert found.state == {"value": value, "infinite": float("inf")}
    assert {s: set(t) for s, t in found.tensors.items()} == {s: set(t) for s, t in wanted.items()}
    for stem, named in wanted.items():
        for name, tensor in named.items():
            assert torch.equal(found.tensors[stem][name], tensor)


def save(folder: Path, value: float) -> None:
    write_checkpoint(folder, tensors(value), {"value": value, "infinite": float("inf")})


def save_three(stage: Path) -> None:
    for update in (10, 20, 30):
        save_last(stage, update, tensors(update), {"value": update, "infinite": float("inf")})


def names(stage: Path) -> list[str]:
    return sorted(p.name for p in stage.iterdir())


def test_round_trip_and_replacement(tmp_path: Path) -> None:
    save(tmp_path / "stage" / "best", 1.0)
    assert_is(read_checkpoint(tmp_path / "stage" / "best"), 1.0)
    save(tmp_path / "stage" / "best", 2.0)
    assert_is(read_checkpoint(tmp_path / "stage" / "best"), 2.0)
    assert names(tmp_path / "stage") == ["best"]
    assert {p.suffix for p in (tmp_path / "stage" / "best").iterdir()} == {".safetensors", ".json"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the package may catch it."""


def operations(monkeypatch: pytest.MonkeyPatch, die_at: int) -> Callable[[], int]:
    """Count what touches the disk; die at one operation, before it or in the middle of it."""
    done = 0

    def hook(owner: Any, name: str, half: Callable[..., None] | None = None) -> None:
        real = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            if done == die_at:
                if half is not None and die_at % 2:
                    half(*args)
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    save_file, write_text = safetensors.torch.save_file, Path.write_text

    def half_tensors(tensors: Any, path: str) -> None:
        save_file(tensors, path)
        os.truncate(path, 100)

    def half_text(path: Path, text: str) -> None:
        write_text(path, text[:9])

    def half_folder(path: Path) -> None:
        sorted(path.iterdir())[0].unlink()

    hook(os, "rename")
    hook(os, "fsync")
    hook(shutil, "rmtree", half_folder)
    hook(safetensors.torch, "save_file", half_tensors)
    hook(Path, "write_text", half_text)
    return lambda: done


def test_a_kill_at_any_operation_leaves_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    die_at, outcomes = 0, []
    while True:
        die_at += 1
        stage = tmp_path / str(die_at)
        for value in (1.0, 2.0):
            save_last(stage, int(value), tensors(value), {"value": value, "infinite": np.inf})
        with pytest.MonkeyPatch.context() as patch:
            operations(patch, die_at)
            try:
                # the second replaces a folder of its own name, as after a rollback
                save_last(stage, 3, tensors(3.0), {"value": 3.0, "infinite": np.inf})
                save_last(stage, 3, tensors(4.0), {"value": 4.0, "infinite": np.inf})
            except Killed:
                pass
            else:
                break
        found, damaged = newest(stage)
        assert found is not None
        assert not damaged
        assert_is(found, found.state["value"])
        outcomes.append(found.state["value"])
        assert [n for n in names(stage) if not n.startswith("last-")] == []
        assert len(names(stage)) == 2
        save_last(stage, 5, tensors(5.0), {"value": 5.0, "infinite": np.inf})  # and it goes on
        assert_is(read_checkpoint(stage / "last-00000005"), 5.0)
    assert outcomes == sorted(outcomes)  # once the new one is there, it stays
    assert set(outcomes) == {2.0, 3.0, 4.0}
    assert len(outcomes) > 20


def flip(path: Path) -> None:
    blob = bytearray(path.read_bytes())
    blob[len(blob) // 2] ^= 1
    path.write_bytes(bytes(blob))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    path.write_bytes(b"")


FILES = ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [flip, truncate, empty, Path.unlink])
def test_damage_is_seen_and_the_one_before_is_used(
    tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    save_three(tmp_path)
    assert names(tmp_path) == ["last-00000020", "last-00000030"]  # two are kept
    damage(tmp_path / "last-00000030" / name)
    found, lines = newest(tmp_path)
    assert found is not None
    assert_is(found, 20)
    assert len(lines) == 1
    assert "last-00000030" in lines[0]
    assert names(tmp_path) == ["last-00000020"]


def test_every_flipped_byte_of_the_manifest_is_survived(tmp_path: Path) -> None:
    save_three(tmp_path)
    manifest = tmp_path / "last-00000030" / "manifest.json"
    whole = manifest.read_bytes()
    for at in range(0, len(whole), 3):
        manifest.write_bytes(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
        with pytest.raises(CheckpointError, match="last-00000030"):
            read_checkpoint(manifest.parent)
    manifest.write_text("{}")
    with pytest.raises(CheckpointError):
        read_checkpoint(manifest.parent)
    manifest.write_bytes(whole)
    assert_is(read_checkpoint(manifest.parent), 30)


def test_when_all_are_damaged_nothing_starts_over_by_itself(tmp_path: Path) -> None:
    save_three(tmp_path)
    for folder in tmp_path.glob("last-*"):
        flip(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"every checkpoint.*remove the folder"):
        newest(tmp_path)
    assert names(tmp_path) == ["last-00000020", "last-00000030"]  # left for whoever can mend them
    assert newest(tmp_path / "new") == (None, [])


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_space_in_rust(*_: Any, **__: Any) -> None:
    raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("failure", [no_space, no_space_in_rust])
def test_full_disk_keeps_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Callable[..., None]
) -> None:
    save_three(tmp_path)
    save(tmp_path / "best", 7.0)
    monkeypatch.setattr(safetensors.torch, "save_file", failure)
    with pytest.raises(CheckpointError, match=r"(?i)no space left.*make room"):
        save_last(tmp_path, 40, tensors(40), {})
    with pytest.raises(CheckpointError, match="intact"):
        save(tmp_path / "best", 8.0)
    assert names(tmp_path) == ["best", "last-00000020", "last-00000030"]
    assert_is(read_checkpoint(tmp_path / "best"), 7.0)
    found, _ = newest(tmp_path)
    assert found is not None
    assert_is(found, 30)


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Set the largest file this process may write, as a disk that fills up does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n: resource.setrlimit(resource.RLIMIT_FSIZE, (n, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_writer_that_really_fails(tmp_path: Path, small_disk: Callable[[int], None]) -> None:
    save_three(tmp_path)
    small_disk(2000)  # the tensors take 5,000 bytes and more
    with pytest.raises(CheckpointError, match="make room"):
        save_last(tmp_path, 40, tensors(40), {"value": 40})
    small_disk(resource.RLIM_INFINITY)
    assert names(tmp_path) == ["last-00000020", "last-00000030"]
    found, lines = newest(tmp_path)
    assert found is not None
    assert not lines


def test_metrics_on_a_full_disk(tmp_path: Path, small_disk: Callable[[int], None]) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.write(stage="a", update=1, loss=1.0)
    small_disk(metrics.path.stat().st_size + 10)
    with pytest.raises(RunError, match=r"metrics\.jsonl.*make room"):
        metrics.write(stage="a", update=2, loss=1.0)
    small_disk(resource.RLIM_INFINITY)
    assert [row["update"] for row in metrics.rows()] == [1]  # half a row is no row
    metrics.forget_after("a", 1)
    metrics.write(stage="a", update=2, loss=float("nan"))
    lines = metrics.path.read_text().splitlines()
    strict = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [(row["update"], row["loss"]) for row in strict] == [(1, 1.0), (2, None)]


def test_average_of_snapshots_is_the_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((7, 5)).astype(np.float32) for _ in range(6)]
    window: list[int] = []
    for at, array in enumerate(arrays):
        weights = {"w": torch.from_numpy(array)}
        window = save_snapshot(tmp_path, 10 * at, weights, window, width=3, every=10)
    assert window == [30, 40, 50]
    # the one before stays: a run killed before it saved goes back by one evaluation
    assert names(tmp_path) == [f"snapshot-{u:08d}" for u in (20, 30, 40, 50)]
    mean = mean_of_snapshots(tmp_path, window)["w"].numpy()
    np.testing.assert_allclose(mean, np.mean(arrays[3:], axis=0, dtype=np.float64), atol=1e-6)
