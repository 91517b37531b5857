"""Stages: what is reused, what is carried over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import small
import torch

from xlasr import api
from xlasr.data.batches import Batch
from xlasr.errors import ConfigError, UsageError
from xlasr.models.hub import find_base, load_whisper
from xlasr.models.parts import MARK, use_part
from xlasr.models.run import load_model
from xlasr.training import engine
from xlasr.training.engine import Trainer

SHORT = {"stop": {"updates": 4}, "evaluate": {"every": 2}}
PEFT = "ignore:`is_gradient_checkpointing`:FutureWarning"


def adapt(base: Path, corpus: Path, out: Path, *stages: Any, seed: int = 0, **more: Any) -> api.Run:
    family = more.pop("family", "ctc")
    plan = small.recipe(family, *(stages or [small.stage(family, **SHORT)]), **more)
    return api.adapt(corpus, base=str(base), recipe=plan, out=out, threads=1, seed=seed)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that were really trained."""
    names: list[str] = []
    real = Trainer._update

    def spy(self: Trainer, batch: Batch) -> None:
        if self.stage.name not in names[-1:]:
            names.append(self.stage.name)
        real(self, batch)

    monkeypatch.setattr(Trainer, "_update", spy)
    return names


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


# ---- reuse


def test_equal_stage_of_another_run_is_not_computed_twice(
    whisper_dir: Path, speech: Path, tmp_path: Path, trained: list[str]
) -> None:
    first = adapt(whisper_dir, speech, tmp_path / "a")
    assert trained == ["adapt"]
    second = adapt(whisper_dir, speech, tmp_path / "b")
    assert trained == ["adapt"]
    assert weights(second.folder) == weights(first.folder)
    summary = dict(second.summaries[0])
    assert summary.pop("reused_from") == str((tmp_path / "a/stages/0-adapt").resolve())
    assert summary == first.summaries[0]
    assert second.metrics == first.metrics  # the report has its curves
    # and one that goes on from it computes only what is new
    more = [
        small.stage("ctc", name="one", **SHORT),
        small.stage("ctc", name="two", init="one", **SHORT),
    ]
    third = adapt(whisper_dir, speech, tmp_path / "c", *more)
    assert trained == ["adapt", "two"]
    assert [s["stage"] for s in third.summaries] == ["one", "two"]
    assert [r["stage"] for r in third.metrics] == ["one"] * 2 + ["two"] * 2


@pytest.mark.parametrize(
    "what", ["seed", "recipe", "context", "corpus", "base", "threads", "extra text", "gone"]
)
def test_what_differs_is_computed(
    whisper_dir: Path, speech: Path, tmp_path: Path, trained: list[str], what: str
) -> None:
    extra = tmp_path / "extra.txt"
    extra.write_text("abc")
    family = "seq2seq" if what == "extra text" else "ctc"
    output = {"mode": "cut", "extra_text": [str(extra)]} if what == "extra text" else {}
    stage = small.stage(family, output=output, **SHORT)
    first = adapt(whisper_dir, speech, tmp_path / "a", stage, family=family)
    trained.clear()
    base, corpus, changes = whisper_dir, speech, {}
    if what == "seed":
        changes["seed"] = 1
    elif what == "recipe":
        stage = small.stage(family, stop={"updates": 4}, evaluate={"every": 2}, batch_s=7.0)
    elif what == "context":
        changes["context"] = {"slack": 16, "multiple": 8}
    elif what == "corpus":
        corpus = small.write_speech(tmp_path / "corpus").path
    elif what == "base":
        base = small.write_whisper(tmp_path / "base", seed=1)
    elif what == "extra text":
        extra.write_text("a completely different text")
    elif what == "gone":
        shutil.rmtree(first.folder)
    if what == "threads":
        plan = small.recipe(family, stage)
        api.adapt(corpus, base=str(base), recipe=plan, out=tmp_path / "b", threads=2)
    else:
        adapt(base, corpus, tmp_path / "b", stage, family=family, **changes)
    assert trained == ["adapt"]
    if what == "seed":
        assert weights(tmp_path / "b") != weights(first.folder)


def test_files_cut_short_by_a_power_failure_are_not_believed(
    whisper_dir: Path, speech: Path, tmp_path: Path, trained: list[str]
) -> None:
    run = adapt(whisper_dir, speech, tmp_path / "a")
    wanted = weights(run.folder)
    (run.folder / "stages/0-adapt/artefact.json").write_text("")
    pointer = next((tmp_path / "cache/stages").iterdir())
    pointer.write_text('{"folder": "/')
    trained.clear()
    again = api.adapt(None, resume=run.folder)
    assert weights(again.folder) == wanted
    assert trained == []  # its last checkpoint was whole
    assert json.loads(pointer.read_text())["folder"].endswith("0-adapt")


# ---- carried over


