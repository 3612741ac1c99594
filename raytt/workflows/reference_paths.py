"""Reference runs, one per optimizer family, and the linearizations along them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from raytt.cluster.stages.kept_runs import ReferencePlan
from raytt.cluster.stages.probe import Probed
from raytt.cluster.stages.reduce import Reduced
from raytt.cluster.stages.reference_runs import run_references
from raytt.cluster.stages.tangents import PathTangents, changes, probe_path
from raytt.forecast.reference_choice import reference_candidate
from raytt.forecast.trust import PathTrust
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss
from raytt.workflows.plan import COST_SHARE, LEAST_STEPS, RankPlan
from raytt.workflows.workspace import Workspace


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferencePaths:
    """What reference runs gave, by optimizer family; empty for the training-free method."""

    tangents: Mapping[str, PathTangents]
    """Linearizations along each run."""
    trust: Mapping[str, PathTrust]
    """How far each may be relied on."""


def follow_references(
    space: Workspace, budgets: Mapping[Candidate, int], plan: RankPlan, probed: Probed, reduced: Reduced, loss: Loss
) -> ReferencePaths:
    """Train one candidate per optimizer family for a few steps, and probe the network along the way.

    Args:
        space: What all stages share.
        budgets: Steps each candidate may take.
        plan: How.
        probed: The network at the pre-trained weights.
        reduced: Its kernel there.
        loss: Loss on the probed outputs.
    """
    tangents: dict[str, PathTangents] = {}
    trust: dict[str, PathTrust] = {}
    if plan.estimator.most_reference_steps == 0:
        return ReferencePaths(tangents=tangents, trust=trust)
    with space.reporter.phase("reference", "training a little for real") as phase:
        references = run_references(
            space.timed_ref,
            reference_plans(budgets, plan, stability_limit=reduced.statistics.stability_limit()),
            eval_index=space.data.timed_index,
            resources=space.worker,
            run=space.run,
            files=space.files,
            phase=phase,
        )
    with space.reporter.phase("tangents", "probing along the reference run") as phase:
        for reference in references:
            path = probe_path(
                space.data.probed,
                space.probed_ref,
                reference,
                probed,
                settings=space.probe,
                samples=space.data.index,
                resources=space.worker,
                num_workers=space.num_probers,
                run=space.run,
                files=space.files,
                phase=phase,
                limits=space.limits,
            )
            along = changes(path, loss, space.files, space.run, phase)
            tangents[reference.optimizer] = path
            trust[reference.optimizer] = PathTrust(
                sharpness=max(along.sharpness),
                features_move=along.features_move,
                last_ratio=float(reference.losses.min() / reference.losses[0]),
                batch_size=reference.candidate.samples_per_step,
                part=math.log(space.data.num_full / space.data.num),
            )
    return ReferencePaths(tangents=tangents, trust=trust)


def reference_plans(
    budgets: Mapping[Candidate, int], plan: RankPlan, *, stability_limit: float = math.inf
) -> list[ReferencePlan]:
    """One reference run per `Candidate.family`. Unless its length is given, it takes at most `COST_SHARE` of the sample
    gradients of its family, Σ B·T over the budgets T, but `LEAST_STEPS` steps in any case.
    """
    plans, most_steps = [], plan.estimator.most_reference_steps
    for family in sorted({c.family for c in budgets}):
        own = {c: budget for c, budget in budgets.items() if c.family == family}
        candidate = reference_candidate(list(own), stability_limit=stability_limit)
        saved = sum(c.samples_per_step * budget for c, budget in own.items())
        share = round(COST_SHARE * saved / candidate.samples_per_step)
        plans.append(
            ReferencePlan(
                candidate=candidate,
                seed=plan.ranking.seed,
                stop_ratio=plan.stops_at(),
                num_waypoints=plan.waypoints(),
                most_steps=max(LEAST_STEPS, share) if most_steps is None else most_steps,
                goal=plan.negative_goal,
            )
        )
    return plans
