"""A finished Whisper as a plain transformers directory."""

from __future__ import annotations

import shutil
from pathlib import Path

from xlasr.errors import UsageError


def export_transformers(model_dir: Path, out_dir: Path) -> Path:
    """Copy a finished model; it is a transformers directory already (LoRA is merged in it).

    Args:
        model_dir: A run's ``model``.
        out_dir: A folder that does not exist yet.

    Returns:
        ``out_dir``.

    Raises:
        UsageError: ``out_dir`` exists.
    """
    if out_dir.exists():
        raise UsageError(f"{out_dir} exists; give a new folder")
    shutil.copytree(model_dir, out_dir)
    return out_dir
