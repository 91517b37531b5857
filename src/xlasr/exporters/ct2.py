"""A Whisper in transformers' layout, for CTranslate2 and faster-whisper.

Written without CTranslate2 itself, which only the tests need: there, its own converter is the
oracle for the weights, and it runs what was exported.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xlasr.errors import BaseError, UsageError
from xlasr.exporters.adapters import refuse_adapters
from xlasr.models.ct2_file import Array, write_variables
from xlasr.models.whisper_ct2 import from_transformers, preprocessor_config

DTYPES = ("float16", "float32")
# CTranslate2 takes a Whisper for multilingual, and faster-whisper then prompts it with a language
# and a task, where the vocabulary has an empty piece, as OpenAI's multilingual one happens to have.
MULTILINGUAL_MARK = ""
UNUSED = "<|startoflm|>"  # never trained, never decoded
_SECONDS_PER_TIMESTAMP = 0.02


def export_ct2(model_dir: Path, out_dir: Path, *, dtype: str = "float16") -> Path:
    """Convert a transformers Whisper directory to a CTranslate2 directory.

    The result opens in ``ctranslate2.models.Whisper`` and ``faster_whisper.WhisperModel``. Both
    pad every clip to 30 s, so the model should have been trained with some full contexts.
    faster-whisper suppresses symbols like ``-`` on its own unless it is given
    ``suppress_tokens=[]``.

    Args:
        model_dir: ``config.json``, ``model.safetensors`` (or its shards), ``tokenizer.json`` and,
            where there are, ``generation_config.json`` and ``preprocessor_config.json``.
            Adapters must be merged.
        out_dir: A folder that does not exist yet; it appears only when it is complete.
        dtype: How weights are stored, "float16" or "float32"; what is computed in is chosen when
            the model is opened.

    Returns:
        ``out_dir``.

    Raises:
        UsageError: ``out_dir`` exists, or ``dtype`` is not one of the two.
        BaseError: The directory holds no plain, complete Whisper.
    """
    model_dir, out_dir = Path(model_dir), Path(out_dir)
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r} is unknown; choose one of {', '.join(DTYPES)}")
    if out_dir.exists():
        raise UsageError(f"{out_dir} exists already; remove it or name another folder")
    config = _json(model_dir / "config.json")
    if config.get("model_type") != "whisper":
        raise BaseError(
            f"{model_dir} holds a {config.get('model_type')!r}; CTranslate2 export is for Whisper. "
            "The format transformers takes Whisper and SeamlessM4T"
        )
    refuse_adapters(model_dir, "CTranslate2's Whisper")
    generation: dict[str, Any] = {}
    if (model_dir / "generation_config.json").exists():
        generation = _json(model_dir / "generation_config.json")
    tokens = vocabulary(_json(model_dir / "tokenizer.json"), config["vocab_size"])
    state = _weights(model_dir)
    if dtype == "float16":
        _check_range(state)
    variables = from_transformers(config, state, dtype)

    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        write_variables(new / "model.bin", variables)
        multilingual = generation.get("is_multilingual", MULTILINGUAL_MARK in tokens)
        _write(new / "vocabulary.json", marked(tokens, multilingual))
        _write(new / "config.json", _ct2_config(config, generation))
        shutil.copyfile(model_dir / "tokenizer.json", new / "tokenizer.json")
        features = model_dir / "preprocessor_config.json"
        settings = (
            _json(features) if features.exists() else preprocessor_config(config["num_mel_bins"])
        )
        _write(new / "preprocessor_config.json", settings)
        os.rename(new, out_dir)
    return out_dir


def vocabulary(tokenizer: Mapping[str, Any], n_vocab: int) -> list[str]:
    """Pieces in the order of the embedding's rows.

    Args:
        tokenizer: A parsed ``tokenizer.json``.
        n_vocab: Rows of the embedding; rows behind the tokenizer's last id are time stamps, as in
            OpenAI's models.

    Raises:
        BaseError: The tokenizer has more ids than there are rows, or leaves rows without a piece.
    """
    by_id = {i: piece for piece, i in tokenizer["model"]["vocab"].items()}
    by_id |= {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    n_pieces = len(by_id)
    if max(by_id) + 1 != n_pieces:
        gaps = [i for i in range(max(by_id)) if i not in by_id]
        raise BaseError(f"tokenizer.json leaves ids without a piece: {gaps[:5]}")
    if n_pieces > n_vocab:
        raise BaseError(f"tokenizer.json has {n_pieces} ids, the embedding only {n_vocab} rows")
    stamps = (f"<|{i * _SECONDS_PER_TIMESTAMP:.2f}|>" for i in range(n_vocab - n_pieces))
    return [by_id[i] for i in range(n_pieces)] + list(stamps)


def marked(tokens: Sequence[str], multilingual: bool) -> list[str]:
    """Let CTranslate2 see which prompt the model wants, also after the vocabulary was cut.

    Ids decide what is decoded; renaming a piece that no transcript holds changes nothing else.

    Args:
        tokens: From ``vocabulary``.
        multilingual: Whether the prompt holds a language and a task.

    Raises:
        BaseError: A multilingual vocabulary without ``<|startoflm|>``, whose name is taken.
    """
    if multilingual == (MULTILINGUAL_MARK in tokens):
        return list(tokens)
    old, new = (UNUSED, MULTILINGUAL_MARK) if multilingual else (MULTILINGUAL_MARK, "<|unused|>")
    if old not in tokens:
        raise BaseError(f"tokenizer.json has no {old}; is it a Whisper's?")
    return [new if piece == old else piece for piece in tokens]


def _check_range(state: Mapping[str, Array]) -> None:
    limit = float(np.finfo(np.float16).max)
    for name, weight in state.items():
        largest = float(np.abs(weight).max(initial=0.0))
        if not largest <= limit:  # also catches NaN
            raise BaseError(
                f"{name} reaches {largest:g}, float16 ends at {limit:g}; export as float32"
            )


def _weights(model_dir: Path) -> dict[str, Array]:
    """Read every safetensors file of a directory as float32 arrays."""
    from safetensors import SafetensorError, safe_open

    paths = sorted(model_dir.glob("model*.safetensors"))
    if not paths:
        raise BaseError(f"{model_dir} has no model.safetensors; save the merged model there first")
    state: dict[str, Array] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:  # torch knows bfloat16, numpy does not
                state |= {name: file.get_tensor(name).float().numpy() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise BaseError(f"{path} cannot be read: {error}") from error
    return state


def _ct2_config(config: Mapping[str, Any], generation: Mapping[str, Any]) -> dict[str, Any]:
    """CTranslate2's config.json; without alignment heads the upper half of the decoder is used."""
    layers, heads = config["decoder_layers"], config["decoder_attention_heads"]
    upper_half = [
        list(pair) for pair in itertools.product(range(layers // 2, layers), range(heads))
    ]
    return {
        "alignment_heads": generation.get("alignment_heads") or upper_half,
        "lang_ids": sorted((generation.get("lang_to_id") or {}).values()),
        "suppress_ids": generation.get("suppress_tokens") or [],
        "suppress_ids_begin": generation.get("begin_suppress_tokens") or [],
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseError(f"{path} cannot be read: {error}") from error


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
