"""Tasks on their way to workers: code that only the driver can import travels by value."""

from __future__ import annotations

import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
from ray import cloudpickle

from raytt.cluster.plumbing.cached_functions import cached_by_value
from raytt.errors import InputError
from raytt.task.task import Task


@contextmanager
def by_value(task: Task) -> Iterator[None]:
    """While open, the code of the task's own modules is pickled with it instead of by name.

    These are the modules that define its factories and functions, and modules beside them, unless they are installed:
    a task file exists on the driver's machine only.
    """
    modules = _own_modules(task)
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        with cached_by_value(modules):
            yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def put(task: Task) -> Any:
    """A ref to the task in the object store.

    Raises:
        InputError: If something in it cannot be pickled.
    """
    try:
        return ray.put(task)
    except Exception as error:
        # Pickling runs the code of whatever the task holds, so that anything may be raised.
        raise _stays(task, error) from error


def rehearse(task: Task) -> int:
    """Send the task to another process as to a worker, and let it be unpacked there; the number of bytes.

    The other process is a Python of its own in an empty folder: what only this one can import is not found there.

    Raises:
        InputError: If the task cannot be pickled, or not unpacked there.
    """
    with by_value(task):
        try:
            data = cloudpickle.dumps(task)
        except Exception as error:
            raise _stays(task, error) from error
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", "import pickle, sys; pickle.load(sys.stdin.buffer)"],
            input=data,
            capture_output=True,
            cwd=folder,
            check=False,
        )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise InputError(
            f"Task {task.name!r} does not arrive in another process: {lines[-1]}",
            "Define what the task uses in its own file or beside it, or install it as a package; give the model and "
            "the data as functions that build them.",
        )
    return len(data)


def _stays(task: Task, error: Exception) -> InputError:
    return InputError(
        f"Task {task.name!r} cannot travel to workers: {error}",
        "Give the model and the data as functions that build them, and keep open files and locks out of the task.",
    )


def _own_modules(task: Task) -> list[ModuleType]:
    found: dict[str, ModuleType] = {}
    for name in {_module_of(value) for field in fields(task) for value in _parts(getattr(task, field.name))}:
        module = sys.modules.get(name or "")
        if module is not None and not _is_installed(module):
            found[module.__name__] = module
    folders = {Path(module.__file__).parent for module in found.values() if module.__file__}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and Path(file).parent in folders and not _is_installed(module):
            found[module.__name__] = module
    # What __main__ defines is pickled by value anyway.
    return [module for name, module in sorted(found.items()) if name != "__main__"]


def _parts(value: Any) -> list[Any]:
    """A value's parts whose code it needs; what wraps a user's objects names them as ``travels_with``."""
    return list(value) if isinstance(value, tuple | list) else [value, *getattr(value, "travels_with", ())]


def _module_of(value: Any) -> str | None:
    """The name of the module that defines a function, or the class of an instance."""
    inner = getattr(value, "func", value)
    name = getattr(inner, "__module__", None) or type(inner).__module__
    return name if isinstance(name, str) else None


def _is_installed(module: ModuleType) -> bool:
    """Whether workers can be taken to import the module by name: Python's own, installed, or raytt itself."""
    if module.__name__.partition(".")[0] == "raytt" or module.__name__ in sys.builtin_module_names:
        return True
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ != "__main__"
    path = Path(file).resolve()
    installed = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    return any(path.is_relative_to(Path(folder).resolve()) for folder in installed)
