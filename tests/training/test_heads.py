"""Heads of several languages on one encoder: trained together, on disk, added to, switched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from safetensors.torch import load_file

from xlasr import api
from xlasr.config import parse_recipe
from xlasr.data.corpus import Corpus
from xlasr.errors import BaseError, ConfigError, Interrupted, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.parts import base_fingerprint, load_part, save_part, use_part
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer
from xlasr.training import engine

CIPHER = str.maketrans("abcdef", "uvwxyz")
BY_LANGUAGE = {"mode": "keep", "heads": "by_language"}


def ciphered(texts: list[str]) -> list[str]:
    return [text.translate(CIPHER) for text in texts]


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tones as the corpus ``speech``, in a language that writes them otherwise."""
    folder = tmp_path_factory.mktemp("other")

    def spoken(side: str, texts: list[str]) -> list[Any]:
        return [
            small.utterance(
                folder, f"{side}-{i}", text.translate(CIPHER), small.tones(text, seed=i), "nl"
            )
            for i, text in enumerate(texts)
        ]

    return small.write_speech(
        folder / "corpus", spoken("train", small.TRAIN), spoken("dev", small.DEV), language="nl"
    ).path


def stage(other: Path, part: str = "head", **changes: Any) -> dict[str, Any]:
    changes = {
        "output": BY_LANGUAGE,
        "data": [{"path": "main"}, {"path": str(other)}],
        "train": {"part": part},
        **changes,
    }
    return small.stage("ctc", **changes)


def adapt(base: Path, corpus: Path, out: Path, *stages: dict[str, Any], **more: Any) -> api.Run:
    plan = small.recipe("ctc", *stages, **more)
    return api.adapt(corpus, base=str(base), recipe=plan, out=out, threads=1)


def said(model: Any, language: str | None = None) -> torch.Tensor:
    if language:
        use_part(model, language)
    with torch.no_grad():
        return model.eval()(model.features([small.tones("cab")]))[0]  # type: ignore[no-any-return]


def fresh(base: Path) -> CTCModel:
    model = from_base(
        find_base(str(base)),
        "ctc",
        context=Context(8, 8),
        language="cs",
        alphabet=CharTokenizer(["q"]),
    )
    assert isinstance(model, CTCModel)
    return model


def test_each_language_learns_to_spell_its_own_way(
    tmp_path: Path, speech: Path, other: Path
) -> None:
    base = small.write_whisper(tmp_path / "base", dropout=0.0)
    run = adapt(
        base,
        speech,
        tmp_path / "run",
        stage(
            other,
            "full",
            batch_s=4.0,
            optim={"lr": 5e-3, "head_lr": 1e-2, "warmup": 20},
            stop={"updates": 240},
            evaluate={"every": 120},
        ),
    )
    model = run.model
    assert isinstance(model, CTCModel) and run.by_language
    assert model.info["language"] == "cs"
    assert model.parts["nl"].tokenizer is not None
    assert model.parts["nl"].tokenizer.symbols == [" ", *"uvwxyz"]
    rows = [row for row in run.metrics if "dev_cer" in row]
    for row in rows:  # the mean steers
        assert row["dev_cer"] == pytest.approx((row["dev_cer_cs"] + row["dev_cer_nl"]) / 2)
    best = min(rows, key=lambda row: row["dev_cer"])
    assert run.summaries[0]["dev_cer"] == best["dev_cer"]
    # one letter for all of it gives 0.77, and the other language's letters 1.0
    assert max(best["dev_cer_cs"], best["dev_cer_nl"]) < 0.6
    # the corpus says which head is scored
    for corpus, letters in ((speech, set("abcdef ")), (other, set("uvwxyz "))):
        result = run.evaluate(corpus, split="dev", with_base=False)
        heard = "".join(u.hypothesis for u in result.adapted.utterances)
        assert result.adapted.cer < 0.6
        assert set(heard) <= letters


