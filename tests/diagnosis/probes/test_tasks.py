"""Tasks: who is trained and tested on what, what is left out, and what cannot be asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.diagnosis.probes.planted import corpus_of, keys, sentences, with_changes, words

from xlasr.data.corpus import Corpus
from xlasr.data.phones import phonemise
from xlasr.diagnosis.probes.tasks import Task, build_task
from xlasr.errors import DataError, UnknownName, UsageError


def build(name: str, *paths: Path, most: int = 1000) -> Task:
    return build_task(name, [Corpus.open(path) for path in paths], most)


def test_keywords_are_tested_by_another_voice(tmp_path: Path) -> None:
    more = [("vm-x", "train", "a sentence of five words"), ("vm-y", "test", "bye")]
    ana = corpus_of(tmp_path / "ana", [*words(24), *more])
    bea = corpus_of(tmp_path / "bea", words(20), speaker="Bea", voice=1.3)
    lone = corpus_of(tmp_path / "lone", words(8), language="it", source="asterisk-it")
    task = build("keywords", ana, bea, lone)
    assert task.within_language and task.condition == "gsm" and len(task.folds) == 2
    assert task.notes == ["it is left out: it:Ana is its only voice"]
    for fold, held in zip(task.folds, ("Ana", "Bea"), strict=True):
        voices = [{c.utterance.speaker for c in side} for side in (fold.train, fold.dev, fold.test)]
        assert voices == [{"Ana", "Bea"} - {held}, {held}, {held}]
        # all words that both say, each once; dev words of the held-out voice choose
        assert keys(fold.train) == {f"digits/{i}" for i in range(20)}
        assert keys(fold.dev) == {f"digits/{i}" for i in range(1, 20, 4)}
        assert keys(fold.test) == keys(fold.train) - keys(fold.dev)
        assert {c.label for c in fold.test} <= {c.label for c in fold.train}
    with pytest.raises(
        DataError, match=r"two voices of one language.*found es:Ana\. Give a second"
    ):
        build("keywords", ana)
    mute = corpus_of(tmp_path / "mute", words(8), speaker=None)
    with pytest.raises(DataError, match=r"mute/digits/0 does not say who speaks, and keywords"):
        build("keywords", mute, bea)
    long = corpus_of(tmp_path / "long", [("a-1", "train", "one two three")])
    with pytest.raises(DataError, match="found no clip that short"):
        build("keywords", long)


def test_keywords_that_nobody_taught_are_not_asked(tmp_path: Path) -> None:
    ana = corpus_of(tmp_path / "ana", words(20))
    bea = corpus_of(tmp_path / "bea", words(20), speaker="Bea")
    task = build("keywords", ana, bea, most=10)
    for fold in task.folds:
        assert len(fold.train) == 10
        assert {c.label for c in [*fold.test, *fold.dev]} <= {c.label for c in fold.train}
    assert task.sha256 == build("keywords", ana, bea, most=10).sha256  # by a hash, not by chance
    assert task.sha256 != build("keywords", ana, bea).sha256
    far = corpus_of(tmp_path / "far", [("digits/0", "train", "ban"), ("b", "test", "only here")])
    with pytest.raises(DataError, match="two voices"):
        build("keywords", ana, with_changes(far, tmp_path / "cy", speaker="Cy"))


def test_intents_are_families_of_sentences(tmp_path: Path) -> None:
    lines = [*sentences("vm", 20, "mail"), *sentences("conf", 10, "room"), *words(20)]
    lines += [*sentences("confbridge", 10, "bridge"), *sentences("dir", 5, "name")]
    lines += [("vm-again", "test", "mail BAN."), ("alone", "train", "nothing")]
    path = corpus_of(tmp_path / "es", lines)
    task = build("intents", path)
    (fold,) = task.folds
    assert {c.label for c in fold.train} == {"vm", "conf"} == {c.label for c in fold.test}
    assert sum(c.label == "conf" for c in fold.train) == 12  # two families with one subject
    assert not task.within_language and task.condition is None
    assert "vm-again" not in keys(fold.test)  # vm-0 in training says it too
    assert not any("digits" in c.key for c in task.clips)
    assert task.notes == [
        "left out of test: 1 clips whose text is on another side",
        "left out, too few clips or nothing to tell them from: dir (5)",
    ]
    groups = [{c.utterance.group for c in side} for side in (fold.train, fold.dev, fold.test)]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])


def test_intents_of_a_column(tmp_path: Path) -> None:
    buy = corpus_of(tmp_path / "buy", sentences("x", 20, "buy"), source="t", custom={"intent": "b"})
    ask = [(f"y{name}", side, text) for name, side, text in sentences("x", 20, "why")]
    why = corpus_of(tmp_path / "why", ask, source="t", custom={"intent": "ask why"})
    (fold,) = build("intents", buy, why).folds
    assert {c.label for c in fold.test} == {"b", "ask_why"}
    with pytest.raises(DataError, match=r"two classes with at least 8 .*in training stand: b 12"):
        build("intents", buy)
    plain = corpus_of(tmp_path / "plain", sentences("x", 20, "buy"), source="fillets-cs")
    with pytest.raises(DataError, match="plain: no intents"):
        build("intents", plain)


def test_no_group_on_two_sides(tmp_path: Path) -> None:
    lines = [*sentences("vm", 20, "mail"), *sentences("conf", 20, "room")]
    es = corpus_of(tmp_path / "es", lines)
    turned = [(n, {"train": "test", "test": "train"}.get(s, s), t) for n, s, t in lines]
    it = corpus_of(tmp_path / "it", turned, language="it", source="asterisk-it")
    for name in ("intents", "speakers", "phones"):
        with pytest.raises(DataError, match=r"group 'vm-4' is test in es/vm-4 and train in it/vm"):
            build(name, es, it)
    assert build("intents", es).folds


def test_phones(tmp_path: Path) -> None:
    lines = [("a", "train", "buenos días"), ("b", "dev", "¡adiós!"), ("c", "test", "hasta luego")]
    lines += [("d", "train", "..."), ("e", "test", "muy largo " * 40)]
    task = build("phones", corpus_of(tmp_path / "es", lines))
    (fold,) = task.folds
    assert task.writes and [keys(side) for side in (fold.train, fold.dev, fold.test)] == [
        {"a"},
        {"b"},
        {"c"},
    ]
    assert fold.train[0].label == phonemise("buenos días", "es") and " " in fold.train[0].label
    assert task.notes == ["left out: 1 clips over 30 s"]
    odd = corpus_of(tmp_path / "odd", lines[:3], language="qaa")
    with pytest.raises(DataError, match="qaa"):
        build("phones", odd)
    half = corpus_of(tmp_path / "half", lines[:2])
    with pytest.raises(DataError, match="nothing is left on the side 'test'"):
        build("phones", half)


def test_speakers_compete_within_a_language(tmp_path: Path) -> None:
    lines = sentences("a", 20, "x")
    ana = corpus_of(tmp_path / "ana", lines)
    bea = corpus_of(tmp_path / "bea", lines, speaker="Bea Maria")
    rare = corpus_of(tmp_path / "rare", lines[:5], speaker="Cy")
    lone = corpus_of(tmp_path / "lone", lines, language="it", speaker="Dario")
    task = build("speakers", ana, bea, rare, lone)
    (fold,) = task.folds
    assert {c.label for c in fold.test} == {"es:Ana", "es:Bea_Maria"}
    assert task.notes == [
        "left out, too few clips or nothing to tell them from: es:Cy (5), it:Dario (20)"
    ]
    assert task.within_language and task.condition == "gsm"
    with pytest.raises(DataError, match=r"two classes of one language .* es:Ana 12, it:Dario 12"):
        build("speakers", ana, lone)
    # a voice that stands on one side only
    split = [(n, side, t) for n, side, t in lines if side != "test"]
    away = corpus_of(tmp_path / "away", split, speaker="Eva")
    with pytest.raises(DataError, match=r"stand in test too: es:Ana\. Give more"):
        build("speakers", ana, away)
    mute = corpus_of(tmp_path / "mute", lines, speaker=None)
    with pytest.raises(DataError, match="mute/a-0 does not say who speaks, and speakers"):
        build("speakers", ana, mute)


def test_wrong_calls(tmp_path: Path) -> None:
    path = corpus_of(tmp_path / "es", words(8))
    with pytest.raises(UnknownName, match=r"probe task 'speaker'.*Did you mean 'speakers'"):
        build("speaker", path)
    for paths in ((), (path, path)):
        with pytest.raises(UsageError, match="each once"):
            build("speakers", *paths)
