"""A run on SeamlessM4T from the recipe to the export, under another language's token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import small
import torch
from tests import tiny

from xlasr import api
from xlasr.data.corpus import Corpus
from xlasr.errors import BaseError
from xlasr.models.hub import find_base, load_seamless
from xlasr.training.planned import plan_stages

ADAPTER = "speech_encoder.adapter."


@pytest.mark.parametrize("kind", tiny.SEAMLESS)
def test_its_length_adapter_is_a_run(tmp_path: Path, speech: Path, kind: str) -> None:
    base = tiny.seamless_dir(tmp_path / "base", kind)
    stage = small.stage(
        "seq2seq",
        train={"part": "length_adapter"},
        stop={"updates": 6},
        optim={"lr": 0.01, "warmup": 0},
    )
    plan = small.recipe("seq2seq", stage, prompt_language="hi")
    run = api.adapt(speech, base=str(base), recipe=plan, out=tmp_path / "run", threads=1)

    before, after = load_seamless(base).state_dict(), run.model.hf.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed and all(name.startswith(ADAPTER) for name in changed)
    own = sum(v.numel() for n, v in before.items() if n.startswith(ADAPTER))
    assert run.summaries[0]["trainable_parameters"] == own
    kept = list((tmp_path / "cache/frozen").glob("*/*.safetensors"))
    assert len(kept) == len(small.TRAIN)  # what is below was computed once
    losses = [row["train_loss"] for row in run.metrics if "train_loss" in row]
    assert losses[-1] < losses[0]
    told = {event["guard"]: event for event in run.summaries[0]["events"]}
    assert "'c' x" in told["letters_left_out"]["message"]  # no piece spells it

    tokens = run.model.tokenizer
    assert tokens.prompt == [tokens.eot, tokens.languages["hin"]]
    assert run.model.info["language"] == "cs"
    found = run.evaluate(speech, split="dev")
    assert found.base is not None  # under the same token
    assert found.base.cer != found.adapted.cer

    out = api.export(run.folder, tmp_path / "plain", format="transformers")
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"][0].endswith("ForSpeechToText")
    with pytest.raises(BaseError, match="CTranslate2 export is for Whisper"):
        api.export(run.folder, tmp_path / "ct2", format="ct2")


def test_another_token_is_another_stage(tmp_path: Path, speech: Path) -> None:
    base = find_base(str(tiny.seamless_dir(tmp_path / "base")))
    keys = []
    for prompt in (None, "hi", "nl"):
        plan = small.recipe("seq2seq", prompt_language=prompt)
        keys += [run.key for run in plan_stages(plan, base, Corpus.open(speech), tmp_path, 0)]
    assert len(set(keys)) == 3
