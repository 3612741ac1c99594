"""Reference runs that overshot, and what is run in their place: the same again at a lower learning rate.

Where a reference run gains little of what its gradients promise (`FamilyRates.gained`), its steps overshoot in
directions of high curvature, and learning-rate time does not set the pace: other learning rates are then predicted
badly. What a run gained is known from the descent rates at its own batch size, which are measured for it anyway.

From both, whichever is followed, follows by how much high learning rates make less of their steps
(`raytt.rates.slowing_measurement`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raytt.cluster.stages.training_references import SavedReference, TrainingPlan, run_training_references
from raytt.errors import NoDescentError
from raytt.forecast.second_run import SecondRun
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from raytt.workflows.anytime_rates import along_own
from raytt.workflows.plan import RankPlan
from raytt.workflows.workspace import Workspace

LITTLE = 0.3
"""Share of what its gradients promise below which a reference run is begun again. Three examples gained 0.14 to 0.26,
and a lower learning rate made median errors 8, 15 and 5 % that were 13, 48 and 21 %. Of four that gained 0.34 to 0.52
two became better (8 to 4 %, 10 to 7 %), one worse (13 to 26 %), one stayed (``python -m benchmarks.rates.lower``,
2026-11-29)."""
LOWER = 0.3
"""Factor of its learning rate."""
LEAST_STEPS = 20
"""Steps of a run below which it leaves no path to follow. A guard."""
MORE_STEPS = 1.5
"""Steps of the new run over those of the first, at most: a lower learning rate is slower, but overshoots less. Those of
the three examples took 1.3 to 1.5 times the first's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lowered:
    """Reference runs to follow, and those that they took the place of."""

    references: tuple[SavedReference, ...]
    """One per family."""
    second: Mapping[str, SecondRun]
    """By family, the other run at another learning rate, where there are two."""
    notes: tuple[str, ...]
    """What the user must know."""


def lower_where_overshot(
    references: Sequence[SavedReference],
    plans: Sequence[TrainingPlan],
    candidates: Sequence[Candidate],
    plan: RankPlan,
    space: Workspace,
) -> Lowered:
    """Train those that gained less than `LITTLE` again at a lower learning rate, and keep what gained more.

    Args:
        references: The runs so far, one per family.
        plans: How each family's was to be run.
        candidates: All of them.
        plan: How rates are measured.
        space: What all stages share.
    """
    gains = [rates.gained() for rates in along_own(references, candidates, plan, space)]
    overshot = [(r, gain) for r, gain in zip(references, gains, strict=True) if gain < LITTLE]
    most = plan.estimator.most_reference_steps
    lower = _train([_lowered(reference, plans, most) for reference, _ in overshot], space)
    again = [rates.gained() for rates in along_own(list(lower.values()), candidates, plan, space)]
    better = dict(zip(lower, again, strict=True))
    kept, second, notes = {r.family: r for r in references}, {}, []
    for reference, gain in overshot:
        name = reference.family
        began = (
            f"A reference run of {name} at lr {reference.candidate.lr:.3g} gained {gain:.0%} of what its gradients "
            "promise: its steps overshot."
        )
        if name not in lower:
            continue
        other = lower[name]
        why = _why_not(other, reference, plan.target, gains=(better[name], gain))
        kept[name], left = (other, reference) if why is None else (reference, other)
        second[name] = SecondRun(reference=left, gained=gain if why is None else better[name])
        followed = f"which gained {better[name]:.0%}, is followed" if why is None else f"is not followed: {why}"
        notes.append(f"{began} Another at {other.candidate.lr:.3g}, {followed}.")
    return Lowered(references=tuple(kept.values()), second=second, notes=tuple(notes))


def _why_not(lower: SavedReference, first: SavedReference, target: Target, *, gains: tuple[float, float]) -> str | None:
    """Why a lower run does not take the place of the first; None if it does."""
    if gains[0] <= gains[1]:
        return "it gained no more"
    if len(lower.losses) < LEAST_STEPS:
        return f"it was at its end after {len(lower.losses)} steps"
    if target.curve != "train_loss" and math.isfinite(first.met(target)) and not math.isfinite(lower.met(target)):
        return f"it did not meet {target} in {len(lower.losses)} steps"
    return None


def _lowered(reference: SavedReference, plans: Sequence[TrainingPlan], most: int | None) -> TrainingPlan:
    """``most``: steps that were asked for; None: none were."""
    (plan,) = (one for one in plans if one.family == reference.family)
    candidate = replace(reference.candidate, lr=LOWER * reference.candidate.lr)
    enough = max(LEAST_STEPS, math.ceil(MORE_STEPS * len(reference.losses)))
    return replace(plan, candidate=candidate, most_steps=enough if most is None else min(most, enough))


def _train(plans: Sequence[TrainingPlan], space: Workspace) -> dict[str, SavedReference]:
    """By family; those that lowered nothing are missing."""
    found = {}
    for plan in plans:
        with space.reporter.phase("reference", "again at a lower learning rate") as phase:
            try:
                (one,) = run_training_references(
                    space.timed_ref,
                    [plan],
                    resources=space.worker,
                    run=space.run,
                    files=space.files,
                    phase=phase,
                    folder="lower",
                )
            except NoDescentError:
                continue
            found[plan.family] = one
    return found
