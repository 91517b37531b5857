"""Runtimes that know only the base's own layers must not get a model that needs adapters."""

from __future__ import annotations

from pathlib import Path

from xlasr.errors import UsageError


def refuse_adapters(model_dir: Path, runtime: str) -> None:
    """Stop an export that would silently give back the unadapted base.

    Raises:
        UsageError: The model has bottleneck adapters.
    """
    part = model_dir / "part" / "part.json"
    if part.exists():
        raise UsageError(
            f"{model_dir} needs bottleneck adapters, and {runtime} has no place for them: without "
            "them it is the unadapted base. Train with LoRA (it is merged) or all weights to export"
        )
