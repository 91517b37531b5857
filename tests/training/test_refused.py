"""What is refused before the first update."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import small

from xlasr.errors import ConfigError, UsageError
from xlasr.models.hub import find_base
from xlasr.training.metrics import Metrics
from xlasr.training.planned import plan_stages
from xlasr.training.recipe import check_family


def test_all_problems_are_reported_together(whisper_dir: Path, tmp_path: Path) -> None:
    only_train = small.write_speech(tmp_path / "only", dev=[])
    only_dev = small.write_speech(tmp_path / "dev", train=[])
    (tmp_path / "latin1.txt").write_bytes("žlutý".encode("iso-8859-2"))
    plan = small.recipe(
        "ctc",
        small.stage("ctc", name="one"),
        small.stage("ctc", name="two", data=[{"path": str(tmp_path / "missing")}]),
        small.stage("ctc", name="three", data=[{"path": "main"}, {"path": str(only_dev.path)}]),
        small.stage(
            "ctc", name="four",
            output={"extra_text": [str(tmp_path / "latin1.txt"), "no.txt"]},
            augment={"codec": {"kinds": ["gsm", "mp4", "opus:3"]}},
        ),
    )  # fmt: skip
    base = find_base(str(whisper_dir))
    with pytest.raises(ConfigError) as caught:
        plan_stages(plan, base, only_train, tmp_path / "run", 0)
    problems = "\n".join(caught.value.problems)
    for wanted in (
        "stage 'one': " + str(only_train.path) + " has no dev split",
        "stage 'two': " + str(tmp_path / "missing"),
        "stage 'three': " + str(only_dev.path) + " has no train split",
        "latin1.txt as UTF-8",
        "cannot read no.txt",
        "stage 'four': augment.codec: unknown condition 'mp4'",
        "augment.codec: condition 'opus' takes a bit rate from 6",
    ):
        assert wanted in problems
    assert not (tmp_path / "run").exists()


def test_family_that_the_base_does_not_serve(wav2vec2_dir: Path, whisper_dir: Path) -> None:
    seq2seq = small.recipe("seq2seq")
    with pytest.raises(UsageError, match=r"wav2vec2 model and serves ctc"):
        check_family(seq2seq, find_base(str(wav2vec2_dir)))
    check_family(seq2seq, find_base(str(whisper_dir)))
    beside = [{"kind": "cross_entropy"}, {"kind": "ctc"}]
    later = small.recipe(
        "seq2seq", small.stage("seq2seq"), small.stage("seq2seq", name="b", objectives=beside)
    )
    with pytest.raises(UsageError, match="stage 'b': ctc stands beside a decoder of letters"):
        check_family(later, find_base(str(whisper_dir)))


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"xlasr\[tensorboard\]"):
        Metrics(tmp_path / "metrics.jsonl", tmp_path / "board")
