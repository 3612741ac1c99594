"""What is ranked. In Python these are plain arguments of `raytt.rank`, as nearly every call has one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from raytt.settings.declaration import Rule, Settings

Objective = Literal["val_accuracy", "val_loss", "loss"]
"""What candidates may be ranked by at the end of their budgets, see `raytt.task.rank_objective`."""


@dataclass(frozen=True, kw_only=True)
class RankingSettings(Settings):
    """Which candidates are ranked, for how long they may train, at which price, and by what they are ranked.

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
    objective: Objective | None = None
    """Rank by the predicted quality at the end of each candidate's own budget. Default: by cost to the target."""
    early_stopping: Annotated[str | None, Rule(form="PATIENCE[@STEPS][,MIN_DELTA]")] = None
    """How runs are ended before their budgets are: 3 (epochs without an improvement), 5@200 (evaluations every 200
    steps), 3@epoch,0.001 (with a least improvement)."""
