"""The whole run: from a task and a search space to a ranking."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from statistics import median
from typing import Any, Never

from raytt.adapters.search_space import draw
from raytt.adapters.tune.search_space import Drawn
from raytt.dynamics.steppers import STEPPERS
from raytt.errors import InputError
from raytt.forecast.curve_bands import FILE as CURVES_FILE
from raytt.forecast.curve_bands import to_arrays
from raytt.forecast.pilots.observed_trial import ObservedTrial
from raytt.forecast.predicted import Predicted
from raytt.forecast.reference_check import FILE as REFERENCE_FILE
from raytt.forecast.training_prediction import check_training_target
from raytt.pricing.catalog import warn_of_age
from raytt.pricing.machine import Machine, leading, machines
from raytt.pricing.step_key import StepKey, by_size, size_of, step_key
from raytt.pricing.step_time import StepTime
from raytt.pricing.terms import Terms
from raytt.report import display  # noqa: F401  (results show themselves)
from raytt.results.entry import Entry, rank_candidates
from raytt.results.ranking import Provenance, Ranking
from raytt.settings.cluster import ClusterSettings
from raytt.settings.declaration import refuse_misplaced
from raytt.settings.estimator import EstimatorSettings
from raytt.settings.ranking import Objective, RankingSettings
from raytt.settings.run import RunSettings
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.losses import Loss, as_loss
from raytt.task.model_arguments import check_model_arguments, model_names
from raytt.task.optimizers import OPTIMIZERS, Adaptive
from raytt.task.rank_objective import OBJECTIVES, check_objective
from raytt.task.target import Target
from raytt.task.target_check import check_target, default_target
from raytt.task.task import Task
from raytt.workflows.cautions import cautions, little_to_save, scattered_times, single_steps
from raytt.workflows.observed import check_observed, matched
from raytt.workflows.out_of_reach import out_of_reach
from raytt.workflows.plan import RankPlan
from raytt.workflows.predict import predict
from raytt.workflows.predict_training import predict_training
from raytt.workflows.workspace import reporter_of


def rank(
    task: Task,
    search_space: Any,
    *,
    target: Target | float | str | None = None,
    num_candidates: int = RankingSettings.num_candidates,
    seed: int = RankingSettings.seed,
    max_epochs: float = RankingSettings.max_epochs,
    usd_per_hour: float | None = None,
    objective: Objective | None = None,
    early_stopping: EarlyStopping | str | None = None,
    terms: Terms | None = None,
    observed: Sequence[ObservedTrial] = (),
    estimator: EstimatorSettings | None = None,
    cluster: ClusterSettings | None = None,
    run: RunSettings | None = None,
    **misplaced: Never,
) -> Ranking:
    """Rank fine-tuning configurations by the predicted cost of reaching a target, or by the quality that each is
    predicted to have when its own budget ends.

    Args:
        task: What would be trained.
        search_space: A dictionary of Ray Tune's domains or Optuna's distributions, a function of an Optuna trial that
            returns a configuration, or a list of configurations.
        target: When training is done: a fraction of the initial training loss, ``"kind=value"``, or a `Target`. None:
            0.3 of the initial validation loss where a task with ``mode="train"`` has validation data, else 0.1 of the
            initial training loss.
        num_candidates: Configurations drawn from domains, distributions or trials.
        seed: From which everything random follows.
        max_epochs: Budget of configurations that bring none, in passes over the whole training set.
        usd_per_hour: Price of the training machine.
        objective: ``"val_accuracy"``, ``"val_loss"`` or ``"loss"``: rank by that at the end of each configuration's own
            budget. None: by cost to the target. Needs ``mode="train"``.
        early_stopping: How runs are ended before their budgets are, for final qualities: an `EarlyStopping`, or text
            such as ``"3"`` (epochs without an improvement of the objective). None: they are not.
        terms: Machines to price the candidates on instead, a budget, a deadline: see `Terms.of`.
        observed: Trials that you have run already, such as `raytt.adapters.tune.trials.observed_trials` of Ray Tune's
            results: those of ranked configurations are pilots that cost nothing. With ``mode="train"``.
        estimator: Samples, sketch, reference run and simulation, as in ``EstimatorSettings(samples=256)``.
        cluster: Address and workers, as in ``ClusterSettings(address="auto", num_workers=8)``.
        run: The run directory, as in ``RunSettings(name="first")``. A run of that name is continued: what is done is
            used again.
        misplaced: Always empty: a field of one of these settings that is given here is refused, with where it
            belongs.

    Raises:
        InputError: If an argument, the task, its data or its network cannot be used.
        ResourceError: If the cluster does not have what is asked for.
        StoreError: If the run directory cannot be written, or was made from other inputs.
        WorkerError: If work failed on a worker; holds the remote traceback.
    """
    refuse_misplaced("rank", misplaced, estimator=EstimatorSettings, cluster=ClusterSettings, run=RunSettings)
    stopping = None if early_stopping is None else EarlyStopping.parse(early_stopping)
    plan = RankPlan(
        target=default_target(task) if target is None else Target.parse(target),
        ranking=RankingSettings(
            num_candidates=num_candidates,
            seed=seed,
            max_epochs=max_epochs,
            usd_per_hour=usd_per_hour,
            objective=objective,
            early_stopping=None if stopping is None else str(stopping),
        ),
        estimator=estimator or EstimatorSettings(),
        cluster=cluster or ClusterSettings(),
    )
    loss = None if task.batch_loss is not None else as_loss(task.loss)
    check_target(plan.target, loss=loss, has_validation=task.validation is not None)
    if task.mode == "train":
        check_training_target(plan.target)
    _check_quality(task, objective, stopping, loss)
    check_observed(task, observed, objective=objective)
    names = model_names(task.model)
    drawn = draw(search_space, num_candidates=num_candidates, seed=seed, model_names=names)
    check_model_arguments(task, drawn.candidates)
    if task.mode != "train":
        _check_simulated(drawn.candidates)
    _check_references(drawn.candidates, plan.estimator)
    # Before anything is computed: trials of other configurations are a mistake.
    matched(observed, drawn.candidates, names)
    place = run or RunSettings()
    directory = Run.open(place.storage_path, place.name, task_name=task.name)
    with directory.locked():
        reporter = reporter_of(directory, progress=place.progress)
        # In eval mode, whose samples do not depend on each other, rows; in the user's own training mode descent rates.
        estimate: Callable[..., Predicted] = (
            partial(predict_training, observed=observed) if task.mode == "train" else predict
        )
        found = estimate(task, drawn.candidates, plan, directory, reporter=reporter)
        with reporter.phase("rank", "forecasts and prices"):
            priced = _price(drawn.candidates, found, plan, terms or Terms(), stopping)
        ranking = _ranking(task, drawn, found, priced, plan, phases=reporter.seconds)
        _write(directory, ranking, found)
        reporter.say(f"Kept in {directory.storage.shown}; give --name {directory.name} to go on from there.")
        return ranking


@dataclass(frozen=True, kw_only=True)
class _Priced:
    """Candidates by cost on the machine that they would be trained on."""

    entries: tuple[Entry, ...]
    """By rank."""
    machine: Machine
    """The machine."""
    notes: tuple[str, ...]
    """What the user must know of prices."""
    terms: Terms
    """As asked."""


def _check_simulated(candidates: Sequence[Candidate]) -> None:
    """Raise `InputError` where the simulation of eval mode does not know an optimizer."""
    unknown = sorted({c.optimizer.name for c in candidates} - set(STEPPERS.names()))
    if unknown:
        raise InputError(
            f"Candidates with optimizer {unknown[0]!r} cannot be simulated in mode='eval'.",
            f"Use mode='train' in the task, whose descent rates know it, or keep to {', '.join(STEPPERS.names())}.",
        )


def _check_quality(task: Task, objective: str | None, stopping: EarlyStopping | None, loss: Loss | None) -> None:
    """Raise `InputError` where final qualities are asked for that cannot be predicted."""
    if objective is not None:
        counts = loss is not None and type(loss).correct is not Loss.correct
        has_validation = task.validation is not None
        check_objective(objective, mode=task.mode, has_validation=has_validation, counts_correct=counts)
    elif stopping is not None and task.mode != "train":
        raise InputError(
            f"Early stopping ({stopping}) with mode={task.mode!r}, whose simulations end at the target.",
            "Use mode='train' in the task, or leave early_stopping out.",
        )


def _check_references(candidates: Sequence[Candidate], estimator: EstimatorSettings) -> None:
    """Raise `InputError` where there is a candidate that cannot be predicted without a reference run, and none."""
    adaptive = sorted({c.optimizer.name for c in candidates if isinstance(c.optimizer, Adaptive)})
    if adaptive and estimator.most_reference_steps == 0:
        plain = " or ".join(repr(kind.name) for kind in OPTIMIZERS if not issubclass(kind, Adaptive))
        raise InputError(
            f"Candidates with optimizer {adaptive[0]!r} need a reference run: its preconditioner is not known before "
            "any step is taken.",
            f"Leave reference_steps out (and use method 'sgd'), or keep to optimizer {plain}.",
        )


def _price(
    candidates: Sequence[Candidate],
    found: Predicted,
    plan: RankPlan,
    terms: Terms,
    stopping: EarlyStopping | None,
) -> _Priced:
    """Rank on the first machine that the terms name, else on the one that was timed: by cost, or by the objective."""
    objective = plan.ranking.objective
    keys = [step_key(c) for c in candidates]
    pool, notes = machines(terms, found.timing, keys, usd_per_hour=plan.ranking.usd_per_hour)
    machine = leading(pool, keys, notes)
    forecasts = found.forecasts(plan.target)
    entries = rank_candidates(
        candidates,
        [forecasts[c] for c in candidates],
        budgets=[found.budgets[c] for c in candidates],
        step_times=machine.step_times,
        num_samples_full=found.num_samples_full,
        usd_per_hour=machine.usd_per_hour,
        qualities=found.qualities(objective, stopping),
        objective=None if objective is None else OBJECTIVES.get(objective),
        fits=[machine.fit(found.timing.memory, c) for c in candidates],
    )
    return _Priced(entries=tuple(entries), machine=machine, notes=tuple(notes), terms=terms)


def _ranking(
    task: Task, drawn: Drawn, found: Predicted, priced: _Priced, plan: RankPlan, *, phases: dict[str, float]
) -> Ranking:
    """The ranking with all that must be said of it."""
    training = sum(entry.replaced_seconds for entry in priced.entries)
    return Ranking(
        task=task.name,
        method=found.method or plan.estimator.method,
        target=plan.target,
        entries=priced.entries,
        phases=phases,
        notes=(
            *drawn.notes,
            *cautions(found.budgets),
            *little_to_save(candidates=len(priced.entries), training=training, ranking=sum(phases.values())),
            *scattered_times(found.timing),
            *single_steps(found.timing),
            *out_of_reach(plan.target, (entry.forecast for entry in priced.entries)),
            *found.notes,
            *(found.work_notes if priced.terms.offers else ()),
            *priced.notes,
            *warn_of_age(priced.terms.offers, datetime.now(UTC).date()),
        ),
        provenance=_provenance(found, priced, plan),
        timing=found.timing,
        terms=priced.terms,
        objective=plan.ranking.objective,
        early_stopping=None
        if plan.ranking.early_stopping is None
        else EarlyStopping.parse(plan.ranking.early_stopping),
    )


def _provenance(found: Predicted, priced: _Priced, plan: RankPlan) -> Provenance:
    simulated = found.num_samples is not None
    limit, step_times = found.stability_limit, priced.machine.step_times
    return Provenance(
        num_samples=found.num_samples,
        num_samples_full=found.num_samples_full,
        num_outputs=found.num_outputs,
        num_trainable=found.num_trainable,
        proj_dim=plan.estimator.proj_dim if simulated else None,
        seed=plan.ranking.seed,
        num_paths=plan.estimator.num_paths if simulated else None,
        initial_loss=found.initial_loss,
        initial_losses=found.initial_losses,
        initial_val_loss=found.initial_val_loss,
        stability_limit=limit if math.isfinite(limit) else None,
        usd_per_hour=priced.machine.usd_per_hour,
        machine=priced.machine.label,
        step_seconds=_by_batch_size(step_times),
        step_source="; ".join(dict.fromkeys(step_times[key].source for key in sorted(step_times, key=by_size))),
    )


def _by_batch_size(step_times: Mapping[StepKey, StepTime]) -> dict[int, float]:
    """Seconds by batch size, the median of the networks."""
    return {
        size: median(time.seconds for key, time in step_times.items() if size_of(key) == size)
        for size in sorted(set(map(size_of, step_times)))
    }


def _write(directory: Run, ranking: Ranking, found: Predicted) -> None:
    """Keep the ranking, its curves and what reference runs say of its error."""
    bands = found.bands()
    curves = to_arrays({entry.candidate: bands[entry.candidate] for entry in ranking.entries})
    directory.record(directory.storage.write_arrays(CURVES_FILE, curves, made_from=found.made_from))
    # Also where there is none, so that those of an earlier ranking in this directory are not taken for its own.
    checks = [check.to_json() for check in found.checks]
    directory.write_json(REFERENCE_FILE, checks, made_from=found.made_from)
    directory.write_json("ranking.json", ranking.to_json(), made_from=found.made_from)
