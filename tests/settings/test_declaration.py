from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any, Literal

import pytest

import raytt.settings
from raytt.errors import InputError
from raytt.settings.declaration import Rule, Settings, refuse_misplaced, setting_of, settings_of


@dataclass(frozen=True, kw_only=True)
class Examples(Settings):
    """One field of each kind."""

    whole: Annotated[int, Rule(at_least=2)] = 3
    """A whole number
    over two lines."""
    free: int = 0
    share: Annotated[float | None, Rule(above=0.0, at_most=1.0)] = None
    choice: Literal["red", "blue"] = "red"
    many: Annotated[tuple[int, ...], Rule(at_least=1, flag="--one")] = ()
    on: bool = True
    text: str | None = None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"whole": 1}, "whole is 1. Give a whole number of at least 2."),
        ({"whole": None}, "whole is None. Give a whole number of at least 2."),
        ({"whole": 2.5}, "whole is 2.5. Give a whole number of at least 2."),
        ({"whole": True}, "whole is True. Give a whole number of at least 2."),
        ({"free": 0.5}, "free is 0.5. Give a whole number."),
        ({"share": 0.0}, "share is 0.0. Give a number above 0 and of at most 1."),
        ({"share": 1.5}, "share is 1.5. Give a number above 0 and of at most 1."),
        ({"share": float("inf")}, "share is inf. Give a number above 0 and of at most 1."),
        ({"choice": "green"}, "choice is 'green'. Use one of: red, blue."),
        ({"many": (1, 0)}, "many is 0. Give a whole number of at least 1."),
        ({"on": "no"}, "on is 'no'. Give True or False."),
    ],
)
def test_values_are_held_against_the_declaration(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Examples(**given)
    assert str(caught.value) == message


def test_values_at_the_bounds_pass() -> None:
    assert Examples(whole=2, free=-1, share=1e-9, choice="blue", many=(1,), on=False, text="").whole == 2
    assert Examples(share=1).share == 1


def test_what_is_read_from_a_declaration() -> None:
    whole, share, many = (setting_of(Examples, name) for name in ("whole", "share", "many"))
    assert (whole.flag, whole.kind, whole.default, whole.optional) == ("--whole", int, 3, False)
    assert (share.kind, share.default, share.optional) == (float, None, True)
    assert (many.flag, many.kind, many.many) == ("--one", int, True)
    assert whole.help == "A whole number over two lines."
    assert setting_of(Examples, "choice").choices == ("red", "blue")


def test_a_misplaced_argument_is_told_where_it_belongs() -> None:
    refuse_misplaced("f", {}, examples=Examples)
    with pytest.raises(InputError, match=r"^whole is no argument of f\(\) but one of raytt\.Examples\. Write "):
        refuse_misplaced("f", {"whole": 3}, examples=Examples)
    with pytest.raises(TypeError, match=r"f\(\) got an unexpected keyword argument 'hole'"):
        refuse_misplaced("f", {"hole": 3}, examples=Examples)


def test_every_setting_is_documented_under_it() -> None:
    found = 0
    for module in iter_modules(raytt.settings.__path__, "raytt.settings."):
        for _, owner in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(owner, Settings) and owner.__module__ == module.name:
                for setting in settings_of(owner):
                    assert setting.help.endswith("."), setting.name
                    found += 1
    assert found > 20


def test_settings_need_the_standard_library_only() -> None:
    for module in iter_modules(raytt.settings.__path__, "raytt.settings."):
        tree = ast.parse(inspect.getsource(import_module(module.name)))
        names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name for name in names if name and name.split(".")[0] in ("numpy", "torch", "ray", "typer")}
