"""A saved model opens bit by bit as it was, in xlasr and in plain transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tests import tiny

from xlasr.decoding.seq2seq import greedy
from xlasr.errors import BaseError, RunError
from xlasr.models.ctc import CTCModel
from xlasr.models.encoders import Context
from xlasr.models.hub import find_base
from xlasr.models.run import SpeechModel, from_base, load_model, save_model
from xlasr.models.seq2seq import WhisperModel
from xlasr.models.tokenizer import CharTokenizer

LETTERS = CharTokenizer(list(" abř"))
TEXTS = ["ahoj rybo", "kde jsi"]
SHORT = Context(8, 32)


def build(folder: Path, kind: str, context: Context | None = SHORT) -> SpeechModel:
    """A model with weights that are not its base's."""
    family, base = kind.split("/")
    path = tiny.whisper_dir(folder) if base == "whisper" else tiny.speech_dir(folder, base)
    torch.manual_seed(1)
    model = from_base(
        find_base(str(path)), family, context=context, language="cs", alphabet=LETTERS
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return model.eval()


def outputs(model: SpeechModel) -> torch.Tensor:
    features = model.features([tiny.clip(0.5), tiny.clip(0.5, 1)])
    with torch.no_grad():
        if isinstance(model, WhisperModel):
            inputs, _ = model.target_ids(TEXTS)
            found: torch.Tensor = model(features, inputs)
            return found
        return model(features)[0]  # type: ignore[no-any-return]


def save(model: SpeechModel, folder: Path, base: Path, **options: Any) -> Path:
    folder.mkdir()
    save_model(model, folder, base, **options)
    return folder


@pytest.mark.parametrize(
    "kind",
    ["ctc/whisper", "ctc/wav2vec2", "ctc/w2v-bert", "ctc/hubert-group", "seq2seq/whisper"],
)
@pytest.mark.parametrize("context", [SHORT, None])
def test_what_was_saved_is_loaded_bit_by_bit(
    tmp_path: Path, kind: str, context: Context | None
) -> None:
    model = build(tmp_path / "base", kind, context)
    model.info["text"] = "raw"
    folder = save(model, tmp_path / "model", tmp_path / "base")
    shutil.rmtree(tmp_path / "base")  # it stands alone
    loaded = load_model(folder)
    assert type(loaded) is type(model)
    assert not loaded.training
    state = model.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert torch.equal(outputs(loaded), outputs(model))
    assert loaded.info == model.info
    assert (loaded.info["text"], loaded.info["language"]) == ("raw", "cs")
    assert loaded.encoder.context == (context if "whisper" in kind else None)
    # and once more, from what was loaded
    second = save(loaded, tmp_path / "second", folder)
    for path in folder.iterdir():
        assert (second / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_base_in_half_precision_loses_nothing(tmp_path: Path) -> None:
    """Its config says float16; the adapted weights are float32 and stay so."""
    from transformers import AutoModel

    tiny.speech_dir(tmp_path / "base", "wav2vec2")
    AutoModel.from_pretrained(tmp_path / "base").half().save_pretrained(tmp_path / "base")
    base = find_base(str(tmp_path / "base"))
    model = from_base(base, "ctc", context=None, language="cs", alphabet=LETTERS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-5 * torch.randn_like(parameter))
    loaded = load_model(save(model, tmp_path / "model", base.folder))
    assert torch.equal(outputs(loaded), outputs(model))


def test_other_weights_can_be_written(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "ctc/whisper")
    state = {k: v * 0.5 for k, v in model.state_dict().items()}
    loaded = load_model(save(model, tmp_path / "model", tmp_path / "base", state=state))
    assert all(torch.equal(v, state[k]) for k, v in loaded.state_dict().items())


def test_an_extended_head_is_loaded_with_its_letters(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "ctc/wav2vec2")
    assert isinstance(model, CTCModel)
    first = load_model(save(model, tmp_path / "model", tmp_path / "base"))
    assert isinstance(first, CTCModel)
    first.extend(first.tokenizer.extended(["žába"]))
    again = load_model(save(first, tmp_path / "wider", tmp_path / "model"))
    assert isinstance(again, CTCModel)
    assert again.tokenizer.symbols == [*LETTERS.symbols, "á", "ž"]
    assert torch.equal(again.head.weight[:5], model.head.weight)
    assert torch.equal(outputs(again), outputs(first))


def hub_like(folder: Path) -> None:
    """Add what directories from the hub have besides: slow files, ids in the tokenizer's config."""
    spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    files = {
        "vocab.json": spec["model"]["vocab"],
        "added_tokens.json": {t["content"]: t["id"] for t in spec["added_tokens"]},
        "special_tokens_map.json": {"eos_token": "<|endoftext|>"},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    merges = [" ".join(m) for m in spec["model"]["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    tokens = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in spec["added_tokens"]}
    config = json.loads(path.read_text()) | {"added_tokens_decoder": tokens}
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize("multilingual", [False, True])
@pytest.mark.parametrize("cut", [False, True])
def test_plain_transformers_opens_it_and_says_the_same_at_30_s(
    tmp_path: Path, multilingual: bool, cut: bool
) -> None:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    base = tiny.whisper_dir(tmp_path / "base", multilingual=multilingual)
    hub_like(base)
    model = from_base(find_base(str(base)), "seq2seq", context=None, language="de").eval()
    assert isinstance(model, WhisperModel)
    tokens = model.tokenizer
    if cut:
        model.cut_vocabulary(*tokens.cut(TEXTS))
        tokens = model.tokenizer
    folder = save(model, tmp_path / "model", base)
    stale = {"vocab.json", "merges.txt", "added_tokens.json"}
    assert not stale & {path.name for path in folder.iterdir()}
    assert "added_tokens_decoder" not in (folder / "tokenizer_config.json").read_text()
    plain = WhisperForConditionalGeneration.from_pretrained(folder)
    processor = WhisperProcessor.from_pretrained(folder)
    clips = [tiny.clip(1.0), tiny.clip(0.7, 1), tiny.clip(2.0, 2), np.zeros(16_000, np.float32)]
    features = processor(clips, sampling_rate=16_000, return_tensors="pt").input_features
    theirs = plain.generate(features, do_sample=False, num_beams=1).tolist()
    with torch.no_grad():
        states = model.encoder(model.features(clips))
    ours = greedy(
        model.hf,
        states,
        tokens.prompt,
        tokens.eot,
        max_tokens=40,
        allowed=range(tokens.eot + 1),
    )
    said = [[i for i in row if i < tokens.eot] for row in theirs]
    heard = [h.tokens for h in ours]
    for row, found in zip(said, heard, strict=True):  # ours ends a loop, theirs goes on
        assert row[: len(found)] == found
    assert any(heard)
    text = processor.batch_decode([[*tokens.prompt, *h] for h in heard], skip_special_tokens=True)
    assert [t.strip() for t in text] == [tokens.decode(h) for h in heard]
    assert processor.tokenizer(" ahoj rybo", add_special_tokens=False).input_ids == tokens.encode(
        "ahoj rybo"
    )
    # the prompt that plain transformers starts from
    generation = plain.generation_config
    assert generation.begin_suppress_tokens is None  # an empty transcript is allowed
    specials = range(tokens.eot + 1, tokens.no_timestamps + 1)
    assert generation.suppress_tokens == list(specials)  # quotes and brackets are allowed
    starts = [plain.generation_config.decoder_start_token_id]
    assert starts == tokens.prompt[:1]
    if multilingual:
        assert plain.generation_config.language == "<|de|>"
        assert plain.generation_config.task == "transcribe"


def test_a_base_that_does_not_say_whether_it_is_multilingual(tmp_path: Path) -> None:
    """Then its size tells, which a cut changes: what was found must be saved."""
    base = tiny.whisper_dir(tmp_path / "base", multilingual=True)
    model = from_base(find_base(str(base)), "seq2seq", context=None, language="de")
    assert isinstance(model, WhisperModel)
    model.hf.generation_config.is_multilingual = None  # as in early checkpoints
    model.cut_vocabulary(*model.tokenizer.cut(TEXTS))
    prompt = model.tokenizer.prompt
    assert len(prompt) == 4
    loaded = load_model(save(model, tmp_path / "model", base))
    assert isinstance(loaded, WhisperModel)
    assert loaded.tokenizer.prompt == prompt


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "ctc/wav2vec2")
    folder = save(model, tmp_path / "model", tmp_path / "base")
    with pytest.raises(RunError, match="holds no finished model"):
        load_model(tmp_path)
    meta = (folder / "xlasr.json").read_text(encoding="utf-8")
    weights = (folder / "model.safetensors").read_bytes()
    for content, message in (
        (meta.replace('"format": 1', '"format": 2'), "newer xlasr"),
        (meta[:-5], "is damaged"),
        ("{}", "is damaged"),
        ("[]", "is damaged"),
    ):
        (folder / "xlasr.json").write_text(content, encoding="utf-8")
        with pytest.raises(RunError, match=message):
            load_model(folder)
    (folder / "xlasr.json").write_text(meta, encoding="utf-8")
    (folder / "model.safetensors").write_bytes(weights[:-8])
    with pytest.raises(RunError, match="the weights cannot be loaded"):
        load_model(folder)
    (folder / "model.safetensors").write_bytes(weights)
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if "head" not in k}, folder / "model.safetensors")
    with pytest.raises(RunError, match=r"do not fit the model; missing \['head"):
        load_model(folder)


def test_a_whisper_folder_with_weights_gone_is_refused(tmp_path: Path) -> None:
    model = build(tmp_path / "base", "seq2seq/whisper")
    folder = save(model, tmp_path / "model", tmp_path / "base")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.decoder.layers.1.fc2.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseError, match=r"lacks 1 weights"):
        load_model(folder)


def test_a_ctc_run_that_lost_its_card_is_no_base(tmp_path: Path) -> None:
    """Its weights have other names; without a check the encoder would be random."""
    model = build(tmp_path / "base", "ctc/wav2vec2")
    folder = save(model, tmp_path / "model", tmp_path / "base")
    (folder / "xlasr.json").unlink()
    base = find_base(str(folder))
    with pytest.raises(BaseError, match="a run with a CTC head"):
        from_base(base, "ctc", context=None, language="cs", alphabet=LETTERS)


@pytest.mark.real
def test_the_real_whisper_cut_to_a_language_says_the_same_in_transformers(
    tiny_en_dir: Path, english_clips: list[NDArray[np.float32]], tmp_path: Path
) -> None:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    base = find_base(str(tiny_en_dir))
    model = from_base(base, "seq2seq", context=None, language="en").eval()
    assert isinstance(model, WhisperModel)
    texts = ["Please enter your password followed by the pound key.", "You have no new messages."]
    model.cut_vocabulary(*model.tokenizer.cut(texts))
    folder = save(model, tmp_path / "model", tiny_en_dir)
    processor = WhisperProcessor.from_pretrained(folder)
    plain = WhisperForConditionalGeneration.from_pretrained(folder)
    clips = english_clips[:4]
    features = processor(clips, sampling_rate=16_000, return_tensors="pt").input_features
    theirs = plain.generate(features, do_sample=False, num_beams=1, max_new_tokens=60)
    tokens = model.tokenizer
    with torch.no_grad():
        states = model.encoder(model.features(clips))
    ours = greedy(
        model.hf, states, tokens.prompt, tokens.eot, max_tokens=60, allowed=range(tokens.eot + 1)
    )
    for row, found in zip(theirs.tolist(), ours, strict=True):
        kept = [i for i in row if i < tokens.eot]
        assert kept[: len(found.tokens)] == found.tokens
        assert len(kept) == len(found.tokens) or found.looped
