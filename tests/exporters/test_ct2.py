"""The CTranslate2 export, run by CTranslate2 and faster-whisper themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from xlasr.errors import BaseError, UsageError
from xlasr.exporters.ct2 import export_ct2, vocabulary
from xlasr.models.ct2_file import read_variables

SPECIALS = ["endoftext", "startoftranscript", "startoflm", "startofprev", "nocaptions"]
SPECIALS += ["notimestamps"]
N_BYTES, N_STAMPS = 256, 1501
START, END, NO_STAMPS = N_BYTES + 1, N_BYTES, N_BYTES + 5


def byte_pieces() -> list[str]:
    """One letter for each byte, as GPT-2's byte-level BPE writes them."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper with a vocabulary cut to bytes and no language token."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(1)
    config = WhisperConfig(
        vocab_size=N_BYTES + len(SPECIALS) + N_STAMPS,
        d_model=64,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=1,
        decoder_attention_heads=1,
        encoder_ffn_dim=96,
        decoder_ffn_dim=96,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), END),
        decoder_start_token_id=START,
    )
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():  # far from the uniform output of a fresh model
        for name, parameter in model.named_parameters():
            loud = "encoder_attn" in name or "embed_positions" in name
            parameter.add_(torch.randn_like(parameter) * (0.5 if loud else 0.1))
    folder = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(folder)
    added = [
        {"id": N_BYTES + i, "content": f"<|{name}|>", "special": True, "single_word": False}
        | {"lstrip": False, "rstrip": False, "normalized": False}
        for i, name in enumerate(SPECIALS)
    ]
    bpe = {"type": "BPE", "vocab": {p: i for i, p in enumerate(byte_pieces())}, "merges": []}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    tokenizer = {"version": "1.0", "added_tokens": added, "model": bpe}
    tokenizer |= {"pre_tokenizer": level, "decoder": level}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    generation = {"is_multilingual": False, "suppress_tokens": None, "lang_to_id": {}}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def greedy(folder: Path, features: NDArray[np.float32], suppressed: list[int]) -> list[list[int]]:
    """Plain greedy by hand, 24 tokens; transformers' generate would add rules of its own."""
    import torch
    from transformers import WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([[START, NO_STAMPS]] * len(features))
    with torch.inference_mode():
        for _ in range(24):
            logits = model(torch.from_numpy(features), decoder_input_ids=ids).logits[:, -1]
            logits[:, suppressed] = -torch.inf
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    rows = ids[:, 2:].tolist()
    return [row[: row.index(END)] if END in row else row for row in rows]


def test_a_cut_vocabulary_decodes_as_in_transformers(small: Path, tmp_path: Path) -> None:
    import ctranslate2

    rng = np.random.default_rng(0)
    levels = np.array([-2, 0, 2], np.float32)[:, None, None]  # three clips that differ clearly
    features = (levels + rng.normal(0, 1, (3, 80, 3000))).astype(np.float32)
    free = greedy(small, features, [])
    assert len({tuple(row) for row in free}) == 3, "the model does not listen to its input"
    often = sorted({i for row in free for i in row})
    changed = edited(small, tmp_path, "generation_config.json", suppress_tokens=often)
    for name, folder, suppressed in (("free", small, []), ("suppressed", changed, often)):
        out = export_ct2(folder, tmp_path / name, dtype="float32")
        theirs = ctranslate2.models.Whisper(str(out), compute_type="float32")
        assert not theirs.is_multilingual
        results = theirs.generate(
            ctranslate2.StorageView.from_array(features),
            [[START, NO_STAMPS]] * 3,
            beam_size=1,
            sampling_temperature=0,
            max_length=48,  # CTranslate2 lets half of it be new tokens
            suppress_blank=False,
        )
        got = [result.sequences_ids[0] for result in results]
        assert got == greedy(folder, features, suppressed), name


def test_weights_are_what_ctranslate2s_own_converter_writes(small: Path, tmp_path: Path) -> None:
    from ctranslate2.converters import TransformersConverter
    from ctranslate2.specs import common_spec

    class Converter(TransformersConverter):
        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast(tokenizer_file=str(small / "tokenizer.json"))

    assert common_spec.Activation.GELU == 3
    for dtype in ("float32", "float16"):
        Converter(str(small)).convert(str(tmp_path / f"theirs-{dtype}"), quantization=dtype)
        theirs = read_variables(tmp_path / f"theirs-{dtype}" / "model.bin")
        out = export_ct2(small, tmp_path / f"ours-{dtype}", dtype=dtype)
        ours = read_variables(out / "model.bin")
        assert set(theirs) - set(ours) <= {
            "decoder/alibi_use_positive_positions",
            "decoder/scale_alibi",
        }
        for name, array in ours.items():
            assert array.dtype == theirs[name].dtype, name
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)
        same = json.loads((out / "vocabulary.json").read_text())
        assert same == json.loads((tmp_path / f"theirs-{dtype}/vocabulary.json").read_text())
        config = json.loads((out / "config.json").read_text())
        assert config["suppress_ids"] == []
        assert config["alignment_heads"] == [[1, 0]]


