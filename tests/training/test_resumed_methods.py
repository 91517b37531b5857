"""A stopped run of every additive method ends as one that was left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small
from tests import tiny

from xlasr import api
from xlasr.errors import Interrupted
from xlasr.training.engine import Trainer


def lora(*targets: str, **more: Any) -> dict[str, Any]:
    return {"part": "lora", "lora": {"r": 2, "targets": list(targets), **more}}


def adapter(where: str) -> dict[str, Any]:
    return {"part": "adapter", "adapter": {"width": 4, "where": where}}


def base_of(kind: str, folder: Path) -> Path:
    match kind:
        case "whisper":
            return small.write_whisper(folder)
        case "wav2vec2":
            return small.write_wav2vec2(folder)
        case "w2v-bert":
            return small.write_w2v_bert(folder)
    return tiny.seamless_dir(folder, kind)


@pytest.mark.parametrize(
    ("kind", "train"),
    [
        ("seq2seq/whisper", lora("q_proj", "fc1")),
        ("seq2seq/whisper", lora("q_proj", "fc1", dora=True)),
        ("seq2seq/whisper", adapter("both")),
        ("seq2seq/seamless", lora("linear_q", "q_proj")),
        ("seq2seq/seamless", adapter("both")),
        ("seq2seq/seamless", adapter("length")),
        ("seq2seq/seamless", {"part": "length_adapter"}),
        ("seq2seq/seamless-v2", adapter("length")),
        ("ctc/whisper", adapter("encoder")),
        ("ctc/wav2vec2", lora("q_proj", "v_proj")),
        ("ctc/wav2vec2", adapter("encoder")),
        ("ctc/w2v-bert", adapter("encoder")),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    train: dict[str, Any],
) -> None:
    family, _, name = kind.partition("/")
    base = str(base_of(name, tmp_path / "base"))
    stage = small.stage(
        family, train=train, augment=small.AUGMENT, stop={"updates": 4}, evaluate={"every": 2}
    )
    token = {"prompt_language": "hi"} if "seamless" in name else {}
    plan = small.recipe(family, stage, **token)
    whole = api.adapt(speech, base=base, recipe=plan, out=tmp_path / "whole")
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "another"))  # or the stage is reused
    real = Trainer._update

    def stopped(self: Trainer, batch: Any) -> None:
        if self.state.update == 3:
            raise KeyboardInterrupt
        real(self, batch)

    monkeypatch.setattr(Trainer, "_update", stopped)
    with pytest.raises(Interrupted):
        api.adapt(speech, base=base, recipe=plan, out=tmp_path / "run")
    monkeypatch.setattr(Trainer, "_update", real)
    run = api.adapt(None, resume=tmp_path / "run")
    files = sorted((whole.folder / "model").rglob("*.safetensors"))
    # the model, and what is the method's own; a length adapter is the model's
    assert len(files) == (1 if train["part"] == "length_adapter" else 2)
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
