"""A constant of raytt with other values than its own, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A number in a module of raytt, and the values to set beside it."""

    home: ModuleType
    """The module that reads it."""
    name: str
    others: tuple[float, ...]
    """Usually half and double, or what turns its rule off."""
    own: float = field(init=False)
    """The value that raytt has."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "own", float(getattr(self.home, self.name)))

    @property
    def values(self) -> list[float]:
        """The own one first."""
        return [self.own, *self.others]


@contextmanager
def varied(constant: Constant, value: float) -> Iterator[None]:
    """The constant has that value in this process until the block ends."""
    before = getattr(constant.home, constant.name)
    setattr(constant.home, constant.name, type(before)(value))
    try:
        yield
    finally:
        setattr(constant.home, constant.name, before)


def shown(constant: Constant, value: float) -> str:
    """A value for a table, raytt's own marked."""
    return f"{value:g}{' (raytt)' if value == constant.own else ''}"
