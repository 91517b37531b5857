"""Weights in PyTorch's old pickled format, converted to safetensors in a process of its own.

The one place where a pickle is opened, only where a person asked for it, and with torch's
restricted unpickler (``weights_only=True``): it makes tensors and plain containers and refuses
every other call. The process ends with the conversion; what is trained is safetensors.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from xlasr.errors import BaseError
from xlasr.files import sha256, sync


def bin_files(folder: Path) -> list[Path]:
    """Pickled weights of a transformers directory: one file, or its numbered parts."""
    return sorted(folder.glob("pytorch_model*.bin"))


def converted_folder(folder: Path, cache: Path) -> Path:
    """Where the conversion of a directory lies, or would lie: named by what is in it."""
    return cache / "converted" / sha256(*_small_files(folder), *bin_files(folder))[:32]


def convert(folder: Path, cache: Path) -> Path:
    """Convert a directory once; an earlier conversion of the same files is used again.

    Args:
        folder: transformers directory with ``pytorch_model*.bin``; nothing is written into it.
        cache: xlasr's.

    Returns:
        A directory with the same configs and ``model.safetensors``.

    Raises:
        BaseError: A file is damaged, or holds more than tensors.
    """
    final = converted_folder(folder, cache)
    if final.exists():
        return final
    temporary = final.with_name(f".{final.name}.{os.getpid()}")  # two processes may convert it
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for path in _small_files(folder):
            shutil.copyfile(path, temporary / path.name)
        target = temporary / "model.safetensors"
        command = [sys.executable, "-m", __name__, str(target), *map(str, bin_files(folder))]
        roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise BaseError(
                f"the weights in {folder} cannot be converted: {reason}. Only files that hold "
                "nothing but tensors are; take a copy in .safetensors, or from another source"
            )
        sync(target)
        if not final.exists():
            os.rename(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _small_files(folder: Path) -> list[Path]:
    """Configs and tokenizers; an index names parts that the conversion joins."""
    found = [path for end in ("json", "txt", "model") for path in folder.glob(f"*.{end}")]
    return sorted(path for path in found if not path.name.endswith(".index.json"))


def main(target: str, *sources: str) -> None:
    """Read pickled tensors and write them as one safetensors file; what the process runs."""
    import torch
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for source in sources:
        found = torch.load(source, map_location="cpu", weights_only=True)
        if not isinstance(found, dict):
            raise SystemExit(f"{source} holds a {type(found).__name__}, not named tensors")
        for name, value in found.items():
            if not isinstance(name, str) or not isinstance(value, torch.Tensor):
                raise SystemExit(f"{source} holds {name!r}, a {type(value).__name__}: no weights")
            storage = value.untyped_storage().data_ptr()
            if storage in storages:  # tied weights, which safetensors does not write
                value = value.clone()
            tensors[name] = value.contiguous()
            storages.add(storage)
    save_file(tensors, target, metadata={"format": "pt"})


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        first = str(error).strip().splitlines()[:1]
        sys.exit(f"{type(error).__name__}: {first[0] if first else ''}")
