"""One registry for everything that is looked up by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from xlasr.errors import UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to things. A duplicate is an error; an unknown name is one with close matches.

    Args:
        kind: What the registry holds, in the singular, for messages ("reader", "objective").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that stores its argument as ``name``.

        Raises:
            ValueError: ``name`` is taken, or not lower case (names are typed by people).
        """
        if name != name.lower():
            raise ValueError(f"{self.kind} names are lower case: {name!r}")
        if name in self._items:
            raise ValueError(f"{self.kind} {name!r} is registered twice")

        def store(item: T) -> T:
            self._items[name] = item
            return item

        return store

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            raise UnknownName(self.kind, name, self._items)
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))
