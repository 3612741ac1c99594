"""Finding a task by name: from a file, or from a module that is installed or in the working directory."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from raytt.errors import InputError
from raytt.task.target import Target
from raytt.task.task import Task


@dataclass(frozen=True, kw_only=True)
class LoadedTask:
    """What a task file or module defines."""

    task: Task
    """What is trained."""
    search_space: Any
    """Ray Tune's domains, or a list of configurations; None where the module has none and needs none."""
    target: Target | None
    """When training counts as done; None if the module does not say."""


def load_task(spec: str, *, needs_space: bool = True) -> LoadedTask:
    """The task that a specification names.

    Args:
        spec: The path of a Python file, or a dotted module; ``::NAME`` after it names the task's attribute where that
            is not ``task``. The module also holds ``search_space``, and ``target`` if wanted.
        needs_space: Whether a module without ``search_space`` is refused; else its search space is None.

    Raises:
        InputError: If there is no such file or module, importing it fails, or something is missing in it.
    """
    place, _, attribute = spec.partition("::")
    path = Path(place)
    module = _load_file(path) if path.suffix == ".py" or os.sep in place or path.is_file() else _load_module(place)
    task = _get(module, place, attribute or "task", "an instance of raytt.Task")
    if not isinstance(task, Task):
        raise InputError(
            f"`{attribute or 'task'}` in {place} is a {type(task).__name__}, not a raytt.Task.",
            f"Write: {attribute or 'task'} = raytt.Task(name=…, model=…, data=…).",
        )
    target = getattr(module, "target", None)
    space = getattr(module, "search_space", None)
    if needs_space:
        space = _get(module, place, "search_space", "a dictionary of Ray Tune domains or a list of configurations")
    return LoadedTask(
        task=task,
        search_space=space,
        target=None if target is None else Target.parse(target),
    )


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(
            f"There is no file {path}.", f"Give a file that exists; the working directory is {Path.cwd()}."
        )
    path = path.resolve()
    # The same name in every run, so that what was pickled under it can be found again, and no clash with real modules.
    name = f"raytt_task_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file.", "Give a file whose name ends in .py, or a dotted module.")
    module = importlib.util.module_from_spec(spec)
    _search_in(path.parent)
    sys.modules[name] = module
    try:
        with _problems_of(str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_module(name: str) -> ModuleType:
    _search_in(Path.cwd())
    with _problems_of(name):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise InputError(
                f"There is no module {error.name!r}.",
                f"Give a task file (its name ends in .py), or a module that can be imported from {Path.cwd()}.",
            ) from error


def _search_in(folder: Path) -> None:
    """Let a task import what lies beside it, as a script could."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@contextmanager
def _problems_of(place: str) -> Iterator[None]:
    """Turn what goes wrong when a task is imported into an `InputError` that fits on a screen."""
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and error.name:
            raise InputError(
                f"{place} needs the module {error.name!r}, which is not installed.",
                f"Install the package that has it, usually: pip install {error.name.partition('.')[0]}",
            ) from error
        # Frames of the import system say nothing about the task.
        tail = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
        frames = [frame for frame in tail if frame.filename != __file__][-3:]
        lines = "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)])
        raise InputError(f"{place} fails when it is imported:\n\n{lines}\n", "Correct it, then try again.") from error


def _get(module: ModuleType, place: str, name: str, meaning: str) -> Any:
    if not hasattr(module, name):
        raise InputError(f"{place} defines no `{name}`.", f"Define `{name}` at its top level: {meaning}.")
    return getattr(module, name)
