"""Which candidates of a finished ranking are really trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from raytt.errors import InputError
from raytt.settings.declaration import Rule, Settings


@dataclass(frozen=True, kw_only=True)
class ValidationSettings(Settings):
    """The choice of candidates. In Python these are plain arguments of `raytt.validate`.

    Raises:
        InputError: If a value cannot be one, or nothing is chosen.
    """

    top: Annotated[int, Rule(at_least=0)] = 3
    """Candidates from the top of the ranking."""
    random: Annotated[int, Rule(at_least=0)] = 5
    """Further candidates, drawn from the rest."""
    seed: Annotated[int, Rule(at_least=0)] = 0
    """Seed of that choice, and of the minibatches."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top + self.random == 0:
            raise InputError("top is 0 and random is 0.", "Train at least one candidate.")
