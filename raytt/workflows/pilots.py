"""Pilots: rounds of a few candidates trained for real, chosen where the ranking is in doubt, and what follows.

A round is chosen at once, from what all rounds before it gave, and has a fixed size: which candidates are pilots does
not depend on the number of workers. It does depend on the step times, as the ranking does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.stages.pilots import PilotPlan, run_pilots
from raytt.forecast.forecast import Forecast, Status
from raytt.forecast.pilots.calibration import trained
from raytt.forecast.pilots.choice import Beliefs, choose_pilots
from raytt.forecast.pilots.instability import why_suspect
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.forecast.spending import Spending, step_seconds
from raytt.forecast.training_forecast import MUCH_EARLIER
from raytt.forecast.training_prediction import TrainingPrediction
from raytt.store.fingerprint import fingerprint
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from raytt.workflows.plan import RankPlan
from raytt.workflows.workspace import Workspace

Floats = NDArray[np.float64]

SEED = 15485863
"""Added to the ranking's: no reference run or validation uses it."""
ROUND = 2
"""Pilots chosen at once. Two make a difference, one does not: of 62 small rankings with more doubt than 3 % the real
regret of the first choice was 3.1 % without a pilot, 3.5 % with one and 0.0 % with two (``python -m
benchmarks.rates.pilots``, 2026-11-29)."""
MOST_BY_DEFAULT = 8
"""Pilots, unless their number is given; doubt and cost end them earlier. With four the median error of the others was
6 % instead of 8–9 (AdamW), 5 instead of 9 and 14 instead of 19 (SGD), at twice the cost of two (same report). The first
ones often go to candidates that would be the fastest by far, and fail."""
DOUBT = 0.01
"""Expected regret of the first choice, as a share of its cost, up to which no further pilots are taken by default: of
473 small rankings with no more the real regret was 0.0 %, of 25 with 1–3 % it was 1.0 % (same report)."""
PATIENCE = 2.0
"""A pilot is given up after this many times its predicted steps (and at the end of its budget)."""
LEAST_STEPS = 20
"""… but not before so many."""
UNTRUSTED_SPREAD = 0.5
"""Standard deviation of ln of the steps of a candidate whose forecast is untrusted, on top of the others'. A guess: it
makes pilots of those that would be the cheapest by far if their forecasts held."""


def with_pilots(
    found: TrainingPrediction,
    plan: RankPlan,
    space: Workspace,
    *,
    spending: Spending,
    runs: Sequence[PilotRun] = (),
) -> TrainingPrediction:
    """The prediction, calibrated on pilots; the same without a change where none are to be taken.

    An interrupt (Ctrl-C) ends the pilots, not the ranking: what is known so far is ranked.

    Args:
        found: Without pilots.
        plan: How many, and to which target.
        space: What all stages share.
        spending: What the ranking may still cost: unless their number is given, a round that costs more is not begun.
        runs: Pilots there are already, and observed trials, which do not count among those that are wanted.
    """
    asked = plan.estimator.pilots
    most = MOST_BY_DEFAULT if asked is None else asked
    if not all(found.depth_of(c, plan.target) > 0.0 for c in found.budgets) or (most == 0 and not runs):
        # A target that is met at once, or on a loss that may be negative, whose ratios mean nothing.
        return found
    candidates = sorted(found.budgets, key=Candidate.sort_key)
    known = {run.candidate: run for run in runs}
    with space.reporter.phase("pilots", "training for real where the ranking is in doubt") as phase:
        calibrated = found.calibrated(runs, plan.target)
        while len(trained(known.values())) < most:
            forecasts = calibrated.forecasts(plan.target)
            reaching = [c for c in candidates if forecasts[c].steps is not None]
            if not reaching:
                break
            seconds = _seconds(reaching, forecasts, found)
            beliefs = _beliefs(reaching, forecasts, seconds, calibrated)
            doubt = beliefs.regret()
            if asked is None and doubt <= DOUBT:
                break
            done = [n for n, c in enumerate(reaching) if c in known or _useless(c, forecasts[c], found, plan, known)]
            chosen = choose_pilots(beliefs, seconds, count=min(ROUND, most - len(trained(known.values()))), done=done)
            costs = float(seconds[chosen].sum())
            spending = spending.of(_training_seconds(forecasts, found))
            if not chosen or (asked is None and costs > spending.left):
                break
            spending = spending.plus(costs)
            phase.note(f"the first choice is expected to cost {doubt:.0%} more than the best: pilots of {len(chosen)}")
            plans = [_plan(reaching[number], forecasts[reaching[number]], found, plan) for number in chosen]
            try:
                known |= {run.candidate: run for run in train_pilots(plans, space, phase)}
            except KeyboardInterrupt:
                phase.note(f"interrupted: ranking with {len(trained(known.values()))} pilots (interrupt again to stop)")
                break
            calibrated = found.calibrated(list(known.values()), plan.target)
    if not known:
        return found
    made_from = [found.made_from, [c.sort_key() for c in known]]
    return replace(calibrated, made_from=fingerprint(made_from))


