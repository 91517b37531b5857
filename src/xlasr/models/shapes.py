"""The shape of a network of our own as ``config.json``. No torch here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from xlasr.errors import BaseError

Kind = TypeVar("Kind", bound="Shape")


@dataclass(frozen=True)
class Shape:
    """Numbers that fit together, or an error when they are put together."""

    called: ClassVar[str]
    """What a network of this shape is, in messages."""

    def dumps(self) -> str:
        """The text of ``config.json``."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls: type[Kind], path: Path) -> Kind:
        """Read ``config.json``.

        Raises:
            BaseError: It is damaged, or has other fields.
        """
        try:
            found: Any = json.loads(path.read_text(encoding="utf-8"))
            unknown = sorted(set(found) - {field.name for field in fields(cls)})
            if unknown:
                raise BaseError(f"{path} has unknown fields: {', '.join(unknown)}")
            return cls(**found)
        except (OSError, ValueError, TypeError) as error:
            raise BaseError(f"{path} is no {cls.called}'s config: {error}") from error
