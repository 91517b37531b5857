"""Speech translation: an attention decoder learns another text than the transcript."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from rich.console import Console
from safetensors.torch import load_file
from tests import tiny
from tests.training.test_clips import BOTH

from xlasr import api
from xlasr.data import prepare
from xlasr.data.card import Card
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.faces import render_faces
from xlasr.data.parallel import ParallelText
from xlasr.data.writing import write_corpus
from xlasr.errors import ConfigError, DataError, Interrupted, UsageError
from xlasr.models.attention import AttentionModel
from xlasr.models.hub import find_base
from xlasr.models.run import load_model
from xlasr.objectives.ctc import ctc_loss
from xlasr.training.engine import Trainer
from xlasr.training.planned import plan_stages

TO = {"a": "xo", "b": "y", "c": "zu", "d": "w", "e": "v", "f": "t", " ": " "}
"""The language "en" of these tests: longer than what is said, in other letters."""
LINES = {"train": small.TRAIN, "dev": small.DEV, "test": ["bead", "fab"]}


def english(text: str) -> str:
    return "".join(TO[letter] for letter in text)


def spoken(folder: Path, lines: dict[str, list[str]], lacking: dict[str, Any]) -> Corpus:
    """Tones with a translation each; ``lacking`` says what stands there instead of some."""
    audio = folder.parent / f"{folder.name}-wav"
    audio.mkdir(parents=True)
    splits: dict[str, list[Utterance]] = {}
    for side, texts in lines.items():
        for i, text in enumerate(texts):
            found = small.utterance(audio, f"{side}-{i}", text)
            told = lacking.get(text, english(text).capitalize() + ".")
            custom = {} if told is None else {"translation_en": told}
            splits.setdefault(side, []).append(replace(found, custom=custom))
    return small.write_speech(folder, *(splits.get(side, ()) for side in LINES))


def translate(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": "translate",
        "family": "seq2seq",
        "data": [{"target": "en"}],
        "output": {"mode": "replace"},
        "stop": {"updates": 6},
    }
    family = given.pop("family")
    return small.stage("seq2seq", **given | changes) | {"family": family}


def letters(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": "letters",
        "init": "translate",
        "output": {"mode": "replace"},
        "train": {"part": "head"},
        "stop": {"updates": 3},
    }
    return small.stage("ctc", **given | changes)


def weights(run: api.Run, stage: str) -> dict[str, Any]:
    folder = next((run.folder / "stages").glob(f"*-{stage}"))
    return load_file(folder / "model" / "model.safetensors")


def encoder_of(tensors: dict[str, Any]) -> dict[str, Any]:
    """By their names in the encoder, whatever family wrapped it."""
    prefixes = ("hf.encoder.", "encoder.hf.")
    return {k[len(p) :]: v for k, v in tensors.items() for p in prefixes if k.startswith(p)}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    assert one and one.keys() == other.keys()
    return all(one[key].equal(other[key]) for key in one)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.audiovisual_dir(tmp_path_factory.mktemp("base") / "av")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    lacking = {"abc": None, "ace": "", "bad": "...", "bee": 3, "fab": None}
    return spoken(tmp_path_factory.mktemp("c") / "tones", LINES, lacking)


def test_a_translation_is_what_is_learnt_judged_and_scored(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    plan = small.recipe("seq2seq", translate())
    run = api.adapt(corpus.path, base=str(base), recipe=plan, out=tmp_path / "run", threads=1)
    assert isinstance(run.model, AttentionModel)
    assert run.model.tokenizer.symbols == sorted({c for v in TO.values() for c in v})
    assert run.model.info["target"] == "en" and run.model.info["language"] == "cs"
    summary = run.summaries[0]
    assert summary["left_out"] == [{"no translation into en": 4}]
    assert summary["train_clips"] == len(small.TRAIN) - 4
    found = run.evaluate(split="test", with_base=False)
    assert [u.reference for u in found.adapted.utterances] == [english("bead")]
    assert [e["message"] for e in found.events] == ["1 clips: no translation into en"]
    dev = run.evaluate(split="dev", with_base=False)
    assert {u.reference for u in dev.adapted.utterances} == set(map(english, small.DEV))
    assert dev.adapted.cer == pytest.approx(summary["dev_cer"])
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    assert "Speech translation from the language cs into en" in card
    assert f"| {summary['stage']} (into en) |" in card
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert f'<th scope="row">{summary["stage"]} (into en)</th>' in page
    # a later stage that learns transcripts is judged on them
    back = spoken(tmp_path / "back", LINES, {t: t[::-1] for side in LINES.values() for t in side})
    then = small.stage("seq2seq", name="same", init="translate", stop={"updates": 3})
    plan = small.recipe("seq2seq", translate(), then)
    run = api.adapt(back.path, base=str(base), recipe=plan, out=tmp_path / "two", threads=1)
    assert "target" not in run.model.info and run.summaries[1]["left_out"] == [{}]
    found = run.evaluate(split="test", with_base=False)
    assert [u.reference for u in found.adapted.utterances] == LINES["test"]
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    assert "Speech recognition for the language cs" in card and card.count("(into en)") == 1


def test_without_a_single_translation(base: Path, speech: Path, tmp_path: Path) -> None:
    plan = small.recipe("seq2seq", translate())
    with pytest.raises(ConfigError, match="no utterance of 'train' has a translation into 'en'"):
        api.adapt(speech, base=str(base), recipe=plan, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()  # no stage before it was trained
    other = spoken(tmp_path / "c", LINES, {})
    plan = small.recipe("seq2seq", translate(data=[{"target": "fr"}]))
    with pytest.raises(ConfigError, match="into 'fr'; found: translation_en"):
        api.adapt(other.path, base=str(base), recipe=plan, out=tmp_path / "b")


def test_translations_of_dev_and_test_are_not_learnt_from_another_corpus(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    """Another language says other words; their English is what counts."""
    lacking = {"face": english("dab"), "cab": english("bead"), "ed": english("fab"), "de": "t",
               "beef": "xo"}  # fmt: skip
    other = spoken(tmp_path / "other", {"train": list(lacking)}, lacking)
    entries = [{"target": "en"}, {"path": str(other.path), "target": "en"}]
    plan = small.recipe("seq2seq", translate(data=entries))
    run = api.adapt(corpus.path, base=str(base), recipe=plan, out=tmp_path / "run", threads=1)
    # what "beef" says is said in dev, though in other words there; "fab" has no translation there
    assert run.summaries[0]["left_out"][1] == {"its text stands in dev or test": 3}
    assert run.summaries[0]["train_clips"] == len(small.TRAIN) - 4 + 2
    only = spoken(tmp_path / "only", {"train": ["cab"]}, lacking)
    plan = small.recipe(
        "seq2seq", translate(data=[entries[0], {**entries[1], "path": str(only.path)}])
    )
    with pytest.raises(DataError, match="every text of 'train' stands in dev or test"):
        api.adapt(corpus.path, base=str(base), recipe=plan, out=tmp_path / "none", threads=1)


def test_three_stages_are_one_recipe(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips, translation, letters: what is carried over, what is frozen, and exact resume."""
    speech = spoken(tmp_path / "tones", {"train": small.TRAIN, "dev": small.DEV}, {})
    faces = render_faces(speech.path, tmp_path / "faces", size=48, progress=False)
    clips = prepare(faces, tmp_path / "clips", language="cs", progress=False)
    stages = [
        small.stage(
            "ctc", name="clips", objectives=BOTH, stop={"updates": 3}, batch_s=5.0,
            data=[{"path": str(clips.path)}],
        ),
        translate(init="clips", evaluate={"every": 2}),
        letters(),
        letters(name="unfrozen", train={"part": "full"}),
    ]  # fmt: skip
    plan = small.recipe("ctc", *stages)

    def begin(out: Path) -> api.Run:
        return api.adapt(speech.path, base=str(base), recipe=plan, out=out, threads=1)

    whole = begin(tmp_path / "whole")
    made = [encoder_of(weights(whole, s)) for s in ("clips", "translate", "letters", "unfrozen")]
    assert not same(made[0], made[1])
    assert same(made[1], made[2]) and not same(made[1], made[3])
    assert not any("aids" in name for name in weights(whole, "translate"))
    at_begin: dict[str, Any] = {}
    real, updates = Trainer._update, []
    to_die = {("clips", 1), ("translate", 4), ("letters", 2)}

    def dies(self: Trainer, batch: Any) -> None:
        at = (self.stage.name, self.state.update)
        updates.append(at)
        if at == ("translate", 0):
            at_begin.update(encoder_of({k: v.clone() for k, v in self.model.state_dict().items()}))
        if at in to_die:
            to_die.remove(at)
            raise KeyboardInterrupt
        real(self, batch)

    monkeypatch.setattr(Trainer, "_update", dies)
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "other"))
    with pytest.raises(Interrupted):
        begin(tmp_path / "killed")
    for _ in ("translate", "letters"):
        with pytest.raises(Interrupted):
            api.adapt(None, resume=tmp_path / "killed")
    again = api.adapt(None, resume=tmp_path / "killed")
    assert same(at_begin, made[0])
    assert not to_die and updates.count(("translate", 0)) == 1  # not begun again
    assert updates[updates.index(("translate", 4)) + 1] == ("translate", 4)
    for stage in ("clips", "translate", "letters", "unfrozen"):
        assert same(weights(again, stage), weights(whole, stage)), stage
    assert again.summaries == whole.summaries
    # every stage's model stands alone as a base
    stages = whole.folder / "stages"
    alone = {stages / "0-clips/model": 0, stages / "1-translate/model": 1, whole.folder: 3}
    for folder, stage in alone.items():
        run = api.adapt(
            speech.path, base=str(folder), threads=1, out=tmp_path / f"on-{stage}",
            recipe=small.recipe("ctc", letters(init="base", stop={"updates": 1})),
        )  # fmt: skip
        assert same(encoder_of(weights(run, "letters")), made[stage])


