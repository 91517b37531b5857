"""Self-training: a run's own transcripts, the surest first, as data of another run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small

from xlasr import api
from xlasr.api.labelling import surest
from xlasr.config import Recipe
from xlasr.decoding.recognise import Recognised
from xlasr.errors import DataError, UsageError


def heard(text: str, confidence: float | None) -> Recognised:
    return Recognised(text=text, log_prob=-1.0, looped=confidence is None, confidence=confidence)


def test_the_surest_are_kept_up_to_a_share_of_the_audio() -> None:
    found = [heard("a", 0.5), heard("b", 0.9), heard(" ", 1.0), heard("c", None), heard("d", 0.7)]
    seconds = np.array([1, 2, 1, 1, 3], dtype=np.float32)
    order, why = surest(found, seconds, keep=0.5, least=0.0)  # 4 s of 8: the second goes over
    assert order == [1, 4]
    assert why == {
        0: "less sure than the kept 50 % of the audio",
        2: "nothing was heard",
        3: "a repetition was cut",
    }
    order, why = surest(found, seconds, keep=1.0, least=0.6)
    assert order == [1, 4]
    assert why[0] == "confidence below 0.6"


def test_a_run_teaches_the_next_one(whisper_dir: Path, tmp_path: Path) -> None:
    corpus = small.write_speech(tmp_path / "c")
    other = small.write_speech(tmp_path / "other", train=["feed", "deed", "cede", "babe"])
    short = {"stop": {"updates": 1}, "evaluate": {"every": 1}}

    def plan(**changes: object) -> Recipe:
        return small.recipe("ctc", small.stage("ctc", **{**short, **changes}))

    teacher = api.adapt(
        corpus.path, base=str(whisper_dir), recipe=plan(), out=tmp_path / "teacher", threads=1
    )
    made = api.label(teacher, other.path, tmp_path / "labels", keep=0.5)
    kept = list(made.corpus.split("train"))
    assert made.corpus.splits == ["train"]
    assert 0 < len(kept) < 4
    assert len(kept) + sum(made.left_out.values()) == 4
    true = {u.id: u for u in other.split("train")}
    for utterance in kept:
        assert utterance.audio == true[utterance.id].audio
        assert utterance.text != true[utterance.id].text  # one update teaches nothing
    least = min(u.custom["confidence"] for u in kept)
    assert 0 < least == pytest.approx(made.least, abs=1e-4)
    data = [{"path": "main"}, {"path": str(made.corpus.path)}]
    student = api.adapt(
        corpus.path,
        base=str(whisper_dir),
        recipe=plan(data=data),
        out=tmp_path / "student",
        threads=1,
    )
    assert student.summaries[0]["train_clips"] == len(small.TRAIN) + len(kept)
    with pytest.raises(UsageError, match="a corpus is there already"):
        api.label(teacher, other.path, tmp_path / "labels")
    with pytest.raises(DataError, match=r"nothing of other .*confidence below 1.*--keep"):
        api.label(teacher, other.path, tmp_path / "none", min_confidence=1.0)
