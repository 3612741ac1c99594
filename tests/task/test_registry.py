"""Entries by name, and what an unknown name is told."""

from __future__ import annotations

import pytest

from raytt.errors import InputError
from raytt.task.registry import Registry


def test_entries_keep_their_order_and_names_are_taken_once() -> None:
    registry: Registry[int] = Registry("colour")
    registry.register("red", 1)
    registry.register("blue", 2)
    assert (registry.names(), list(registry), registry.get("blue")) == (("red", "blue"), [1, 2], 2)
    with pytest.raises(ValueError, match="colour 'red' is registered twice"):
        registry.register("red", 3)


@pytest.mark.parametrize(("name", "hint"), [("Rad", "Did you mean 'red'"), ("mauve", "Known: red"), (7, "Known: red")])
def test_an_unknown_name_is_told_the_nearest(name: object, hint: str) -> None:
    registry: Registry[int] = Registry("colour")
    registry.register("red", 1)
    with pytest.raises(InputError, match="Unknown colour") as raised:
        registry.get(name)
    assert hint in str(raised.value)
