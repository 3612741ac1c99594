"""What minibatches that take equally long have in common: their size, and the arguments that the network is built with.

A key is the size alone where a candidate names no arguments of the model, as most do not.
"""

from __future__ import annotations

from typing import Any

from raytt.task.candidate import Candidate, ModelArguments, written

StepKey = int | tuple[int, ModelArguments]
"""B, or B and `Candidate.model_arguments`."""


def step_key(candidate: Candidate) -> StepKey:
    """The key under which the time and the work of a candidate's minibatches stand."""
    return keyed(candidate.batch_size, candidate.model_arguments)


def keyed(batch_size: int, arguments: ModelArguments) -> StepKey:
    """The key of both."""
    return (batch_size, arguments) if arguments else batch_size


def size_of(key: StepKey) -> int:
    """B."""
    return key if isinstance(key, int) else key[0]


def arguments_of(key: StepKey) -> ModelArguments:
    """What the network is built with; none: the factory's defaults."""
    return () if isinstance(key, int) else key[1]


def in_words(key: StepKey) -> str:
    """Such as "16" or "16 with rank 8"."""
    named = ", ".join(f"{name} {written(value)}" for name, value in arguments_of(key))
    return f"{size_of(key)} with {named}" if named else str(size_of(key))


def by_size(key: StepKey) -> tuple[Any, ...]:
    """Orders keys: by size, then by alphabet."""
    return size_of(key), in_words(key)
