"""TensorBoard gets the numbers of ``metrics.jsonl``, read back with TensorBoard's own reader."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import small

from xlasr import api
from xlasr.training.metrics import Metrics


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Values by tag and step."""
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: {event.step: event.value for event in events.Scalars(tag)}
        for tag in events.Tags()["scalars"]
    }


def test_every_number_of_a_run(whisper_dir: Path, speech: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    stage = small.stage("ctc", stop={"updates": 20}, evaluate={"every": 10})
    run = api.adapt(
        speech, base=str(whisper_dir), recipe=small.recipe("ctc", stage), out=tmp_path / "run",
        threads=1, tensorboard=True,
    )  # fmt: skip
    found = scalars(run.folder / "tensorboard")
    assert {"adapt/loss", "adapt/lr", "adapt/dev_cer", "adapt/dev_loss"} <= set(found)
    wanted: dict[str, dict[int, float]] = {}
    for row in run.metrics:
        for key, value in row.items():
            if isinstance(value, float):
                wanted.setdefault(f"adapt/{key}", {})[row["update"]] = value
    assert set(found) == set(wanted)
    for tag, values in wanted.items():
        assert found[tag] == pytest.approx(values, rel=1e-5), tag  # float32 there
    assert set(found["adapt/dev_cer"]) == {10, 20}


def test_rows_are_on_the_disk_at_once(tmp_path: Path) -> None:
    """A process that is killed has written what it told."""
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    code = (
        "import math, os, signal, sys\nfrom pathlib import Path\n"
        "from xlasr.training.metrics import Metrics\n"
        "folder = Path(sys.argv[1])\n"
        "metrics = Metrics(folder / 'metrics.jsonl', folder / 'board')\n"
        "metrics.write(stage='one', update=3, loss=1.5, lr=math.nan)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment)
    assert done.returncode == -signal.SIGKILL
    found = scalars(tmp_path / "board")
    assert found["one/loss"] == {3: 1.5}
    assert math.isnan(found["one/lr"][3])
    (row,) = Metrics(tmp_path / "metrics.jsonl").rows()
    assert (row["loss"], row["lr"]) == (1.5, None)
