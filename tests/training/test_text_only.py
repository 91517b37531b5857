"""Stages that learn from text without speech."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from safetensors.torch import load_file
from tests import tiny

from xlasr import api
from xlasr.config import AugmentSettings, CorpusSettings
from xlasr.data.batches import PlanSettings, epoch_plan
from xlasr.data.corpus import Corpus
from xlasr.data.parallel import ParallelText, read_lines, read_pairs
from xlasr.errors import ConfigError, Interrupted, UsageError
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.parts import MARK
from xlasr.models.run import SpeechModel, from_base
from xlasr.models.seamless import SeamlessModel
from xlasr.models.seq2seq import WhisperModel
from xlasr.models.tokenizer import CharTokenizer
from xlasr.training import engine, text_input
from xlasr.training.engine import Trainer
from xlasr.training.guards import Guards
from xlasr.training.sets import TrainingSet, bucket_function, load_batch, open_data, open_set
from xlasr.training.text_input import mean_state

SHORT = {"stop": {"updates": 4}, "evaluate": {"every": 2}}
DECODER = {"part": "adapter", "adapter": {"width": 4, "where": "decoder"}}
ENCODER = {"part": "adapter", "adapter": {"width": 4, "where": "encoder"}}
# of a translation: lines to learn, one of them a line of dev, one made from a line of dev
PAIRS = [("one", "a bad cab"), ("two", "fed"), ("three", "Dab!"), ("dab", "a face"), ("f", "ace")]
LEARNT = ["a bad cab", "fed", "ace"]


def pairs(folder: Path) -> str:
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    return str(path)


def opened(text: ParallelText, language: str = "cs", **settings: Any) -> TrainingSet:
    return open_data(text, CorpusSettings(text="", **settings), "headline", language, language)


def whisper(folder: Path) -> WhisperModel:
    model = from_base(find_base(str(folder)), "seq2seq", context=Context(8, 8), language="cs")
    assert isinstance(model, WhisperModel)
    return model.eval()


def two_stages(text: str, **first: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    plain = {"optim": {"lr": 0.02}, **SHORT}
    settings = {"data": [{"pairs": text}], "train": DECODER, **plain, **first}
    return (
        small.stage("seq2seq", name="text", **settings),
        small.stage("seq2seq", name="speech", init="text", train=ENCODER, **plain),
    )


def adapt(base: Path, corpus: Path, out: Path, *stages: Any) -> api.Run:
    plan = small.recipe("seq2seq", *stages)
    return api.adapt(corpus, base=str(base), recipe=plan, out=out, threads=1)


# ---- the set


def test_a_set_of_text_is_planned_and_loaded_as_clips_are(
    whisper_dir: Path, tmp_path: Path, speech: Path
) -> None:
    path = tmp_path / "t.txt"
    sizes = [n for n in range(1, 12) for _ in range(3)]
    path.write_text("".join(f"{'ab ' * n}{'cde'[i % 3] * n}\n" for i, n in enumerate(sizes)))
    data = opened(read_lines(path), "hsb")
    assert data.durations_s.tolist() == pytest.approx([4 * n / 15 for n in sizes])
    settings = PlanSettings(batch_s=6.0)
    plan = epoch_plan(
        [data.durations_s], bucket_function(whisper(whisper_dir)), settings, seed=3, epoch=0
    )
    assert sorted(r for b in plan for r in b.rows.tolist()) == list(range(33))  # each once
    assert all(len(b.rows) * b.positions <= 300 for b in plan) and len(plan) < 33
    # the source is as it was written, the target in the form that is learnt
    written = opened(read_pairs(pairs(tmp_path)))
    batch = epoch_plan(
        [written.durations_s], bucket_function(whisper(whisper_dir)), settings, seed=0, epoch=0
    )[0]
    items, texts, rngs = load_batch([written], batch, AugmentSettings(), 0, 0)
    by_target = {b.lower().strip("!"): a for a, b in PAIRS}
    assert texts and items == [by_target[t] for t in texts]
    assert written.heard_s(items) == 0.0
    # an amount of it is taken line by line, less being a part of more
    little = opened(read_lines(path), "hsb", minutes=0.05)
    more = opened(read_lines(path), "hsb", minutes=0.1)
    assert 0 < len(little.rows) < len(more.rows) < 33 and set(little.rows) < set(more.rows)
    ctc: SpeechModel = from_base(
        find_base(str(whisper_dir)), "ctc", context=Context(8, 8), language="cs",
        alphabet=CharTokenizer.from_texts(["abc"]),
    )  # fmt: skip
    with pytest.raises(UsageError, match="text alone cannot train"):
        written.features(ctc, items, 8, AugmentSettings(), rngs)


# ---- Whisper


def test_text_is_one_state_whatever_it_says(whisper_dir: Path) -> None:
    model = whisper(whisper_dir)
    features = model.text_features(["ab", "a much longer source"])
    assert features.values.dtype == torch.int64 and features.input_lens.dtype == torch.int64
    assert features.input_lens.tolist() == [len(model.tokenizer.encode(t)) for t in (
        "ab", "a much longer source")]  # fmt: skip
    assert features.is_pad is not None
    assert (~features.is_pad).sum(1).tolist() == features.input_lens.tolist()
    assert torch.equal(model.encoder(features), torch.zeros(2, 1, 16))
    inputs, _ = model.target_ids(["abc", "fad"])
    with torch.no_grad():
        none = model(features, inputs)
        # what the doc says of it: the biases of each cross-attention and nothing else
        for layer in model.hf.model.decoder.layers:
            attention = layer.encoder_attn
            constant = attention.out_proj(attention.v_proj.bias)
            attention.forward = lambda hidden_states, *_, constant=constant, **__: (
                constant.expand_as(hidden_states), None
            )  # fmt: skip
        torch.testing.assert_close(model(features, inputs), none)
    model = whisper(whisper_dir)
    model.encoder.text_state = torch.arange(16.0)
    assert torch.equal(model.encoder(features), torch.arange(16.0).expand(2, 1, 16))
    with torch.no_grad():
        assert (model(features, inputs) - none).abs().max() > 1e-3


def test_the_mean_state_is_that_of_the_speech(whisper_dir: Path, speech: Path) -> None:
    model = whisper(whisper_dir).train()
    data = open_set(Corpus.open(speech).split("train"), "headline")
    found = mean_state(model, data)
    assert model.training
    model.eval()
    states = []
    for at in range(len(data.rows)):
        clip = data.samples(at)
        with torch.no_grad():
            spoken = model.encoder(model.features([clip]))[0]
        states.append(spoken[: -(-len(clip) // 320)])  # 20 ms each, no slack
        assert len(spoken) > len(states[-1])
    torch.testing.assert_close(found, torch.cat(states).mean(0))
    assert found.abs().max() > 0.1


# ---- the stages


def test_text_for_the_decoder_then_speech_for_the_encoder(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[bool] = []
    real = Trainer.run

    def spy(self: Trainer, *args: Any) -> Any:
        judged.append(self.guards.spoken)
        return real(self, *args)

    monkeypatch.setattr(Trainer, "run", spy)
    run = adapt(whisper_dir, speech, tmp_path / "run", *two_stages(pairs(tmp_path)))
    text, heard = run.summaries
    assert text["left_out"] == [{"its text stands in dev or test": 2}]
    assert (text["train_lines"], text["train_clips"], text["train_minutes"]) == (3, 0, 0.0)
    assert (heard["train_lines"], heard["train_clips"]) == (0, len(small.TRAIN))
    assert judged == [False, True]
    assert text["audio_s"] == 0.0 and heard["audio_s"] > 0
    assert 0 <= text["dev_cer"] < 10  # dev is speech of the command's corpus
    stages = [run.folder / "stages" / name / "model" for name in ("0-text", "1-speech")]
    first, last = (load_file(str(folder / "part/part.safetensors")) for folder in stages)
    assert all("decoder.layers" in name for name in first)
    assert any(bool(v.any()) for k, v in first.items() if ".up." in k)  # it has learnt
    kept = {k: v for k, v in last.items() if "decoder.layers" in k}
    assert kept.keys() == first.keys() and all(torch.equal(first[k], v) for k, v in kept.items())
    new = {k: v for k, v in last.items() if k not in kept}
    assert new and all("encoder.layers" in name for name in new)
    assert any(bool(v.any()) for k, v in new.items() if ".up." in k)
    # the base is as it was, and what is opened speaks with both
    base = load_file(str(whisper_dir / "model.safetensors"))
    for folder in stages:
        saved = load_file(str(folder / "model.safetensors"))
        assert not any(MARK in k for k in saved)
        assert all(torch.equal(v, base[k]) for k, v in saved.items())
    opened = {k: v for k, v in run.model.state_dict().items() if MARK in k}
    assert len(opened) == len(last)
    assert text["trainable_parameters"] == 2 * 16 * 4  # one layer of the decoder
    assert heard["trainable_parameters"] == 2 * 2 * 16 * 4
    # what took the place of speech is kept with the stage, and not with the model
    state = load_file(str(run.folder / "stages/0-text" / text_input.FILE))["state"]
    torch.testing.assert_close(
        state, mean_state(whisper(whisper_dir), open_set(Corpus.open(speech).split("train"), "raw"))
    )
    assert not list((run.folder / "stages/1-speech").glob(text_input.FILE))


def test_what_the_decoder_attends_to_is_the_stages_choice(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: dict[str, list[torch.Tensor]] = {}
    real = Trainer._batch_loss

    def spy(self: Trainer, batch: Any) -> Any:
        encoder = self.model.encoder
        if self.stage.name == "text":
            state = encoder(self.model.text_features(["x"]))  # type: ignore[union-attr]
            fed.setdefault(self.stage.train.text_input, []).append(state[0, 0])
        return real(self, batch)

    monkeypatch.setattr(Trainer, "_batch_loss", spy)
    for kind in ("none", "mean"):
        stage = two_stages(pairs(tmp_path), train={**DECODER, "text_input": kind})[0]
        adapt(whisper_dir, speech, tmp_path / kind, stage)
    assert all(not bool(state.any()) for state in fed["none"])
    assert all(torch.equal(state, fed["mean"][0]) for state in fed["mean"])
    assert bool(fed["mean"][0].any())
    assert not (tmp_path / "none/stages/0-text" / text_input.FILE).exists()


def test_a_stopped_text_stage_goes_on_to_the_same_weights(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = pairs(tmp_path)
    whole = adapt(whisper_dir, speech, tmp_path / "whole", two_stages(text)[0])
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "another"))  # or the stage is reused
    real = Trainer._update

    def stopped(self: Trainer, batch: Any) -> None:
        if self.state.update == 3:
            raise KeyboardInterrupt
        real(self, batch)

    monkeypatch.setattr(Trainer, "_update", stopped)
    with pytest.raises(Interrupted):
        adapt(whisper_dir, speech, tmp_path / "run", two_stages(text)[0])
    monkeypatch.setattr(Trainer, "_update", real)

    def never(*_: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(text_input, "mean_state", never)
    run = api.adapt(None, resume=tmp_path / "run")
    for name in ("model/part/part.safetensors", text_input.FILE):
        left, right = (r.folder / "stages/0-text" / name for r in (run, whole))
        assert left.read_bytes() == right.read_bytes()
    assert run.summaries == whole.summaries


def test_another_text_is_another_stage(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    real = Trainer.run

    def spy(self: Trainer, *args: Any) -> Any:
        trained.append(self.folder.parents[1].name)
        return real(self, *args)

    monkeypatch.setattr(Trainer, "run", spy)
    stage = two_stages(pairs(tmp_path))[0]
    other = small.write_speech(tmp_path / "other", train=["abc", "cab"], dev=["bac"])
    adapt(whisper_dir, speech, tmp_path / "a", stage)
    adapt(whisper_dir, speech, tmp_path / "same", stage)
    adapt(whisper_dir, other.path, tmp_path / "corpus", stage)
    Path(pairs(tmp_path)).write_text("one\tbee\n")
    adapt(whisper_dir, speech, tmp_path / "text", stage)
    assert trained == ["a", "corpus", "text"]


def test_text_beside_speech(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: dict[int, set[str]] = {}
    real = engine.load_batch

    def spy(sets: Any, batch: Any, *args: Any) -> Any:
        found = real(sets, batch, *args)
        heard.setdefault(batch.corpus, set()).update(found[1])
        return found

    monkeypatch.setattr(engine, "load_batch", spy)
    data = [{"path": "main"}, {"pairs": pairs(tmp_path), "weight": 0.5}]
    stage = small.stage(
        "seq2seq", data=data, augment=small.AUGMENT, batch_s=2.0, stop={"epochs": 2},
        evaluate={"every": 99},
    )  # fmt: skip
    run = adapt(whisper_dir, speech, tmp_path / "run", stage)
    assert heard == {0: set(small.TRAIN), 1: set(LEARNT)}
    assert run.summaries[0]["train_lines"] == len(LEARNT)
    assert np.isfinite(run.summaries[0]["dev_cer"])


def test_speech_without_dev_is_steered_by_the_commands_corpus(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    """Synthetic speech is all training; and it may not read out what dev asks."""
    spoken = small.write_speech(tmp_path / "spoken", train=["abc", "dab", "cab"], dev=[])
    stage = small.stage("seq2seq", data=[{"path": str(spoken.path)}], **SHORT)
    run = adapt(whisper_dir, speech, tmp_path / "run", stage)
    assert run.summaries[0]["train_clips"] == 2
    assert run.summaries[0]["left_out"] == [{"its text stands in dev or test": 1}]


def test_seamless_reads_the_source_that_whisper_does_not(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Translation through the decoder that speech will use (arXiv 2410.13445)."""
    base = tiny.seamless_dir(tmp_path / "base", tiny.SEAMLESS[1])
    told: set[str] = set()
    real = SeamlessModel.text_features

    def spy(self: SeamlessModel, sources: Any, language: str, target: Any) -> Any:
        told.add(language)
        return real(self, sources, language, target)

    monkeypatch.setattr(SeamlessModel, "text_features", spy)
    lines = tmp_path / "lines.txt"
    lines.write_text("a face\n")
    data = [{"pairs": pairs(tmp_path), "source": "nl"}, {"text": str(lines), "weight": 9}]
    stages = two_stages(pairs(tmp_path), data=data, stop={"updates": 6})
    plan = small.recipe("seq2seq", *stages, prompt_language="hi")
    run = api.adapt(speech, base=str(base), recipe=plan, out=tmp_path / "run", threads=1)
    assert told == {"nl", "hi"}  # plain text is its own source, under the prompt's language
    found = load_file(str(run.folder / "stages/0-text/model/part/part.safetensors"))
    assert all(".decoder.layers" in k or "text_decoder.layers" in k for k in found)
    assert any(bool(v.any()) for k, v in found.items() if ".up." in k)
    assert not (run.folder / "stages/0-text" / text_input.FILE).exists()
    last = load_file(str(run.folder / "model/part/part.safetensors"))
    assert all(torch.equal(last[k], v) for k, v in found.items()) and len(last) > len(found)


