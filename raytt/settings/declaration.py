"""How a setting is declared: once, as a field of a dataclass, from which Python and the command line both take it.

A field's type, default and documentation are what a class says anyway. What else there is to say of its values is a
`Rule` beside the type::

    class ClusterSettings(Settings):
        num_workers: Annotated[int | None, Rule(at_least=1)] = None
        \"\"\"Ray workers, at most.\"\"\"

The class checks its values when it is built; `raytt.cli.options` makes ``--num-workers`` of the same field, with the
same default, help and check. Nothing here needs more than the standard library, so that ``raytt --help`` is quick.
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from raytt.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a setting's type does not say of it."""

    at_least: float | None = None
    """Bound of a number, which it may be equal to."""
    above: float | None = None
    """Bound of a number, which it must exceed."""
    at_most: float | None = None
    """Upper bound of a number, which it may be equal to."""
    flag: str | None = None
    """Option of the command line; None: the field's name, as in ``--num-workers``."""
    also: str | None = None
    """Another name of the option."""
    form: str | None = None
    """How a value is written on the command line, as shown in its help; None: by its type."""
    read: Callable[[str], Any] | None = None
    """Makes a value of that form."""
    write: Callable[[Any], str] = str
    """Writes a value in that form."""
    complete: Callable[[str], list[str]] | None = None
    """Values that begin with what was typed, for completion in a shell."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of a settings class, as it was declared."""

    owner: type[Settings]
    """The class."""
    name: str
    """The field."""
    kinds: tuple[Any, ...]
    """Types of its values."""
    rule: Rule
    """What its type does not say."""

    @property
    def optional(self) -> bool:
        """Whether it may be None."""
        return NoneType in self.kinds

    @property
    def choices(self) -> tuple[str, ...]:
        """The values there are, of one that is a choice."""
        return get_args(self.kinds[0]) if get_origin(self.kinds[0]) is Literal else ()

    @property
    def many(self) -> bool:
        """Whether it is a tuple of values."""
        return get_origin(self.kinds[0]) is tuple

    @property
    def kind(self) -> type:
        """``bool``, ``int`` or ``float``, of one or of each value; ``str`` stands for all others."""
        kinds = get_args(self.kinds[0]) if self.many else self.kinds
        return next((kind for kind in (bool, int, float) if kind in kinds), str)

    @property
    def default(self) -> Any:
        """Its value where none is given."""
        return getattr(self.owner, self.name)

    @property
    def flag(self) -> str:
        """Its option of the command line."""
        return self.rule.flag or f"--{self.name.replace('_', '-')}"

    @property
    def help(self) -> str:
        """Its documentation."""
        # A class is hashable; mypy looks at the hash of its instances.
        return _documentation(self.owner)[self.name]  # type: ignore[arg-type]

    def check(self, value: Any) -> None:
        """Hold a value against the declaration.

        Raises:
            InputError: If it cannot be one.
        """
        if value is None and self.optional:
            return
        for one in value if self.many else (value,):
            if not self._fits(one):
                raise InputError(f"{self.name} is {one!r}.", self._remedy())

    def _fits(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if self.kind is bool:
            return isinstance(value, bool)
        if self.kind is str:
            return True
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (self.kind is float and isinstance(value, float) and math.isfinite(value))):
            return False
        low, above, high = self.rule.at_least, self.rule.above, self.rule.at_most
        return (low is None or value >= low) and (above is None or value > above) and (high is None or value <= high)

    def _remedy(self) -> str:
        if self.choices:
            return f"Use one of: {', '.join(self.choices)}."
        if self.kind is bool:
            return "Give True or False."
        number = "a whole number" if self.kind is int else "a number"
        rule, bounds = self.rule, []
        if rule.at_least is not None:
            bounds.append(f"of at least {rule.at_least:g}")
        if rule.above is not None:
            bounds.append(f"above {rule.above:g}")
        if rule.at_most is not None:
            bounds.append(f"of at most {rule.at_most:g}")
        return " ".join([f"Give {number}", *[" and ".join(bounds)] * bool(bounds)]) + "."


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings classes: checks each field against its declaration.

    Raises:
        InputError: If a value cannot be one; names the field.
    """

    PANEL: ClassVar[str | None] = None
    """Heading of their options in the help of the command line; None: that of all options."""

    def __post_init__(self) -> None:
        for setting in settings_of(type(self)):
            setting.check(getattr(self, setting.name))


def settings_of(owner: type[Settings]) -> tuple[Setting, ...]:
    """The fields of a settings class, in their order."""
    hints = get_type_hints(owner, include_extras=True)
    return tuple(_declared(owner, field.name, hints[field.name]) for field in fields(owner))


def setting_of(owner: type[Settings], name: str) -> Setting:
    """One field of a settings class."""
    return next(setting for setting in settings_of(owner) if setting.name == name)


def refuse_misplaced(function: str, given: Mapping[str, Any], **places: type[Settings]) -> None:
    """Refuse keyword arguments that a function does not have, and say of settings where they belong.

    Args:
        function: Name of the function.
        given: The arguments it does not have.
        places: By name of an argument, the settings class it takes.

    Raises:
        InputError: If one is a field of one of the classes.
        TypeError: If it is not, as Python itself would.
    """
    for name in given:
        for argument, owner in places.items():
            if any(setting.name == name for setting in settings_of(owner)):
                raise InputError(
                    f"{name} is no argument of {function}() but one of raytt.{owner.__name__}.",
                    f"Write {argument}=raytt.{owner.__name__}({name}=…).",
                )
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


def _declared(owner: type[Settings], name: str, hint: Any) -> Setting:
    kind, *others = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    rule = next((other for other in others if isinstance(other, Rule)), Rule())
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return Setting(owner=owner, name=name, kinds=kinds, rule=rule)


@cache
def _documentation(owner: type[Any]) -> dict[str, str]:
    """What stands under each field in the source. Python itself does not keep it."""
    (definition,) = ast.parse(inspect.getsource(owner)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in pairwise(definition.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found
