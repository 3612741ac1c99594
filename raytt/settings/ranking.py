"""What is ranked. In Python these are plain arguments of `raytt.rank`, as nearly every call has one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from raytt.settings.declaration import Rule, Settings


@dataclass(frozen=True, kw_only=True)
class RankingSettings(Settings):
    """Which candidates are ranked, for how long they may train, and at which price.

    Raises:
        InputError: If a value cannot be one.
    """

    num_candidates: Annotated[int, Rule(at_least=1, flag="--candidates")] = 32
    """Configurations to draw from the search space."""
    seed: Annotated[int, Rule(at_least=0)] = 0
    """Seed of everything random."""
    max_epochs: Annotated[float, Rule(above=0.0)] = 20.0
    """Budget, in passes over the training set, of candidates that bring none."""
    usd_per_hour: Annotated[float | None, Rule(at_least=0.0)] = None
    """Price of the training machine, US dollars."""
