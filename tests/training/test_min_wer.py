"""Stages that minimise word errors: lists on the fly or ahead, every part, exact resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small
import torch

from xlasr import api
from xlasr.config import Recipe
from xlasr.data.corpus import Corpus
from xlasr.data.learnt_text import LearntText
from xlasr.errors import ConfigError, DataError, Interrupted, UsageError
from xlasr.objectives import OBJECTIVES
from xlasr.training import lists as module
from xlasr.training.engine import Trainer
from xlasr.training.lists import read_lists

FAMILIES = ("ctc", "seq2seq", "transducer")
SHORT = {"stop": {"updates": 2}, "evaluate": {"every": 2}}


def plan(family: str, lists: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    """A stage that learns to write something, and one that chooses between what it writes."""
    likelihood = {"kind": {"seq2seq": "cross_entropy"}.get(family, family), "weight": 0.1}
    how = {"kind": "min_wer", "min_wer": {"unit": "character", "n_best": 3, **(lists or {})}}
    first = small.stage(family, name="learn", **SHORT)
    second = small.stage(
        family,
        **{"name": "choose", "init": "learn", "objectives": [how, likelihood], **changes},
    )
    more = {"transducer": {"predictor_dim": 8, "joiner_dim": 8}} if family == "transducer" else {}
    return small.recipe(family, first, second, **more)


def rows(run: Any, key: str) -> list[float]:
    return [row[key] for row in run.metrics if row["stage"] == "choose" and key in row]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("when", ["on_the_fly", "ahead"])
def test_a_resumed_run_ends_as_one_that_was_left_alone(
    whisper_dir: Path,
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    when: str,
) -> None:
    recipe = plan(family, {"lists": when}, augment=small.AUGMENT, stop={"updates": 6})
    seen: list[str] = []
    real = OBJECTIVES["min_wer"]

    def spy(model: Any, states: Any, lens: Any, texts: Any, settings: Any) -> torch.Tensor:
        seen.extend(texts if model.training else [])
        return real(model, states, lens, texts, settings)

    monkeypatch.setitem(OBJECTIVES._items, "min_wer", spy)
    whole = api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "a", threads=1)
    carried = {type(text) for text in seen}
    assert carried == ({LearntText} if when == "ahead" else {str})
    dev = rows(whole, "dev_loss")
    assert len(dev) == 2 and all(0 < x < 10 for x in dev)
    if when == "ahead":
        assert all(isinstance(t, LearntText) and t.hypotheses is not None for t in seen)
        found = read_lists(whole.folder / "stages" / "1-choose" / "lists-0.jsonl")
        assert set(found) == {u.id for u in Corpus.open(speech).split("train")}
        assert any(len(texts) == 3 for texts in found.values())

    def dies(self: Trainer) -> None:
        saved(self)
        if self.stage.name == "choose" and self.state.update == 3:
            raise KeyboardInterrupt

    def refuses(*_: Any) -> None:
        raise AssertionError("decoded again")

    saved = Trainer._save
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "other-cache"))  # nothing to reuse
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save", dies)
        with pytest.raises(Interrupted):
            api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "b", threads=1)
    monkeypatch.setattr(module, "n_best_lists", refuses)
    again = api.adapt(None, resume=tmp_path / "b")
    one, other = ((r.folder / "model" / "model.safetensors").read_bytes() for r in (whole, again))
    assert one == other
    assert whole.summaries == again.summaries


@pytest.mark.parametrize(
    ("family", "train"),
    [
        ("ctc", {"part": "head"}),  # behind a frozen encoder, whose states are cached
        ("ctc", {"part": "adapter", "adapter": {"width": 4}}),
        ("seq2seq", {"part": "lora", "lora": {"r": 2, "targets": ["q_proj", "v_proj"]}}),
        ("transducer", {"part": "layers", "top_layers": 1}),
    ],
)
def test_every_part_can_be_trained(
    whisper_dir: Path, speech: Path, tmp_path: Path, family: str, train: dict[str, Any]
) -> None:
    recipe = plan(family, train=train, **SHORT)
    run = api.adapt(speech, base=str(whisper_dir), recipe=recipe, out=tmp_path / "run", threads=1)
    assert len(rows(run, "dev_loss")) == 1
    cached = run.summaries[1]["frozen_cache"]
    assert (cached is not None and cached["bytes"] > 0) == (train["part"] in ("head", "layers"))
    states = [api.opened.load_model(s / "model") for s in sorted((run.folder / "stages").iterdir())]
    assert any(
        not torch.equal(a, b)
        for a, b in zip(states[0].parameters(), states[1].parameters(), strict=False)
        if a.shape == b.shape
    ) or train["part"] in ("adapter", "lora")


def test_lists_from_a_finished_run_and_from_a_file(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = api.adapt(
        speech, base=str(whisper_dir), recipe=small.recipe("ctc", small.stage("ctc", **SHORT)),
        out=tmp_path / "first", threads=1,
    )  # fmt: skip
    said = {u.id: u.text for u in Corpus.open(speech).split("train")}
    names = list(said)
    path = tmp_path / "lists.jsonl"

    def write(known: list[str]) -> None:
        texts = {n: [said.get(n, "a")[1:], said.get(n, "a")] for n in known} | {known[0]: []}
        content = [{"id": n, "hypotheses": t} for n, t in texts.items()]
        path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")

    def begin(name: str, **lists: Any) -> Any:
        how = {"kind": "min_wer", "min_wer": {"unit": "character", "lists": "ahead", **lists}}
        stage = small.stage("ctc", objectives=[how], **SHORT)  # nothing beside it
        return api.adapt(
            speech, base=str(first.folder), recipe=small.recipe("ctc", stage),
            out=tmp_path / name, threads=1,
        )  # fmt: skip

    write([*names, "somebody else's"])
    notes: list[str] = []
    real = module.Progress.note

    def hear(self: Any, text: str) -> None:
        notes.append(text)
        real(self, text)

    monkeypatch.setattr(module.Progress, "note", hear)
    run = begin("second", path=str(path))
    told = " ".join(notes)
    assert "12 lists of hypotheses made ahead, 11 with something to choose from" in told
    assert "(the first of each list), 0.0 % (the best)" in told
    assert "1 lists of" in told
    assert not list(run.folder.glob("stages/*/lists-*"))
    write([*names, "another"])  # other lists are another stage
    other = begin("third", path=str(path))
    assert "reused_from" not in other.summaries[0]
    fourth = begin("fourth", path=str(path))  # and equal ones are not computed again
    assert fourth.summaries[0]["reused_from"] == str(other.folder / "stages" / "0-adapt")
    write(names[:-2])
    with pytest.raises(DataError, match=f"no hypotheses for 2 of 12 clips .*{names[-2]}"):
        begin("lacking", path=str(path))
    path.write_text('{"id": "a"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"min_wer\.path: line 1 of .* is no list of hypotheses"):
        begin("damaged", path=str(path))
    with pytest.raises(ConfigError, match=r"cannot read the hypotheses in .*nowhere"):
        begin("missing", path=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2"),
        ("3", "line 2"),
        ('{"id": 3, "hypotheses": []}', "id is a string"),
        ('{"id": "b", "hypotheses": "text"}', "hypotheses a list"),
        ('{"id": "b", "hypotheses": [3]}', "a hypothesis is a string"),
        ('{"id": "a", "hypotheses": []}', "gives 'a' a second list"),
    ],
)
def test_lines_that_are_no_list(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text('{"id": "a", "hypotheses": ["x"]}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        read_lists(path)


# ---- what a recipe may not say


@pytest.mark.parametrize("family", ["ctc", "transducer"])
def test_who_writes_nothing_yet_has_nothing_to_choose_from(
    whisper_dir: Path, speech: Path, tmp_path: Path, family: str
) -> None:
    stage = small.stage(family, objectives=[{"kind": "min_wer"}])
    with pytest.raises(ConfigError, match=f"is no finished run of the family '{family}'"):
        api.adapt(
            speech, base=str(whisper_dir), recipe=small.recipe(family, stage),
            out=tmp_path / "run", threads=1,
        )  # fmt: skip


def test_words_that_are_not_parted_are_not_counted(whisper_dir: Path, tmp_path: Path) -> None:
    spoken = small.write_speech(tmp_path / "tones", train=["日本", "日本日"], dev=["日"])
    recipe = small.recipe("seq2seq", small.stage("seq2seq", objectives=[{"kind": "min_wer"}]))
    with pytest.raises(UsageError, match=r"say min_wer\.unit: character"):
        api.adapt(
            spoken.path, base=str(whisper_dir), recipe=recipe, out=tmp_path / "run", threads=1
        )


@pytest.mark.parametrize(
    ("family", "changes", "problem"),
    [
        ("ctc", {"objectives": [{"kind": "min_wer", "min_wer": {}}]}, None),
        ("ctc", {"objectives": [{"kind": "ctc", "min_wer": {"n_best": 3}}]}, "'min_wer' only"),
        ("ctc", {"objectives": [{"kind": "min_wer", "transducer": {}}]}, "'transducer' only"),
        (
            "ctc",
            {"objectives": [{"kind": "min_wer", "label_smoothing": 0.1}]},
            "cross_entropy only",
        ),
        ("ctc", {"objectives": [{"kind": "min_wr"}]}, "Did you mean 'min_wer'"),
        ("ctc", {"objectives": [{"kind": "min_wer"}] * 2}, "stands there 2 times"),
        ("ctc", {"objectives": [{"kind": "min_wer", "min_wer": {"n_best": 1}}]}, "n_best"),
        ("ctc", {"objectives": [{"kind": "min_wer", "min_wer": {"path": "x"}}]}, "lists: ahead"),
        (
            "ctc",
            {
                "objectives": [{"kind": "min_wer", "min_wer": {"lists": "ahead", "path": "x"}}],
                "data": [{"path": "main"}, {"path": "other"}],
            },
            "of one corpus, and the stage learns 2",
        ),
        ("ctc", {"objectives": [{"kind": "min_wer"}], "output": {"mode": "replace"}}, "forget"),
        (
            "seq2seq",
            {"objectives": [{"kind": "min_wer"}], "data": [{"text": "t"}]},
            "what is heard",
        ),
        ("seq2seq", {"objectives": [{"kind": "min_wer"}], "output": {"mode": "cut"}}, None),
        ("transducer", {"objectives": [{"kind": "min_wer"}, {"kind": "transducer"}]}, None),
    ],
)
def test_contradictions_are_told(family: str, changes: dict[str, Any], problem: str | None) -> None:
    if problem is None:
        assert small.recipe(family, small.stage(family, **changes))
        return
    with pytest.raises(ConfigError, match=problem) as caught:
        small.recipe(family, small.stage(family, **changes))
    assert len(caught.value.problems) == 1
