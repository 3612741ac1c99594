"""Predictions for training in the user's own mode: reference runs, descent rates, walks. All that needs the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raytt.cluster.plumbing.progress import Reporter
from raytt.cluster.stages.kept_runs import ReferencePlan
from raytt.cluster.stages.norm_lag import measure_lags
from raytt.cluster.stages.training_facts import describe_training
from raytt.cluster.stages.training_references import SavedReference, TrainingPlan
from raytt.errors import InputError
from raytt.forecast.pilots.observed_trial import ObservedTrial
from raytt.forecast.spending import Spending, reference_seconds, step_seconds, training_seconds
from raytt.forecast.training_prediction import TrainingPrediction, check_training_target
from raytt.rates.lag import LagTable
from raytt.rates.randomness_check import TrainingFacts
from raytt.settings.estimator import EstimatorSettings
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.model_arguments import model_names
from raytt.task.target_check import check_sign
from raytt.task.task import Task
from raytt.workflows.anytime_rates import measure_within
from raytt.workflows.lower_references import lower_where_overshot
from raytt.workflows.objective_pilots import with_objective_pilots
from raytt.workflows.observed import matched, with_observed
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
    task: Task,
    candidates: Sequence[Candidate],
    plan: RankPlan,
    run: Run,
    *,
    reporter: Reporter,
    observed: Sequence[ObservedTrial] = (),
) -> TrainingPrediction:
    """Time, run the references in training mode, measure descent rates along them, walk.

    Args:
        task: What would be trained, with ``mode='train'``.
        candidates: M ≥ 1.
        plan: How.
        run: The run directory.
        reporter: Shows phases.
        observed: Trials that have been run already, of candidates and of others.

    Raises:
        NoDescentError: If neither a reference run nor pilots lower the training loss.
        InputError: If the target cannot be predicted, there is to be no reference run, or the task cannot be
            used.
    """
    check_training_target(plan.target)
    trials, said = matched(observed, candidates, model_names(task.model))
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
            plans = _reference_plans(budgets, plan, evaluates=evaluates)
            began, failures = train_references(plans, space, phase)
        stand_ins = stand_in(failures, budgets, plan, space)
        lowered = lower_where_overshot(began, plans, candidates, plan, space)
        references = lowered.references
        lags = _lags(references, facts, plan, space)
        timed = costs.timing.timed
        training = training_seconds({r.family: r for r in references}, budgets, plan.target, timed)
        spending = Spending(share=plan.estimator.most_cost_share, training=training)
        for reference in (*references, *(second.reference for second in lowered.second.values())):
            spending = spending.plus(reference_seconds(reference, timed))
        measured = measure_within(
            references,
            lags,
            candidates,
            plan,
            space,
            second=lowered.second,
            batch_norms=facts.batch_norms > 0,
            timed=timed,
            spending=spending,
        )
        found = TrainingPrediction(
            budgets=budgets,
            rates={**measured.rates, **stand_ins.rates},
            num_samples_full=space.data.num_full,
            num_trainable=facts.num_trainable,
            timing=costs.timing,
            work_notes=costs.notes,
            task_notes=(
                *space.data.notes,
                *facts.notes,
                *lowered.notes,
                *stand_ins.notes,
                *_models(candidates),
                *_without_effect(plan.estimator),
            ),
            made_from=fingerprint([reference.made_from for reference in references]),
        )
        if plan.ranking.objective is not None:
            known = found.calibrated(stand_ins.runs, plan.target) if stand_ins.runs else found
            whole = sum(budget * step_seconds(c, timed) for c, budget in budgets.items())
            return with_objective_pilots(known, plan, space, spending=measured.spending.of(whole))
        found, seen = with_observed(found, trials, plan.target, said)
        own = {run.candidate: run for run in (*seen, *stand_ins.runs)}
        return with_pilots(found, plan, space, runs=list(own.values()), spending=measured.spending)


def _without_effect(estimator: EstimatorSettings) -> tuple[str, ...]:
    """A sentence about settings that were given and that only per-sample gradients use."""
    usual = EstimatorSettings()
    given = [name for name in ROWS_ONLY if getattr(estimator, name) != getattr(usual, name)]
    if not given:
        return ()
    return (f"With mode='train' nothing is sampled or sketched: {', '.join(given)} had no effect.",)


def _models(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """A sentence about candidates that differ in arguments of the model."""
    count = len({c.model_arguments for c in candidates})
    if count == 1 and not candidates[0].model_arguments:
        return ()
    return (
        f"Candidates are of {count} model{'s' if count > 1 else ''}, each with a reference run and step times of its "
        "own; memory is that of the model factory's default arguments.",
    )


def _reference_plans(budgets: Mapping[Candidate, int], plan: RankPlan, *, evaluates: bool) -> list[TrainingPlan]:
    """One reference run per family; where the target is evaluated, it goes on until that is met.

    With an objective it goes on as far as its share of the cost allows, but not beyond the longest budget: so far final
    qualities are measured, and beyond it they are extrapolated.
    """
    goal = None if plan.target.curve == "train_loss" else plan.target
    whole = plan.ranking.objective is not None
    further = whole or goal is not None
    return [
        TrainingPlan(
            candidate=base.candidate,
            seed=base.seed,
            stop_ratio=LEAST_STOP_RATIO if further else base.stop_ratio,
            num_waypoints=max(base.num_waypoints, EVALUATED_WAYPOINTS) if further else base.num_waypoints,
            most_steps=min(base.most_steps, _longest(base, budgets)) if whole else base.most_steps,
            target=goal,
            evaluates=evaluates or goal is not None,
            ends_at_target=not whole,
        )
        for base in reference_plans(budgets, plan)
    ]


def _longest(plan: ReferencePlan, budgets: Mapping[Candidate, int]) -> int:
    """Steps of a reference run that take as many samples as the longest budget of its family."""
    own = [c.samples_per_step * budget for c, budget in budgets.items() if c.family == plan.family]
    return max(1, -(-max(own) // plan.candidate.samples_per_step))


def _lags(
    references: Sequence[SavedReference], facts: TrainingFacts, plan: RankPlan, space: Workspace
) -> list[LagTable | None]:
    """How running statistics of batch norms lag behind, where that matters."""
    if (plan.target.curve == "train_loss" and not plan.objective_evaluated) or not facts.batch_norms:
        return [None] * len(references)
    with space.reporter.phase("statistics", "batch-norm statistics along the reference run") as phase:
        return measure_lags(
            space.timed_ref,
            references,
            train=plan.target.curve == "train_accuracy",
            seed=plan.ranking.seed,
            resources=space.worker,
            num_workers=space.num_probers,
            run=space.run,
            files=space.files,
            phase=phase,
        )
