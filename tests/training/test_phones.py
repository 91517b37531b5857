"""Stages that learn phones, letters that begin as phones, and phones of a language never heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small
import torch

from xlasr import api
from xlasr.data.phones import phonemise
from xlasr.data.synthesis import espeak_version
from xlasr.errors import ConfigError, UsageError
from xlasr.models.ctc import CTCModel
from xlasr.training import beginning

pytest.importorskip("espeakng_loader")
FEW = {"stop": {"updates": 4}, "evaluate": {"every": 2}}
PHONES = {"mode": "replace", "text": "phones"}


@pytest.fixture(scope="session")
def italian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("italian")
    return small.write_speech(folder / "it", test=["cab", "fed ace"], language="it").path


def adapt(base: Path, corpus: Path, out: Path, *stages: dict[str, Any], **more: Any) -> api.Run:
    plan = small.recipe("ctc", *stages, **more)
    return api.adapt(corpus, base=str(base), recipe=plan, out=out, threads=1)


def phone_stage(italian: Path, **changes: Any) -> dict[str, Any]:
    data = [{"path": "main"}, {"path": str(italian)}]
    return small.stage(
        "ctc", **{"name": "phones", "output": PHONES, "data": data, **FEW, **changes}
    )


def test_languages_share_one_phone_head(
    whisper_dir: Path, speech: Path, italian: Path, tmp_path: Path
) -> None:
    decode = {"lm_order": 2, "beam": 2}
    run = adapt(whisper_dir, speech, tmp_path / "run", phone_stage(italian), decode=decode)
    model = run.model
    assert isinstance(model, CTCModel) and not run.by_language
    wanted = {p for tag in ("cs", "it") for t in small.TRAIN for p in phonemise(t, tag).split()}
    assert model.tokenizer.symbols == sorted(wanted)
    assert any(len(symbol) > 1 for symbol in wanted)  # what letters would tear apart
    assert model.info["text"] == "phones"
    assert model.info["phones"] == f"espeak-ng {espeak_version()}"
    events = run.summaries[0]["events"]
    unseen = [e["message"] for e in events if e["guard"] == "unseen_letters"]
    in_dev = {p for t in small.DEV for p in phonemise(t, "cs").split()}
    assert bool(unseen) == bool(in_dev - wanted)


def test_errors_are_counted_in_phones(
    whisper_dir: Path, speech: Path, italian: Path, tmp_path: Path
) -> None:
    run = adapt(whisper_dir, speech, tmp_path / "run", phone_stage(italian))
    row = next(row for row in run.metrics if "dev_cer" in row)
    assert row["dev_cer"] == row["dev_wer"]  # of phones both are PER
    # a language it never saw, against espeak-ng's phones
    spanish = small.write_speech(tmp_path / "es", dev=["abc", "cafe"], language="es")
    result = run.evaluate(spanish.path, split="dev")
    assert [u.reference for u in result.adapted.utterances] == [
        phonemise("abc", "es"),
        phonemise("cafe", "es"),
    ]
    n = sum(len(u.reference.split()) for u in result.adapted.utterances)
    assert result.adapted.words.reference == result.adapted.characters.reference == n
    assert result.adapted.normaliser == "phones"
    assert result.base is None  # letters are no comparison
    assert result.card is not None and any("PER" in note for note in result.card.notes)
    with pytest.raises(UsageError, match="writes phones, and a corpus takes texts"):
        api.label(run, speech, tmp_path / "labelled")
    # another phone run is
    second = adapt(run.folder, speech, tmp_path / "second", small.stage(
        "ctc", output={"text": "phones"}, **FEW,
    ))  # fmt: skip
    assert second.evaluate(italian, split="dev").base is not None


def test_letters_begin_as_phones(
    whisper_dir: Path,
    speech: Path,
    italian: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[str, list[torch.Tensor]]] = []
    real = beginning.letter_head

    def spy(model: CTCModel, tokenizer: Any, clip: Any, texts: Any, durations: Any) -> Any:
        head = real(model, tokenizer, clip, texts, durations)
        rows = [model.head.weight.detach().clone(), head.weight.detach().clone()]
        started.append(("".join(tokenizer.symbols), rows))
        return head

    monkeypatch.setattr(beginning, "letter_head", spy)
    letters = {"mode": "replace", "text": "headline", "start": "phones"}
    target = small.stage("ctc", init="phones", output=letters, **FEW)
    phones = phone_stage(italian, stop={"updates": 30}, optim={"lr": 1e-2})
    run = adapt(whisper_dir, speech, tmp_path / "run", phones, target)
    ((symbols, (phone_rows, letter_rows)),) = started
    assert symbols == " abcdef"
    assert torch.equal(letter_rows[0], phone_rows[0])  # the blank
    assert isinstance(run.model, CTCModel) and not run.model.tokenizer.spaced
    # a finished phone run is a start as well
    base = adapt(whisper_dir, speech, tmp_path / "base", phones)
    adapt(base.folder, speech, tmp_path / "on", small.stage("ctc", output=letters, **FEW))
    assert len(started) == 2
    # and each of several heads begins from its own language
    both = {**letters, "heads": "by_language"}
    data = [{"path": "main"}, {"path": str(italian)}]
    adapt(base.folder, speech, tmp_path / "two", small.stage("ctc", output=both, data=data, **FEW))
    assert len(started) == 4


def test_letters_and_phones_are_not_mixed_up(
    whisper_dir: Path, speech: Path, italian: Path, tmp_path: Path
) -> None:
    phones = phone_stage(italian)
    keeps = small.stage("ctc", init="phones", **FEW)
    with pytest.raises(UsageError, match="the head it would keep knows phones"):
        adapt(whisper_dir, speech, tmp_path / "a", phones, keeps)
    letters = small.stage("ctc", name="letters", **FEW)
    wrong = small.stage("ctc", init="letters", output={"mode": "keep", "text": "phones"}, **FEW)
    with pytest.raises(UsageError, match="learns phones, and the head it would keep knows letters"):
        adapt(whisper_dir, speech, tmp_path / "b", letters, wrong)
    start = {"mode": "replace", "start": "phones"}
    none = small.stage("ctc", init="letters", output=start, **FEW)
    with pytest.raises(UsageError, match="needs a model with a phone head"):
        adapt(whisper_dir, speech, tmp_path / "c", letters, none)


def test_a_language_that_espeak_does_not_know(whisper_dir: Path, tmp_path: Path) -> None:
    corpus = small.write_speech(tmp_path / "qaa", language="qaa")
    with pytest.raises(ConfigError, match="no voice for 'qaa'"):
        adapt(
            whisper_dir,
            corpus.path,
            tmp_path / "run",
            small.stage("ctc", output=PHONES, **FEW),
        )
    assert not (tmp_path / "run").exists()
