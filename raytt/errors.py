"""Exceptions of raytt. Expected numerical outcomes (unstable, not reached) are statuses, never exceptions."""

from __future__ import annotations


class RayttError(Exception):
    """Base of every exception that raytt raises on purpose."""


class InputError(RayttError, ValueError):
    """Something the caller gave cannot be used: names the value, the bound and the remedy.

    Args:
        problem: What is wrong, with the offending value and the bound it violates.
        remedy: What to change, as an instruction.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str]]:
        return type(self), (self.problem, self.remedy)


class NoDescentError(InputError):
    """A reference run did not lower the training loss at any learning rate that was tried."""


class StoreError(RayttError):
    """The run directory cannot be used: not writable, corrupt, or made from other inputs."""


class ResourceError(RayttError):
    """The Ray cluster does not have what was asked for; the message holds asked-for and available."""


class WorkerError(RayttError):
    """Work failed on a Ray worker; the message holds the item and the remote traceback."""
