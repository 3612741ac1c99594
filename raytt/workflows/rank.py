"""The whole run: from a task and a search space to a ranking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from raytt.adapters.tune.search_space import draw
from raytt.cluster.plumbing.session import WorkerResources
from raytt.cluster.plumbing.workers import worker_limits
from raytt.dynamics.simulate import Method
from raytt.errors import InputError
from raytt.forecast.curve_bands import FILE as CURVES_FILE
from raytt.forecast.curve_bands import to_arrays
from raytt.forecast.prediction import reference_checks
from raytt.forecast.reference_check import FILE as REFERENCE_FILE
from raytt.pricing.catalog import warn_of_age
from raytt.pricing.machine import leading, machines
from raytt.pricing.quote import check_price
from raytt.pricing.terms import Terms
from raytt.probe.settings import MAX_OUTPUTS, Precision, as_precision, check_max_outputs
from raytt.report import display  # noqa: F401  (results show themselves)
from raytt.results.entry import rank_candidates
from raytt.results.ranking import Provenance, Ranking
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.losses import as_loss
from raytt.task.target import Target
from raytt.task.target_check import check_target
from raytt.task.task import Task
from raytt.workflows.predict import predict, reporter_of
from raytt.workflows.settings import RankPlan


def rank(
    task: Task,
    search_space: Any,
    *,
    target: Target | float | str = 0.1,
    num_candidates: int = 32,
    seed: int = 0,
    proj_dim: int = 2048,
    samples: int | None = None,
    num_workers: int | None = None,
    min_workers: int | None = None,
    wait_seconds: float | None = None,
    use_gpu: bool = False,
    precision: Precision = "float32",
    max_outputs: int = MAX_OUTPUTS,
    resources_per_worker: Mapping[str, float] | None = None,
    address: str | None = None,
    storage_path: str | Path = "runs",
    name: str | None = None,
    usd_per_hour: float | None = None,
    terms: Terms | None = None,
    max_epochs: float = 20.0,
    num_paths: int = 4,
    screen: bool = True,
    method: Method = "sgd",
    reference_steps: int | None = None,
    progress: bool = True,
) -> Ranking:
    """Rank fine-tuning configurations by the predicted cost of reaching a target.

    Args:
        task: What would be trained.
        search_space: A dictionary of Ray Tune domains, or a list of configurations.
        target: When training is done: a fraction of the initial training loss, ``"kind=value"``, or a `Target`.
        num_candidates: Configurations drawn from domains.
        seed: From which everything random follows.
        proj_dim: Sketch dimension R.
        samples: Training samples to probe; None takes up to 512, and at least the largest batch.
        num_workers: Ray workers, at most; None takes as many as the cluster holds and the work can use.
        min_workers: Workers without which the run does not begin; None means all of ``num_workers``. The others join
            when there is room for them, and work goes on with whoever is left.
        wait_seconds: How long to wait for resources that the cluster does not have yet, because an autoscaler adds
            them. None waits a minute for resources that are only busy, and refuses at once what is not there.
        use_gpu: Whether every probe worker gets a GPU.
        precision: ``"float32"``, or ``"bfloat16"`` for the network's passes in the probe; per-sample gradients and
            sketches add up in float32 either way.
        max_outputs: Outputs probed per sample, at most: with more classes the likeliest and some drawn at random stand
            for the others (`raytt.probe.outputs`). At least 8; from the number of classes on, all are probed.
        resources_per_worker: Of a probe worker, as Ray writes them; by default ``{"CPU": 1}``, with ``use_gpu`` a GPU.
        address: Ray cluster; None uses the one of this process or of ``RAY_ADDRESS``, else starts Ray on this machine.
        storage_path: Where run directories are kept: a path, or a URI such as ``s3://bucket/path``.
        name: Name of the run. One that exists is continued: what is done is used again. None makes a new one.
        usd_per_hour: Price of the training machine.
        terms: Machines to price the candidates on instead, a budget, a deadline: see `Terms.of`.
        max_epochs: Budget of configurations that bring none, in passes over the whole training set.
        num_paths: Simulated runs per configuration, P.
        screen: Whether of more than 256 configurations those that cost more than 3 times the cheapest are simulated
            once only (`raytt.forecast.screening`).
        method: ``"sgd"``, the optimizer's own steps, or ``"sde"``, a stochastic differential equation.
        reference_steps: Most steps of the reference run, a short real training of one configuration per optimizer along
            which predictions are made. None: a tenth of what the candidates' budgets would cost; 0: none, the
            training-free method.
        progress: Whether phases are shown on standard error.

    Raises:
        InputError: If an argument, the task, its data or its network cannot be used.
        ResourceError: If the cluster does not have what is asked for.
        StoreError: If the run directory cannot be written, or was made from other inputs.
        WorkerError: If work failed on a worker; holds the remote traceback.
    """
    _check_numbers(num_workers=num_workers, num_paths=num_paths, max_epochs=max_epochs, method=method, seed=seed)
    limits = worker_limits(num_workers, min_workers, wait_seconds)
    check_price(usd_per_hour)
    terms = terms or Terms()
    loss, goal = as_loss(task.loss), Target.parse(target)
    check_target(goal, loss=loss, has_validation=task.validation is not None)
    drawn = draw(search_space, num_candidates=num_candidates, seed=seed)
    worker = WorkerResources.parse(resources_per_worker, use_gpu=use_gpu)
    precision = as_precision(precision)
    reference_steps = _check_method(drawn.candidates, method, reference_steps)
    run = Run.open(storage_path, name, task_name=task.name)
    plan = RankPlan(
        target=goal,
        seed=seed,
        proj_dim=proj_dim,
        samples=samples,
        num_workers=num_workers,
        needed_workers=(min_workers or num_workers or 1) if wait_seconds is None else None,
        limits=limits,
        worker=worker,
        custom_worker=bool(resources_per_worker or use_gpu),
        address=address,
        max_epochs=max_epochs,
        num_paths=num_paths,
        screen=screen,
        method=method,
        reference_steps=reference_steps,
        precision=precision,
        max_outputs=check_max_outputs(max_outputs),
    )
    with run.locked():
        reporter = reporter_of(run, progress=progress)
        found = predict(task, drawn.candidates, plan, run, reporter=reporter)
        with reporter.phase("rank", "forecasts and prices"):
            sizes = [c.batch_size for c in drawn.candidates]
            pool, price_notes = machines(terms, found.timing, sizes, usd_per_hour=usd_per_hour)
            trained_on = leading(pool, sizes, price_notes)
            forecasts = found.forecasts(goal)
            entries = rank_candidates(
                drawn.candidates,
                [forecasts[c] for c in drawn.candidates],
                budgets=[found.budgets[c] for c in drawn.candidates],
                step_times=trained_on.step_times,
                num_samples_full=found.num_samples_full,
                usd_per_hour=trained_on.usd_per_hour,
            )
        statistics, facts, step_times = found.statistics, found.facts, trained_on.step_times
        limit = statistics.stability_limit()
        checks = reference_checks(found)
        ranking = Ranking(
            task=task.name,
            method="path" if found.references else method,
            target=goal,
            entries=entries,
            phases=reporter.seconds,
            notes=(
                *drawn.notes,
                *facts.notes,
                *(check.note for check in checks),
                *found.reference_notes,
                *found.screening_notes,
                *(found.work_notes if terms.offers else ()),
                *price_notes,
                *warn_of_age(terms.offers, datetime.now(UTC).date()),
            ),
            provenance=Provenance(
                num_samples=found.num_samples,
                num_samples_full=found.num_samples_full,
                num_outputs=facts.num_outputs,
                num_trainable=facts.num_trainable,
                proj_dim=proj_dim,
                seed=seed,
                num_paths=num_paths,
                initial_loss=statistics.mean_loss,
                stability_limit=limit if math.isfinite(limit) else None,
                usd_per_hour=trained_on.usd_per_hour,
                machine=trained_on.label,
                step_seconds={size: step_times[size].seconds for size in sorted(step_times)},
                step_source="; ".join(dict.fromkeys(step_times[size].source for size in sorted(step_times))),
            ),
            timing=found.timing,
            terms=terms,
        )
        bands = found.bands()
        curves = to_arrays({entry.candidate: bands[entry.candidate] for entry in entries})
        run.record(run.storage.write_arrays(CURVES_FILE, curves, made_from=found.made_from))
        # Also where there is none, so that those of an earlier ranking in this directory are not taken for its own.
        told = [check.to_json() for check in checks]
        run.write_json(REFERENCE_FILE, told, made_from=found.made_from)
        run.write_json("ranking.json", ranking.to_json(), made_from=found.made_from)
        reporter.say(f"Kept in {run.storage.shown}; give --name {run.name} to go on from there.")
        return ranking


def _check_numbers(*, num_workers: int | None, num_paths: int, max_epochs: float, method: str, seed: int) -> None:
    for name, number, least in (("num_workers", num_workers, 1), ("num_paths", num_paths, 1), ("seed", seed, 0)):
        if number is not None and (not isinstance(number, int) or number < least):
            raise InputError(f"{name} is {number!r}.", f"Give a whole number of at least {least}.")
    if not (math.isfinite(max_epochs) and max_epochs > 0):
        raise InputError(f"max_epochs is {max_epochs!r}.", "Give a number above 0.")
    if method not in get_args(Method):
        raise InputError(f"Unknown method {method!r}.", f"Use one of: {', '.join(get_args(Method))}.")


def _check_method(candidates: Sequence[Candidate], method: Method, reference_steps: int | None) -> int | None:
    """Steps of the reference run as `rank` takes them, once they agree with the rest."""
    if reference_steps is not None and (not isinstance(reference_steps, int) or reference_steps < 0):
        raise InputError(f"reference_steps is {reference_steps!r}.", "Give a whole number of at least 0, or None.")
    if method == "sde":
        if reference_steps:
            raise InputError(
                f"method='sde' with reference_steps={reference_steps}: the equation knows one tangent only.",
                "Use method='sgd', or leave reference_steps out.",
            )
        reference_steps = 0
    adaptive = sorted({c.optimizer for c in candidates} - {"sgd"})
    if adaptive and reference_steps == 0:
        raise InputError(
            f"Candidates with optimizer {adaptive[0]!r} need a reference run: its preconditioner is not known before "
            "any step is taken.",
            "Leave reference_steps out (and use method='sgd'), or keep to optimizer 'sgd'.",
        )
    return reference_steps
