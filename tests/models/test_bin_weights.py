"""Pickled weights: refused, converted where a person asks for it, and never executed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests import tiny

from xlasr.errors import BaseError
from xlasr.models.bin_weights import bin_files
from xlasr.models.hub import find_base, load_self_supervised, load_whisper


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bases")
    tiny.whisper_dir(root / "whisper", max_positions=100)
    tiny.speech_dir(root / "wav2vec2", "wav2vec2")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pickled(source: Path, folder: Path, weights: Any = None) -> Path:
    """The same directory as older programs wrote it."""
    shutil.copytree(source, folder)
    state = load_file(folder / "model.safetensors") if weights is None else weights
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def test_refused_without_the_option(bases: Path, tmp_path: Path, cache: Path) -> None:
    folder = pickled(bases / "wav2vec2", tmp_path / "old")
    told = r"only pytorch_model\.bin, which is a pickle.*--base .*/old --convert-bin"
    with pytest.raises(BaseError, match=told) as caught:
        find_base(str(folder))
    assert caught.value.exit_code == 1
    assert not cache.exists()


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_the_same_weights_come_out(bases: Path, tmp_path: Path, cache: Path, kind: str) -> None:
    load = {"whisper": load_whisper, "wav2vec2": lambda folder: load_self_supervised(folder).hf}
    hf = load[kind](bases / kind)
    # what torch.save(model.state_dict()) wrote: tied weights twice, in one storage
    folder = pickled(bases / kind, tmp_path / "old", dict(hf.state_dict()))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    base = find_base(str(folder), convert_bin=True)
    assert (base.name, base.model_type) == (str(folder), kind)
    assert base.folder.is_relative_to(cache)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not list(base.folder.glob("*.bin"))
    assert [p.name for p in (cache / "converted").iterdir()] == [base.folder.name]
    ours, wanted = load[kind](base.folder).state_dict(), hf.state_dict()
    assert set(ours) == set(wanted)
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_once_and_found_again_without_the_option(
    bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pickled(bases / "wav2vec2", tmp_path / "old")
    first = find_base(str(folder), convert_bin=True)
    with monkeypatch.context() as patch:
        patch.setattr("subprocess.run", None)
        assert find_base(str(folder), convert_bin=True) == first
        assert find_base(str(folder)) == first  # so a run on it can be evaluated and resumed
    weights = load_file(first.folder / "model.safetensors")
    torch.save({name: value + 1 for name, value in weights.items()}, folder / "pytorch_model.bin")
    with pytest.raises(BaseError, match="--convert-bin"):  # another file: asked again
        find_base(str(folder))
    assert find_base(str(folder), convert_bin=True).sha256 != first.sha256


def test_names_of_before_weight_norm_was_renamed(bases: Path, tmp_path: Path) -> None:
    """XLS-R and its kind: ``weight_g`` and ``weight_v``, below ``wav2vec2.``, heads beside them."""
    wanted = load_self_supervised(bases / "wav2vec2").hf.state_dict()
    old = {
        "wav2vec2."
        + name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in wanted.items()
    }
    assert sum(name.endswith(("weight_g", "weight_v")) for name in old) == 2
    old["quantizer.codevectors"] = torch.zeros(3)
    folder = pickled(bases / "wav2vec2", tmp_path / "old", old)
    ours = load_self_supervised(find_base(str(folder), convert_bin=True).folder).hf.state_dict()
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_parts_are_joined(bases: Path, tmp_path: Path) -> None:
    folder = pickled(bases / "wav2vec2", tmp_path / "old")
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    names = sorted(weights)
    for part, some in enumerate((names[::2], names[1::2]), start=1):
        path = folder / f"pytorch_model-0000{part}-of-00002.bin"
        torch.save({name: weights[name] for name in some}, path)
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    assert len(bin_files(folder)) == 2
    base = find_base(str(folder), convert_bin=True)
    joined = load_file(base.folder / "model.safetensors")
    assert set(joined) == set(names)
    assert all(torch.equal(joined[name], weights[name]) for name in names)
    assert not list(base.folder.glob("*.index.json"))
    load_self_supervised(base.folder)


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_not_executed(
    bases: Path, tmp_path: Path, cache: Path, legacy: bool
) -> None:
    folder, trap = pickled(bases / "wav2vec2", tmp_path / "old"), tmp_path / "executed"
    weights = {"weight": torch.zeros(2), "trap": Malicious(trap)}
    path = folder / "pytorch_model.bin"
    torch.save(weights, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BaseError, match=r"cannot be converted: .*nothing but tensors"):
        find_base(str(folder), convert_bin=True)
    assert not trap.exists()
    assert list((cache / "converted").iterdir()) == []
    torch.load(path, weights_only=False)  # the trap works: an ordinary load falls into it
    assert trap.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([torch.zeros(2)], "holds a list, not named tensors"),
        ({"state_dict": {"a": torch.zeros(2)}}, "holds 'state_dict', a dict: no weights"),
        ({"a": torch.zeros(2), "epoch": 3}, "holds 'epoch', a int: no weights"),
        (None, r"cannot be converted: \w+Error"),
    ],
)
def test_what_is_no_weights(bases: Path, tmp_path: Path, content: Any, told: str) -> None:
    folder = pickled(bases / "wav2vec2", tmp_path / "old", content or {"a": torch.zeros(9)})
    if content is None:
        path = folder / "pytorch_model.bin"
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BaseError, match=told):
        find_base(str(folder), convert_bin=True)


def test_a_hub_repository_with_pickled_weights(
    bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own choice of files by pattern, from a folder instead of the network."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    folder = pickled(bases / "wav2vec2", tmp_path / "repository")
    (folder / "training_args.bin").write_bytes(b"never wanted")
    got: list[list[str]] = []

    def snapshot(name: str, allow_patterns: list[str]) -> str:
        files = [path.name for path in folder.iterdir()]
        wanted = list(filter_repo_objects(files, allow_patterns=allow_patterns))
        local = tmp_path / "hub"
        local.mkdir(exist_ok=True)
        for file in wanted:
            shutil.copy(folder / file, local)
        got.append(sorted(file for file in wanted if file.endswith(".bin")))
        return str(local)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(BaseError, match=r"no weights: .*--convert-bin"):
        find_base("some/model")
    assert got == [[]]  # a pickle is not even fetched
    base = find_base("some/model", convert_bin=True)
    assert got[1:] == [[], ["pytorch_model.bin"]]
    assert (base.name, base.model_type) == ("some/model", "wav2vec2")
    load_self_supervised(base.folder)
