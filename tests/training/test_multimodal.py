"""Runs of the small multimodal model: learnt from speech and pairs at once, then a base itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small
import torch
from safetensors.torch import load_file

from xlasr import api
from xlasr.adaptation.trainable import make_trainable
from xlasr.config import TrainSettings
from xlasr.errors import BaseError, Interrupted, UsageError
from xlasr.models.multimodal import MultimodalModel, build_multimodal
from xlasr.models.run import load_model
from xlasr.training import sets, text_input
from xlasr.training.engine import Trainer

ENGLISH = "one\tab a bed\ntwo\tcab\nthree\tdab\nbad\tdeaf cafe\n"
PLAIN = {"optim": {"lr": 0.02}, "stop": {"updates": 6}, "evaluate": {"every": 3}}
DECODER = {"part": "adapter", "adapter": {"width": 4, "where": "decoder"}}
ENCODER = {"part": "adapter", "adapter": {"width": 4, "where": "encoder"}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, whisper_dir: Path) -> Path:
    return build_multimodal(
        whisper_dir, tmp_path_factory.mktemp("bases") / "multimodal", text_layers=1
    )


def mixed(folder: Path) -> dict[str, Any]:
    """A stage of speech in two languages and of translations into two."""
    spoken = small.write_speech(folder / "spoken", train=["abc", "face"], dev=["fad"])
    (folder / "pairs.tsv").write_text(ENGLISH)
    pairs = str(folder / "pairs.tsv")
    data = [
        {"path": "main"},
        {"path": str(spoken.path), "weight": 0.5},
        {"pairs": pairs, "weight": 0.3},
        {"pairs": pairs, "source": "nl", "target": "es", "weight": 0.3},
        {"text": str(folder / "lines.tsv"), "target": "fr", "weight": 0.3},
    ]
    (folder / "lines.tsv").write_text("a face\nbeef abed\n")
    return small.stage(
        "seq2seq", output={"mode": "cut"}, data=data, augment=small.AUGMENT, batch_s=3.0, **PLAIN
    )


def adapt(base: Path, corpus: Path, out: Path, *stages: dict[str, Any]) -> api.Run:
    plan = small.recipe("seq2seq", *stages)
    return api.adapt(corpus, base=str(base), recipe=plan, out=out, threads=1)


def test_speech_and_pairs_teach_all_of_it(
    base: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: set[Any] = set()
    expected: list[str] = []
    features, clean = MultimodalModel.text_features, sets.clean

    def spy(self: Any, sources: Any, *languages: Any) -> Any:
        told.add(languages)
        return features(self, sources, *languages)

    monkeypatch.setattr(MultimodalModel, "text_features", spy)
    monkeypatch.setattr(
        sets, "clean", lambda text, tag: (expected.append(tag), clean(text, tag))[1]
    )
    monkeypatch.setattr(text_input, "mean_state", lambda *_: pytest.fail("it reads its text"))
    stage = mixed(tmp_path)
    stage["stop"] = {"epochs": 2}
    run = adapt(base, speech, tmp_path / "run", stage)
    assert expected == ["cs", "es", "fr"]  # what the filters take for the right language
    assert told == {("en", None), ("nl", "es"), ("fr", "fr")}
    summary = run.summaries[0]
    assert summary["train_clips"] == len(small.TRAIN) + 2
    assert summary["left_out"][2] == {"its text stands in dev or test": 1}  # dab
    assert summary["train_lines"] == 3 + 3 + 2
    before, after = (load_file(p / "model.safetensors") for p in (base, run.folder / "model"))
    moved = {
        k for k, v in before.items() if v.shape != after[k].shape or not torch.equal(v, after[k])
    }
    fixed = "model.encoder.embed_positions.weight"
    assert fixed not in moved and moved >= {
        *(f"{place}.layers.0.fc1.weight" for place in ("model.encoder", "model.decoder")),
        *("text_encoder.layers.0.fc1.weight", "text_encoder.layer_norm.weight"),
        *(
            "model.encoder.adapter.layers.0.residual_conv.weight",
            "model.decoder.embed_tokens.weight",
        ),
    }
    assert summary["trainable_parameters"] == sum(v.numel() for k, v in after.items() if k != fixed)
    assert isinstance(run.model, MultimodalModel)


def test_a_stopped_run_goes_on_to_the_same_bits(
    base: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = mixed(tmp_path)
    whole = adapt(base, speech, tmp_path / "whole", stage)
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "another"))  # or the stage is reused
    real = Trainer._update

    def stopped(self: Trainer, batch: Any) -> None:
        if self.state.update == 4:
            raise KeyboardInterrupt
        real(self, batch)

    monkeypatch.setattr(Trainer, "_update", stopped)
    with pytest.raises(Interrupted):
        adapt(base, speech, tmp_path / "run", stage)
    monkeypatch.setattr(Trainer, "_update", real)
    run = api.adapt(None, resume=tmp_path / "run")
    found, wanted = ((r.folder / "model/model.safetensors").read_bytes() for r in (run, whole))
    assert found == wanted
    assert run.summaries == whole.summaries


def test_the_run_is_a_base_for_every_way_of_the_paper(
    base: Path, speech: Path, tmp_path: Path
) -> None:
    first = adapt(base, speech, tmp_path / "first", mixed(tmp_path))
    before = load_file(first.folder / "model/model.safetensors")

    # a pivot: only the length adapter, of another corpus, and what lies below is computed once
    pivot = small.stage(
        "seq2seq",
        train={"part": "length_adapter"},
        data=[{"path": str(tmp_path / "spoken")}],
        **PLAIN,
    )
    run = adapt(first.folder, speech, tmp_path / "pivot", pivot)
    after = load_file(run.folder / "model/model.safetensors")
    changed = {k for k, v in before.items() if not torch.equal(v, after[k])}
    assert changed and all(k.startswith("model.encoder.adapter.") for k in changed)
    own = {k: v for k, v in before.items() if k.startswith("model.encoder.adapter.")}
    assert run.summaries[0]["trainable_parameters"] == sum(v.numel() for v in own.values())
    assert len(list((tmp_path / "cache/frozen").glob("*/*.safetensors"))) == 2
    assert run.summaries[0]["frozen_cache"]["layer"] == run.model.encoder.n_layers == 2
    scored = run.evaluate(split="dev")  # of the command's corpus, beside the run it began from
    assert scored.base is not None and scored.base.cer == first.evaluate(split="dev").adapted.cer

    # translations for the decoder's adapters, speech for the encoder's; the rest as it was
    pairs = [{"pairs": str(tmp_path / "pairs.tsv")}]
    text = small.stage("seq2seq", name="text", train=DECODER, data=pairs, **PLAIN)
    heard = small.stage("seq2seq", name="speech", init="text", train=ENCODER, **PLAIN)
    run = adapt(first.folder, speech, tmp_path / "both", text, heard)
    after = load_file(run.folder / "model/model.safetensors")
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    part = load_file(run.folder / "model/part/part.safetensors")
    sides = {key.split(".layers.")[0]: bool(v.any()) for key, v in part.items() if ".up." in key}
    assert sides == {"hf.model.decoder": True, "hf.model.encoder": True}
    assert run.summaries[0]["audio_s"] == 0.0 and run.summaries[0]["train_lines"] == 3

    # LoRA and the whole decoder leave the text encoder alone; no other runtime has its class
    lora = {"part": "lora", "lora": {"r": 2, "targets": ["q_proj", "fc1"]}}
    for train, name in ((lora, "lora"), ({"part": "head"}, "head")):
        run = adapt(
            first.folder, speech, tmp_path / name, small.stage("seq2seq", train=train, **PLAIN)
        )
        after = load_file(run.folder / "model/model.safetensors")
        changed = {k for k, v in before.items() if not torch.equal(v, after[k])}
        assert changed and not [k for k in changed if k.startswith("text_encoder.")]
        trained = make_trainable(load_model(run.folder / "model"), TrainSettings(**train)).names
        assert trained and not [n for n in trained if n.startswith("hf.text_encoder.")]
        assert any("encoder.layers" in k for k in changed) == (name == "lora")
    for form in ("ct2", "transformers"):
        with pytest.raises((UsageError, BaseError), match="'xlasr_multimodal'"):
            api.export(run.folder, tmp_path / form, format=form)
        assert not (tmp_path / form).exists()
