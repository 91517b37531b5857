"""What all recipe objects share, and how unchecked trees are read."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of all recipe objects: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def dicts(found: Any) -> list[dict[str, Any]]:
    """The mappings of a list, where an unchecked tree has one."""
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
