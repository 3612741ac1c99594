"""Nests of tensors: whatever a collate function may return, from a single tensor to dictionaries of dictionaries.

Mappings keep their class (``BatchEncoding``, say, whose fields a loss may read as attributes), so do data classes and
named tuples. Whatever is neither a container nor a tensor is a leaf.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


def map_tensors(function: Callable[[Tensor], Tensor], nest: Any) -> Any:
    """The same nest with ``function`` of every tensor in the place of the tensor; the original stays as it is."""
    if isinstance(nest, Tensor):
        return function(nest)
    changed: Any
    if isinstance(nest, MutableMapping):
        changed = copy.copy(nest)
        for name, part in nest.items():
            changed[name] = map_tensors(function, part)
        return changed
    if isinstance(nest, Mapping):
        return {name: map_tensors(function, part) for name, part in nest.items()}
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*(map_tensors(function, part) for part in nest))
    if type(nest) in (tuple, list):
        return type(nest)(map_tensors(function, part) for part in nest)
    if is_dataclass(nest) and not isinstance(nest, type):
        changed = copy.copy(nest)
        for field in fields(nest):
            # Also of frozen ones: the copy is not shared yet.
            object.__setattr__(changed, field.name, map_tensors(function, getattr(nest, field.name)))
        return changed
    return nest


def leaves(nest: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All leaves with their paths, such as ``("inputs.mask", tensor)``; keys in alphabetical order."""
    parts: Any
    if isinstance(nest, Mapping):
        parts = sorted(((str(key), part) for key, part in nest.items()), key=lambda pair: pair[0])
    elif isinstance(nest, tuple | list):
        parts = [(str(number), part) for number, part in enumerate(nest)]
    elif is_dataclass(nest) and not isinstance(nest, type):
        parts = [(field.name, getattr(nest, field.name)) for field in fields(nest)]
    else:
        yield name, nest
        return
    for key, part in parts:
        yield from leaves(part, f"{name}.{key}" if name else key)


def tensors(nest: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors among the `leaves`."""
    return ((path, leaf) for path, leaf in leaves(nest, name) if isinstance(leaf, Tensor))
