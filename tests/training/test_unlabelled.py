"""A stage without transcripts: what it is steered by, what it keeps, what comes after it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import small
from rich.console import Console
from safetensors.torch import load_file
from tests import tiny

from xlasr import api
from xlasr.config import Recipe
from xlasr.errors import ConfigError, RunError, TrainingStopped, UsageError
from xlasr.models.hub import find_base
from xlasr.objectives import masked_contrastive
from xlasr.training.engine import Trainer
from xlasr.training.guards import Guards
from xlasr.training.metrics import Metrics

HOW = {"mask_length": 3, "negatives": 5}


def pretrain(**changes: Any) -> dict[str, Any]:
    """A stage of six updates on sound alone, all augmentation on."""
    given: dict[str, Any] = {
        "name": "pretrain",
        "objectives": [{"kind": "masked_contrastive", "contrastive": HOW}],
        "stop": {"updates": 6},
        "augment": {k: v for k, v in small.AUGMENT.items() if k != "spec"},
    }
    return small.stage("ctc", **given | changes)


def letters(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "init": "pretrain",
        "output": {"mode": "replace"},
        "stop": {"updates": 3},
        "augment": small.AUGMENT,
    }
    return small.stage("ctc", **given | changes)


def run(speech: Path, base: Path | str, out: Path, plan: Recipe, console: Any = None) -> api.Run:
    return api.adapt(speech, base=str(base), recipe=plan, out=out, threads=1, console=console)


def test_pretraining_then_letters(speech: Path, wav2vec2_dir: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    plan = small.recipe("ctc", pretrain(), letters())
    found = run(speech, wav2vec2_dir, tmp_path / "run", plan, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    first, second = found.summaries
    assert "dev_cer" not in first and 0 < first["dev_loss"] < 10
    assert "dev_loss" not in second and second["dev_cer"] <= 1.5
    rows = {
        stage: [r for r in found.metrics if r["stage"] == stage] for stage in ("pretrain", "adapt")
    }
    assert len(rows["pretrain"]) == 2
    for row in rows["pretrain"]:
        assert {k for k in row if k.startswith("dev")} == {"dev_loss"}
    for row in rows["adapt"]:
        assert {"dev_loss", "dev_cer", "dev_wer", "dev_empty", "dev_loops"} <= set(row)
    assert first["dev_loss"] == min(r["dev_loss"] for r in rows["pretrain"])
    before = shown[: shown.index("adapt: the weights")]
    assert "CER" not in before and "dev loss" in before
    assert "pretrain: masked_contrastive begins with new weights" in shown
    assert "adapt: the weights that only masked_contrastive needs are dropped" in shown

    stages = tmp_path / "run" / "stages"
    kept = load_file(stages / "0-pretrain" / "model" / "model.safetensors")
    final = load_file(stages / "1-adapt" / "model" / "model.safetensors")
    base = load_file(wav2vec2_dir / "model.safetensors")
    assert any(k.startswith("aids.masked_contrastive.quantizer.") for k in kept)
    assert not any(k.startswith("aids.") for k in final)
    trained = "encoder.hf.masked_spec_embed"
    assert not kept[trained].equal(base["masked_spec_embed"])
    checkpoint = load_file(stages / "0-pretrain" / "best" / "model.safetensors")
    assert not any(k.startswith("head.") for k in checkpoint)  # nothing teaches it
    assert first["trainable_parameters"] == sum(v.numel() for v in checkpoint.values())
    assert found.model.tokenizer.symbols == list(" abcdef")  # type: ignore[union-attr]


def test_clips_do_not_need_letters(wav2vec2_dir: Path, tmp_path: Path) -> None:
    corpus = small.write_speech(tmp_path / "c", ["...", "abc", "?!", "dad", "a"], ["!!!", "fed"])
    found = run(corpus.path, wav2vec2_dir, tmp_path / "run", small.recipe("ctc", pretrain()))
    summary = found.summaries[0]
    assert summary["train_clips"] == 4 and summary["dev_left_out"] == {}
    assert summary["left_out"] == [{"too short to be masked": 1}]
    with pytest.raises(RunError, match="was trained without text"):
        found.evaluate(split="dev", with_base=False)
    after = run(corpus.path, tmp_path / "run", tmp_path / "after",
                small.recipe("ctc", letters(init="base")))  # fmt: skip
    assert after.summaries[0]["train_clips"] == 3  # a finished run without letters is a base


def test_a_kill_changes_nothing(
    speech: Path, wav2vec2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small.recipe("ctc", pretrain())
    left_alone = run(speech, wav2vec2_dir, tmp_path / "a", plan)
    update, done = Trainer._update, []

    def dies(self: Trainer, batch: Any) -> None:
        done.append(batch)
        if len(done) == 5:
            raise KeyboardInterrupt
        update(self, batch)

    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "other"))  # the stage is not to be reused
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", dies)
        with pytest.raises(Exception, match="stopped at once"):
            run(speech, wav2vec2_dir, tmp_path / "b", plan)
    killed = api.adapt(None, resume=tmp_path / "b")
    one, two = (load_file(r.folder / "model" / "model.safetensors") for r in (left_alone, killed))
    assert set(one) == set(two) and all(one[k].equal(two[k]) for k in one)
    plain = [[{k: v for k, v in row.items() if k != "time"} for row in r.metrics]
             for r in (left_alone, killed)]  # fmt: skip
    assert plain[0] == plain[1]


def test_the_smallest_dev_loss_is_the_result(
    speech: Path, wav2vec2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlasr.training.development import Development, DevResult

    planted = iter([3.0, 2.0, 4.0, 2.0])
    monkeypatch.setattr(Development, "evaluate", lambda *_: DevResult(next(planted)))
    plan = small.recipe("ctc", pretrain(stop={"updates": 12}))
    summary = run(speech, wav2vec2_dir, tmp_path / "run", plan).summaries[0]
    assert (summary["best_update"], summary["dev_loss"]) == (6, 2.0)
    best = json.loads((tmp_path / "run/stages/0-pretrain/best/state.json").read_text())
    assert best == {"update": 6, "dev_loss": 2.0}


def test_dev_is_masked_alike_at_every_look(speech: Path, tmp_path: Path) -> None:
    base = tiny.speech_dir(tmp_path / "base", "wav2vec2")  # its latents differ from one another
    still = pretrain(optim={"lr": 1e-30, "weight_decay": 0.0}, evaluate={"every": 2})
    found = run(speech, base, tmp_path / "run", small.recipe("ctc", still))
    losses = [row["dev_loss"] for row in found.metrics]
    assert len(losses) == 3 and len(set(losses)) == 1


def test_the_quantiser_is_told_the_update(
    speech: Path, wav2vec2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    real = masked_contrastive.gumbel_temperature

    def told_of(update: int, how: Any) -> float:
        told.append(update)
        return real(update, how)

    monkeypatch.setattr(masked_contrastive, "gumbel_temperature", told_of)
    plan = small.recipe("ctc", pretrain(evaluate={"every": 6}))
    run(speech, wav2vec2_dir, tmp_path / "run", plan)
    assert told[:6] == [0, 1, 2, 3, 4, 5] and set(told[6:]) == {0}  # dev takes the best code


def test_both_losses_on_the_same_clips(speech: Path, wav2vec2_dir: Path, tmp_path: Path) -> None:
    both = [{"kind": "ctc"}, {"kind": "masked_contrastive", "weight": 0.5, "contrastive": HOW}]
    plan = small.recipe("ctc", small.stage("ctc", objectives=both, stop={"updates": 3}))
    found = run(speech, wav2vec2_dir, tmp_path / "run", plan)
    assert "dev_cer" in found.summaries[0]
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert any(k.startswith("aids.") for k in weights) and "head.weight" in weights


@pytest.mark.parametrize("best", ["cer", "loss"])
def test_what_the_best_weights_are_chosen_by(
    speech: Path, wav2vec2_dir: Path, tmp_path: Path, best: str
) -> None:
    """Nothing is written yet, so that by CER no weights are better than the first."""
    both = [{"kind": "ctc"}, {"kind": "masked_contrastive", "weight": 0.5, "contrastive": HOW}]
    plan = small.recipe(
        "ctc",
        small.stage(
            "ctc", objectives=both, stop={"updates": 4}, evaluate={"every": 2, "best": best}
        ),
    )  # fmt: skip
    found = run(speech, wav2vec2_dir, tmp_path / "run", plan)
    rows = [row for row in Metrics(found.folder / "metrics.jsonl").rows() if "dev_loss" in row]
    assert [row["update"] for row in rows] == [2, 4]
    for row in rows:  # each objective by itself, too
        parts = row["dev_loss_ctc"] + 0.5 * row["dev_loss_masked_contrastive"]
        assert row["dev_loss"] == pytest.approx(parts, rel=1e-5)
    first = {by: min(rows, key=lambda row: row[f"dev_{by}"])["update"] for by in ("cer", "loss")}
    assert first == {"cer": 2, "loss": 4}
    (summary,) = found.summaries
    assert summary["best_update"] == first[best]
    assert summary[f"dev_{best}"] == rows[first[best] // 2 - 1][f"dev_{best}"]


def test_guards_without_error_rates() -> None:
    guard = Guards("ctc", 1000)
    for at, (train, dev) in enumerate([(5, 5), (4, 4), (3, 4.5), (2, 4.7), (1, 4.8), (1, 4.9)]):
        guard.after_evaluation(100 * at, train_loss=train, dev_loss=dev, dev_cer=None, blank=None)
    assert [e["guard"] for e in guard.events] == ["overfitting", "ended_early"]
    assert "dev loss had been 4.00 and was over 4.40" in guard.events[-1]["message"]
    stuck = Guards("ctc", 1000)
    for at in range(1, 11):
        stuck.after_evaluation(100 * at, train_loss=5, dev_loss=5, dev_cer=None, blank=None)
    assert not stuck.events
    # nor is a decoder that writes nonsense a reason to stop, where the loss is what counts
    by_loss = Guards("seq2seq", 1000, "dev_loss")
    for at in range(1, 11):
        by_loss.after_evaluation(100 * at, train_loss=5, dev_loss=5, dev_cer=1.2, blank=0.0)
    assert not by_loss.events
    stuck = Guards("seq2seq", 1000)
    with pytest.raises(TrainingStopped):
        for at in range(1, 11):
            stuck.after_evaluation(100 * at, train_loss=5, dev_loss=5, dev_cer=1.2, blank=0.0)
    stuck = Guards("ctc", 1000)
    with pytest.raises(TrainingStopped):
        for at in range(1, 11):
            stuck.after_evaluation(100 * at, train_loss=5, dev_loss=5, dev_cer=0.99, blank=0.99)


def test_what_cannot_be_asked_for(
    speech: Path, wav2vec2_dir: Path, whisper_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="'replace' is made of transcripts"):
        small.recipe("ctc", pretrain(output={"mode": "replace"}))
    with pytest.raises(ConfigError, match="needs the family 'ctc'"):
        small.recipe("seq2seq", pretrain())
    with pytest.raises(UsageError, match=r"Wav2Vec2-class bases .* is a whisper model"):
        run(speech, whisper_dir, tmp_path / "w", small.recipe("ctc", pretrain()))
    frozen = small.stage("ctc", train={"freeze": {"feature_encoder": True}})
    with pytest.raises(UsageError, match="'whisper' model begins with log-mel frames"):
        run(speech, whisper_dir, tmp_path / "f", small.recipe("ctc", frozen))


def random_base(folder: Path, wav2vec2_dir: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text((wav2vec2_dir / "config.json").read_text())
    return folder


def test_random_weights_are_called_so(speech: Path, wav2vec2_dir: Path, tmp_path: Path) -> None:
    base = random_base(tmp_path / "base", wav2vec2_dir)
    plan = small.recipe("ctc", letters(init="base", stop={"updates": 1}))
    runs = [
        api.adapt(speech, base=str(base), recipe=plan, out=tmp_path / str(i), threads=1, seed=seed)
        for i, seed in enumerate([0, 1])
    ]
    assert runs[0].facts["base"]["name"] == f"random weights from {base}"
    assert [r.model.info["base"]["seed"] for r in runs] == [0, 1]
    assert find_base(runs[0].facts["base"]["name"]).is_random
    first, second = (load_file(r.folder / "model" / "model.safetensors") for r in runs)
    key = "encoder.hf.encoder.layers.0.attention.k_proj.weight"
    assert (first[key] - second[key]).abs().max() > 0.05
    again = runs[0].evaluate(split="dev", with_base=False)
    assert again.adapted.cer > 0  # it opens: the feature extractor was saved
    (base / "config.json").write_text((base / "config.json").read_text() + " ")
    with pytest.raises(RunError, match="begun on other weights"):
        api.adapt(None, resume=runs[0].folder)


def test_weights_are_never_random_in_silence(
    wav2vec2_dir: Path, whisper_dir: Path, tmp_path: Path
) -> None:
    from xlasr.errors import BaseError

    base = random_base(tmp_path / "base", wav2vec2_dir)
    (base / "tokenizer_config.json").write_text("{}")  # a download that was cut short
    with pytest.raises(BaseError, match="has no weights"):
        find_base(str(base))
    with pytest.raises(BaseError, match="a 'whisper' model needs its weights"):
        find_base(str(random_base(tmp_path / "w", whisper_dir)))
