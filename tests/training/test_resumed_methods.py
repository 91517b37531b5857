"""A stopped run of every additive method ends as one that was left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small

from xlasr import api
from xlasr.errors import Interrupted
from xlasr.training.engine import Trainer

LORA = {"r": 2, "targets": ["q_proj", "fc1"]}


@pytest.mark.parametrize(
    ("family", "train"),
    [
        ("seq2seq", {"part": "lora", "lora": LORA}),
        ("seq2seq", {"part": "lora", "lora": {**LORA, "dora": True}}),
        ("seq2seq", {"part": "adapter", "adapter": {"width": 4, "where": "both"}}),
        ("ctc", {"part": "adapter", "adapter": {"width": 4}}),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    whisper_dir: Path,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    train: dict[str, Any],
) -> None:
    stage = small.stage(
        family, train=train, augment=small.AUGMENT, stop={"updates": 4}, evaluate={"every": 2}
    )
    plan = small.recipe(family, stage)
    whole = api.adapt(speech, base=str(whisper_dir), recipe=plan, out=tmp_path / "whole")
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "another"))  # or the stage is reused
    real = Trainer._update

    def stopped(self: Trainer, batch: Any) -> None:
        if self.state.update == 3:
            raise KeyboardInterrupt
        real(self, batch)

    monkeypatch.setattr(Trainer, "_update", stopped)
    with pytest.raises(Interrupted):
        api.adapt(speech, base=str(whisper_dir), recipe=plan, out=tmp_path / "run")
    monkeypatch.setattr(Trainer, "_update", real)
    run = api.adapt(None, resume=tmp_path / "run")
    files = sorted((whole.folder / "model").rglob("*.safetensors"))
    assert len(files) == 2  # the model, and what is the method's own
    for path in files:
        again = run.folder / "model" / path.relative_to(whole.folder / "model")
        assert path.read_bytes() == again.read_bytes(), path
    assert run.summaries == whole.summaries
    rows = [
        [{k: v for k, v in r.items() if k != "time"} for r in one.metrics] for one in (run, whole)
    ]
    assert rows[0] == rows[1]  # of the last update too, where an earlier one was the best
    last = [
        max((one.folder / "stages").rglob("last-*")) / "model.safetensors" for one in (run, whole)
    ]
    assert last[0].read_bytes() == last[1].read_bytes()
