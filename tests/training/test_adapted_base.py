"""A finished run as the base of another: its vocabulary is kept, extended or replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training import small

from xlasr import api
from xlasr.errors import BaseError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.hub import find_base

SHORT = {"stop": {"updates": 3}, "evaluate": {"every": 3}}


def adapt(base: Path, corpus: Path, out: Path, family: str = "ctc", **stage: Any) -> api.Run:
    plan = small.recipe(family, small.stage(family, **SHORT, **stage))
    return api.adapt(corpus, base=str(base), recipe=plan, out=out, threads=1)


@pytest.fixture
def first(whisper_dir: Path, speech: Path, tmp_path: Path) -> api.Run:
    return adapt(whisper_dir, speech, tmp_path / "first")


def head(run: api.Run) -> tuple[list[str], torch.Tensor]:
    assert isinstance(run.model, CTCModel)
    return run.model.tokenizer.symbols, run.model.head.weight.detach()


def test_new_letters_stand_behind_those_that_were_learnt(first: api.Run, tmp_path: Path) -> None:
    other = small.write_speech(tmp_path / "other", train=["abc zw", "wzz ab"], dev=["abz"]).path
    known, _ = head(first)
    run = adapt(
        first.folder,
        other,
        tmp_path / "second",
        output={"mode": "extend"},
        optim={"lr": 1e-9, "warmup": 0, "weight_decay": 0},
    )
    symbols, rows = head(run)
    assert symbols == [*known, "w", "z"]
    torch.testing.assert_close(rows[: len(known) + 1], head(first)[1], atol=1e-6, rtol=0)
    assert run.facts["base"]["name"] == str(first.folder)
    assert run.model.info["base"]["sha256"] == find_base(str(first.folder)).sha256
    # the base is scored too, with its own head
    result = run.evaluate(split="dev")
    assert result.base is not None


@pytest.mark.parametrize(("mode", "letters"), [("keep", "old"), ("replace", "new")])
def test_the_alphabet_is_kept_or_replaced(
    first: api.Run, tmp_path: Path, mode: str, letters: str
) -> None:
    other = small.write_speech(tmp_path / "other", train=["abc zw", "wzz ab"], dev=["abz"]).path
    run = adapt(first.folder, other, tmp_path / "second", output={"mode": mode})
    wanted = {"old": head(first)[0], "new": sorted(" abcwz")}[letters]
    assert head(run)[0] == wanted
    told = "letters_left_out" in run.summaries[0]["guards"]
    assert told == (mode == "keep")


def test_a_whisper_run_goes_on_with_its_cut_vocabulary(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    first = adapt(whisper_dir, speech, tmp_path / "first", "seq2seq", output={"mode": "cut"})
    second = adapt(first.folder, speech, tmp_path / "second", "seq2seq")
    one, two = (load_file(str(r.folder / "model/model.safetensors")) for r in (first, second))
    assert one.keys() == two.keys()
    assert all(one[k].shape == two[k].shape for k in one)
    assert not all(torch.equal(one[k], two[k]) for k in one)
    # and its encoder serves a new CTC head
    third = adapt(first.folder, speech, tmp_path / "third")
    assert third.model.family == "ctc"


def test_what_cannot_be_gone_on_from(first: api.Run, speech: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="serves ctc"):
        adapt(first.folder, speech, tmp_path / "second", "seq2seq")
    (first.folder / "model").unlink()
    with pytest.raises(BaseError, match="is not finished; go on with"):
        find_base(str(first.folder))
