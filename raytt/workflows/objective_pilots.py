"""Pilots of a ranking by an objective: trained to the ends of their budgets, where the first choice is in doubt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from raytt.cluster.stages.endings import EndingPlan, run_endings
from raytt.forecast.final_qualities import FinalQualities
from raytt.forecast.final_quality import stretched_cost
from raytt.forecast.pilots.choice import Beliefs, choose_pilots
from raytt.forecast.spending import Spending, step_seconds
from raytt.forecast.training_prediction import TrainingPrediction
from raytt.rates.evaluation import spaced
from raytt.store.fingerprint import fingerprint
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.rank_objective import OBJECTIVES, RankObjective
from raytt.workflows.pilots import MOST_BY_DEFAULT, SEED
from raytt.workflows.plan import RankPlan
from raytt.workflows.workspace import Workspace

DOUBT = 0.01
"""Expected regret of the first choice, as a share of its loss or error, up to which no further pilots are taken."""


def with_objective_pilots(
    found: TrainingPrediction, plan: RankPlan, space: Workspace, *, spending: Spending
) -> TrainingPrediction:
    """The prediction with what pilots had at the ends of their budgets; the same where none are to be taken.

    They are chosen one by one, by the knowledge gradient per cost (`raytt.forecast.pilots.choice`), with the loss or
    the error at the end in the place of the cost to the target. Unless their number is given, those that cost more than
    ``spending`` has left are none. An interrupt (Ctrl-C) ends the pilots, not the ranking.
    """
    asked, name = plan.estimator.pilots, plan.ranking.objective
    most = MOST_BY_DEFAULT if asked is None else asked
    if name is None or most == 0:
        return found
    objective = OBJECTIVES.get(name)
    stopping = None if plan.ranking.early_stopping is None else EarlyStopping.parse(plan.ranking.early_stopping)
    seconds = _seconds(found)
    with space.reporter.phase("pilots", "training to the end where the ranking is in doubt") as phase:
        while len(found.endings) < most:
            known = {ending.run.candidate for ending in found.endings}
            candidates, beliefs = beliefs_of(found.final(stopping), objective)
            if not candidates or (asked is None and beliefs.regret() <= DOUBT):
                break
            costs = np.array([seconds[c] for c in candidates])
            done = [number for number, c in enumerate(candidates) if c in known]
            if asked is None:
                # Those that would cost too much are no pilots.
                done += [n for n, c in enumerate(candidates) if c not in known and seconds[c] > spending.left]
            chosen = choose_pilots(beliefs, costs, count=1, done=done)
            if not chosen:
                break
            candidate = candidates[chosen[0]]
            spending = spending.plus(seconds[candidate])
            try:
                endings = run_endings(
                    space.timed_ref,
                    [_plan(candidate, found, plan, stopping)],
                    facts=space.run.inputs["probe"],
                    resources=space.worker,
                    num_workers=space.num_probers,
                    run=space.run,
                    phase=phase,
                )
            except KeyboardInterrupt:
                phase.note(f"interrupted: ranking with {len(found.endings)} pilots (interrupt again to stop)")
                break
            found = replace(found, endings=(*found.endings, *endings))
    if not found.endings:
        return found
    pilots = [ending.run.candidate.sort_key() for ending in found.endings]
    return replace(found, made_from=fingerprint([found.made_from, pilots]))


def beliefs_of(final: FinalQualities, objective: RankObjective) -> tuple[list[Candidate], Beliefs]:
    """Those that are not predicted to diverge, and ln of what each loses: of its loss, or of its error."""
    qualities = final.qualities(objective.name)
    order, _, covariance = final.errors(objective)
    rows = [row for row, c in enumerate(order) if qualities[c].of(objective.name) is not None]
    candidates = [order[row] for row in rows]
    values = np.array([qualities[c].estimates[objective.name].value for c in candidates])
    # d ln(1 − a) / d logit(a) = −a; losses are on their own scale.
    slopes = values if objective.more_is_better else np.ones(len(rows))
    mean = np.array([stretched_cost(objective, float(value)) for value in values])
    return candidates, Beliefs(mean=mean, covariance=covariance[np.ix_(rows, rows)] * np.outer(slopes, slopes))


def _plan(
    candidate: Candidate, found: TrainingPrediction, plan: RankPlan, stopping: EarlyStopping | None
) -> EndingPlan:
    budget = found.budgets[candidate]
    at = spaced(budget)
    if stopping is not None:
        per_epoch = found.num_samples_full / candidate.samples_per_step
        at = np.union1d(at, stopping.evaluations(budget, steps_per_epoch=per_epoch))
    evaluates = any(ref.evaluated for ref in found.references)
    return EndingPlan(
        candidate=candidate,
        seed=SEED + plan.ranking.seed,
        budget=budget,
        at=tuple(int(step) for step in at) if evaluates else (),
    )


def _seconds(found: TrainingPrediction) -> dict[Candidate, float]:
    """What each takes to the end of its budget."""
    return {c: budget * step_seconds(c, found.timing.timed) for c, budget in found.budgets.items()}