def test_what_hears_other_sound_alone_is_the_same_for_every_target(
    corpus: Corpus, speech: Path, base: Path, tmp_path: Path
) -> None:
    sound = small.stage(
        "ctc", name="sound", data=[{"path": str(speech)}],
        objectives=[{"kind": "masked_autoencoder", "autoencoder": {"video_weight": 0}}],
    )  # fmt: skip
    other = spoken(tmp_path / "other", LINES, {})
    plans = [
        (corpus, small.recipe("ctc", sound, letters(init="sound"))),
        (corpus, small.recipe("ctc", sound, translate(init="sound"), letters())),
        (other, small.recipe("ctc", sound, translate(init="sound"), letters())),
    ]
    opened = find_base(str(base))
    keys = [[s.key for s in plan_stages(p, opened, main, tmp_path, 0)] for main, p in plans]
    assert keys[0][0] == keys[1][0] == keys[2][0]
    assert keys[1][1] != keys[2][1]
    # whatever the other stages have, and whatever is spoken in the command's corpus
    aside = small.recipe("ctc", sound, translate(init="sound"), letters(), decoder={"layers": 1})
    foreign = write_corpus(
        tmp_path / "foreign", {n: list(other.split(n)) for n in other.splits}, Card(language="nl")
    )
    for plan, main in ((aside, corpus), (plans[0][1], foreign)):
        assert plan_stages(plan, opened, main, tmp_path, 0)[0].key == keys[0][0]
    # but letters of another corpus, without those that stand in dev and test of the command's
    learnt = small.recipe("ctc", small.stage("ctc", data=[{"path": str(speech)}]))
    keys = [[s.key for s in plan_stages(learnt, opened, main, tmp_path, 0)] for main, _ in plans]
    assert keys[0] == keys[1] != keys[2]
    # which is not where it lies, but what it holds
    moved = shutil.copytree(speech, tmp_path / "moved")
    there = small.recipe("ctc", small.stage("ctc", data=[{"path": str(moved)}]))
    assert [s.key for s in plan_stages(there, opened, corpus, tmp_path, 0)] == keys[0]
    # the command's corpus is itself, also by its path
    named = translate(data=[{"path": str(corpus.path), "target": "en"}])
    (stage,) = plan_stages(small.recipe("seq2seq", named), opened, corpus, tmp_path, 0)
    assert stage.data[0] is stage.main is corpus
    # but its text is no speech
    read = small.stage("seq2seq", name="read", data=[{"text": str(corpus.path)}])
    (stage,) = plan_stages(small.recipe("seq2seq", read), opened, corpus, tmp_path, 0)
    assert isinstance(stage.data[0], ParallelText)