def test_heads_on_a_frozen_base_are_parts_of_it(
    whisper_dir: Path, speech: Path, other: Path, tmp_path: Path
) -> None:
    run = adapt(whisper_dir, speech, tmp_path / "run", stage(other))
    model = run.model
    wanted = {name: said(model, name) for name in ("cs", "nl")}
    assert not torch.equal(*wanted.values())
    for name in ("cs", "nl", "cs", "nl"):
        assert torch.equal(said(model, name), wanted[name])
    # the encoder is the base's own, so a fresh base takes what the run holds ...
    base = fresh(whisper_dir)
    assert base_fingerprint(model) == base_fingerprint(base)
    folder = run.folder / "model"
    assert not any(k.startswith("heads.") for k in load_file(str(folder / "model.safetensors")))
    for name in ("nl", "cs"):
        assert load_part(base, folder / "parts" / name) == name
    # ... and what is exported from the opened run
    save_part(model, tmp_path / "nl", "nl")
    assert load_part(base, tmp_path / "nl", "again") == "again"
    for name, language in (("nl", "nl"), ("cs", "cs"), ("again", "nl")):
        assert torch.equal(said(base, name), wanted[language])
    # frozen below the heads: the encoder was computed once
    assert run.summaries[0]["frozen_cache"]["bytes"] > 0


def test_a_language_is_added_later(
    whisper_dir: Path, speech: Path, other: Path, tmp_path: Path
) -> None:
    alone = stage(other, data=[{"path": "main"}])
    first = adapt(whisper_dir, speech, tmp_path / "first", alone)
    assert [p.name for p in (first.folder / "model/parts").iterdir()] == ["cs"]
    second = adapt(first.folder, other, tmp_path / "second", alone)
    wanted = said(first.model, "cs")
    assert second.model.info["language"] == "nl"
    assert set(second.model.parts) == {"cs", "nl"}
    assert torch.equal(said(second.model, "cs"), wanted)  # it rested
    names = second.summaries[0]["trainable_parameters"]
    assert names == sum(p.numel() for p in second.model.parts["nl"].head.parameters())  # type: ignore[union-attr]
    # one after the other or together: the same artefact
    third = fresh(whisper_dir)
    load_part(third, first.folder / "model/parts/cs")
    load_part(third, second.folder / "model/parts/nl")
    assert torch.equal(said(third, "cs"), wanted)


@pytest.mark.parametrize("train", [{"part": "full"}, {"part": "layers", "top_layers": 1}])
def test_an_encoder_that_moves_is_refused_while_heads_rest_on_it(
    whisper_dir: Path, speech: Path, other: Path, tmp_path: Path, train: dict[str, Any]
) -> None:
    alone = stage(other, data=[{"path": "main"}])
    first = adapt(whisper_dir, speech, tmp_path / "first", alone)
    moving = {**alone, "train": train}
    with pytest.raises(UsageError, match=r"would change encoder.*cs were trained on the weights"):
        adapt(first.folder, other, tmp_path / "second", moving)
    # with the corpus of each head in the stage all of them move together
    both = stage(other, train=train)
    joint = adapt(first.folder, speech, tmp_path / "joint", both)
    assert base_fingerprint(joint.model) != base_fingerprint(first.model)
    with pytest.raises(BaseError, match="trained on another base"):
        load_part(joint.model, first.folder / "model/parts/cs", "old")
    with pytest.raises(BaseError, match="trained on another base"):
        load_part(fresh(whisper_dir), joint.folder / "model/parts/nl")
    # what would leave all of them behind
    shared = small.stage("ctc", output={"mode": "replace"})
    with pytest.raises(UsageError, match=r"a head for each of cs, nl; say output\.heads"):
        adapt(joint.folder, speech, tmp_path / "shared", shared)


@pytest.mark.parametrize("part", ["adapter", "lora"])
def test_parts_of_a_joint_run_open_as_they_were(
    whisper_dir: Path, speech: Path, other: Path, tmp_path: Path, part: str
) -> None:
    train = {
        "part": part,
        "adapter": {"width": 4},
        "lora": {"r": 4, "targets": ["q_proj"], "dropout": 0.0},
    }
    run = adapt(whisper_dir, speech, tmp_path / "run", stage(other, train=train))
    last = [row for row in run.metrics if "dev_cer_nl" in row]
    assert last
    model = run.model
    wanted = {name: said(model, name) for name in ("cs", "nl")}
    if part == "adapter":  # each language has its own
        base = fresh(whisper_dir)
        for name in wanted:
            load_part(base, run.folder / "model/parts" / name)
            assert (run.folder / "model/parts" / name / "part.safetensors").stat().st_size > 2000
        assert all(torch.equal(said(base, name), wanted[name]) for name in wanted)
    else:  # merged: the parts name the weights that are in the folder
        meta = json.loads((run.folder / "model/parts/nl/part.json").read_text())
        assert meta["base"]["weights_sha256"] == base_fingerprint(model)
        assert base_fingerprint(model) != base_fingerprint(fresh(whisper_dir))


