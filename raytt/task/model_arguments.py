"""Which hyperparameters of a search space are arguments of the task's model factory.

A factory ``def model(lora_rank=8, targets="attention")`` makes ``lora_rank`` and ``targets`` names that a search space
may hold beside the hyperparameters of `Candidate`. Every argument needs a default: it is what the model is described
with, and what a configuration that does not name it means.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from raytt.errors import InputError
from raytt.task.candidate import Candidate, hyperparameters
from raytt.task.task import Task

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def model_names(factory: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the factory's arguments that have a default and are not called as a hyperparameter is."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        # Not everything that can be called says how.
        return ()
    known = hyperparameters()
    return tuple(
        name
        for name, p in parameters.items()
        if p.kind in _BY_NAME and p.default is not inspect.Parameter.empty and name not in known
    )


def check_model_arguments(task: Task, candidates: Iterable[Candidate]) -> None:
    """Hold the candidates' arguments of the model against the factory.

    Raises:
        InputError: If the factory does not take one of them, with the nearest that it does, or the task is one of
            ``mode="eval"``, whose rows are of one network.
    """
    given = sorted({name for candidate in candidates for name, _ in candidate.model_arguments})
    if not given:
        return
    known = model_names(task.model)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"The model factory of task {task.name!r} takes no argument {name!r} that has a default.",
                f"{hint}It takes: {', '.join(known) or 'none'}.",
            )
    if task.mode != "train":
        raise InputError(
            f"The search space holds {given[0]!r}, an argument of the model, and the task has mode={task.mode!r}, "
            "whose per-sample gradients are those of one network.",
            "Use mode='train', or rank each network by itself.",
        )
