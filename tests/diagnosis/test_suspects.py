"""Swapped transcripts come out on top; the ranking opens a run from disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests import tiny
from tests.alignment.spoken import fake_model, say
from tests.diagnosis.patients import SMALL, Splits, resound, voice, written

from xlasr.data.audio import write_wav
from xlasr.data.card import Card
from xlasr.data.corpus import Corpus, Utterance
from xlasr.data.writing import write_corpus
from xlasr.diagnosis import check
from xlasr.diagnosis.suspects import Ranked, rank
from xlasr.errors import RunError, UnknownName
from xlasr.models import run as run_on_disk
from xlasr.models.hub import find_base
from xlasr.models.run import from_base, save_model
from xlasr.models.tokenizer import CharTokenizer

WORDS = "ryba plave pod lodi kapitan mapu voda most domu reka sestra vidi moje hledam".split()


def said(folder: Path, n: int) -> list[Utterance]:
    """Utterances that the fake model hears perfectly."""
    rng = np.random.default_rng(1)
    found = []
    for i in range(n):
        text = " ".join(rng.choice(WORDS, 4, replace=False))
        path = folder / f"u{i}.wav"
        write_wav(path, say(text))
        found.append(
            Utterance(f"u{i}", path, 0.0, len(say(text)) / 16_000, text, "cs", None, f"g{i}")
        )
    return found


def run_of(folder: Path, corpus_sha256: str = "another") -> Path:
    """A finished CTC run with random weights."""
    base = find_base(str(tiny.speech_dir(folder / "base", "wav2vec2")))
    letters = CharTokenizer(" abcdefghijklmnopqrstuvwxyzáéíóúýčďěňřšťůž")
    model = from_base(base, "ctc", context=None, language="cs", alphabet=letters)
    (folder / "run/model").mkdir(parents=True)
    save_model(model.eval(), folder / "run/model", base.folder)
    (folder / "run/run.json").write_text(json.dumps({"corpus": {"sha256": corpus_sha256}}))
    return folder / "run"


def test_swapped_transcripts_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = said(tmp_path, 150)
    for i in (10, 60, 110):  # 2 %
        utterances[i] = replace(utterances[i], text=utterances[i + 1].text)
    corpus = write_corpus(tmp_path / "corpus", {"train": utterances}, Card("cs"))
    monkeypatch.setattr(run_on_disk, "load_model", lambda folder: fake_model())
    (tmp_path / "run/model").mkdir(parents=True)
    done: list[float] = []
    ranked, note, unread = rank(corpus, tmp_path / "run", ["train"], done.append)
    assert {entry.id for entry in ranked[:3]} == {"u10", "u60", "u110"}
    assert ranked[0].heard != ranked[0].text and ranked[-1].heard == ranked[-1].text
    assert sum(done) == pytest.approx(sum(u.duration_s for u in utterances), abs=0.01)
    assert (note, unread) == ("", [])


def test_the_ranking_with_a_run_on_disk(tmp_path: Path, splits: Splits) -> None:
    splits["train"] = splits["train"][:6]
    corpus = written(tmp_path / "corpus", splits)
    run = run_of(tmp_path, corpus.sha256)
    found = check(corpus.path, run=run, audio=False, thresholds=SMALL)
    assert found.suspects is not None
    assert len(found.suspects) == 6 + 8 + 8
    scores = [entry.score for entry in found.suspects]
    assert scores == sorted(scores) and max(scores) <= 0
    assert "has learnt the transcripts" in found.suspects_note
    one = check(corpus.path, run=run, suspect_splits=["dev"], audio=False, thresholds=SMALL)
    assert one.suspects is not None and {entry.split for entry in one.suspects} == {"dev"}
    assert one.suspects_note == ""  # dev was not learnt
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False))["suspects"][0]["split"] == "dev"


@pytest.mark.parametrize("audio", [True, False])
def test_a_missing_clip_is_a_finding_and_the_others_are_ranked(
    tmp_path: Path, splits: Splits, audio: bool
) -> None:
    for name in ("dev-3", "dev-5"):  # files of their own: the others are shared by tests
        resound(splits, name, voice(2.0, seed=7), tmp_path)
    corpus = written(tmp_path / "corpus", splits)
    (tmp_path / "dev-3-again.wav").unlink()
    (tmp_path / "dev-5-again.wav").write_bytes(b"no sound")
    done = check(
        corpus.path, run=run_of(tmp_path), suspect_splits=["dev"], audio=audio, thresholds=SMALL
    )
    assert done.suspects is not None
    assert sorted(entry.id for entry in done.suspects) == [f"dev-{i}" for i in (0, 1, 2, 4, 6, 7)]
    (finding,) = (f for f in done.findings if f.name == "unreadable audio")
    assert [(r.split, r.id) for r in finding.records] == [("dev", "dev-3"), ("dev", "dev-5")]
    assert "2 clips of 76" in finding.message and "dev-3-again.wav" in finding.message
    assert done.findings[0].severity == finding.severity == "blocking"
    assert finding.fixable is audio  # without the pass, a repair does not know of them


def test_a_clip_shorter_than_a_frame_is_the_most_suspicious(tmp_path: Path, splits: Splits) -> None:
    splits["dev"][2] = replace(splits["dev"][2], duration_s=0.001)
    corpus = written(tmp_path / "corpus", splits)
    done = check(corpus.path, run=run_of(tmp_path), suspect_splits=["dev"], audio=False)
    assert done.suspects is not None and len(done.suspects) == 8
    assert (done.suspects[0].id, done.suspects[0].score) == ("dev-2", -np.inf)


def test_what_cannot_be_ranked(tmp_path: Path, splits: Splits) -> None:
    corpus: Corpus = written(tmp_path / "corpus", splits)
    with pytest.raises(RunError, match="no finished run"):
        check(corpus.path, run=tmp_path, audio=False)
    with pytest.raises(UnknownName, match="split"):
        check(corpus.path, run=tmp_path, suspect_splits=["tset"], audio=False)


def test_no_infinity_in_json() -> None:
    assert Ranked("train", "a", -np.inf, "abc", "").to_dict()["score"] is None
