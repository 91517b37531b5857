"""The language model of a run: what it learns from, that it is used, and that the run keeps it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.training import small

from xlasr import api
from xlasr.config import DecodeSettings
from xlasr.data.corpus import Corpus
from xlasr.decoding import fusion
from xlasr.decoding.ngram import NGram, build
from xlasr.errors import CorpusError, RunError, UsageError
from xlasr.reporting.evaluate import transcribe_split

ORDER = 3
DECODE = {"beam": 4, "lm_order": ORDER, "lm_weight": 0.5}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of tones and a CTC run on it whose recipe wants a language model."""
    home = tmp_path_factory.mktemp("fusion")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLASR_CACHE", str(home / "cache"))
        small.write_speech(home / "tones", test=["cab dab", "fade"])
        base = small.write_whisper(home / "base")
        (home / "more.txt").write_text("bed\nDab!\n\nfade.\ncab  dab\nabba bed\n")
        stage = small.stage("ctc", stop={"updates": 6}, evaluate={"every": 6})
        decode = {**DECODE, "lm_text": [str(home / "more.txt")]}
        plan = small.recipe("ctc", stage, decode=decode)
        api.adapt(home / "tones", base=str(base), recipe=plan, out=home / "run", threads=1)
    return home


def copy(home: Path, to: Path) -> Path:
    """The run somewhere else, its corpus and its texts gone."""
    run = Path(shutil.copytree(home / "run", to / "run", symlinks=True))
    facts = (run / "run.json").read_text().replace(str(home / "tones"), str(to / "gone"))
    (run / "run.json").write_text(facts)
    return run


def equal(one: object, other: object) -> bool:
    assert isinstance(one, NGram) and isinstance(other, NGram)
    tables = ("keys", "log_prob", "backoff", "suffix")
    return all(np.array_equal(getattr(one, t), getattr(other, t)) for t in tables)


def expected(run: api.Run, lines: list[str], order: int = ORDER) -> NGram:
    tokenizer = run.model.tokenizer
    return build([tokenizer.encode(line) for line in lines], order, len(tokenizer))


# ---- what it learns from


def test_train_and_the_extra_text_without_lines_of_dev_and_test(home: Path) -> None:
    run = api.open_run(home / "run")
    # "Dab!" is a line of dev, "fade." and "cab  dab" are lines of test; words of them may stay
    assert equal(run.options().lm, expected(run, [*small.TRAIN, "bed", "abba bed"]))
    corpus = Corpus.open(home / "tones")
    alone = fusion.language_model(run.model, corpus, DecodeSettings(lm_order=ORDER))
    assert equal(alone, expected(run, small.TRAIN))
    assert not equal(alone, run.options().lm)


def test_a_corpus_is_an_extra_text_and_only_its_train(home: Path, tmp_path: Path) -> None:
    other = small.write_speech(tmp_path / "o", train=["bed", "dab"], dev=["aaaa"], test=["bbbb"])
    run = api.open_run(home / "run")
    found = run.options(DecodeSettings(lm_order=2, lm_text=[str(other.path)])).lm
    assert equal(found, expected(run, [*small.TRAIN, "bed"], order=2))


