"""Whisper with a short context: batches, targets, and a vocabulary cut to the language."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests import tiny

from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import from_base
from xlasr.models.seq2seq import WhisperModel

TEXTS = ["ahoj rybo", "kde jsi", "řekni"]
SHORT = Context(8, 64)


def build(folder: Path, context: Context | None = SHORT, **options: bool) -> WhisperModel:
    base = find_base(str(tiny.whisper_dir(folder, **options)))  # type: ignore[arg-type]
    model = from_base(base, "seq2seq", context=context, language="cs")
    assert isinstance(model, WhisperModel)
    return model.eval()


@pytest.fixture
def model(tmp_path: Path) -> WhisperModel:
    return build(tmp_path / "base")


def logits(model: WhisperModel, clips: list[tiny.Clip], inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(model.features(clips), inputs)
    return found


def test_a_batch_gives_what_its_clips_give_alone(model: WhisperModel) -> None:
    clips = [tiny.clip(s, i) for i, s in enumerate((0.3, 1.0, 0.613))]
    inputs, targets = model.target_ids(TEXTS)
    together = logits(model, clips, inputs)
    assert together.shape == (*inputs.shape, 332)
    assert together.std() > 0.3
    for row, clip in enumerate(clips):
        own, _ = model.target_ids([TEXTS[row]])  # no padding behind it
        alone = logits(model, [clip], own)
        n = own.shape[1]
        torch.testing.assert_close(together[row, :n], alone[0], atol=1e-4, rtol=0)
        assert (targets[row, n:] == -100).all()
    swapped = logits(model, clips[::-1], inputs)
    assert (swapped[0] - together[0]).abs().max() > 0.01  # the decoder does listen


def test_targets_are_the_inputs_one_step_ahead(model: WhisperModel) -> None:
    tokens = model.tokenizer
    inputs, targets = model.target_ids([*TEXTS, ""])
    for text, given, wanted in zip([*TEXTS, ""], inputs.tolist(), targets.tolist(), strict=True):
        ids = tokens.encode(text)
        n, p = len(ids), len(tokens.prompt)
        assert given == tokens.prompt + ids + [tokens.eot] * (len(given) - p - n)
        assert wanted[: p - 1] == [-100] * (p - 1)
        assert wanted[p - 1 : p + n] == [*ids, tokens.eot]
        assert set(wanted[p + n :]) <= {-100}
    assert model.max_tokens == 40


def test_at_30_s_it_is_transformers_whisper(tmp_path: Path) -> None:
    model = build(tmp_path / "base", context=None)
    clips = [tiny.clip(1.0), tiny.clip(2.0, 1)]
    inputs, _ = model.target_ids(TEXTS[:2])
    features = model.features(clips)
    with torch.no_grad():
        theirs = model.hf(input_features=features.values, decoder_input_ids=inputs).logits
    torch.testing.assert_close(logits(model, clips, inputs), theirs, atol=1e-5, rtol=0)


def test_training_mode_reaches_the_encoder(model: WhisperModel) -> None:
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len(set(names))
    assert all(name.startswith("hf.") for name in names)  # the wrapper lists nothing twice
    model.train()
    assert model.encoder.training
    assert model.encoder.hf.layers[0].training
    model.eval()
    assert not model.encoder.training


def test_the_cut_model_says_the_same_on_the_rows_it_kept(model: WhisperModel) -> None:
    clips = [tiny.clip(0.5)]
    inputs, _ = model.target_ids(TEXTS[:1])
    before = logits(model, clips, inputs)
    old_eot, old_config = model.tokenizer.eot, model.hf.generation_config.to_dict()
    cut, old_ids = model.tokenizer.cut(TEXTS)
    model.cut_vocabulary(cut, old_ids)
    new_inputs, _ = model.target_ids(TEXTS[:1])
    assert [old_ids[i] for i in new_inputs[0].tolist()] == inputs[0].tolist()
    after = logits(model, clips, new_inputs)
    torch.testing.assert_close(after, before[..., old_ids], atol=1e-5, rtol=0)
    assert model.hf.proj_out.weight is model.hf.model.decoder.embed_tokens.weight
    assert model.tokenizer is cut
    # every id in the configs follows
    for config in (model.hf.config, model.hf.generation_config):
        assert old_ids[config.decoder_start_token_id] == old_eot + 1
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            assert getattr(config, key) == cut.eot
    generation = model.hf.generation_config
    assert old_ids[generation.no_timestamps_token_id] == old_config["no_timestamps_token_id"]
    assert old_ids[generation.prev_sot_token_id] == old_config["prev_sot_token_id"]
    for key in ("suppress_tokens", "begin_suppress_tokens"):
        kept = [i for i in old_config[key] if i in old_ids]
        assert [old_ids[i] for i in getattr(generation, key)] == kept
    assert model.hf.config.vocab_size == len(cut)


def test_a_multilingual_cut_remaps_languages_and_odd_padding(tmp_path: Path) -> None:
    """large-v3 pads with an ordinary piece, which a cut may drop: the end token takes over."""
    model = build(tmp_path / "base", multilingual=True)
    word = model.tokenizer.encode("kapitán")[0]
    model.hf.config.pad_token_id = word
    model.hf.generation_config.eos_token_id = [model.tokenizer.eot]
    old = dict(model.hf.generation_config.lang_to_id)
    cut, old_ids = model.tokenizer.cut(TEXTS)
    assert word not in old_ids
    model.cut_vocabulary(cut, old_ids)
    assert model.hf.config.pad_token_id == cut.eot
    assert model.hf.generation_config.eos_token_id == [cut.eot]
    languages = model.hf.generation_config.lang_to_id
    assert {k: old_ids[i] for k, i in languages.items()} == old
    assert model.tokenizer.prompt[1] == languages["<|en|>"]
    assert model.tokenizer.prompt[2] == model.hf.generation_config.task_to_id["transcribe"]


@pytest.mark.real
def test_the_real_whisper_equals_transformers_forward_at_30_s(
    tiny_en_dir: Path, english_clips: list[NDArray[np.float32]]
) -> None:
    from transformers import WhisperFeatureExtractor

    model = from_base(find_base(str(tiny_en_dir)), "seq2seq", context=None, language="en").eval()
    assert isinstance(model, WhisperModel)
    clips = english_clips[:2]
    inputs, _ = model.target_ids(["this is a test of the", "please hold"])
    theirs = WhisperFeatureExtractor.from_pretrained(tiny_en_dir)(
        clips, sampling_rate=16_000, return_tensors="pt"
    ).input_features
    with torch.no_grad():
        wanted = model.hf(input_features=theirs, decoder_input_ids=inputs).logits
    found = logits(model, clips, inputs)
    torch.testing.assert_close(found, wanted, atol=5e-3, rtol=0)
    # and with the same features, where no logarithm stands between, much closer
    features = model.features(clips)
    with torch.no_grad():
        wanted = model.hf(input_features=features.values, decoder_input_ids=inputs).logits
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
