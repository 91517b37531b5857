"""Export: one file per runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xlasr.exporters.ct2 import export_ct2
from xlasr.exporters.transformers import export_transformers
from xlasr.registry import Registry

EXPORTERS: Registry[Callable[[Path, Path], Path]] = Registry("export format")
EXPORTERS.register("ct2")(export_ct2)
EXPORTERS.register("transformers")(export_transformers)

__all__ = ["EXPORTERS", "export_ct2", "export_transformers"]