def test_a_frozen_encoder_is_computed_once_for_each_choice_of_rows(
    corpus: Corpus, base: Path, tmp_path: Path
) -> None:
    """Row 3 of the translated clips is another clip than row 3 of all."""
    plan = small.recipe(
        "seq2seq",
        translate(train={"part": "head"}),
        small.stage(
            "seq2seq", name="same", init="base", output={"mode": "replace"}, train={"part": "head"}
        ),
    )
    run = api.adapt(corpus.path, base=str(base), recipe=plan, out=tmp_path / "run", threads=1)
    assert all(s["frozen_cache"]["bytes"] > 0 for s in run.summaries)
    assert len(list((tmp_path / "cache" / "frozen").iterdir())) == 2


@pytest.mark.slow
def test_it_learns_to_translate_tones(tmp_path: Path) -> None:
    base = tiny.audiovisual_dir(tmp_path / "base", n_layers=2, dropout=0.0)
    speech = spoken(tmp_path / "tones", {"train": small.TRAIN, "dev": small.TRAIN}, {})
    stage = translate(
        optim={"lr": 3e-3, "warmup": 20},
        stop={"updates": 400},
        evaluate={"every": 100},
        batch_s=20.0,
    )
    plan = small.recipe("seq2seq", stage, decoder={"layers": 1, "dropout": 0.0})
    run = api.adapt(speech.path, base=str(base), recipe=plan, out=tmp_path / "run", threads=1)
    assert run.evaluate(split="dev", with_base=False).adapted.cer < 0.1


