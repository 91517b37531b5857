"""Runtimes that know only the base's own layers must not get a model that needs others."""

from __future__ import annotations

import json
from pathlib import Path

from xlasr.errors import UsageError


def refuse_adapters(model_dir: Path, runtime: str) -> None:
    """Stop an export that would silently give back the unadapted base, or nothing that opens.

    Raises:
        UsageError: The model has bottleneck adapters, or an attention decoder of our own.
    """
    told = model_dir / "xlasr.json"
    if told.exists() and "attention" in json.loads(told.read_text(encoding="utf-8")):
        raise UsageError(
            f"{model_dir} has an attention decoder of xlasr's own, and {runtime} has no place for "
            "it behind this encoder. xlasr itself opens the folder"
        )
    part = model_dir / "part" / "part.json"
    if part.exists():
        raise UsageError(
            f"{model_dir} needs bottleneck adapters, and {runtime} has no place for them: without "
            "them it is the unadapted base. Train with LoRA (it is merged) or all weights to export"
        )