def edited(small: Path, tmp_path: Path, name: str, **change: Any) -> Path:
    """Copy the small model with one JSON file changed; only what export reads first."""
    folder = tmp_path / "edited"
    folder.mkdir()
    for path in small.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = json.loads((small / name).read_text()) | change
    (folder / name).write_text(json.dumps(content))
    return folder


def test_refusals_leave_no_folder(small: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    out = tmp_path / "out"
    with pytest.raises(UsageError, match="float16, float32"):
        export_ct2(small, out, dtype="int8")
    with pytest.raises(BaseError, match=r"config\.json cannot be read"):
        export_ct2(tmp_path, out)
    wide = tmp_path / "wide"
    wide.mkdir()
    for path in small.iterdir():
        (wide / path.name).write_bytes(path.read_bytes())
    state = load_file(wide / "model.safetensors")
    state["model.encoder.conv1.bias"] = np.full(64, 1e5, np.float32)
    save_file(state, wide / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseError, match=r"conv1\.bias reaches 100000.*export as float32"):
        export_ct2(wide, out, dtype="float16")
    (wide / "model.safetensors").unlink()
    with pytest.raises(BaseError, match=r"no model\.safetensors"):
        export_ct2(wide, out)
    assert not out.exists()
    assert not list(tmp_path.glob(".out*"))
    assert export_ct2(small, out) == out
    with pytest.raises(UsageError, match="exists already"):
        export_ct2(small, out)


@pytest.mark.parametrize("multilingual", [True, False])
@pytest.mark.parametrize("has_empty_piece", [True, False])
def test_ctranslate2_sees_which_prompt_is_wanted(
    small: Path, tmp_path: Path, multilingual: bool, has_empty_piece: bool
) -> None:
    import ctranslate2

    tokenizer = json.loads((small / "tokenizer.json").read_text())
    pieces = tokenizer["model"]["vocab"]
    if has_empty_piece:
        pieces[""] = pieces.pop("!")
    changes = {"model": tokenizer["model"] | {"vocab": pieces}}
    folder = edited(small, tmp_path, "tokenizer.json", **changes)
    (folder / "generation_config.json").write_text(json.dumps({"is_multilingual": multilingual}))
    model = ctranslate2.models.Whisper(str(export_ct2(folder, tmp_path / "ct2")))
    assert model.is_multilingual is multilingual


def test_vocabulary_names_what_does_not_add_up() -> None:
    tokenizer = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 3, "content": "x"}]}
    with pytest.raises(BaseError, match=r"without a piece: \[2\]"):
        vocabulary(tokenizer, 10)
    tokenizer["added_tokens"] = [{"id": 2, "content": "x"}]  # type: ignore[assignment]
    assert vocabulary(tokenizer, 5) == ["a", "b", "x", "<|0.00|>", "<|0.02|>"]
    with pytest.raises(BaseError, match="3 ids, the embedding only 2"):
        vocabulary(tokenizer, 2)


@pytest.mark.real
@pytest.mark.slow
def test_real_clips_give_the_same_text_in_faster_whisper(
    tiny_en_dir: Path, english_clips: list[NDArray[np.float32]], tmp_path: Path
) -> None:
    """At 30 s, greedy, without time stamps.

    The clips are padded here: left alone, faster-whisper pads features with zeros, which is not
    what silence looks like, and a letter in a hundred words differs.
    """
    import torch
    from faster_whisper import WhisperModel
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    out = export_ct2(tiny_en_dir, tmp_path / "ct2", dtype="float32")
    theirs = WhisperModel(str(out), device="cpu", compute_type="float32", local_files_only=True)
    processor = WhisperProcessor.from_pretrained(tiny_en_dir)
    model = WhisperForConditionalGeneration.from_pretrained(tiny_en_dir, dtype=torch.float32)
    clips = english_clips[:8]
    features = processor(clips, sampling_rate=16000, return_tensors="pt").input_features
    ids = model.generate(features, num_beams=1, do_sample=False)
    expected = [t.strip() for t in processor.batch_decode(ids, skip_special_tokens=True)]
    got = []
    for clip in clips:
        segments, _ = theirs.transcribe(
            np.pad(clip, (0, 30 * 16000 - len(clip))),
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            suppress_tokens=model.generation_config.suppress_tokens,
        )
        got.append(" ".join(segment.text.strip() for segment in segments))
    assert got == expected
    assert sum(len(text.split()) for text in expected) > 40