def test_second_stage_begins_where_the_first_ended(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: dict[str, Any] = {}
    real = Trainer.run

    def spy(self: Trainer, *args: Any) -> Any:
        state = self.model.state_dict()
        began[self.stage.name] = {k: v.clone() for k, v in state.items()}
        return real(self, *args)

    monkeypatch.setattr(Trainer, "run", spy)
    run = adapt(
        whisper_dir,
        speech,
        tmp_path / "run",
        small.stage("ctc", name="head", train={"part": "head"}, **SHORT),
        small.stage("ctc", name="all", init="head", **SHORT),
        small.stage("ctc", name="new", init="all", output={"mode": "replace"}, **SHORT),
    )
    from safetensors.torch import load_file

    head = load_file(str(run.folder / "stages/0-head/model/model.safetensors"))
    assert set(head) == set(began["all"])
    assert all(torch.equal(began["all"][k], head[k]) for k in head)
    ended = load_file(str(run.folder / "stages/1-all/model/model.safetensors"))
    same = {k: torch.equal(began["new"][k], ended[k]) for k in ended}
    assert {k for k, equal in same.items() if not equal} == {"head.weight", "head.bias"}
    base = began["head"]
    changed = {k for k in base if not torch.equal(base[k], head[k])}
    assert changed == {"head.weight", "head.bias"}
    trainable = [s["trainable_parameters"] for s in run.summaries]
    assert trainable[0] == 8 * 17  # seven letters and the blank, on width 16, with bias
    assert trainable[1] == sum(
        v.numel() for k, v in base.items() if not k.endswith("embed_positions.weight")
    )
    assert (run.folder / "model").resolve().parent.name == "2-new"


@pytest.mark.filterwarnings(PEFT)
def test_lora_is_merged_into_what_comes_out(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last: dict[str, Any] = {}
    real = Trainer.load_result

    def spy(self: Trainer) -> str:
        chosen = real(self)
        last["model"] = self.model.eval()
        return chosen

    monkeypatch.setattr(Trainer, "load_result", spy)
    lora = small.stage(
        "seq2seq", train={"part": "lora", "lora": {"r": 4}}, optim={"lr": 0.02}, **SHORT
    )
    run = adapt(whisper_dir, speech, tmp_path / "run", lora, family="seq2seq")
    assert not any("lora" in name for name in run.model.state_dict())
    assert (run.folder / "model/adapter/adapter_model.safetensors").exists()
    clips = [small.tones("abc"), small.tones("fad")]
    with torch.inference_mode():
        models = (run.model, last["model"], load_model(run.folder / "model"))
        logits = []
        for model in models:
            features = model.features(clips)
            inputs, _ = model.target_ids(["abc", "fad"])
            logits.append(model(features, inputs))
        from xlasr.models.encoders import Context
        from xlasr.models.run import from_base

        base = from_base(
            find_base(str(whisper_dir)), "seq2seq", context=Context(8, 8), language="cs"
        ).eval()
        unadapted = base(base.features(clips), inputs)
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits[0], logits[2])
    assert (logits[0] - unadapted).abs().max() > 0.01


@pytest.mark.parametrize("where", ["encoder", "decoder"])
def test_adapters_are_a_part_of_what_comes_out(
    whisper_dir: Path, speech: Path, tmp_path: Path, where: str
) -> None:
    train = {"part": "adapter", "adapter": {"width": 4, "where": where}}
    stage = small.stage("seq2seq", train=train, optim={"lr": 0.02}, **SHORT)
    run = adapt(whisper_dir, speech, tmp_path / "run", stage, family="seq2seq")
    assert (run.folder / "model/part/part.safetensors").stat().st_size < 10_000
    assert run.model.active_part == "cs"
    clip = small.tones("abc")
    plain = load_whisper(whisper_dir)
    assert_equal_but_for_adapters(run.model.hf, plain)
    inputs, _ = run.model.target_ids(["abc"])
    with torch.inference_mode():
        adapted = run.model(run.model.features([clip]), inputs)
        use_part(run.model, None)
        assert (run.model(run.model.features([clip]), inputs) - adapted).abs().max() > 0.01
    for form in ("ct2", "transformers"):
        with pytest.raises(UsageError, match="needs bottleneck adapters"):
            api.export(run.folder, tmp_path / form, format=form)


def assert_equal_but_for_adapters(model: torch.nn.Module, base: torch.nn.Module) -> None:
    found = {k: v for k, v in model.state_dict().items() if MARK not in k}
    assert found.keys() == base.state_dict().keys()
    assert all(torch.equal(found[k], v) for k, v in base.state_dict().items())


def test_ewc_holds_the_weights_that_an_old_corpus_needs(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchors = []
    real = Trainer.load_result

    def spy(self: Trainer) -> str:
        anchors.append(self.model.anchor)
        return real(self)

    monkeypatch.setattr(Trainer, "load_result", spy)
    plain = {"kind": "cross_entropy"}
    held = {"kind": "ewc", "corpus": str(speech), "clips": 4, "weight": 100.0}
    ends = []
    for n, objectives in enumerate(([plain, held], [plain])):
        stage = small.stage("seq2seq", objectives=objectives, optim={"lr": 2e-3}, **SHORT)
        run = adapt(whisper_dir, speech, tmp_path / f"run{n}", stage, family="seq2seq")
        ends.append(run.model.state_dict())
    anchor, none = anchors
    assert none is None
    base = {f"hf.{k}": v for k, v in load_whisper(whisper_dir).state_dict().items()}
    assert all(torch.equal(v, base[k]) for k, v in anchor.start.items())
    with_ewc, without = (
        sum(float((anchor.importance[k] * (end[k] - v) ** 2).sum()) for k, v in base.items()
            if k in anchor.start)
        for end in ends
    )  # fmt: skip
    assert 0 < with_ewc < 0.7 * without
    objectives = [plain, {"kind": "ewc", "corpus": "nowhere"}]
    stage = small.stage("seq2seq", objectives=objectives, **SHORT)
    with pytest.raises(ConfigError, match=r"ewc: .*nowhere"):
        adapt(whisper_dir, speech, tmp_path / "no", stage, family="seq2seq")


# ---- the mix and the audio


def test_mix_of_corpora(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = small.write_speech(tmp_path / "other", train=["aaaa", "bbbb", "cccc"], dev=["dddd"])
    heard: list[tuple[int, float, list[str]]] = []
    real = engine.load_batch

    def spy(sets: Any, batch: Batch, *args: Any) -> Any:
        found = real(sets, batch, *args)
        heard.append((batch.corpus, sum(len(c) for c in found[0]) / 16_000, found[1]))
        return found

    monkeypatch.setattr(engine, "load_batch", spy)
    data = [{"path": "main"}, {"path": str(other.path), "weight": 0.5}]
    stage = small.stage("ctc", data=data, stop={"epochs": 1}, evaluate={"every": 50}, batch_s=1.5)
    run = adapt(whisper_dir, speech, tmp_path / "run", stage)
    main = [text for corpus, _, texts in heard if corpus == 0 for text in texts]
    assert sorted(main) == sorted(small.TRAIN)  # an epoch: every clip of the main corpus once
    seconds = [sum(s for corpus, s, _ in heard if corpus == c) for c in (0, 1)]
    assert seconds[1] / seconds[0] == pytest.approx(0.5, abs=0.15)
    assert {t for corpus, _, texts in heard if corpus == 1 for t in texts} <= {
        "aaaa",
        "bbbb",
        "cccc",
    }
    assert run.summaries[0]["audio_s"] == pytest.approx(sum(seconds), abs=0.1)
    assert run.summaries[0]["train_clips"] == len(small.TRAIN) + 3


def test_minutes_take_a_part_and_five_are_part_of_ten(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[set[str]] = []
    real = Trainer.run

    def spy(self: Trainer, *args: Any) -> Any:
        taken.append(set(self.sets[0].texts()))
        return real(self, *args)

    monkeypatch.setattr(Trainer, "run", spy)
    for minutes in (0.03, 0.06):
        stage = small.stage("ctc", data=[{"minutes": minutes}], **SHORT)
        run = adapt(whisper_dir, speech, tmp_path / str(minutes), stage)
        assert run.summaries[0]["train_clips"] == len(taken[-1])
    assert 0 < len(taken[0]) < len(taken[1]) < len(small.TRAIN)
    assert taken[0] < taken[1]


@pytest.mark.parametrize("kind", ["group norm", "w2v-BERT"])
def test_other_bases_train_at_changing_speed_and_from_the_cache(
    speech: Path, tmp_path: Path, kind: str
) -> None:
    """Group norm takes batches of one length only; w2v-BERT's features are (B, T, F)."""
    folder = tmp_path / "base"
    if kind == "group norm":
        base = small.write_wav2vec2(folder, group_norm=True)
    else:
        base = small.write_w2v_bert(folder)
    spread = {"stop": {"epochs": 2}, "evaluate": {"every": 50}}
    speeds = small.stage("ctc", augment={"speed": [0.9, 1.0, 1.1]}, **spread)
    run = adapt(base, speech, tmp_path / "speeds", speeds)
    assert "not_finite" not in run.summaries[0]["guards"]
    head = small.stage("ctc", train={"part": "head"}, **spread)
    run = adapt(base, speech, tmp_path / "head", head)
    assert run.summaries[0]["frozen_cache"]["bytes"] > 0
    assert len(list((tmp_path / "cache").glob("frozen/*/*"))) == len(small.TRAIN)


def test_it_learns_to_spell_tones(tmp_path: Path, speech: Path) -> None:
    """A whole run on planted speech: an error rate that no standing still can reach."""
    base = small.write_whisper(tmp_path / "base", dropout=0.0)
    stage = small.stage(
        "ctc",
        optim={"lr": 1e-2, "warmup": 10},
        batch_s=3.0,
        stop={"updates": 250},
        evaluate={"every": 50},
    )
    run = adapt(base, speech, tmp_path / "run", stage)
    curve = [row["dev_cer"] for row in run.metrics if "dev_cer" in row]
    assert run.summaries[0]["dev_cer"] == min(curve)
    assert min(curve) < 0.5  # one letter for all of it gives 0.77
    assert "underfitting" not in run.summaries[0]["guards"]
