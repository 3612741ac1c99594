"""Predictions for training in the user's own mode: reference runs, descent rates, walks. All that needs the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raytt.cluster.plumbing.progress import Reporter
from raytt.cluster.stages.descent_rates import RateRequest, measure_rates
from raytt.cluster.stages.training_facts import describe_training
from raytt.cluster.stages.training_references import SavedReference, run_training_references
from raytt.errors import InputError
from raytt.forecast.training_prediction import FamilyRates, TrainingPrediction, check_training_target, scale_of
from raytt.rates.signal import Signal
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.workflows.plan import RankPlan
from raytt.workflows.reference_paths import reference_plans
from raytt.workflows.step_costs import time_steps
from raytt.workflows.workspace import Workspace, open_workspace


def predict_training(
    task: Task, candidates: Sequence[Candidate], plan: RankPlan, run: Run, *, reporter: Reporter
) -> TrainingPrediction:
    """Time, run the references in training mode, measure descent rates along them, walk.

    Args:
        task: What would be trained, with ``mode='train'``.
        candidates: M ≥ 1.
        plan: How.
        run: The run directory.
        reporter: Shows phases.

    Raises:
        InputError: If the target is not on the training loss, there is to be no reference run, or the task cannot be
            used.
    """
    check_training_target(plan.target)
    if plan.estimator.most_reference_steps == 0:
        raise InputError("mode='train' with reference_steps=0.", "Descent rates need a reference run: leave it out.")
    with open_workspace(task, candidates, plan, run, reporter=reporter) as space:
        with reporter.phase("describe", "data and network in training mode"):
            facts = describe_training(task, space.timed_ref, seed=plan.ranking.seed, run=run)
        costs = time_steps(candidates, space)
        budgets = {
            c: c.budget(num_samples=space.data.num_full, default_epochs=plan.ranking.max_epochs) for c in candidates
        }
        with reporter.phase("reference", "training a little for real") as phase:
            references = run_training_references(
                space.timed_ref,
                reference_plans(budgets, plan),
                resources=space.worker,
                run=run,
                files=space.files,
                phase=phase,
            )
        rates = _rates(references, candidates, plan, space)
        return TrainingPrediction(
            budgets=budgets,
            rates=rates,
            num_samples_full=space.data.num_full,
            num_trainable=facts.num_trainable,
            timing=costs.timing,
            work_notes=costs.notes,
            task_notes=facts.notes,
            made_from=fingerprint([reference.made_from for reference in references]),
        )


def _rates(
    references: Sequence[SavedReference], candidates: Sequence[Candidate], plan: RankPlan, space: Workspace
) -> dict[tuple[str, float | None], FamilyRates]:
    """Descent rates of every way of scaling gradients and every batch size at all saved states of each family."""
    requests: list[RateRequest] = []
    scales: dict[str, dict[float | None, Candidate]] = {}
    sizes: dict[str, list[int]] = {}
    for reference in references:
        family = reference.optimizer
        own = [c for c in candidates if c.optimizer.name == family]
        base = reference.candidate
        # The reference's own scaling first: all others are measured beside it, from the same gradients.
        found = {scale_of(base.optimizer): base}
        for candidate in sorted(own, key=lambda c: c.sort_key()):
            found.setdefault(scale_of(candidate.optimizer), candidate)
        scales[family] = found
        sizes[family] = sorted({c.batch_size for c in own} | {base.batch_size})
        requests += [
            RateRequest(reference=reference, point=point, batch_size=size, scales=tuple(found.values()))
            for point in range(len(reference.states))
            for size in sizes[family]
        ]
    with space.reporter.phase("rates", "minibatch gradients along the reference run") as phase:
        signals = measure_rates(
            space.timed_ref,
            requests,
            minibatches=plan.estimator.minibatches,
            seed=plan.ranking.seed,
            resources=space.worker,
            num_workers=space.num_probers,
            run=space.run,
            files=space.files,
            phase=phase,
        )
    measured = {
        (request.reference.optimizer, request.point, request.batch_size): found
        for request, found in zip(requests, signals, strict=True)
    }
    return {
        (reference.optimizer, scale): _family(reference, sizes[reference.optimizer], number, measured)
        for reference in references
        for number, scale in enumerate(scales[reference.optimizer])
    }


def _family(
    reference: SavedReference,
    batch_sizes: Sequence[int],
    number: int,
    measured: Mapping[tuple[str, int, int], Sequence[Signal]],
) -> FamilyRates:
    family, points = reference.optimizer, range(len(reference.states))
    return FamilyRates(
        reference=reference,
        batch_sizes=tuple(batch_sizes),
        own=[[measured[family, point, size][number] for size in batch_sizes] for point in points],
        base=[measured[family, point, reference.candidate.batch_size][0] for point in points],
    )