def test_a_joint_run_resumes_exactly(
    whisper_dir: Path,
    speech: Path,
    other: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = {"part": "adapter", "adapter": {"width": 4}}
    plan = stage(other, train=train, augment=small.AUGMENT, evaluate={"every": 5})
    whole = adapt(whisper_dir, speech, tmp_path / "whole", plan)
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "another"))
    real = engine.Trainer._update

    def dies(self: engine.Trainer, batch: Any) -> None:
        if self.state.update == 7:
            raise KeyboardInterrupt
        real(self, batch)

    monkeypatch.setattr(engine.Trainer, "_update", dies)
    with pytest.raises(Interrupted):
        adapt(whisper_dir, speech, tmp_path / "cut", plan)
    monkeypatch.setattr(engine.Trainer, "_update", real)
    cut = api.adapt(None, resume=tmp_path / "cut")
    for path in sorted((whole.folder / "model").rglob("*.safetensors")):
        again = cut.folder / "model" / path.relative_to(whole.folder / "model")
        assert path.read_bytes() == again.read_bytes(), path
    clock = [{k: v for k, v in r.items() if k != "time"} for r in cut.metrics]
    assert clock == [{k: v for k, v in r.items() if k != "time"} for r in whole.metrics]


def test_the_language_is_chosen_and_one_that_is_missing_is_named(
    whisper_dir: Path, speech: Path, other: Path, tmp_path: Path
) -> None:
    plan = stage(other, stop={"updates": 2}, evaluate={"every": 2})
    decode = {"lm_order": 2, "beam": 2}
    run = adapt(whisper_dir, speech, tmp_path / "run", plan, decode=decode)
    assert sorted(p.name for p in (run.folder / "lm").glob("*.npz")) == [
        "recipe-cs.npz",
        "recipe-nl.npz",
    ]
    clip = next((speech.parent / f"{speech.name}-audio").glob("*.wav"))
    list(run.transcribe(clip, language="nl"))
    assert run.model.info["language"] == "nl"
    lines = run.options().lm
    list(run.transcribe(clip))  # the main corpus' own
    assert run.model.info["language"] == "cs"
    assert run.options().lm is not lines
    # two languages at the same time
    one, two = run._in("cs", iter([1, 2])), run._in("nl", iter([1, 2]))  # type: ignore[arg-type, list-item]
    for found, language in ((one, "cs"), (two, "nl"), (one, "cs")):
        next(found)
        assert run.model.info["language"] == language
    with pytest.raises(UsageError, match="no head for 'fr'; it has cs, nl"):
        run.transcribe(clip, language="fr")
    third = small.write_speech(tmp_path / "fr", dev=["abc"], language="fr")
    with pytest.raises(UsageError, match="no head for 'fr'; it has cs, nl"):
        run.evaluate(third.path, split="dev", with_base=False)
    with pytest.raises(UsageError, match="evaluate each by itself"):
        api.evaluate(run, speech, split="dev", with_base=False, also=[other])
    plain = adapt(whisper_dir, speech, tmp_path / "plain", small.stage("ctc", stop={"updates": 2}))
    with pytest.raises(UsageError, match="no head for 'nl'; it has cs"):
        plain.transcribe(clip, language="nl")


def test_a_corpus_without_dev_is_told_and_not_counted(
    whisper_dir: Path, speech: Path, tmp_path: Path
) -> None:
    blind = small.write_speech(tmp_path / "nl", train=["uvw", "zyx"], dev=[], language="nl")
    plan = stage(blind.path, stop={"updates": 2}, evaluate={"every": 2})
    run = adapt(whisper_dir, speech, tmp_path / "run", plan)
    (event,) = (e for e in run.summaries[0]["events"] if e["guard"] == "no_dev")
    assert event["message"] == "no dev split in nl"
    assert "dev_cer_nl" not in run.metrics[0]
    assert set(run.model.parts) == {"cs", "nl"}