def test_what_cannot_be_used_is_said_before_the_first_update(
    whisper_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.tsv").write_text("no tab\n")
    no_dev = small.write_speech(tmp_path / "no-dev", dev=[])
    only_dev = small.write_speech(tmp_path / "only-dev", train=[])
    bad, missing = (str(tmp_path / name) for name in ("bad.tsv", "missing.txt"))
    stages = [
        small.stage("seq2seq", name="one", data=[{"pairs": bad}, {"text": missing}]),
        two_stages(pairs(tmp_path))[0],
    ]
    for corpus, wanted in ((no_dev, "has no dev split"), (only_dev, "has no train split")):
        with pytest.raises(ConfigError) as caught:
            adapt(whisper_dir, corpus.path, tmp_path / "run", *stages)
        problems = "\n".join(caught.value.problems)
        assert (
            f"stage 'one': {bad}: 1 of its lines are no source<TAB>target pair: line 1" in problems
        )
        assert f"stage 'one': cannot read {missing}" in problems
        assert f"stage 'text': {corpus.path} {wanted}" in problems


def test_a_stage_that_only_reads_is_not_stopped_for_what_dev_says() -> None:
    def history(spoken: bool) -> Guards:
        guards = Guards("seq2seq", 100, spoken=spoken)
        for update in range(10, 61, 10):
            # training loss falls, dev rises, and nothing of use is recognised
            guards.after_evaluation(
                update, train_loss=9 - update / 10, dev_loss=float(update), dev_cer=0.9 + update,
                blank=0.0,
            )  # fmt: skip
        return guards

    assert history(spoken=False).events == [] and not history(spoken=False).ended
    assert {"overfitting", "ended_early"} <= {e["guard"] for e in history(spoken=True).events}