def test_texts_as_written_where_the_model_writes_so(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Bed, Ed!\n")
    settings = DecodeSettings(lm_order=2, lm_text=[str(tmp_path / "a.txt")])
    corpus = Corpus.open(home / "tones")
    assert fusion.training_lines(corpus, settings, {"text": "raw"})[-1] == "Bed, Ed!"
    assert fusion.training_lines(corpus, settings, {"text": "headline"})[-1] == "bed ed"


def test_texts_that_cannot_be_read(home: Path, tmp_path: Path) -> None:
    run = api.open_run(home / "run")
    with pytest.raises(UsageError, match=r"cannot read no\.txt as UTF-8"):
        run.options(DecodeSettings(lm_order=2, lm_text=["no.txt"]))
    with pytest.raises(CorpusError, match="not a corpus"):
        run.options(DecodeSettings(lm_order=2, lm_text=[str(tmp_path)]))
    plan = small.recipe("ctc", decode={"lm_order": 2, "lm_text": ["no.txt"]})
    base = str(home / "base")
    with pytest.raises(UsageError, match=r"cannot read no\.txt"):  # before hours of training
        api.adapt(home / "tones", base=base, recipe=plan, out=tmp_path / "new", threads=1)
    assert not (tmp_path / "new").exists()


# ---- that it is used


@pytest.mark.parametrize("beam", [1, 4])
def test_a_strong_model_changes_what_is_heard(home: Path, tmp_path: Path, beam: int) -> None:
    run = api.open_run(home / "run")
    (tmp_path / "one.txt").write_text("abba abba\n" * 300)
    texts = {"lm_text": [str(tmp_path / "one.txt")], "lm_order": 4, "length_bonus": 3.0}
    strong = DecodeSettings(beam=beam, lm_weight=4.0, **texts)
    split = Corpus.open(home / "tones").split("test")

    def heard(settings: DecodeSettings) -> list[str]:
        return [r.text for r in transcribe_split(run.model, split, run.options(settings))]

    lm = run.options(strong).lm
    assert isinstance(lm, NGram)
    greedy, fused = heard(DecodeSettings()), heard(strong)
    for text in fused:
        assert set(text) <= set("ab ")  # the texts of train have all six letters, but seldom
        assert "abba" in text
    assert all("abba" not in text for text in greedy)


# ---- that the run keeps it


def test_it_says_what_it_was_built_from(home: Path) -> None:
    told = json.loads((home / "run/lm/recipe.json").read_text("utf-8"))
    lines = [*small.TRAIN, "bed", "abba bed"]
    assert told["order"] == ORDER
    assert told["lines"] == len(lines) + 1  # an empty one, which teaches nothing
    run = api.open_run(home / "run")
    texts = fusion.training_lines(
        Corpus.open(home / "tones"), run.recipe.decode, {"text": "headline"}
    )
    assert [text for text in texts if text] == lines
    assert told["text_sha256"] == hashlib.sha256("\n".join(texts).encode()).hexdigest()
    assert told["corpus_sha256"] == run.facts["corpus"]["sha256"]
    assert sorted(p.name for p in (home / "run/lm").iterdir()) == ["recipe.json", "recipe.npz"]


def test_it_needs_neither_corpus_nor_text(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, first = api.open_run(copy(home, tmp_path)), api.open_run(home / "run")
    (home / "more.txt").rename(home / "away.txt")
    opened: list[object] = []
    monkeypatch.setattr(Corpus, "open", lambda path: opened.append(path))
    try:
        assert equal(moved.options().lm, first.options().lm)
        lighter = moved.recipe.decode.model_copy(update={"lm_weight": 0.1, "beam": 2})
        assert moved.options(lighter).lm is moved.options().lm  # weights are no part of it
        assert moved.options(lighter).lm_weight == 0.1
    finally:
        (home / "away.txt").rename(home / "more.txt")
    assert opened == []


def test_another_one_wants_the_runs_own_corpus(home: Path, tmp_path: Path) -> None:
    run = api.open_run(copy(home, tmp_path))
    other = DecodeSettings(lm_order=2)
    with pytest.raises(RunError, match=r"gone: not a corpus[\s\S]*xlasr adapt CORPUS --resume"):
        run.options(other)
    assert run.options(DecodeSettings(lm_order=0)).lm is None
    small.write_speech(tmp_path / "gone", train=["dab"])  # prepared again, otherwise
    with pytest.raises(RunError, match="is another corpus than the one the run was trained on"):
        run.options(other)


def test_a_run_of_an_older_version_builds_it_and_resuming_keeps_it(
    home: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(home / "run", tmp_path / "run", symlinks=True))
    kept = api.open_run(run).options().lm
    shutil.rmtree(run / "lm")
    assert equal(api.open_run(run).options().lm, kept)
    assert not (run / "lm").exists()  # decoding writes nothing into a run
    api.adapt(None, resume=run)
    assert equal(NGram.load(run / "lm/recipe.npz"), kept)


def test_a_corpus_that_was_moved_is_given_once(home: Path, tmp_path: Path) -> None:
    run = copy(home, tmp_path)
    shutil.rmtree(run / "lm")
    with pytest.raises(RunError, match="--resume"):
        api.open_run(run).options()
    shutil.copytree(home / "tones", tmp_path / "moved")
    again = api.adapt(tmp_path / "moved", resume=run)
    assert equal(again.options().lm, api.open_run(home / "run").options().lm)
    assert again.facts["corpus"]["path"] == str(tmp_path / "moved")
    assert again.options(DecodeSettings(lm_order=2)).lm is not None


@pytest.mark.parametrize("damage", ["json", "cut", "gone", "letters", "half"])
def test_damage_is_told_and_mended(home: Path, tmp_path: Path, damage: str) -> None:
    run = Path(shutil.copytree(home / "run", tmp_path / "run", symlinks=True))
    told, table = run / "lm/recipe.json", run / "lm/recipe.npz"
    kept = NGram.load(table)
    if damage == "json":
        told.write_text("{")
    elif damage == "cut":
        table.write_bytes(table.read_bytes()[:-40])
    elif damage == "gone":
        table.unlink()
    elif damage == "letters":
        facts = json.loads(told.read_text()) | {"vocabulary_sha256": "0"}
        told.write_text(json.dumps(facts))
    else:  # killed between the two files: as if there were none
        told.unlink()
    if damage == "half":
        assert equal(api.open_run(run).options().lm, kept)
    else:
        with pytest.raises(RunError, match=r"xlasr adapt --resume .* makes it again"):
            api.open_run(run).options()
    api.adapt(None, resume=run)
    assert equal(NGram.load(table), kept)
    assert equal(api.open_run(run).options().lm, kept)


def test_a_recipe_without_one_keeps_none(home: Path, tmp_path: Path) -> None:
    stage = small.stage("ctc", stop={"updates": 2}, evaluate={"every": 2})
    plan, base = small.recipe("ctc", stage), str(home / "base")
    run = api.adapt(home / "tones", base=base, recipe=plan, out=tmp_path / "run", threads=1)
    assert not (run.folder / "lm").exists()
    assert run.options().lm is None
