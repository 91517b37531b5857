"""Bases: found, refused with advice, and never filled up with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny

from xlasr.errors import BaseError, HubUnreachable, UnknownName
from xlasr.models.hub import (
    base_files,
    find_base,
    load_self_supervised,
    load_whisper,
    weights_sha256,
)
from xlasr.models.run import from_base
from xlasr.models.tokenizer import CharTokenizer


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bases")
    tiny.whisper_dir(root / "whisper", max_positions=100)
    tiny.speech_dir(root / "wav2vec2", "wav2vec2")
    return root


@pytest.fixture
def whisper(bases: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bases / "whisper", tmp_path / "whisper"))


@pytest.fixture
def wav2vec2(bases: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bases / "wav2vec2", tmp_path / "wav2vec2"))


def test_a_directory_is_a_base(whisper: Path, wav2vec2: Path) -> None:
    found = find_base(str(whisper))
    assert (found.name, found.folder) == (str(whisper), whisper)
    assert (found.model_type, found.families) == ("whisper", ("ctc", "seq2seq", "transducer"))
    assert find_base(str(wav2vec2)).families == ("ctc", "transducer")
    # the sum tells weights apart, and nothing else
    before = found.sha256
    (whisper / "README.md").write_text("x")
    assert find_base(str(whisper)).sha256 == before
    tensors = load_file(whisper / "model.safetensors")
    tensors["model.encoder.conv1.bias"][0] += 1
    save_file(tensors, whisper / "model.safetensors", metadata={"format": "pt"})
    assert weights_sha256(whisper) != before


def test_the_hub_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubUnreachable) as caught:
        find_base("facebook/wav2vec2-xls-r-300m")
    message = str(caught.value)
    assert "the hub did not give 'facebook/wav2vec2-xls-r-300m'" in message
    here = "whisper-tiny.en, multimodal-tiny, emformer-20, emformer-small"
    here += ", audiovisual-base, audiovisual-small"
    assert f"Here without a network: {here}, or any" in message
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("name", ["whisper-tinyen", "./nowhere", "/no/where", "some one/model"])
def test_a_name_of_nothing(name: str) -> None:
    with pytest.raises(UnknownName, match="unknown base"):
        find_base(name)


def test_a_near_miss_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'whisper-tiny\.en'"):
        find_base("wisper-tiny.en")


def test_a_directory_without_weights(whisper: Path) -> None:
    (whisper / "model.safetensors").unlink()
    for convert_bin in (False, True):
        with pytest.raises(BaseError, match=r"neither \.safetensors nor pytorch_model\.bin"):
            find_base(str(whisper), convert_bin=convert_bin)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, r"has no config\.json.*Built in: whisper-tiny\.en"),
        ("{", "damaged"),
        ("{}", "names no model_type"),
        ("[]", "names no model_type"),
        ('{"model_type": "bert"}', "is a 'bert' model; xlasr adapts whisper, wav2vec2"),
    ],
)
def test_directories_that_are_no_base(whisper: Path, config: str | None, message: str) -> None:
    if config is None:
        (whisper / "config.json").unlink()
    else:
        (whisper / "config.json").write_text(config)
    with pytest.raises(BaseError, match=message):
        find_base(str(whisper))


def test_a_family_that_a_base_does_not_have(wav2vec2: Path) -> None:
    base = find_base(str(wav2vec2))
    with pytest.raises(BaseError, match=r"no decoder for 'seq2seq'; families it serves: ctc"):
        from_base(base, "seq2seq", context=None, language="cs")
    with pytest.raises(BaseError, match="needs an alphabet"):
        from_base(base, "ctc", context=None, language="cs")


def test_missing_weights_are_not_made_up(whisper: Path, wav2vec2: Path) -> None:
    for folder, load in ((whisper, load_whisper), (wav2vec2, load_self_supervised)):
        path = folder / "model.safetensors"
        tensors = load_file(path)
        name = next(n for n in tensors if n.endswith("layers.1.fc1.weight") or "layers.1.fi" in n)
        del tensors[name]
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(BaseError, match=r"lacks 1 weights .* for example .*layers\.1"):
            load(folder)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(BaseError, match="cannot be loaded"):
            load(folder)


def test_weights_of_another_size_are_refused(whisper: Path) -> None:
    config = json.loads((whisper / "config.json").read_text())
    (whisper / "config.json").write_text(json.dumps(config | {"vocab_size": 400}))
    with pytest.raises(BaseError, match="cannot be loaded"):
        load_whisper(whisper)


def test_a_model_with_a_head_of_its_own_gives_its_encoder(tmp_path: Path, wav2vec2: Path) -> None:
    """Published fine-tuned models, MMS for example: the old head is left behind."""
    from transformers import Wav2Vec2ForCTC

    tuned = Wav2Vec2ForCTC.from_pretrained(wav2vec2)
    tuned.save_pretrained(tmp_path / "tuned")
    shutil.copy(wav2vec2 / "preprocessor_config.json", tmp_path / "tuned")
    ours = load_self_supervised(tmp_path / "tuned").hf.state_dict()
    for name, tensor in load_self_supervised(wav2vec2).hf.state_dict().items():
        assert torch.equal(ours[name], tensor), name


def test_half_precision_becomes_float32(tmp_path: Path, wav2vec2: Path, whisper: Path) -> None:
    from transformers import AutoModel, WhisperForConditionalGeneration

    AutoModel.from_pretrained(wav2vec2).half().save_pretrained(wav2vec2)
    assert json.loads((wav2vec2 / "config.json").read_text())["dtype"] == "float16"
    for weights in (True, False):
        encoder = load_self_supervised(wav2vec2, weights=weights)
        assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    WhisperForConditionalGeneration.from_pretrained(whisper).half().save_pretrained(whisper)
    assert {p.dtype for p in load_whisper(whisper).parameters()} == {torch.float32}


def test_a_base_without_feature_extractor_is_refused(wav2vec2: Path) -> None:
    (wav2vec2 / "preprocessor_config.json").unlink()
    with pytest.raises(BaseError, match=r"no usable preprocessor_config\.json; save it there"):
        load_self_supervised(wav2vec2)


def test_settings_saved_by_a_processor_are_found(wav2vec2: Path) -> None:
    """transformers 5 writes processor_config.json instead of preprocessor_config.json."""
    path = wav2vec2 / "preprocessor_config.json"
    settings = {"feature_extractor": json.loads(path.read_text())}
    path.unlink()
    (wav2vec2 / "processor_config.json").write_text(json.dumps(settings))
    assert load_self_supervised(wav2vec2).extractor.do_normalize
    assert {p.name for p in base_files(wav2vec2)} == {"config.json", "processor_config.json"}


def test_nothing_is_printed_and_the_progress_bars_come_back(
    whisper: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_whisper(whisper)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_the_alphabet_sets_the_size_of_the_head(wav2vec2: Path) -> None:
    model = from_base(
        find_base(str(wav2vec2)),
        "ctc",
        context=None,
        language="cs",
        alphabet=CharTokenizer(list("ab")),
    )
    assert model.head.out_features == 3
    assert model.info["base"]["sha256"] == weights_sha256(wav2vec2)
