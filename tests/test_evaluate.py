"""``xlasr evaluate`` on a real run of a tiny model: everything below the headline."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from tests.training import small
from typer.testing import CliRunner

from xlasr import api
from xlasr.cli import app
from xlasr.config import DecodeSettings
from xlasr.data import Card, Corpus
from xlasr.data.audio import write_wav
from xlasr.data.writing import write_corpus
from xlasr.errors import UnknownName, UsageError
from xlasr.reporting import evaluate as evaluating
from xlasr.reporting.compare import compare
from xlasr.reporting.evaluation import Evaluation
from xlasr.reporting.terminal import show_evaluation
from xlasr.scoring import Score, rate_interval
from xlasr.scoring.confidence import ONE_VOICE


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
    assert kept.change is not None
    assert kept.change.value == pytest.approx(kept.paired.difference)
    assert kept.verdict != "not known"


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
    for words in ("By training count: rare is below 5", "By speaker", "opus:6 is", "other (cs)",
                  "Commonest substitutions"):  # fmt: skip
        assert words in page


def test_the_command_shows_it_and_names_a_wrong_condition(run: api.Run, tmp_path: Path) -> None:
    terms = tmp_path / "terms.txt"
    terms.write_text("cab\n", "utf-8")
    line = ["evaluate", str(run.folder), "--condition", "gsm", "--terms", str(terms)]
    shown = CliRunner().invoke(app, [*line, "--rare-below", "2"], catch_exceptions=False).output
    assert "rare is below 2" in shown and "terms" in shown and "real-time factor" in shown
    rows = [row.split() for row in shown.splitlines()]
    assert any(row[:1] == ["gsm"] and row.count("%") == 4 and "to" in row for row in rows)
    assert "commonest substitutions" in shown
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


def test_clips_longer_than_the_model_takes_are_cut_and_said(
    run: api.Run, tmp_path: Path, english_clips: list[NDArray[np.float32]]
) -> None:
    """The tiny Whisper hears 3 s: real speech of three times that, between two of its own clips."""
    path = tmp_path / "long.wav"
    write_wav(path, np.concatenate(english_clips)[: 9 * 16_000])
    before, after = list(Corpus.open(run.facts["corpus"]["path"]).split("test"))[:2]
    long = replace(before, id="long", audio=path, start_s=0.0, duration_s=9.0)
    card = Card(language="cs", source="tones")
    made = write_corpus(tmp_path / "long", {"test": [before, long, after]}, card)
    alone = evaluating.transcribe_split(
        run.model,
        write_corpus(tmp_path / "short", {"test": [before, after]}, card).split("test"),
        run.options(),
    )
    found = evaluating.transcribe_split(run.model, made.split("test"), run.options())
    assert [found[0].text, found[2].text] == [r.text for r in alone]
    pieces = [s.text for s in run.transcribe(path)]
    assert len(pieces) >= 3
    assert found[1].text == " ".join(pieces)
    assert found[1].confidence is not None and 0 < found[1].confidence < 1
    (event,) = [e for e in api.evaluate(run, made.path).events if e["guard"] == "long_clips"]
    assert event["message"] == "1 clips are longer than the 3 s that it takes"


@pytest.fixture
def fresh(run: api.Run, result: Evaluation, tmp_path: Path) -> api.Run:
    """A copy of the run with its main evaluation."""
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    shutil.copytree(run.folder, tmp_path / "copy", symlinks=True)
    for path in (tmp_path / "copy" / "evaluations").iterdir():
        path.unlink()
    api.evaluate(tmp_path / "copy")
    return api.open_run(tmp_path / "copy")


def held(run: api.Run) -> dict[str, bytes]:
    """What the main evaluation has written."""
    names = ("report.html", "evaluations/test.json", "evaluations/test.tsv")
    return {name: (run.folder / name).read_bytes() for name in names}


def test_no_evaluation_takes_the_place_of_another(
    fresh: api.Run, corpus: Corpus, tmp_path: Path
) -> None:
    before = held(fresh)
    beam = api.evaluate(fresh, decode=DecodeSettings(beam=2))
    other = small.write_speech(tmp_path / "my other", test=["ba ba", "ab cab", "cab", "ab", "ba a"])
    elsewhere = api.evaluate(fresh, other.path, decode=DecodeSettings(beam=3, length_bonus=1.5))
    again = api.evaluate(fresh, corpus.path)  # its own corpus, named
    assert (beam.name, again.name) == ("test-beam2", "test")
    assert elsewhere.name == "test-my-other-beam3-length-bonus1.5"
    evaluations = fresh.folder / "evaluations"
    assert again.report == fresh.folder / "report.html"
    assert beam.report == evaluations / "test-beam2.html" and beam.report.exists()
    assert json.loads((evaluations / "test-beam2.json").read_text("utf-8"))["decode"]["beam"] == 2
    speed = json.loads(before["evaluations/test.json"])["speed"]
    after = held(fresh)
    again_facts = json.loads(after["evaluations/test.json"])
    assert {**again_facts, "speed": speed} == json.loads(before["evaluations/test.json"])
    assert after["evaluations/test.tsv"] == before["evaluations/test.tsv"]
    assert after["report.html"] == before["report.html"]
    card = (fresh.folder / "README.md").read_text("utf-8")
    assert card.index("| corpus | test | greedy | this one") < card.index("| test | beam 2 |")
    found = compare([fresh.folder, f"{fresh.folder}:test-beam2"])
    assert [r.row.score for r in found.results] == [again.adapted, beam.adapted]


def test_a_name_belongs_to_one_configuration(fresh: api.Run) -> None:
    wide = DecodeSettings(beam=2)
    assert api.evaluate(fresh, name="mine", decode=wide).name == "mine"
    before = (path := fresh.folder / "evaluations" / "mine.json").read_bytes()
    with pytest.raises(UsageError, match=r"mine.json holds another evaluation .*'beam': 2"):
        api.evaluate(fresh, name="mine", decode=DecodeSettings(beam=3))
    assert path.read_bytes() == before
    api.evaluate(fresh, name="mine", decode=wide)  # the same may be written again
    main = held(fresh)
    with pytest.raises(UsageError, match="without --name it is called test-beam2"):
        api.evaluate(fresh, name="test", decode=wide)
    assert held(fresh) == main
    for wrong in ("a/b", "../x", "a b", "run:mine", ".hidden"):
        with pytest.raises(UsageError, match="no name of a file"):
            api.evaluate(fresh, name=wrong)
    line = f"evaluate {fresh.folder} --beam 2 --lines 0".split()
    for more, name in ((["--name", "told"], "told"), (["--int8"], "test-beam2-int8")):
        shown = CliRunner().invoke(app, [*line, *more], catch_exceptions=False).output
        assert f"{name}.html" in shown and (fresh.folder / "evaluations" / f"{name}.json").exists()
        assert ("8-bit weights: " in shown) == ("--int8" in more)
    assert "beam 2, int8" in (fresh.folder / "README.md").read_text("utf-8")


def test_what_is_written_again_with_less_is_said(fresh: api.Run) -> None:
    api.evaluate(fresh, conditions=["gsm"])
    out = io.StringIO()
    api.evaluate(fresh, with_base=False, console=Console(file=out, width=200))
    assert "note: test.json is written again, without its earlier base, gsm" in out.getvalue()
    api.evaluate(fresh, console=Console(file=(out := io.StringIO()), width=200))
    assert "note:" not in out.getvalue()


def test_the_licence_of_the_weights_is_remembered(fresh: api.Run) -> None:
    def written() -> str:
        return (fresh.folder / "README.md").read_text("utf-8")

    assert "Licence of these weights: not stated" in written()  # that of the tones is unknown
    api.evaluate(fresh, licence="CC-BY-SA-4.0")
    assert "license: cc-by-sa-4.0" in written()
    api.evaluate(fresh)
    assert "license: cc-by-sa-4.0" in written()
    api.evaluate(fresh, decode=DecodeSettings(beam=2), licence="MIT")
    api.evaluate(fresh)
    assert "license: mit" in written()


def test_a_model_no_better_than_its_base_is_told_and_counted(
    fresh: api.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    itself = {**fresh.facts, "base": {**fresh.facts["base"], "name": str(fresh.folder)}}
    monkeypatch.setitem(fresh.__dict__, "facts", itself)
    found = api.evaluate(fresh)
    assert found.base is not None and found.adapted.cer == found.base.cer
    assert found.guards == {"worse_than_base": 1}
    shown = json.loads((fresh.folder / "evaluations" / "test.json").read_text("utf-8"))
    assert shown["guards"] == {"worse_than_base": 1}
    row = compare([fresh.folder]).results[0].row
    assert row.guards["worse_than_base"] == 1
    assert any("no better than its unadapted base" in n for n in compare([fresh.folder]).notes)
    assert "worse_than_base" in (fresh.folder / "report.html").read_text("utf-8")


def test_one_voice_is_noted_where_its_blocks_have_an_interval(
    fresh: api.Run, corpus: Corpus, tmp_path: Path
) -> None:
    said = [replace(u, speaker="anna", group=f"block{u.id}") for u in corpus.split("test")]
    card = Card(language="cs", source="tones")
    alone = write_corpus(tmp_path / "alone", {"train": [], "dev": [], "test": said}, card)
    found = api.evaluate(fresh, alone.path)
    assert found.speakers == 1 and len(found.adapted.per_group("cer")[0]) == 4
    out = io.StringIO()
    show_evaluation(Console(file=out, width=200), found)
    assert ONE_VOICE in out.getvalue()
    assert found.report is not None and ONE_VOICE in found.report.read_text("utf-8")
    assert ONE_VOICE in compare([f"{fresh.folder}:{found.name}"]).notes[0]
    several = api.evaluate(fresh)
    assert several.speakers == 2
    show_evaluation(Console(file=(out := io.StringIO()), width=200), several)
    assert ONE_VOICE not in out.getvalue()


JAPANESE = ["東京に行きました。", "今日は、良い天気です。", "猫がいる", "そうですね", "東京へ"]


@pytest.fixture
def japanese(corpus: Corpus, tmp_path: Path) -> Corpus:
    """Tones that are said to be Japanese: what is tested is the scoring."""
    clips = list(corpus.split("test")) + list(corpus.split("dev"))
    said = [
        replace(u, id=f"ja{i}", text=text, group=f"g{i}", language="ja")
        for i, (u, text) in enumerate(zip(clips, JAPANESE, strict=False))
    ]
    card = Card(language="ja", source="tones")
    return write_corpus(tmp_path / "ja", {"train": [], "dev": [], "test": said}, card)


def shown_as(found: Evaluation, **options: int) -> str:
    out = io.StringIO()
    show_evaluation(Console(file=out, width=options.get("width", 100)), found, lines=3)
    return " ".join(out.getvalue().replace("\u00a0", " ").split())


def test_japanese_has_its_three_scores_and_no_wer(fresh: api.Run, japanese: Corpus) -> None:
    found = api.evaluate(fresh, japanese.path, conditions=["noise:60"], also=[japanese.path])
    assert found.adapted.normaliser == "unspaced" and found.base is not None
    assert found.base.normaliser == "unspaced" and found.also[0].adapted.normaliser == "unspaced"
    names = [row.name for row in found.rows]
    assert names == [
        "CER, unspaced",
        "WER, MeCab words",
        "CER, equal by reading",
        "CER, as written",
    ]
    assert all(row.paired is not None and row.adapted.interval.low >= 0 for row in found.rows)
    told = shown_as(found)
    for text in ("normaliser unspaced v1", "MeCab words", "equal by reading", "unidic-lite",
                 "no spaces between words in this script"):  # fmt: skip
        assert text in told, text
    assert "WER, as written" not in told and "channel CER 95 % base CER" in told
    assert found.report is not None
    page = found.report.read_text("utf-8")
    for text in ("CER, unspaced", "WER, MeCab words", "CER, equal by reading", "unidic-lite",
                 "Case, punctuation and spaces"):  # fmt: skip
        assert text in page, text
    assert "Word error rate (WER)" not in page and "<span>WER " not in page
    written = json.loads((fresh.folder / "evaluations" / f"{found.name}.json").read_text("utf-8"))
    kept = written["japanese"]["adapted"]["words"]
    assert Score.from_dict(kept) == found.card.japanese.words  # type: ignore[union-attr]
    assert written["japanese"]["base"]["readings"]["utterances"]
    assert "WER over MeCab's words" in (fresh.folder / "README.md").read_text("utf-8")
    against = compare([f"{fresh.folder}:{found.name}"])
    assert against.metric == "cer" and list(against.results[0].rates) == ["cer"]
    more = against.results[0].more
    words = rate_interval(found.card.japanese.words, "wer")  # type: ignore[union-attr]
    assert more["WER, MeCab words"].ends == words.ends and "CER, equal by reading" in more


def test_without_the_extra_japanese_is_scored_by_characters_and_it_is_said(
    fresh: api.Run, japanese: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlasr.scoring import japanese as scorer

    scorer._tagger.cache_clear()
    scorer.dictionary_name.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "fugashi", None)  # as if not installed
    try:
        found = api.evaluate(fresh, japanese.path)
    finally:
        monkeypatch.undo()
        scorer._tagger.cache_clear()
    assert [row.name for row in found.rows] == ["CER, unspaced", "CER, as written"]
    assert found.report is not None
    for told in (shown_as(found), found.report.read_text("utf-8").replace("&#39;", "'")):
        assert "pip install 'xlasr[japanese]'" in told and "MeCab words" not in told
    notes = compare([f"{fresh.folder}:{found.name}"]).notes
    assert any("pip install 'xlasr[japanese]'" in note for note in notes)
