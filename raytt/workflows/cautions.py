"""What a user may not have meant or not have seen: schedules that have decayed before training has begun, warm-ups
beyond the budget, a machine that was busy, candidates so cheap that there is little to save.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from raytt.pricing.machine import Timing
from raytt.pricing.step_time import Origin
from raytt.task.candidate import Candidate

EARLY = 0.1
"""Share of the budget in which a schedule should not have ended: a convention of what is worth a word."""
SCATTER = 2.0
"""90 over 10 % quantile of the times of single steps from which on they are called scattered: a convention likewise."""
WORTH = 2.0
"""Training time of all candidates over that of the ranking below which training them is recommended: with candidates
that are no more than twice as dear as their predictions, certainty is worth more."""
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


def scattered_times(timing: Timing) -> tuple[str, ...]:
    """A sentence where steps of one batch size took so unequal time that something else was running."""
    timed = [t for t in timing.timed.values() if t.origin is Origin.TIMED]
    worst = max(timed, key=lambda t: t.high / t.low, default=None)
    if worst is None or worst.high <= SCATTER * worst.low:
        return ()
    return (
        f"Timed steps with batch size {worst.batch_size} took {worst.low:.2g} to {worst.high:.2g} s (10 and 90 % "
        "quantiles): the machine was busy, or items take unequal time to load. Times and costs are no better known "
        "than that; steps are not affected.",
    )


def single_steps(timing: Timing) -> tuple[str, ...]:
    """A sentence where no more than one step of a batch size was timed before the time for it was over.

    Its duration then has no spread that could be seen, and may be anything: with other programs on all cores durations
    20 times too long have been met.
    """
    sizes = [str(size) for size, t in sorted(timing.timed.items()) if t.origin is Origin.TIMED and t.count == 1]
    if not sizes:
        return ()
    return (
        f"Durations with batch size{'' if len(sizes) == 1 else 's'} {', '.join(sizes)} rest on a single timed step, as "
        "there was no time for a second: the machine was busy, or a step takes seconds. Durations and costs may be off "
        "by far, and with them the order of candidates with different batch sizes; predicted steps do not depend on "
        "it. Rank again under another name when the machine is idle, or give your own figures with "
        "--seconds-per-step.",
    )


def little_to_save(*, candidates: int, training: float, ranking: float) -> tuple[str, ...]:
    """A sentence where training all candidates takes hardly longer than ranking them.

    Args:
        candidates: How many.
        training: Seconds that training all takes.
        ranking: Seconds that the ranking took.
    """
    if training >= WORTH * ranking:
        return ()
    return (
        f"Training all {candidates} candidates takes {training:.0f} s, ranking them took {ranking:.0f} s: with so few "
        f"and so cheap ones train them all, with raytt validate and --top {candidates}.",
    )


def _ends_early(candidate: Candidate, budget: int) -> bool:
    factors = candidate.lr_factors(budget)
    warm = candidate.warmup(budget)
    end = max(warm + 1, int(np.ceil(EARLY * budget)))
    # Very short budgets have no first tenth to speak of.
    return budget >= 1.0 / EARLY and end < budget and bool(factors[end:].max() < ENDED)


def _count(some: int, of: int) -> str:
    return f"{some} of {of} candidates"