def test_each_dev_is_kept_out_of_the_other_corpora(
    whisper_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = small.write_speech(tmp_path / "one", train=["abc", "fed"], dev=["cab"])
    two = small.write_speech(tmp_path / "two", train=["cab", "bad"], dev=["fed"], language="nl")
    heard: dict[int, set[str]] = {}
    real = engine.load_batch

    def spy(sets: Any, batch: Any, *args: Any) -> Any:
        found = real(sets, batch, *args)
        heard.setdefault(batch.corpus, set()).update(found[1])
        return found

    monkeypatch.setattr(engine, "load_batch", spy)
    adapt(whisper_dir, one.path, tmp_path / "run", stage(two.path, stop={"updates": 6}))
    assert heard == {0: {"abc"}, 1: {"bad"}}


@pytest.mark.parametrize(
    ("family", "stage", "more", "problem"),
    [
        ("seq2seq", {"output": {"heads": "by_language"}}, {}, "output.heads 'by_language' is for"),
        ("seq2seq", {"output": {"text": "phones"}}, {}, "output.text 'phones' is for ctc"),
        ("ctc", {"output": {"start": "phones"}}, {}, "say output.mode: replace"),
        (
            "ctc",
            {"output": {"start": "phones", "mode": "replace", "text": "phones"}},
            {},
            "output.text is phones already",
        ),
        (
            "ctc",
            {"output": BY_LANGUAGE},
            {"decode": {"lm_order": 2, "lm_text": ["a.txt"]}},
            "decode.lm_text is of one language",
        ),
        (
            "ctc",
            {"output": BY_LANGUAGE, "train": {"part": "adapter", "adapter": {"kind": "mms"}}},
            {},
            "takes bottleneck",
        ),
    ],
)
def test_what_a_recipe_cannot_ask_for(
    family: str, stage: dict[str, Any], more: dict[str, Any], problem: str
) -> None:
    tree = {"name": "x", "family": family, "stages": [small.stage(family, **stage)], **more}
    with pytest.raises(ConfigError, match=problem):
        parse_recipe(tree, "x")


def test_weights_of_parts_are_in_the_hash_of_a_base(
    whisper_dir: Path, speech: Path, other: Path, tmp_path: Path
) -> None:
    plan = stage(other, stop={"updates": 2}, evaluate={"every": 2})
    run = adapt(whisper_dir, speech, tmp_path / "run", plan)
    before = find_base(str(run.folder)).sha256
    path = run.folder / "model/parts/nl/part.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert find_base(str(run.folder)).sha256 != before
    assert Corpus.open(speech).language == "cs"


def test_labels_are_written_by_the_head_of_the_language(
    whisper_dir: Path, speech: Path, other: Path, tmp_path: Path
) -> None:
    plan = stage(other, stop={"updates": 2}, evaluate={"every": 2})
    run = adapt(whisper_dir, speech, tmp_path / "run", plan)
    made = api.label(run, other, tmp_path / "labelled", keep=1.0)
    heard = list(made.corpus.split("train"))
    assert made.corpus.language == "nl" and {u.language for u in heard} == {"nl"}
    assert set("".join(u.text for u in heard)) <= set(" uvwxyz")
    third = small.write_speech(tmp_path / "fr", language="fr")
    with pytest.raises(UsageError, match="no head for 'fr'"):
        api.label(run, third.path, tmp_path / "no")


def test_the_base_of_a_language_it_lacks_is_no_comparison(
    whisper_dir: Path, speech: Path, other: Path, tmp_path: Path
) -> None:
    alone = stage(other, data=[{"path": "main"}], stop={"updates": 2}, evaluate={"every": 2})
    first = adapt(whisper_dir, speech, tmp_path / "first", alone)
    second = adapt(first.folder, other, tmp_path / "second", alone)
    assert second.evaluate(other, split="dev").base is None
    compared = second.evaluate(speech, split="dev")
    assert compared.base is not None
    assert compared.base.cer == compared.adapted.cer  # its head rested
