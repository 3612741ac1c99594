"""Cached functions of a task's own modules travel by value; those of others by name, as before."""

from __future__ import annotations

import copyreg
import functools
import sys
import types
from collections.abc import Iterator
from types import ModuleType

import pytest
from ray import cloudpickle

from raytt.cluster.plumbing.cached_functions import cached_by_value

CODE = """
import functools

calls = []

@functools.lru_cache(maxsize=7, typed=True)
def power(n):
    calls.append(n)
    return 1 if n == 0 else 2 * power(n - 1)
"""


@pytest.fixture
def module() -> Iterator[ModuleType]:
    made = types.ModuleType("only_here")
    sys.modules["only_here"] = made
    exec(CODE, made.__dict__)
    cloudpickle.register_pickle_by_value(made)
    yield made
    cloudpickle.unregister_pickle_by_value(made)
    sys.modules.pop("only_here", None)


def test_a_cached_function_that_calls_itself_arrives_with_its_settings(module: ModuleType) -> None:
    with cached_by_value([module]):
        data = cloudpickle.dumps(module.power)
    del sys.modules["only_here"]
    copy = cloudpickle.loads(data)
    assert copy(5) == 32
    assert copy.cache_parameters() == {"maxsize": 7, "typed": True}
    assert (copy.cache_info().currsize, module.power.cache_info().currsize) != (0, 6)
    assert module.calls == []


def test_other_modules_and_what_comes_after_are_as_before(module: ModuleType) -> None:
    kind = type(module.power)
    with cached_by_value([module]):
        assert cloudpickle.loads(cloudpickle.dumps(known)) is known
    assert kind not in copyreg.dispatch_table
    assert b"only_here" in cloudpickle.dumps(module.power)


@functools.cache
def known() -> int:
    return 1
