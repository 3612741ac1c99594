"""Predictions for training in the user's own mode: reference runs, descent rates, walks. All that needs the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from raytt.cluster.plumbing.progress import Reporter
from raytt.cluster.stages.descent_rates import RateRequest, measure_rates
from raytt.cluster.stages.norm_lag import measure_lags
from raytt.cluster.stages.training_facts import describe_training
from raytt.cluster.stages.training_references import SavedReference, TrainingPlan
from raytt.errors import InputError
from raytt.forecast.family_rates import FamilyRates, scale_of
from raytt.forecast.training_prediction import TrainingPrediction, check_training_target
from raytt.rates.lag import LagTable
from raytt.rates.randomness_check import TrainingFacts
from raytt.rates.rate_table import Batch, batch_of, samples_of
from raytt.rates.signal import Signal
from raytt.settings.estimator import EstimatorSettings
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.target_check import check_sign
from raytt.task.task import Task
from raytt.workflows.pilot_references import stand_in, train_references
from raytt.workflows.pilots import with_pilots
from raytt.workflows.plan import LEAST_STOP_RATIO, RankPlan
from raytt.workflows.reference_paths import reference_plans
from raytt.workflows.step_costs import time_steps
from raytt.workflows.workspace import Workspace, open_workspace

ROWS_ONLY = ("samples", "proj_dim", "precision", "max_outputs", "num_paths", "screen")
"""Settings of the estimator for ``mode="eval"``."""
EVALUATED_WAYPOINTS = 4
"""Saved states besides the first, at least, where a target is evaluated: how far such a run goes is not known."""


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
        NoDescentError: If neither a reference run nor pilots lower the training loss.
        InputError: If the target cannot be predicted, there is to be no reference run, or the task cannot be
            used.
    """
    check_training_target(plan.target)
    if plan.estimator.most_reference_steps == 0:
        raise InputError("mode='train' with reference_steps=0.", "Descent rates need a reference run: leave it out.")
    with open_workspace(task, candidates, plan, run, reporter=reporter) as space:
        with reporter.phase("describe", "data and network in training mode"):
            facts = describe_training(task, space.timed_ref, seed=plan.ranking.seed, run=run)
        check_sign(plan.target, facts.lowest_loss)
        costs = time_steps(candidates, space)
        budgets = {
            c: c.budget(
                num_samples=space.data.num_full,
                default_epochs=plan.ranking.max_epochs,
                last_batch=task.last_batch,
            )
            for c in candidates
        }
        with reporter.phase("reference", "training a little for real") as phase:
            evaluates = task.validation is not None
            references, failures = train_references(_reference_plans(budgets, plan, evaluates=evaluates), space, phase)
        stand_ins = stand_in(failures, budgets, plan, space)
        lags = _lags(references, facts, plan, space)
        rates = {**_rates(references, lags, candidates, plan, space), **stand_ins.rates}
        found = TrainingPrediction(
            budgets=budgets,
            rates=rates,
            num_samples_full=space.data.num_full,
            num_trainable=facts.num_trainable,
            timing=costs.timing,
            work_notes=costs.notes,
            task_notes=(*space.data.notes, *facts.notes, *stand_ins.notes, *_without_effect(plan.estimator)),
            made_from=fingerprint([reference.made_from for reference in references]),
        )
        return with_pilots(found, plan, space, runs=stand_ins.runs)


def _without_effect(estimator: EstimatorSettings) -> tuple[str, ...]:
    """A sentence about settings that were given and that only per-sample gradients use."""
    usual = EstimatorSettings()
    given = [name for name in ROWS_ONLY if getattr(estimator, name) != getattr(usual, name)]
    if not given:
        return ()
    return (f"With mode='train' nothing is sampled or sketched: {', '.join(given)} had no effect.",)


def _reference_plans(budgets: Mapping[Candidate, int], plan: RankPlan, *, evaluates: bool) -> list[TrainingPlan]:
    """One reference run per family; where the target is evaluated, it goes on until that is met."""
    goal = None if plan.target.curve == "train_loss" else plan.target
    return [
        TrainingPlan(
            candidate=base.candidate,
            seed=base.seed,
            stop_ratio=base.stop_ratio if goal is None else LEAST_STOP_RATIO,
            num_waypoints=base.num_waypoints if goal is None else max(base.num_waypoints, EVALUATED_WAYPOINTS),
            most_steps=base.most_steps,
            target=goal,
            evaluates=evaluates or goal is not None,
        )
        for base in reference_plans(budgets, plan)
    ]


def _lags(
    references: Sequence[SavedReference], facts: TrainingFacts, plan: RankPlan, space: Workspace
) -> list[LagTable | None]:
    """How running statistics of batch norms lag behind, where that matters."""
    if plan.target.curve == "train_loss" or not facts.batch_norms:
        return [None] * len(references)
    with space.reporter.phase("statistics", "batch-norm statistics along the reference run") as phase:
        return measure_lags(
            space.timed_ref,
            references,
            train=not plan.target.needs_validation,
            seed=plan.ranking.seed,
            resources=space.worker,
            num_workers=space.num_probers,
            run=space.run,
            files=space.files,
            phase=phase,
        )


def _rates(
    references: Sequence[SavedReference],
    lags: Sequence[LagTable | None],
    candidates: Sequence[Candidate],
    plan: RankPlan,
    space: Workspace,
) -> dict[tuple[str, float | None], FamilyRates]:
    """Descent rates of every way of scaling gradients and every batch size at all saved states of each family."""
    requests: list[RateRequest] = []
    scales: dict[str, dict[float | None, Candidate]] = {}
    sizes: dict[str, list[Batch]] = {}
    for reference in references:
        family = reference.optimizer
        own = [c for c in candidates if c.optimizer.name == family]
        base = reference.candidate
        # The reference's own scaling first: all others are measured beside it, from the same gradients.
        found = {scale_of(base.optimizer): base}
        for candidate in sorted(own, key=lambda c: c.sort_key()):
            found.setdefault(scale_of(candidate.optimizer), candidate)
        scales[family] = found
        sizes[family] = sorted({batch_of(c) for c in (*own, base)}, key=lambda batch: (samples_of(batch), str(batch)))
        requests += [
            RateRequest(reference=reference, point=point, batch=size, scales=tuple(found.values()))
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
        (request.reference.optimizer, request.point, request.batch): found
        for request, found in zip(requests, signals, strict=True)
    }
    return {
        (reference.optimizer, scale): _family(reference, lag, sizes[reference.optimizer], number, measured)
        for reference, lag in zip(references, lags, strict=True)
        for number, scale in enumerate(scales[reference.optimizer])
    }


def _family(
    reference: SavedReference,
    lag: LagTable | None,
    batch_sizes: Sequence[Batch],
    number: int,
    measured: Mapping[tuple[str, int, Batch], Sequence[Signal]],
) -> FamilyRates:
    family, points = reference.optimizer, range(len(reference.states))
    first = [(samples_of(size), measured[family, 0, size][number].loss) for size in batch_sizes]
    start = sum(samples * loss for samples, loss in first) / sum(samples for samples, _ in first)
    return FamilyRates(
        reference=replace(reference, start_loss=start),
        batch_sizes=tuple(batch_sizes),
        own=[[measured[family, point, size][number] for size in batch_sizes] for point in points],
        base=[measured[family, point, batch_of(reference.candidate)][0] for point in points],
        lag=lag,
    )