def train_pilots(plans: Sequence[PilotPlan], space: Workspace, phase: Phase) -> list[PilotRun]:
    """Train them, as many at a time as there are workers."""
    return run_pilots(
        space.timed_ref,
        plans,
        facts=space.run.inputs["probe"],
        resources=space.worker,
        num_workers=space.num_probers,
        run=space.run,
        phase=phase,
    )


def _plan(candidate: Candidate, forecast: Forecast, found: TrainingPrediction, plan: RankPlan) -> PilotPlan:
    assert forecast.steps is not None
    budget = found.budgets[candidate]
    return PilotPlan(
        candidate=candidate,
        seed=SEED + plan.ranking.seed,
        budget=budget,
        steps=min(budget, max(LEAST_STEPS, math.ceil(PATIENCE * forecast.steps))),
        ratio=math.exp(-found.depth_of(candidate, plan.target)),
        target=None if plan.target.curve == "train_loss" else plan.target,
    )


def _useless(
    candidate: Candidate,
    forecast: Forecast,
    found: TrainingPrediction,
    plan: RankPlan,
    known: Mapping[Candidate, PilotRun],
) -> bool:
    """Whether a candidate makes no pilot: it is likely to fail, which says nothing of others, or its statistics lag."""
    return why_suspect(candidate, known.values()) is not None or lags(candidate, forecast, found, plan.target)


def lags(candidate: Candidate, forecast: Forecast, found: TrainingPrediction, target: Target) -> bool:
    """Whether running statistics, not learning, keep a candidate from its target.

    Such a pilot says little of how others learn: it meets the target elsewhere on the path, and its training loss is
    not that of others at the same validation loss. Judged by that, six pilots made forecasts three to five times too
    long that were 1.1 to 2.5 times too long without them (``benchmarks/case``, 2026-11-29).
    """
    learnt, steps = found.settled_steps(candidate, target), forecast.steps
    return learnt is not None and steps is not None and learnt < steps / MUCH_EARLIER


def _seconds(
    candidates: Sequence[Candidate], forecasts: Mapping[Candidate, Forecast], found: TrainingPrediction
) -> Floats:
    """What each takes to the target, a step at least."""
    timed = found.timing.timed
    return np.array([max(forecasts[c].steps or 0.0, 1.0) * step_seconds(c, timed) for c in candidates])


def _training_seconds(forecasts: Mapping[Candidate, Forecast], found: TrainingPrediction) -> float:
    """Training all, as `raytt.results.entry.Entry.replaced_seconds` counts it."""
    timed = found.timing.timed
    return sum(
        (found.budgets[c] if forecast.steps is None else forecast.steps) * step_seconds(c, timed)
        for c, forecast in sorted(forecasts.items(), key=lambda item: item[0].sort_key())
        if forecast.status is not Status.UNSTABLE
    )


def _beliefs(
    candidates: Sequence[Candidate],
    forecasts: Mapping[Candidate, Forecast],
    seconds: Floats,
    calibrated: TrainingPrediction,
) -> Beliefs:
    """About ln of the seconds of each: to first order, ln of steps changes as ln of learning-rate time does."""
    assert calibrated.calibration is not None
    spread = calibrated.calibration.covariance(candidates)
    untrusted = [forecasts[c].status is Status.UNTRUSTED for c in candidates]
    return Beliefs(mean=np.log(seconds), covariance=spread + np.diag(UNTRUSTED_SPREAD**2 * np.array(untrusted)))