def test_pieces_sizes_and_a_decoder_on_a_whisper(
    whisper_dir: Path, corpus: Corpus, tmp_path: Path
) -> None:
    plan = small.recipe(
        "seq2seq",
        translate(output={"mode": "replace", "pieces": 14}),
        decoder={"layers": 1, "ffn_dim": 24, "max_tokens": 40},
        decode={"beam": 3, "lm_order": 2, "lm_weight": 0.1},
    )
    run = api.adapt(
        corpus.path, base=str(whisper_dir), recipe=plan, out=tmp_path / "run", threads=1
    )
    assert isinstance(run.model, AttentionModel) and len(run.model.tokenizer) == 14
    assert run.model.info["attention"]["ffn_dim"] == 24 and run.model.room == 38
    # the base only transcribes, so there is nothing to compare a translation with
    assert run.evaluate(split="dev").base is None
    kept = json.loads((run.folder / "lm" / "recipe.json").read_text())
    assert kept["lines"] == len(small.TRAIN) - 4
    for format in ("transformers", "ct2"):
        with pytest.raises(UsageError, match="attention decoder of xlasr's own"):
            api.export(run.folder, tmp_path / "out", format=format)


def test_a_ctc_head_beside_the_decoder(
    base: Path, whisper_dir: Path, corpus: Corpus, tmp_path: Path
) -> None:
    both = [{"kind": "cross_entropy"}, {"kind": "ctc", "weight": 0.5}]
    then = translate(name="alone", init="translate", output={}, stop={"updates": 1})
    plan = small.recipe("seq2seq", translate(objectives=both), then)
    console = Console(file=io.StringIO(), width=200)
    run = api.adapt(
        corpus.path, base=str(base), recipe=plan, out=tmp_path / "a", threads=1, console=console
    )
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "translate: ctc begins with new weights" in shown
    assert "alone: the weights that only ctc needs are dropped" in shown
    model = load_model(run.folder / "stages" / "0-translate" / "model")
    assert isinstance(model, AttentionModel) and list(model.aids) == ["ctc"]
    assert isinstance(run.model, AttentionModel) and not run.model.aids
    # the loss is CTC's over the decoder's letters, whose id 0 is the blank, and reaches the encoder
    stage = plan.stages[0]
    clips = [tiny.clip(1.0, seed) for seed in (1, 2)]
    texts = [english(t) for t in ("bad", "cab")]
    features = model.features(clips)
    states = model.encoder(features)
    found = ctc_loss(model, states, features.input_lens, texts, stage.objectives[1])
    logits = states @ model.aids["ctc"].weight.T + model.aids["ctc"].bias
    ids = [model.tokenizer.encode(t) for t in texts]
    wanted = torch.nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), torch.tensor([i for row in ids for i in row]),
        model.out_lens(features.input_lens), torch.tensor([len(i) for i in ids]), reduction="sum",
    ) / sum(map(len, ids))  # fmt: skip
    torch.testing.assert_close(found, wanted)
    found.backward()
    assert all(p.grad is None for p in model.decoder.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.encoder.hf.parameters())
    with pytest.raises(ConfigError, match="ctc stands beside a decoder and does not train it"):
        small.recipe("seq2seq", translate(objectives=both[1:]))
    plan = small.recipe("seq2seq", small.stage("seq2seq", objectives=both))
    with pytest.raises(UsageError, match="of its own; this one is the base's"):
        api.adapt(corpus.path, base=str(whisper_dir), recipe=plan, out=tmp_path / "b")


def test_bases_without_a_decoder_are_refused_where_none_is_made(
    base: Path, corpus: Corpus, tmp_path: Path
) -> None:
    plan = small.recipe("seq2seq", translate(output={"mode": "keep"}))
    with pytest.raises(UsageError, match=r"say output\.mode: replace"):
        api.adapt(corpus.path, base=str(base), recipe=plan, out=tmp_path / "a")
    seamless = tiny.seamless_dir(tmp_path / "s")
    plan = small.recipe("seq2seq", translate())
    with pytest.raises(UsageError, match="own decoder only"):
        api.adapt(corpus.path, base=str(seamless), recipe=plan, out=tmp_path / "b")
    with pytest.raises(ConfigError, match="only the encoder is carried over"):
        small.recipe("ctc", translate(), letters(output={}))
