"""A finished Whisper or SeamlessM4T as a plain transformers directory."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from xlasr.errors import UsageError
from xlasr.exporters.adapters import refuse_adapters
from xlasr.models.multimodal import MULTIMODAL


def export_transformers(model_dir: Path, out_dir: Path) -> Path:
    """Copy a finished model; it is a transformers directory already (LoRA is merged in it).

    Args:
        model_dir: A run's ``model``.
        out_dir: A folder that does not exist yet.

    Returns:
        ``out_dir``.

    Raises:
        UsageError: ``out_dir`` exists, the model has adapters, or transformers has no such class.
    """
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] == MULTIMODAL:
        raise UsageError(
            f"{model_dir} holds a {MULTIMODAL!r}, and transformers has no class for it: it would "
            "open as a Whisper without its length adapter. xlasr itself opens the folder"
        )
    refuse_adapters(model_dir, "transformers' own class")
    if out_dir.exists():
        raise UsageError(f"{out_dir} exists; give a new folder")
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as scratch:
        shutil.copytree(model_dir, Path(scratch) / "new").rename(out_dir)  # whole, or not at all
    return out_dir
