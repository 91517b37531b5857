"""No second corpus teaches what dev and test of the main one ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small

from xlasr import api
from xlasr.config import AugmentSettings
from xlasr.data.batches import Batch
from xlasr.data.corpus import Corpus
from xlasr.training import engine
from xlasr.training.beginning import held_out_texts
from xlasr.training.sets import TrainingSet, leave_out_texts, load_batch, open_set

# of the second corpus: a line of dev, one of test as another hand wrote it, a line of train,
# a line that only holds a test line, and one of its own
PLANTED = ["dab", "Cafe,  BAD!", "abc", "dab dab", "bed"]
STAYS = ["abc", "dab dab", "bed"]


@pytest.fixture
def main(tmp_path: Path) -> Corpus:
    return small.write_speech(tmp_path / "main", train=small.TRAIN, test=["café bad", "cafe bad"])


@pytest.fixture
def second(tmp_path: Path) -> Corpus:
    return small.write_speech(tmp_path / "second", train=PLANTED, dev=["face"])


def test_held_out_are_dev_and_test_in_one_form(main: Corpus) -> None:
    assert held_out_texts(main) == {*small.DEV, "café bad", "cafe bad"}


@pytest.mark.parametrize("form", ["headline", "raw"])
def test_lines_of_dev_and_test_are_left_out_and_counted(
    main: Corpus, second: Corpus, form: str
) -> None:
    data = open_set(second.split("train"), form)
    data = TrainingSet(data.split, data.rows, data.form, {"before": 2})
    left = leave_out_texts(data, held_out_texts(main))
    assert left.texts() == STAYS
    assert left.left_out == {"before": 2, "its text stands in dev or test": 2}
    assert left.durations_s.tolist() == [data.durations_s[PLANTED.index(t)] for t in STAYS]
    # rows are of the split, whatever was left out before
    some = TrainingSet(data.split, np.array([1, 4]), data.form, {})
    assert leave_out_texts(some, {"cafe bad"}).rows.tolist() == [4]
    assert leave_out_texts(some, {"nothing"}).left_out == {}


def adapt(
    main: Corpus, base: Path, out: Path, data: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> tuple[api.Run, dict[int, set[str]]]:
    """A run over two epochs, and the texts that each corpus gave to a training step."""
    heard: dict[int, set[str]] = {}
    real = engine.load_batch

    def spy(sets: Any, batch: Any, *args: Any) -> Any:
        found = real(sets, batch, *args)
        heard.setdefault(batch.corpus, set()).update(found[1])
        return found

    monkeypatch.setattr(engine, "load_batch", spy)
    stage = small.stage("ctc", data=data, stop={"epochs": 3}, evaluate={"every": 99}, batch_s=2.0)
    plan = small.recipe("ctc", stage)
    return api.adapt(main.path, base=str(base), recipe=plan, out=out, threads=1), heard


def test_no_step_of_a_run_hears_them(
    whisper_dir: Path, main: Corpus, second: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [{"path": "main"}, {"path": str(second.path)}]
    run, heard = adapt(main, whisper_dir, tmp_path / "run", data, monkeypatch)
    assert heard == {0: set(small.TRAIN), 1: set(STAYS)}
    assert run.summaries[0]["left_out"] == [{}, {"its text stands in dev or test": 2}]
    assert run.summaries[0]["train_clips"] == len(small.TRAIN) + len(STAYS)
    # alone, as the only corpus of its run, all of it is heard
    run, heard = adapt(second, whisper_dir, tmp_path / "alone", [{"path": "main"}], monkeypatch)
    assert heard[0] == {"dab", "cafe bad", *STAYS}
    assert run.summaries[0]["left_out"] == [{}]


def test_nor_where_the_other_corpus_steers(
    whisper_dir: Path, main: Corpus, second: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First, or alone, in a stage that other languages come before the command's corpus."""
    other = {"path": str(second.path)}
    run, heard = adapt(main, whisper_dir, tmp_path / "a", [other], monkeypatch)
    assert heard == {0: set(STAYS)}
    assert run.summaries[0]["left_out"] == [{"its text stands in dev or test": 2}]
    run, heard = adapt(main, whisper_dir, tmp_path / "b", [other, {"path": "main"}], monkeypatch)
    assert heard[0] == set(STAYS)


def test_codecs_carry_a_share_of_the_clips_the_same_way_again(main: Corpus) -> None:
    data = open_set(main.split("train"), "headline")
    rows = np.arange(len(data.rows))
    batch = Batch(0, rows, np.ones(len(rows)), 0)
    augment = AugmentSettings.model_validate({"codec": {"probability": 0.5, "kinds": ["gsm"]}})
    clips = load_batch([data], batch, augment, 0, 0)[0]
    again = load_batch([data], batch, augment, 0, 0)[0]
    carried = 0
    for row, clip, same in zip(rows.tolist(), clips, again, strict=True):
        assert np.array_equal(clip, same)
        assert clip.shape == data.samples(row).shape
        carried += not np.array_equal(clip, data.samples(row))
    assert 2 <= carried <= len(rows) - 2
    other = load_batch([data], batch, augment, 0, 1)[0]  # the next epoch draws anew
    assert any(not np.array_equal(a, b) for a, b in zip(clips, other, strict=True))
