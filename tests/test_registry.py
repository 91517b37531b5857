from __future__ import annotations

import pytest

from xlasr.errors import UnknownName
from xlasr.registry import Registry


def test_what_was_stored_is_found_in_order() -> None:
    registry: Registry[int] = Registry("number")
    assert registry.register("two")(2) == 2
    registry.register("one")(1)
    assert (registry["one"], registry["two"]) == (1, 2)
    assert list(registry) == ["one", "two"]
    assert "one" in registry
    assert "three" not in registry
    assert 1 not in registry


def test_names_are_taken_once_and_lower_case() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("one")(1)
    with pytest.raises(ValueError, match="number 'one' is registered twice"):
        registry.register("one")
    with pytest.raises(ValueError, match="lower case: 'Two'"):
        registry.register("Two")
    assert registry["one"] == 1


def test_an_unknown_name_gets_close_matches_and_the_list() -> None:
    registry: Registry[int] = Registry("objective")
    registry.register("cross_entropy")(1)
    registry.register("ctc")(2)
    with pytest.raises(UnknownName) as caught:
        registry["cross_entorpy"]
    assert str(caught.value) == (
        "unknown objective 'cross_entorpy'. Did you mean 'cross_entropy'? "
        "Known: cross_entropy, ctc."
    )
    assert caught.value.exit_code == 2
