"""Probes on planted sound: they find what is there, and nothing that is not."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from tests.diagnosis.probes.planted import Lines, corpus_of, sentences, with_changes, words
from torch import Tensor, nn
from typer.testing import CliRunner

import xlasr
from xlasr.cli.app import app
from xlasr.data.corpus import Corpus
from xlasr.diagnosis.probes import ProbeResult, ProbeSettings, probe
from xlasr.diagnosis.probes.heads import LabelProbe, LayerSum, Probe, train_probe
from xlasr.diagnosis.probes.states import SHORT, Ear, Frames, open_encoder
from xlasr.diagnosis.probes.tasks import Clip, build_task
from xlasr.errors import BaseError, TrainingStopped, UsageError
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import from_base, load_model, save_model
from xlasr.models.tokenizer import CharTokenizer

FEW = ProbeSettings(updates=150)
LONG = ProbeSettings(lr=0.05, batch_s=8.0)
"""As a tiny encoder with random weights needs it."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.whisper_dir(tmp_path_factory.mktemp("base") / "whisper", seed=1))


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two voices of Spanish, two of Italian; a sentence is on one side for all of them."""
    root = tmp_path_factory.mktemp("voices")
    lines = sentences("vm", 20, "ba")
    return [
        corpus_of(root / name, lines, language=name[:2], speaker=name, voice=height)
        for name, height in (("es-a", 1.0), ("es-b", 1.4), ("it-a", 0.8), ("it-b", 1.2))
    ]


def first(result: ProbeResult) -> float:
    return result.error.value


def test_voices_are_found(base: str, voices: list[Path]) -> None:
    found = probe(base, voices, "speakers", settings=FEW)
    assert [row.language for row in found.rows] == ["", "es", "it"]
    assert [row.n_clips for row in found.rows] == [16, 8, 8]
    assert {row.n_classes for row in found.rows} == {2} and found.condition == "gsm"
    assert {row.usual for row in found.rows} == {0.5}
    assert first(found) <= 0.2
    assert len(found.layers) == 4 and sum(found.layers) == pytest.approx(1, abs=1e-3)
    assert found.error.n_groups == 4  # a prompt is one group, whoever says it
    assert found.context == {"slack": SHORT.slack, "multiple": SHORT.multiple}
    assert found.n_train == [48] and found.n_dev == [16] and not found.random
    assert replace(found, cpu_s=0) == replace(
        probe(base, voices, "speakers", settings=FEW), cpu_s=0
    )


def test_what_is_not_in_the_sound_is_not_found(
    base: str, voices: list[Path], tmp_path: Path
) -> None:
    # the same sounds under two names: each test clip is answered twice, and once it is wrong
    again = with_changes(voices[0], tmp_path / "again", speaker="es-z")
    assert first(probe(base, [voices[0], again], "speakers", settings=FEW)) == 0.5


def test_intents_and_words(base: str, tmp_path: Path) -> None:
    lines = [*sentences("vm", 40, "aaaaa"), *sentences("conf", 20, "zzzzz")]
    found = probe(base, [corpus_of(tmp_path / "es", lines)], "intents", settings=FEW)
    assert first(found) <= 0.1
    assert found.rows[0].usual == pytest.approx(4 / 12)  # vm is 8 of 12 test clips
    assert found.measure == "error rate" and found.error.note.count("one speaker only") == 1
    ana, bea = (
        corpus_of(tmp_path / name, words(24), speaker=name, voice=height)
        for name, height in (("ana", 1.0), ("bea", 1.02))
    )
    found = probe(base, [ana, bea], "keywords", settings=FEW)
    assert len(found.chosen) == 2 and found.rows[0].n_classes == 24
    assert found.rows[0].n_clips == 36 and found.rows[0].usual == pytest.approx(35 / 36, abs=0.03)
    assert first(found) < 0.75


def singing(n: int) -> Lines:
    made = [text for _, _, text in words(60)]
    sides = ("train",) * 6 + ("dev", "test")
    return [(f"s{i}", sides[i % 8], " ".join(made[i % 50 : i % 50 + 3])) for i in range(n)]


def test_phones(base: str, tmp_path: Path) -> None:
    path = corpus_of(tmp_path / "es", singing(48), source="test")
    # letters of these words are one phone each, so a tone is a phone
    found = probe(base, [path], "phones", settings=replace(LONG, updates=400))
    assert found.measure == "phone error rate" and found.rows[0].usual is None
    assert 0 < found.error.value < 0.5
    assert found.rows[0].n_classes > 8
    bad = probe(base, [path], "phones", settings=replace(LONG, updates=1))
    assert bad.error.value > 0.8


class Scripted(Probe):
    """Its dev errors are written down; its one number says which update it was kept at."""

    def __init__(self, errors: Sequence[float], loss: float = 1.0) -> None:
        super().__init__()
        self.layers = LayerSum(torch.zeros(2, 1), torch.ones(2, 1))
        self.one = nn.Linear(1, 1)
        self.looks: list[float] = []
        self.script, self.size = list(errors), loss

    @property
    def linear(self) -> nn.Linear:
        return self.one

    def bucket(self, durations_s: Any) -> Any:
        return durations_s.astype(int) * 0 + 1

    def loss(self, clips: Sequence[Clip]) -> Tensor:
        return self.size * self.one.bias.sum()

    def errors(self, clips: Sequence[Clip]) -> float:
        self.looks.append(self.one.bias.item())
        return self.script[len(self.looks) - 1]

    def answers(self, clips: Sequence[Clip]) -> dict[str, str]:
        return {}


def test_dev_chooses_the_update(voices: list[Path]) -> None:
    (fold,) = build_task("intents", [Corpus.open(corpus_with_two(voices[0]))], 99).folds
    made = Scripted([0.5, 0.2, 0.3, 0.2])
    chosen = train_probe(made, fold.train, fold.dev, ProbeSettings(updates=4))
    assert chosen == 2 and made.one.bias.item() == made.looks[1] != made.looks[3]
    with pytest.raises(TrainingStopped, match="nan at update 1"):
        train_probe(Scripted([1.0], math.nan), fold.train, fold.dev, FEW)


def corpus_with_two(beside: Path) -> Path:
    """Two families, beside another corpus."""
    path = beside.parent / "two"
    if not path.exists():
        corpus_of(path, [*sentences("vm", 20, "ba"), *sentences("conf", 20, "zo")])
    return path


def test_layers_are_standardised_and_added() -> None:
    states = torch.randn(7, 3, 5) * torch.tensor([1.0, 100.0, 0.01])[:, None] + 4
    mean, std = states.mean(0), states.std(0)
    added = LayerSum(mean, std)
    with torch.no_grad():
        added.logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
    weights = torch.tensor([0.0, 1.0, -1.0]).exp() / torch.tensor([0.0, 1.0, -1.0]).exp().sum()
    expected = sum(weights[i] * (states[:, i] - mean[i]) / std[i] for i in range(3))
    torch.testing.assert_close(added(states), expected, atol=1e-4, rtol=1e-4)
    constant = LayerSum(torch.ones(1, 5), torch.zeros(1, 5))
    assert torch.isfinite(constant(torch.ones(2, 1, 5))).all()


def test_only_labels_of_the_own_language_compete(voices: list[Path]) -> None:
    task = build_task("speakers", [Corpus.open(path) for path in voices], 1000)
    (fold,) = task.folds
    means = {clip.key: torch.randn(2, 4) for clip in task.clips}
    for within in (True, False):
        made = LabelProbe(means, fold.train, within)
        with torch.no_grad():
            made.head.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 100.0]))  # es-a es-b it-a it-b
            made.head.weight.zero_()
        said = made.answers(fold.test)
        wanted = {"es": "es:es-b" if within else "it:it-b", "it": "it:it-b"}
        assert {c.language: said[c.key] for c in fold.test} == wanted
        assert len(made.shut) == 2


def test_states_are_kept_once(base: str, voices: list[Path], tmp_path: Path) -> None:
    task = build_task("speakers", [Corpus.open(voices[0]), Corpus.open(voices[1])], 20)
    encoder, _ = open_encoder(base)
    ear = Ear(encoder, None)
    with Frames(ear, task.clips) as frames:
        folder = Path(frames._folder.name)
        for clip in task.clips:
            states, n_samples = ear.states(clip)
            torch.testing.assert_close(frames.of(clip), states, atol=2e-3, rtol=2e-3)
            assert frames.n_samples(clip) == n_samples == round(clip.utterance.duration_s * 16_000)
            assert frames.n_positions(clip) == len(states) == -(-n_samples // 320)
            torch.testing.assert_close(ear.means([clip])[clip.key], states.mean(0))
        assert folder.exists()
    assert not folder.exists()
    with pytest.raises(UsageError, match=r"states of 0 minutes take 0\.0 GiB, more.*--clips"):
        Frames(ear, task.clips, limit_bytes=1000)


def test_encoders_of_bases_runs_and_chance(base: str, tmp_path: Path) -> None:
    clips = [tiny.clip(1.0)]

    def heard(encoder: Any) -> Tensor:
        with torch.no_grad():
            return encoder(encoder.features(clips))  # type: ignore[no-any-return]

    plain, found = open_encoder(base)
    assert plain.context == SHORT and not plain.training and found.adapted is None
    assert not any(p.requires_grad for p in plain.parameters())
    assert open_encoder(base, whole=True)[0].context is None
    model = from_base(
        find_base(base), "ctc", context=Context(8, 8), language="cs", alphabet=CharTokenizer("ab")
    )
    with torch.no_grad():
        model.encoder.hf.layer_norm.bias += 1.0
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    save_model(model.eval(), run / "model", Path(base))
    (run / "run.json").write_text("{}")
    adapted, found = open_encoder(str(run))
    assert found.adapted == "ctc" and adapted.context == Context(8, 8)
    assert torch.equal(heard(adapted), heard(load_model(run / "model").encoder))
    for name in (str(run), str(tiny.speech_dir(tmp_path / "w2v", "wav2vec2"))):
        with pytest.raises(UsageError, match="for bare Whisper bases"):
            open_encoder(name, whole=True)
    drawn = [heard(open_encoder(base, random=True, seed=s)[0]) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert not torch.allclose(drawn[0], heard(plain))
    both = tiny.multimodal_dir(tmp_path / "mm")
    assert open_encoder(str(both))[0].length_adapter is not None
    with pytest.raises(BaseError, match="cannot be drawn at random alone"):
        open_encoder(str(both), random=True)


def test_an_encoder_that_never_heard_speech(voices: list[Path], tmp_path: Path) -> None:
    base = tiny.audiovisual_dir(tmp_path / "av")
    found = probe(base, voices[:2], "speakers", settings=FEW)
    assert found.random and found.base.startswith("random weights from ")
    assert found.context is None and len(found.layers) == 4
    assert "the encoder had not heard speech: mean and spread of its frames are new" in found.notes
    emformer = tiny.emformer_dir(tmp_path / "em")
    found = probe(emformer, voices[:2], "speakers", settings=ProbeSettings(updates=5))
    assert found.layers == [1.0] and any("only the encoder's last" in n for n in found.notes)


def test_states_that_are_no_numbers(voices: list[Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = tiny.whisper_dir(tmp_path / "w")
    weights = load_file(base / "model.safetensors")
    weights["model.encoder.layers.1.fc1.bias"][0] = math.nan
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseError, match=r"es-a/vm-\d+: the encoder's states hold NaN"):
        probe(base, voices[:2], "speakers", settings=FEW)


def test_the_command(base: str, voices: list[Path], tmp_path: Path) -> None:
    words_ = [base, str(voices[0]), str(voices[1]), "--task", "speakers", "--updates", "60"]
    out = tmp_path / "probe.json"
    page = CliRunner().invoke(app, ["probe", *words_, "--out", str(out)], env={"COLUMNS": "80"})
    assert page.exit_code == 0, page.output
    for told in ("speakers: ", "error rate", "most frequent", "through: gsm", "note: all: only 4"):
        assert told in page.output
    facts = json.loads(out.read_text())
    assert facts["rows"][0]["n_clips"] == 8 and facts["settings"]["updates"] == 60
    assert facts["rows"][0]["error"]["value"] <= 0.2 and facts["measure"] == "error rate"
    again = CliRunner().invoke(app, ["probe", *words_, "--out", str(out)])
    assert isinstance(again.exception, UsageError) and "exists" in str(again.exception)
    shown = CliRunner().invoke(app, ["probe", *words_, "--json", "--random"])
    assert json.loads(shown.stdout)["random"] is True
    for bad in ({"clips": 0}, {"settings": ProbeSettings(updates=0)}):
        with pytest.raises(UsageError, match="1 or more"):
            xlasr.probe(base, voices[:2], "speakers", **bad)
