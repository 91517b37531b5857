"""``xlasr evaluate`` on a real run of a tiny model: everything below the headline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.training import small
from typer.testing import CliRunner

from xlasr import api
from xlasr.cli import app
from xlasr.data import Card, Corpus
from xlasr.data.audio import write_wav
from xlasr.data.writing import write_corpus
from xlasr.errors import UnknownName
from xlasr.reporting import evaluate as evaluating
from xlasr.reporting.evaluation import Evaluation, Kept
from xlasr.scoring import paired, score


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    """Tones; the test clips have two speakers, two durations and a rare letter."""
    made = small.write_speech(folder / "tones", test=["ab ab", "cab", "ab ba cab cab ab", "zab"])
    splits = {name: list(made.split(name)) for name in made.splits}
    splits["test"] = [
        replace(u, speaker=f"voice{i % 2}", group=f"scene{i}") for i, u in enumerate(splits["test"])
    ]
    return write_corpus(folder / "corpus", splits, Card(language="cs", source="tones"))


@pytest.fixture(scope="module")
def run(folder: Path, corpus: Corpus) -> api.Run:
    """A CTC run whose base is a CTC run too, so that the base has something to say."""
    whisper = small.write_whisper(folder / "whisper")
    short = {"stop": {"updates": 3}, "evaluate": {"every": 3}}
    plan = small.recipe("ctc", small.stage("ctc", **short))
    first = api.adapt(corpus.path, base=str(whisper), recipe=plan, out=folder / "first", threads=1)
    longer = small.recipe("ctc", small.stage("ctc", output={"mode": "keep"}))
    return api.adapt(
        corpus.path, base=str(first.folder), recipe=longer, out=folder / "run", threads=1
    )


@pytest.fixture(scope="module")
def result(run: api.Run, folder: Path) -> Evaluation:
    other = small.write_speech(folder / "other", test=["ba ba", "ab cab", "cab cab", "ab", "ba a"])
    return api.evaluate(run, conditions=["gsm", "noise:60"], also=[other.path])


def test_rare_words_are_counted_in_the_training_text(result: Evaluation, corpus: Corpus) -> None:
    card = result.card
    assert card is not None and card.rare is not None
    words = [word for u in corpus.split("train") for word in u.text.split()]
    assert card.rare.training_words == len(words)
    common = [w for u in corpus.split("test") for w in u.text.split() if words.count(w) >= 5]
    assert card.rare.common.reference == len(common)
    assert card.score == result.adapted


def test_the_parts_are_the_whole(result: Evaluation) -> None:
    assert set(result.parts) == {
        "duration",
        "speech rate",
        "signal-to-noise ratio, estimated",
        "speaker",
    }
    for parts in result.parts.values():
        assert sum(p.score.characters.errors for p in parts) == result.adapted.characters.errors
        assert sum(len(p.score.utterances) for p in parts) == 4
    assert [p.name for p in result.parts["speaker"]] == ["voice0", "voice1"]


def test_conditions_change_the_sound_and_nothing_else(
    result: Evaluation, run: api.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    gsm, whisper = result.conditions
    assert (gsm.name, whisper.name) == ("gsm", "noise:60")
    for found in (gsm, whisper):
        assert found.base is not None
        assert [u.id for u in found.adapted.utterances] == [u.id for u in result.adapted.utterances]
    # noise at 60 dB is not heard, so base and model say what they say without it
    assert whisper.adapted.cer == pytest.approx(result.adapted.cer, abs=0.1)
    heard = []
    real = evaluating.recognise

    def spy(model: object, clips: object, *rest: object) -> object:
        heard.append(clips(0))  # type: ignore[operator]
        return real(model, clips, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluating, "recognise", spy)
    split = Corpus.open(run.facts["corpus"]["path"]).split("test")
    for name in (None, "gsm", "noise:0", "noise:0"):
        evaluating.transcribe_split(run.model, split, run.options(), condition=name)
    plain, phone, noisy, again = heard
    assert len(plain) == len(phone) == len(noisy)
    assert np.abs(phone - plain).max() > 1e-3
    assert np.mean((noisy - plain) ** 2) == pytest.approx(np.mean(plain**2), rel=0.01)
    assert np.array_equal(noisy, again)


def test_what_should_be_kept_has_a_verdict(result: Evaluation) -> None:
    (kept,) = result.also
    assert kept.base is not None and kept.paired is not None
    assert len(kept.adapted.utterances) == 5
    right = {str(i): "abcd" for i in range(12)}
    wrong = dict.fromkeys(right, "abxx")
    good, bad = score(right, right), score(right, wrong)
    found = {
        name: Kept("c", "cs", "test", after, before, paired(before, after)).verdict
        for name, before, after in (("worse", good, bad), ("better", bad, good), ("kept", bad, bad))
    }
    assert found == {name: name for name in found}
    assert Kept("c", "cs", "test", good, None, None).verdict == "not known"


def test_everything_is_in_the_files(result: Evaluation, run: api.Run) -> None:
    facts = json.loads((run.folder / "evaluations" / "test.json").read_text("utf-8"))
    assert facts["scorecard"]["rare_words"]["threshold"] == 5
    assert [c["name"] for c in facts["conditions"]] == ["gsm", "noise:60"]
    assert facts["also"][0]["verdict"] == result.also[0].verdict
    assert facts["also"][0]["adapted_cer"] == result.also[0].adapted.cer
    seconds = sum(u.duration_s for u in Corpus.open(facts["corpus"]).split("test"))
    assert facts["speed"]["audio_s"] == pytest.approx(seconds, abs=0.1)
    assert "model-index" in (run.folder / "README.md").read_text("utf-8")
    page = (run.folder / "report.html").read_text("utf-8")
    for words in ("By training count: rare is below 5", "By speaker", "opus:6 is", "other (cs)"):
        assert words in page


def test_the_command_shows_it_and_names_a_wrong_condition(run: api.Run, tmp_path: Path) -> None:
    terms = tmp_path / "terms.txt"
    terms.write_text("cab\n", "utf-8")
    line = ["evaluate", str(run.folder), "--condition", "gsm", "--terms", str(terms)]
    shown = CliRunner().invoke(app, [*line, "--rare-below", "2"], catch_exceptions=False).output
    assert "rare is below 2" in shown and "terms" in shown and "real-time factor" in shown
    rows = [row.split() for row in shown.splitlines()]
    assert any(row[:1] == ["gsm"] and row.count("%") == 4 for row in rows)
    with pytest.raises(UnknownName, match="unknown condition 'gms'"):
        api.evaluate(run, conditions=["gms"])


def test_rare_words_need_the_text_that_the_run_was_trained_on(
    run: api.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {**run.facts, "corpus": {**run.facts["corpus"], "sha256": "0" * 64}}
    changed = api.Run(run.folder)
    monkeypatch.setitem(changed.__dict__, "facts", gone)
    card = api.evaluate(changed).card
    assert card is not None and card.rare is None


def test_a_clip_of_silence_has_no_ratio_that_breaks_anything(run: api.Run, tmp_path: Path) -> None:
    path = tmp_path / "silent.wav"
    write_wav(path, np.zeros(16_000, np.float32))
    one = next(iter(Corpus.open(run.facts["corpus"]["path"]).split("test")))
    silent = replace(one, id="silent", audio=path, start_s=0.0, duration_s=1.0)
    card = Card(language="cs", source="tones")
    made = write_corpus(tmp_path / "c", {"train": [], "dev": [], "test": [silent]}, card)
    found = api.evaluate(run, made.path, conditions=["noise:10", "gsm"])
    assert len(found.parts["signal-to-noise ratio, estimated"]) == 1
