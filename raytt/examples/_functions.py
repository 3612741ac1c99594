"""Functions of Python's standard library with their docstrings, read from the source: nothing is imported."""

from __future__ import annotations

import ast
import functools
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raytt.errors import InputError
from raytt.task.minibatches import permutation

PACKAGES = ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "unittest", "urllib", "xml")
"""Whose functions are read, beside the modules that are no packages."""
MIN_WORDS = 6
"""Shortest docstring used, in words."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True, eq=False)
class Documented:
    """A function with a docstring."""

    text: str
    """The docstring, with single spaces."""
    definition: Definition
    """Its syntax tree."""
    in_class: bool
    """Whether it is a method."""
    names: frozenset[str]
    """Names of all classes and functions that its module defines."""

    @property
    def parameters(self) -> frozenset[str]:
        """Names of its parameters but self and cls."""
        a = self.definition.args
        given = (*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x is not None))
        return frozenset(x.arg for x in given) - {"self", "cls"}


@functools.cache
def functions() -> tuple[Documented, ...]:
    """All of them with docstrings of `MIN_WORDS` words that no other has, in a fixed random order."""
    found: dict[str, Documented] = {}
    for file in _files():
        for one in _functions_of(file):
            if len(one.text.split()) >= MIN_WORDS:
                found.setdefault(one.text, one)
    listed = list(found.values())
    return tuple(listed[i] for i in permutation(len(listed), "raytt functions"))


def chosen(found: tuple[Documented, ...], start: int, count: int) -> tuple[Documented, ...]:
    """Functions number ``start … start + count − 1``.

    Raises:
        InputError: If this Python comes without its library's source or with too few docstrings.
    """
    if len(found) < start + count:
        raise InputError(
            f"The standard library under {sysconfig.get_path('stdlib')} has {len(found)} documented functions of the "
            f"kind that this example needs {start + count} of.",
            "Use a Python that has the source of its standard library.",
        )
    return found[start : start + count]


def _files() -> Iterator[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    yield from sorted(root.glob("*.py"))
    for package in PACKAGES:
        files = sorted((root / package).rglob("*.py"))
        yield from (file for file in files if not {"test", "tests"} & set(file.relative_to(root).parts))


def _functions_of(file: Path) -> Iterator[Documented]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        tree = ast.parse(file.read_bytes())
    nodes = list(ast.walk(tree))
    names = frozenset(node.name for node in nodes if isinstance(node, Definition | ast.ClassDef))
    methods = {id(inner) for node in nodes if isinstance(node, ast.ClassDef) for inner in node.body}
    for node in nodes:
        if isinstance(node, Definition) and (text := ast.get_docstring(node)):
            yield Documented(text=" ".join(text.split()), definition=node, in_class=id(node) in methods, names=names)
