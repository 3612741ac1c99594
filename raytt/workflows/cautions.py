"""What a user may not have meant: schedules that have decayed before training has begun, warm-ups beyond the budget."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from raytt.task.candidate import Candidate

EARLY = 0.1
"""Share of the budget in which a schedule should not have ended: a convention of what is worth a word."""
ENDED = 1e-3
"""Share of the peak learning rate below which a schedule has ended: a convention likewise."""


def cautions(budgets: Mapping[Candidate, int]) -> tuple[str, ...]:
    """One sentence for each kind of candidate that was probably meant otherwise.

    Args:
        budgets: Steps of each candidate.
    """
    early = [c for c, budget in budgets.items() if _ends_early(c, budget)]
    long = [c for c, budget in budgets.items() if c.warmup(budget) >= budget]
    notes = []
    if early:
        names = ", ".join(sorted({c.schedule.describe() for c in early}))
        notes.append(
            f"The learning rate of {_count(len(early), len(budgets))} falls below {ENDED:g} of its peak within the "
            f"first tenth of the budget ({names}): schedules count optimizer steps, not epochs."
        )
    if long:
        notes.append(f"The warm-up of {_count(len(long), len(budgets))} does not end within the budget.")
    return tuple(notes)


def _ends_early(candidate: Candidate, budget: int) -> bool:
    factors = candidate.lr_factors(budget)
    warm = candidate.warmup(budget)
    end = max(warm + 1, int(np.ceil(EARLY * budget)))
    # Very short budgets have no first tenth to speak of.
    return budget >= 1.0 / EARLY and end < budget and bool(factors[end:].max() < ENDED)


def _count(some: int, of: int) -> str:
    return f"{some} of {of} candidates"
