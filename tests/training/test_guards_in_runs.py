"""Guards in whole runs: noticed, acted on, counted in the summary, shown to the user."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from safetensors.torch import load_file

from xlasr import api
from xlasr.errors import DataError, TrainingStopped
from xlasr.training.engine import Trainer


def adapt(base: Path, corpus: Path, out: Path, family: str = "ctc", **changes: Any) -> api.Run:
    changes = {"stop": {"updates": 4}, "evaluate": {"every": 2}, **changes}
    plan = small.recipe(family, small.stage(family, **changes))
    return api.adapt(corpus, base=str(base), recipe=plan, out=out, threads=1)


def test_left_out_is_counted_in_the_summary(whisper_dir: Path, tmp_path: Path) -> None:
    corpus = small.write_speech(tmp_path / "c", train=[*small.TRAIN, "!?"], dev=["abc", "..."])
    summary = adapt(whisper_dir, corpus.path, tmp_path / "run").summaries[0]
    assert summary["left_out"] == [{"no text left after normalisation": 1}]
    assert summary["dev_left_out"] == {"no text left after normalisation": 1}
    assert summary["train_clips"] == len(small.TRAIN)


def test_empty_alphabet_and_nothing_usable(whisper_dir: Path, tmp_path: Path) -> None:
    dots = small.write_speech(tmp_path / "dots", train=["...", "!"], dev=["abc"])
    with pytest.raises(DataError, match="alphabet is empty"):
        adapt(whisper_dir, dots.path, tmp_path / "ctc")
    with pytest.raises(DataError, match=r"no usable clip.*'train'.*2 no text left"):
        adapt(whisper_dir, dots.path, tmp_path / "s2s", "seq2seq")
    long = small.write_speech(tmp_path / "long", train=["abc"], dev=["abcdef" * 6])
    with pytest.raises(DataError, match=r"no usable clip.*'dev'.*longer than 3 s"):
        adapt(whisper_dir, long.path, tmp_path / "dev")


@pytest.mark.parametrize("family", ["ctc", "seq2seq"])
def test_letters_of_dev_and_test_that_training_never_saw(
    whisper_dir: Path, tmp_path: Path, family: str
) -> None:
    corpus = small.write_speech(tmp_path / "c", dev=["abč", "čed"], test=["fád", "bad"])
    summary = adapt(whisper_dir, corpus.path, tmp_path / "run", family).summaries[0]
    assert summary["guards"]["unseen_letters"] == 1
    message = next(e["message"] for e in summary["events"] if e["guard"] == "unseen_letters")
    assert message.endswith(": 'č' (dev, x2), 'á' (test)")


@pytest.mark.parametrize(("rank", "told"), [(4, 0), (64, 1)])
def test_lora_larger_than_what_it_adapts_is_told(
    whisper_dir: Path, tmp_path: Path, rank: int, told: int
) -> None:
    corpus = small.write_speech(tmp_path / "c")
    train = {"part": "lora", "lora": {"r": rank, "targets": ["q_proj"]}}
    summary = adapt(whisper_dir, corpus.path, tmp_path / "run", train=train).summaries[0]
    assert summary["guards"].get("lora_outnumbers", 0) == told


def test_training_letters_that_a_kept_head_lacks(whisper_dir: Path, tmp_path: Path) -> None:
    first = small.write_speech(tmp_path / "first")
    second = small.write_speech(tmp_path / "second", train=["žabě", "bad"], dev=["abc"])
    short = {"stop": {"updates": 2}, "evaluate": {"every": 2}}
    stages = [
        small.stage("ctc", name="one", data=[{"path": str(first.path)}], **short),
        small.stage("ctc", name="keep", init="one", **short),
        small.stage("ctc", name="more", init="one", output={"mode": "extend"}, **short),
    ]
    run = api.adapt(
        second.path, base=str(whisper_dir), recipe=small.recipe("ctc", *stages),
        out=tmp_path / "run", threads=1,
    )  # fmt: skip
    kept, extended = run.summaries[1:]
    message = next(e["message"] for e in kept["events"] if e["guard"] == "letters_left_out")
    assert "'ž' x1, 'ě' x1" in message
    assert "letters_left_out" not in extended["guards"]
    assert set("žě") <= set(run.model.tokenizer.symbols)


def plant_nan(monkeypatch: pytest.MonkeyPatch, when: Any) -> None:
    real = Trainer._batch_loss

    def planted(self: Trainer, batch: Any) -> Any:
        loss, seconds = real(self, batch)
        return (loss * math.nan if when(self) else loss), seconds

    monkeypatch.setattr(Trainer, "_batch_loss", planted)


def test_one_bad_loss_is_skipped_and_changes_no_weight(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_nan(monkeypatch, lambda t: t.state.update == 1)
    weights: list[Any] = []
    real = Trainer._update

    def spy(self: Trainer, batch: Any) -> None:
        real(self, batch)
        weights.append({k: v.clone() for k, v in self.model.state_dict().items()})

    monkeypatch.setattr(Trainer, "_update", spy)
    summary = adapt(whisper_dir, speech, tmp_path / "run").summaries[0]
    assert summary["guards"] == {"not_finite": 1}
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])
    assert not torch.equal(weights[1]["head.weight"], weights[2]["head.weight"])


def test_rollback_restores_the_weights_and_halves_the_rate(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_nan(monkeypatch, lambda t: t.guards.rate_scale == 1.0 and t.state.update in (3, 4, 5))
    seen: list[tuple[int, float, Any]] = []
    real = Trainer._update

    def spy(self: Trainer, batch: Any) -> None:
        at = self.state.update
        before = self.model.state_dict()["head.weight"].clone()
        real(self, batch)
        seen.append((at, self.optimizer.param_groups[0]["lr"], before))

    monkeypatch.setattr(Trainer, "_update", spy)
    optim = {"schedule": "constant", "warmup": 0}
    run = adapt(whisper_dir, speech, tmp_path / "run", stop={"updates": 7}, optim=optim)
    assert [at for at, *_ in seen] == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6]
    # saved at 2; not at 4, in the middle of the bad row
    assert [lr for _, lr, _ in seen] == [1e-3] * 6 + [5e-4] * 5
    assert torch.equal(seen[6][2], seen[2][2])
    assert not torch.equal(seen[3][2], seen[2][2])
    assert run.summaries[0]["guards"] == {"not_finite": 3, "rollback": 1}
    assert [r["update"] for r in run.metrics] == [2, 4, 6, 7]
    assert run.metrics[1]["train_loss"] is not None


def test_loss_that_is_never_finite_stops_with_advice(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_nan(monkeypatch, lambda t: True)
    with pytest.raises(TrainingStopped, match=r"before the first checkpoint.*optim\.lr"):
        adapt(whisper_dir, speech, tmp_path / "a", evaluate={"every": 4})
    monkeypatch.undo()
    plant_nan(monkeypatch, lambda t: t.state.update >= 2)
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(TrainingStopped, match=r"after 3 rollbacks"):
        adapt(whisper_dir, speech, tmp_path / "b", stop={"updates": 9}, evaluate={"every": 2})


def test_all_blank_run_is_stopped(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlasr.decoding.recognise import Recognised
    from xlasr.training import development

    def nothing(model: Any, clips: Any, *_: Any) -> list[Recognised]:
        return [Recognised("", 0.0, False) for _ in clips]

    monkeypatch.setattr(development, "recognise", nothing)
    with pytest.raises(TrainingStopped, match="nothing is decoded yet"):
        adapt(whisper_dir, speech, tmp_path / "run", stop={"updates": 12})
    # what the guards counted is kept although there is no summary
    facts = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert "nothing is decoded yet" in facts["stopped"]
    assert facts["cost"]["cpu_s"] > 0
    told = json.loads((tmp_path / "run/stages/0-adapt/stopped.json").read_text("utf-8"))
    assert told["guards"]["all_blank"] == 1


def plant_curve(monkeypatch: pytest.MonkeyPatch, curve: list[tuple[float, float]]) -> None:
    """(dev loss, dev CER) of each evaluation, while the training loss falls."""
    from dataclasses import replace

    from xlasr.training.development import Development

    evaluate, loss_of = Development.evaluate, Trainer._batch_loss
    planted = iter(curve)

    def evaluated(self: Development, *args: Any) -> Any:
        found = evaluate(self, *args)
        dev_loss, cer = next(planted, (1.0, 1.0))
        return replace(found, loss=dev_loss, cer=cer)

    def falling(self: Trainer, batch: Any) -> Any:
        loss, seconds = loss_of(self, batch)
        return loss * 0.7**self.state.update, seconds

    monkeypatch.setattr(Development, "evaluate", evaluated)
    monkeypatch.setattr(Trainer, "_batch_loss", falling)


OVERFITTING = [(1.0, 0.5), (0.9, 0.4), (1.0, 0.45), (1.1, 0.46), (1.2, 0.47), (1.3, 0.48)]


def test_lasting_overfitting_ends_the_stage_with_its_best_weights(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_curve(monkeypatch, OVERFITTING)
    run = adapt(whisper_dir, speech, tmp_path / "run", stop={"updates": 40})
    summary = run.summaries[0]
    assert summary["updates"] == 2 * len(OVERFITTING)  # of 40: nothing is raised
    assert summary["guards"]["overfitting"] == summary["guards"]["ended_early"] == 1
    assert (summary["best_update"], summary["dev_cer"], summary["result"]) == (4, 0.4, "best")
    best = load_file(str(run.folder / "stages/0-adapt/best/model.safetensors"))
    result = run.model.state_dict()
    assert all(torch.equal(result[name], value) for name, value in best.items())
    # killed before the result was written: what was ended stays ended
    (run.folder / "stages/0-adapt/artefact.json").unlink()
    (run.folder / "model").unlink()
    monkeypatch.setattr(Trainer, "_update", None)
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "other"))
    again = api.adapt(None, resume=run.folder).summaries[0]
    assert {k: again[k] for k in ("updates", "guards", "best_update", "dev_cer")} == {
        k: summary[k] for k in ("updates", "guards", "best_update", "dev_cer")
    }


def test_a_stage_that_learns_nothing_is_stopped_with_advice(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_curve(monkeypatch, [(3.0, 0.98)] * 20)
    with pytest.raises(TrainingStopped, match=r"after 12 of 16 updates dev CER is 98 %"):
        adapt(whisper_dir, speech, tmp_path / "run", stop={"updates": 16})
    told = json.loads((tmp_path / "run/stages/0-adapt/stopped.json").read_text("utf-8"))
    assert told["guards"]["underfitting"] == 1
    assert "xlasr check" in told["reason"]


def test_loops_are_counted(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlasr.decoding.recognise import Recognised
    from xlasr.training import development

    def looping(model: Any, clips: Any, *_: Any) -> list[Recognised]:
        return [Recognised("ab", 0.0, i == 0) for i in range(len(clips))]

    monkeypatch.setattr(development, "recognise", looping)
    run = adapt(whisper_dir, speech, tmp_path / "run", "seq2seq")
    assert run.summaries[0]["guards"]["repetition_loop"] == 2
    assert [r["dev_loops"] for r in run.metrics] == [1, 1]


def test_spec_augment_that_is_not_applied_is_said(
    wav2vec2_dir: Path, speech: Path, tmp_path: Path
) -> None:
    augment = {"spec": {}}
    bert = small.write_w2v_bert(tmp_path / "bert")
    told = adapt(bert, speech, tmp_path / "a", augment=augment).summaries[0]["guards"]
    assert told["augment_not_applied"] == 1
    told = adapt(wav2vec2_dir, speech, tmp_path / "b", augment=augment).summaries[0]["guards"]
    assert "augment_not_applied" not in told


def test_events_are_shown_when_they_happen(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from rich.console import Console

    plant_nan(monkeypatch, lambda t: t.state.update == 1)
    console = Console(file=io.StringIO(), width=200)
    short = small.stage("ctc", stop={"updates": 3}, evaluate={"every": 3})
    api.adapt(
        speech, base=str(whisper_dir), recipe=small.recipe("ctc", short), out=tmp_path / "run",
        threads=1, console=console,
    )  # fmt: skip
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "not_finite: loss nan" in shown
    assert shown.index("not_finite") < shown.index("update 3:")
