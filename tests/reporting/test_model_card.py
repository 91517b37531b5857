"""The model card: read by the Hub's own reader, true to the scores, plain text inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

from xlasr.data.corpus import Corpus
from xlasr.reporting.formatting import per_cent, span
from xlasr.reporting.model_card import write_model_card
from xlasr.scoring import Score, rate_interval, score
from xlasr.scoring.confidence import ONE_VOICE
from xlasr.scoring.japanese import score_japanese

from .conftest import EVIL
from .planted import corpus_at, run_at


def card_of(run: Path, card: Any, **options: Any) -> tuple[Path, Score]:
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    evaluation = json.loads((run / "evaluations" / "test.json").read_text(encoding="utf-8"))
    path = write_model_card(run, facts, card, evaluation, **options)
    return path, Score.from_dict(evaluation["adapted"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_at(tmp_path / "my-run", 8, corpus=corpus_at(tmp_path / "corpus"))


@pytest.fixture
def card(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.parent / "corpus" / "card.json").read_text("utf-8"))
    return found


def test_the_hub_reads_it_and_writes_the_same(run: Path, card: dict[str, Any]) -> None:
    path, mine = card_of(run, card)
    assert path == run / "README.md"
    read = ModelCard.load(path)
    data = read.data
    assert data.language == "cs" and data.base_model == "openai/whisper-tiny.en"
    assert data.datasets == ["planted"] and data.metrics == ["wer", "cer"]
    assert data.license == "cc0-1.0"  # of the speech; nobody has stated another
    assert {"automatic-speech-recognition", "xlasr", "ctc", "whisper"} <= set(data.tags)
    results = data.eval_results
    assert data.model_name == "my-run" and results is not None
    assert [(r.metric_type, r.metric_value, r.dataset_split) for r in results] == [
        ("wer", round(100 * mine.wer, 2), "test"),
        ("cer", round(100 * mine.cer, 2), "test"),
    ]
    raw = metadata_load(path)
    assert raw == yaml.safe_load(data.to_yaml()) and len(raw["model-index"]) == 1


def test_the_text_says_what_the_scores_say(run: Path, card: dict[str, Any]) -> None:
    path, mine = card_of(run, card)
    text = path.read_text(encoding="utf-8")
    base = Score.from_dict(json.loads((run / "evaluations/test.json").read_text("utf-8"))["base"])
    for name, found in (("this one", mine), ("unadapted base", base)):
        wer, cer = rate_interval(found, "wer"), rate_interval(found, "cer")
        cells = (per_cent(wer.value), span(wer.ends), per_cent(cer.value), span(cer.ends))
        assert f"{name} | {' | '.join(cells)} |" in text
    for part in (
        "One voice only.",
        "training heard 1 speaker.",
        "licence CC0-1.0",
        "it was not measured",
        "xlasr transcribe my-run",
        'xlasr.open_run("my-run")',
        "xlasr adapt corpus --out run",
        "| commit | 0123456789ab |",
        "| seed | 0 |",
        "torch 2.13.0",
        "200 CPU-seconds",
        "| adapt | 1\u00a0M | 2\u00a0M | 40 | 60.0 min | 25.0\u00a0% |",
        "Licence of these weights: CC0-1.0, that of the speech",
    ):
        assert part in text, part
    assert "20 utterances of 5 groups" in text


def test_other_evaluations_are_kept_and_equal_ones_shown_once(
    run: Path, card: dict[str, Any]
) -> None:
    corpus = Corpus.open(run.parent / "corpus")
    run_at(run, 3, name="test-greedy", decode={"beam": 1}, corpus=corpus)
    run_at(run, 8, name="test-copy", corpus=corpus)
    data = ModelCard.load(card_of(run, card)[0]).data
    assert data.eval_results is not None
    assert [r.metric_name for r in data.eval_results if r.metric_type == "wer"] == [
        "Test WER in per cent (beam 4)",
        "Test WER in per cent (greedy)",
    ]
    text = (run / "README.md").read_text(encoding="utf-8")
    assert text.count("unadapted base |") == 1
    before = text
    assert card_of(run, card)[0].read_text(encoding="utf-8") == before  # made again, the same


def test_a_stated_licence_stands_in_the_metadata(run: Path, card: dict[str, Any]) -> None:
    data = ModelCard.load(card_of(run, card, licence="CC-BY-SA-4.0")[0]).data
    assert data.license == "cc-by-sa-4.0"
    text = (run / "README.md").read_text(encoding="utf-8")
    assert "Licence of these weights: CC-BY-SA-4.0." in text and "licence CC0-1.0" in text
    data = ModelCard.load(card_of(run, card, licence="Community licence")[0]).data
    assert (data.license, data.license_name) == ("other", "Community licence")


def test_an_unknown_licence_is_not_made_up(run: Path, card: dict[str, Any]) -> None:
    path, _ = card_of(run, {**card, "licence": "unknown"})
    assert ModelCard.load(path).data.license is None
    assert "Licence of these weights: not stated." in path.read_text(encoding="utf-8")


def test_one_voice_is_said_beside_its_interval(run: Path, card: dict[str, Any]) -> None:
    assert ONE_VOICE not in card_of(run, card)[0].read_text(encoding="utf-8")
    run_at(run, 8, speakers=1, corpus=Corpus.open(run.parent / "corpus"))
    assert ONE_VOICE in card_of(run, card)[0].read_text(encoding="utf-8")


def test_what_was_forgotten_is_said(run: Path, card: dict[str, Any]) -> None:
    also = {"corpus": "/x/en", "language": "en", "base_cer": 0.05, "adapted_cer": 0.2}
    run_at(run, 8, also=[{**also, "verdict": "worse"}], corpus=None)
    text = card_of(run, card)[0].read_text(encoding="utf-8").replace("\u00a0", " ")
    assert "en (en): CER 5.0 % before adaptation, 20.0 % after (worse)." in text


def test_a_path_is_no_base_on_the_hub_and_no_words_no_wer(tmp_path: Path) -> None:
    said = {f"g{i}.{i}": f"今日は良い天気です{i}" for i in range(6)}
    run = run_at(tmp_path / "ja", said=said, adapted=score(said, said).to_dict())
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    facts["base"]["name"] = "/home/me/base"
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    data = ModelCard.load(card_of(run, {})[0]).data
    assert data.base_model is None and data.metrics == ["cer"]
    assert data.eval_results is not None and [r.metric_type for r in data.eval_results] == ["cer"]
    found = score_japanese(said, dict.fromkeys(said, "きょうは良い天気です"))
    parts = {"words": found.words.to_dict(), "readings": found.readings.to_dict()}
    run_at(
        tmp_path / "ja", said=said, adapted=score(said, said, normaliser="unspaced").to_dict(),
        japanese={"adapted": {"dictionary": found.dictionary, **parts}},
        scorecard={"notes": ["no spaces between words"]},
    )  # fmt: skip
    text = card_of(run, {})[0].read_text(encoding="utf-8")
    wer, cer = rate_interval(found.words, "wer"), rate_interval(found.readings, "cer")
    assert f"WER over MeCab's words {per_cent(wer.value)} [{span(wer.ends)}]" in text
    assert f"reading equal {per_cent(cer.value)} [{span(cer.ends)}]" in text
    assert "unidic-lite" in text and "Note: no spaces between words." in text
    assert "punctuation, case and spaces do not count (normaliser unspaced" in text


def test_text_from_outside_is_plain_text(run: Path, card: dict[str, Any]) -> None:
    evil = f"{EVIL}\n---\n# x\n| a | [link](http://x) ![i](http://y)"
    changed = {**card, "source": evil, "licence": evil, "attribution": evil, "warnings": [evil]}
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    facts |= {"recipe": evil, "language": "cs"}
    facts["environment"]["command"] = f"xlasr adapt ```{evil}"
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    path, _ = card_of(run, changed)
    text = path.read_text(encoding="utf-8")
    body = text.split("\n---\n", 1)[1]
    prose = [line for line in body.splitlines() if not line.startswith("xlasr adapt ```")]
    for line in prose:
        for mark in ("<script", "<img", "](http"):
            at = line.find(mark)
            assert at < 0 or line[at - 1] == "\\", line
    assert "# x" not in [line.strip() for line in prose]
    assert "````\nxlasr adapt ```" in body  # the fence is longer than what it holds
    assert ModelCard.load(path).data.language == "cs"
