"""What an adapter makes of a library's own training."""

from __future__ import annotations

from dataclasses import dataclass

from raytt.task.candidate import Candidate
from raytt.task.task import Task


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """A library's own training, as raytt ranks it."""

    task: Task
    """Model, data and loss, with ``mode="train"``."""
    candidate: Candidate
    """The configuration that the library's own settings mean."""
    seed: int
    """The seed that they give."""
    notes: tuple[str, ...]
    """Where raytt's training differs from the library's, one sentence each."""
