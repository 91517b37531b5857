"""Where fetched things are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder: $XLASR_CACHE, or ~/.cache/xlasr."""
    configured = os.environ.get("XLASR_CACHE")
    return Path(configured).absolute() if configured else Path.home() / ".cache" / "xlasr"
