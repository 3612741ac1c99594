"""Functions under ``functools.cache`` and ``lru_cache`` on their way to workers.

Pickle knows them by name only, and a task file has no name on a worker. Here the function travels by value, as
cloudpickle sends any other, and gets an empty cache of the same size there.
"""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_Cached: Any = type(functools.cache(lambda: None))


@contextmanager
def cached_by_value(modules: Collection[ModuleType]) -> Iterator[None]:
    """While open, cached functions of these modules are pickled with their code instead of by name."""
    names = {module.__name__ for module in modules} | {"__main__"}

    def reduce(function: Any) -> str | tuple[Any, ...]:
        if function.__module__ not in names:
            # By name, as pickle itself does.
            return str(function.__qualname__)
        return _rebuild, (function.__wrapped__, function.cache_parameters())

    before = copyreg.dispatch_table.get(_Cached)
    copyreg.pickle(_Cached, reduce)
    try:
        yield
    finally:
        if before is None:
            copyreg.dispatch_table.pop(_Cached, None)
        else:
            copyreg.dispatch_table[_Cached] = before


def _rebuild(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)
