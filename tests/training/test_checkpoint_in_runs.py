"""Checkpoints in whole runs: best on dev alone, averages, damage, a disk that fills up."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import small
import torch
from torch import Tensor

from xlasr import api
from xlasr.data.corpus import Corpus
from xlasr.errors import CheckpointError
from xlasr.training.checkpoint import read_checkpoint
from xlasr.training.development import Development, DevResult
from xlasr.training.engine import Trainer


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the package may catch it."""


def names(stage: Path) -> list[str]:
    return sorted(p.name for p in stage.iterdir())


def flip(path: Path) -> None:
    blob = bytearray(path.read_bytes())
    blob[len(blob) // 2] ^= 1
    path.write_bytes(bytes(blob))


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_space_in_rust(*_: Any, **__: Any) -> None:
    raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")


def adapt(whisper: Path, speech: Path | str, out: Path, **changes: Any) -> api.Run:
    plan = small.recipe("ctc", small.stage("ctc", **changes))
    return api.adapt(speech, base=str(whisper), recipe=plan, out=out, threads=1)


def plant_cers(monkeypatch: pytest.MonkeyPatch, cers: list[float]) -> list[dict[str, Tensor]]:
    """Let dev say these error rates; returns the weights that were judged."""
    real, judged, planted = Development.evaluate, [], iter(cers)

    def evaluate(self: Development, model: Any, *args: Any) -> DevResult:
        result = real(self, model, *args)
        judged.append({k: v.clone() for k, v in model.state_dict().items()})
        return replace(result, cer=next(planted))

    monkeypatch.setattr(Development, "evaluate", evaluate)
    return judged


def assert_weights(run: api.Run, wanted: dict[str, Tensor]) -> None:
    found = run.model.state_dict()
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def test_best_is_chosen_on_dev_alone(
    whisper_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = small.write_speech(tmp_path / "corpus", test=["fad", "ace"])
    opened: list[str] = []
    split = Corpus.split

    def spy(self: Corpus, name: str) -> Any:
        opened.append(name)
        return split(self, name)

    judged = plant_cers(monkeypatch, [0.9, 0.3, 0.3, 0.5])
    monkeypatch.setattr(Corpus, "open", classmethod(lambda cls, path: corpus))
    monkeypatch.setattr(Corpus, "split", spy)
    run = adapt(whisper_dir, corpus.path, tmp_path / "run")
    summary = run.summaries[0]
    assert (summary["best_update"], summary["dev_cer"], summary["result"]) == (6, 0.3, "best")
    assert_weights(run, judged[1])
    assert not torch.equal(judged[1]["head.weight"], judged[2]["head.weight"])
    assert set(opened) == {"train", "dev"}


@pytest.mark.parametrize(("average", "result"), [(0.2, "average"), (0.4, "best")])
def test_average_is_taken_where_dev_likes_it(
    whisper_dir: Path,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    average: float,
    result: str,
) -> None:
    judged = plant_cers(monkeypatch, [0.9, 0.5, 0.3, 0.4, average])
    run = adapt(whisper_dir, speech, tmp_path / "run", optim={"average": 2})
    assert run.summaries[0]["result"] == result
    assert run.summaries[0]["dev_cer"] == min(0.3, average)
    assert_weights(run, judged[4] if result == "average" else judged[2])
    mean = (judged[2]["head.weight"] + judged[3]["head.weight"]) / 2
    torch.testing.assert_close(judged[4]["head.weight"], mean)


def test_run_with_a_damaged_newest_checkpoint_goes_on_from_the_one_before(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = adapt(whisper_dir, speech, tmp_path / "whole")
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache2"))
    real = Trainer._update

    def stop(self: Trainer, batch: Any) -> None:
        if self.state.update == 10:
            raise Killed
        real(self, batch)

    monkeypatch.setattr(Trainer, "_update", stop)
    with pytest.raises(Killed):
        adapt(whisper_dir, speech, tmp_path / "run")
    monkeypatch.setattr(Trainer, "_update", real)
    flip(tmp_path / "run/stages/0-adapt/last-00000009/optimizer.safetensors")
    run = api.adapt(None, resume=tmp_path / "run")
    summary = run.summaries[0]
    assert summary["guards"]["damaged_checkpoint"] == 1
    event = next(e for e in summary["events"] if e["guard"] == "damaged_checkpoint")
    assert event["update"] == 6
    assert "last-00000009/optimizer.safetensors was changed" in event["message"]
    assert_weights(run, whole.model.state_dict())
    assert [r["update"] for r in run.metrics] == [r["update"] for r in whole.metrics]


def test_run_whose_checkpoints_are_all_damaged_stops_with_advice(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    run = adapt(whisper_dir, speech, tmp_path / "run")
    stage = run.folder / "stages/0-adapt"
    (stage / "artefact.json").unlink()  # as if killed before it was finished
    for folder in stage.glob("last-*"):
        flip(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="remove the folder"):
        api.adapt(None, resume=run.folder)
    shutil.rmtree(stage)  # the advice
    again = api.adapt(None, resume=run.folder)
    assert again.summaries[0]["updates"] == 12


def test_damaged_snapshot_costs_the_average_and_not_the_run(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    run = adapt(whisper_dir, speech, tmp_path / "run", optim={"average": 2})
    stage = run.folder / "stages/0-adapt"
    (stage / "artefact.json").unlink()
    flip(stage / "snapshot-00000012" / "model.safetensors")
    again = api.adapt(None, resume=run.folder).summaries[0]
    assert again["result"] == "best"
    assert again["guards"]["damaged_checkpoint"] == 1


def test_run_on_a_disk_that_fills_up_goes_on_when_there_is_room(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = adapt(whisper_dir, speech, tmp_path / "whole")
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache2"))
    real, saved = safetensors.torch.save_file, []

    def fills_up(tensors: Any, path: str, **kwargs: Any) -> None:
        saved.append(path)
        if len(saved) > 5:
            no_space()
        real(tensors, path, **kwargs)

    monkeypatch.setattr(safetensors.torch, "save_file", fills_up)
    with pytest.raises(CheckpointError, match="make room"):
        adapt(whisper_dir, speech, tmp_path / "run")
    stage = tmp_path / "run/stages/0-adapt"
    assert any(n.startswith("last-") for n in names(stage))
    for folder in [*stage.glob("last-*"), stage / "best"]:
        read_checkpoint(folder)
    monkeypatch.setattr(safetensors.torch, "save_file", real)
    run = api.adapt(None, resume=tmp_path / "run")
    assert_weights(run, whole.model.state_dict())


def test_result_on_a_full_disk(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = safetensors.torch.save_file

    def full_at_the_end(tensors: Any, path: str, **kwargs: Any) -> None:
        if Path(path).parent.name == ".tmp-model":
            no_space_in_rust()
        real(tensors, path, **kwargs)

    monkeypatch.setattr(safetensors.torch, "save_file", full_at_the_end)
    with pytest.raises(CheckpointError, match="could not write the result"):
        adapt(whisper_dir, speech, tmp_path / "run")
    monkeypatch.setattr(safetensors.torch, "save_file", real)
    assert api.adapt(None, resume=tmp_path / "run").summaries[0]["updates"] == 12
