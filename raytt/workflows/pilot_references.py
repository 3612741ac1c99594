"""Families whose reference run did not lower the loss: pilots of theirs are trained, and the best stands for it.

There are no descent rates then. The candidates of the family walk by the learning-rate time of that pilot alone, slowed
or hastened by what the others say, with the intervals of such predictions (`TIME_ALONE`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.stages.pilots import PilotPlan
from raytt.cluster.stages.training_references import SavedReference, TrainingPlan, run_training_references
from raytt.errors import NoDescentError
from raytt.forecast.family_rates import FamilyRates, Scale, scale_of
from raytt.forecast.pilots.choice import Beliefs, choose_pilots
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.forecast.pilots.residual_prior import TIME_ALONE
from raytt.forecast.pilots.residual_process import ResidualProcess
from raytt.forecast.training_reference import TrainingReference
from raytt.task.candidate import Candidate
from raytt.workflows.pilots import MOST_BY_DEFAULT, ROUND, SEED, train_pilots
from raytt.workflows.plan import RankPlan
from raytt.workflows.reference_paths import reference_plans
from raytt.workflows.workspace import Workspace

LOWERED = 0.9
"""Share of its first loss that a pilot must get to, or it tells nothing of how others learn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StandIns:
    """What pilots gave in the place of reference runs; empty where all of these did."""

    rates: Mapping[tuple[str, Scale], FamilyRates] = field(default_factory=dict)
    """As of families with a reference run, all equal."""
    runs: tuple[PilotRun, ...] = ()
    """The pilots."""
    notes: tuple[str, ...] = ()
    """What the user must know."""


def train_references(
    plans: Sequence[TrainingPlan], space: Workspace, phase: Phase
) -> tuple[list[SavedReference], dict[str, NoDescentError]]:
    """The reference run of each family, and what was wrong with those that did not lower the loss.

    Args:
        plans: One per family.
        space: What all stages share.
        phase: Shows progress.
    """
    found: list[SavedReference] = []
    failures: dict[str, NoDescentError] = {}
    for plan in plans:
        try:
            found += run_training_references(
                space.timed_ref, [plan], resources=space.worker, run=space.run, files=space.files, phase=phase
            )
        except NoDescentError as error:
            failures[plan.family] = error
    return found, failures


def stand_in(
    failures: Mapping[str, NoDescentError], budgets: Mapping[Candidate, int], plan: RankPlan, space: Workspace
) -> StandIns:
    """Train pilots of the families without a reference run, as far as that would have gone.

    Args:
        failures: By family.
        budgets: Steps of all candidates.
        plan: How.
        space: What all stages share.

    Raises:
        NoDescentError: If pilots are not wanted, the target is not on the training loss, or they lower the loss no more
            than the reference run did.
    """
    asked = plan.estimator.pilots
    # Pilots log their training loss only.
    if failures and (asked == 0 or plan.target.curve != "train_loss"):
        raise next(iter(failures.values()))
    # As many steps as a reference run may take by its cost.
    lengths = {
        p.family: p.most_steps
        for p in reference_plans(budgets, replace(plan, estimator=replace(plan.estimator, reference_steps=None)))
    }
    rates: dict[tuple[str, Scale], FamilyRates] = {}
    runs: list[PilotRun] = []
    notes = []
    for family, error in failures.items():
        own = sorted((c for c in budgets if c.family == family), key=Candidate.sort_key)
        chosen = _spread_out({c: budgets[c] for c in own}, count=min(max(asked or ROUND, ROUND), MOST_BY_DEFAULT))
        plans = [
            PilotPlan(
                candidate=candidate,
                seed=SEED + plan.ranking.seed,
                budget=budgets[candidate],
                steps=min(budgets[candidate], lengths[family]),
                ratio=plan.stops_at(),
            )
            for candidate in chosen
        ]
        with space.reporter.phase("pilots", f"training for real, in the place of a reference run of {family}") as phase:
            trained = train_pilots(plans, space, phase)
        reference = _best(trained)
        if reference is None:
            raise error
        runs += trained
        for scale in sorted({scale_of(c.optimizer) for c in own}, key=str):
            rates[family, scale] = FamilyRates.unmeasured(reference, own)
        notes.append(f"{error.problem} Its place is taken by pilots: forecasts of {family} follow from them alone.")
    return StandIns(rates=rates, runs=tuple(runs), notes=tuple(notes))


def _spread_out(budgets: Mapping[Candidate, int], *, count: int) -> list[Candidate]:
    """Candidates that tell most of all others, while nothing is known of any."""
    candidates = list(budgets)
    _, covariance = ResidualProcess(prior=TIME_ALONE, budgets=budgets, observed={}).predict(candidates, 1.0)
    beliefs = Beliefs(mean=np.zeros(len(candidates)), covariance=covariance)
    return [candidates[j] for j in choose_pilots(beliefs, np.ones(len(candidates)), count=count)]


def _best(runs: Sequence[PilotRun]) -> TrainingReference | None:
    """The pilot that got its loss down most, as a reference run; None where none of them learned anything."""
    able = [run for run in runs if not run.diverged and run.curve[-1] <= LOWERED * run.curve[0]]
    if not able:
        return None
    best = min(able, key=lambda run: float(run.curve[-1] / run.curve[0]))
    steps = len(best.losses)
    times = np.concatenate([[0.0], np.cumsum(best.candidate.effective_rates(best.budget))])
    return TrainingReference(
        candidate=best.candidate,
        losses=best.losses,
        times=times[: steps + 1],
        point_steps=(0,),
        evaluated=(),
        wasted_steps=sum(len(run.losses) for run in runs) - steps,
        stopped="as a pilot that stands for it",
    )
