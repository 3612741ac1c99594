"""Simulations of training on the whole set, of which only some samples were probed (`raytt.forecast.full_dataset`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.stages.solve import Simulation, Solvers
from raytt.dynamics.curves import CandidateCurves
from raytt.forecast.full_dataset import lift
from raytt.task.candidate import Candidate
from raytt.task.target import Target

SHARES = (0.25, 0.5)
"""Of the probed samples, that are trained on besides all of them."""
PATHS = 2
"""Sample paths of these simulations, each with samples of its own; they cost as much as others."""
DEEPER = 4.0
"""Simulations with part of the samples go on to this many times less loss (or errors) than the target asks for: the
whole set is there later. Not measured yet: ``python -m benchmarks.constants --sections whole-set`` varies it."""


def solve_whole(
    solvers: Solvers,
    budgets: Mapping[Candidate, int],
    simulation: Simulation,
    phase: Phase,
    *,
    num_samples: int,
    num_samples_full: int,
    known: Mapping[Candidate, CandidateCurves] | None = None,
) -> dict[Candidate, CandidateCurves]:
    """Simulate candidates and carry their curves over to the whole set.

    Candidates whose batches hold more than half of the probed samples, and all where the solver is the stochastic
    differential equation, stay as simulated, and so does everything where all samples were probed.

    Args:
        solvers: For the probed samples.
        budgets: Steps of each candidate.
        simulation: How.
        phase: Shows progress.
        num_samples: N.
        num_samples_full: N_full.
        known: What came out with one path, also of other candidates.
    """
    if num_samples >= num_samples_full or simulation.method != "sgd" or simulation.full_batch:
        if known is None:
            return solvers.solve(budgets, simulation, phase)
        return solvers.go_on(known, budgets, simulation, phase)
    further = replace(simulation, target=deeper(simulation.target))
    rows = solvers.solve(budgets, further, phase)
    sizes = sorted({size for share in SHARES if 0 < (size := round(share * num_samples)) < num_samples})
    fitting = {c: budget for c, budget in budgets.items() if 2 * c.samples_per_step <= num_samples}
    smaller = {
        size: solvers.solve(fitting, replace(further, subset=size, num_paths=min(PATHS, simulation.num_paths)), phase)
        for size in sizes
    }
    found = dict(rows)
    for c in fitting:
        # Where a batch is larger than a share, the simulation had a batch's worth.
        parts = {max(size, c.samples_per_step): smaller[size][c] for size in sizes}
        lifted = lift(
            rows[c].curves,
            rows[c].number,
            [(size, row.curves, row.number) for size, row in sorted(parts.items())],
            num_samples=num_samples,
            num_samples_full=num_samples_full,
        )
        found[c] = CandidateCurves(curves=lifted, number=0)
    return found


def deeper(target: Target) -> Target:
    """A target that the probed samples meet after the whole set meets the given one."""
    if target.settles or target.needs_validation:
        return target
    ratio = target.loss_ratio
    if ratio is not None:
        return Target(kind="loss_ratio", value=ratio / DEEPER)
    # Neither relative nor a plateau, so that its level is the same whatever the loss starts from.
    level = float(target.level(math.nan))
    if target.on_accuracy:
        return Target(kind="accuracy", value=1.0 - (1.0 - level) / DEEPER)
    return Target(kind="loss", value=level / DEEPER)
