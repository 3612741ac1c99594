"""The whole run: from a task and a search space to a ranking."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from raytt.bands import FILE as CURVES_FILE
from raytt.bands import Band, band_of, to_arrays
from raytt.candidates import Candidate
from raytt.data import choose_subsample
from raytt.distributed import ray_data, shipping
from raytt.distributed.dispatch import await_cpu
from raytt.distributed.files import Files
from raytt.distributed.probe import Split, probe
from raytt.distributed.progress import Phase, Reporter
from raytt.distributed.reduce import reduce
from raytt.distributed.session import WorkerResources, connect
from raytt.distributed.solve import Simulation, Solvers
from raytt.distributed.timing import measure_step_times
from raytt.distributed.work import measure_work
from raytt.dynamics.simulate import Method
from raytt.errors import InputError
from raytt.forecast import Forecast, check_target, forecast, needs_full_batch, reaches
from raytt.kernel.statistics import Statistics
from raytt.losses import as_loss
from raytt.pricing.catalog import warn_of_age
from raytt.pricing.machine import Timing, leading, machines
from raytt.pricing.quote import check_price
from raytt.pricing.terms import Terms
from raytt.probe.worker import ProbeSettings
from raytt.ranking import Provenance, Ranking, rank_candidates
from raytt.store import Run
from raytt.target import Target
from raytt.task import Task
from raytt.tune import draw

DEFAULT_SAMPLES = 512
"""Training samples that are probed unless another number, or a larger batch, is asked for."""


def rank(
    task: Task,
    search_space: Any,
    *,
    target: Target | float | str = 0.1,
    num_candidates: int = 32,
    seed: int = 0,
    proj_dim: int = 4096,
    samples: int | None = None,
    num_workers: int | None = None,
    use_gpu: bool = False,
    resources_per_worker: Mapping[str, float] | None = None,
    address: str | None = None,
    storage_path: str | Path = "runs",
    name: str | None = None,
    usd_per_hour: float | None = None,
    terms: Terms | None = None,
    max_epochs: float = 20.0,
    num_paths: int = 8,
    method: Method = "sgd",
    progress: bool = True,
) -> Ranking:
    """Rank fine-tuning configurations by the predicted cost of reaching a target, without training any.

    Args:
        task: What would be trained.
        search_space: A dictionary of Ray Tune domains, or a list of configurations.
        target: When training is done: a fraction of the initial training loss, ``"kind=value"``, or a `Target`.
        num_candidates: Configurations drawn from domains.
        seed: From which everything random follows.
        proj_dim: Sketch dimension R.
        samples: Training samples to probe; None takes up to `DEFAULT_SAMPLES`, and at least the largest batch.
        num_workers: Ray workers; None takes as many as the cluster holds and the work can use.
        use_gpu: Whether every probe worker gets a GPU.
        resources_per_worker: Of a probe worker, as Ray writes them; by default ``{"CPU": 1}``, with ``use_gpu`` a GPU.
        address: Ray cluster; None uses the one of this process or of ``RAY_ADDRESS``, else starts Ray on this machine.
        storage_path: Where run directories are kept: a path, or a URI such as ``s3://bucket/path``.
        name: Name of the run. One that exists is continued: what is done is used again. None makes a new one.
        usd_per_hour: Price of the training machine.
        terms: Machines to price the candidates on instead, a budget, a deadline: see `Terms.of`.
        max_epochs: Budget of configurations that bring none, in passes over the whole training set.
        num_paths: Simulated runs per configuration, P.
        method: ``"sgd"``, the optimizer's own steps, or ``"sde"``, a stochastic differential equation.
        progress: Whether phases are shown on standard error.

    Raises:
        InputError: If an argument, the task, its data or its network cannot be used.
        ResourceError: If the cluster does not have what is asked for.
        StoreError: If the run directory cannot be written, or was made from other inputs.
        WorkerError: If work failed on a worker; holds the remote traceback.
    """
    _check_numbers(num_workers=num_workers, num_paths=num_paths, max_epochs=max_epochs, method=method, seed=seed)
    check_price(usd_per_hour)
    terms = terms or Terms()
    loss, goal = as_loss(task.loss), Target.parse(target)
    check_target(goal, loss=loss, has_validation=task.validation is not None)
    drawn = draw(search_space, num_candidates=num_candidates, seed=seed)
    worker = WorkerResources.parse(resources_per_worker, use_gpu=use_gpu)
    settings = ProbeSettings(proj_dim=proj_dim, proj_seed=seed, num_threads=worker.cpus, device=worker.device)
    run = Run.open(storage_path, name, task_name=task.name)
    reporter = Reporter(sys.stderr if progress else None, earlier=run.seconds, on_end=run.spend)
    with ExitStack() as stack:
        with reporter.phase("start", "connecting to Ray, opening the data"):
            session = stack.enter_context(connect(address, shared_storage=not run.storage.is_local))
            session.check(worker, num_workers or 1)
            await_cpu()
            stack.enter_context(shipping.by_value(task))
            data = _open(task, drawn.candidates, samples, seed, validation=goal.needs_validation)
            task_ref, files = shipping.put(data.probed), Files(session, run.storage)
        num_solvers = num_workers or session.workers_that_fit(WorkerResources())
        with reporter.phase("probe", "building the network") as phase:
            probed = probe(
                data.probed,
                task_ref,
                settings=settings,
                samples=data.index,
                num_samples_full=data.num_full,
                resources=worker,
                num_workers=num_workers or session.workers_that_fit(worker),
                run=run,
                files=files,
                phase=phase,
            )
        with reporter.phase("reduce", "Gram matrix") as phase:
            reduced = reduce(
                probed,
                loss,
                settings=settings,
                num_samples=data.num,
                num_workers=num_solvers,
                run=run,
                files=files,
                phase=phase,
            )
            start = reduced.statistics.mean_loss
            check_target(goal, loss=loss, has_validation=True, num_outputs=probed.facts.num_outputs, initial_loss=start)
        with reporter.phase("time", "training steps") as phase:
            sizes = [c.batch_size for c in drawn.candidates]
            timed_ref = task_ref if data.timed is data.probed else shipping.put(data.timed)
            machine = worker if resources_per_worker or use_gpu else session.whole_machine()
            timed = measure_step_times(timed_ref, sizes, resources=machine, run=run, phase=phase)
            work, work_notes = measure_work(timed_ref, sizes, run=run, phase=phase)
            timing = Timing(timed=timed, work=work)
            pool, price_notes = machines(terms, timing, sizes, usd_per_hour=usd_per_hour)
            trained_on = leading(pool, sizes, price_notes)
            step_times = trained_on.step_times
        with reporter.phase("solve", "simulations") as phase:
            simulation = Simulation(loss=loss, target=goal, method=method, num_paths=num_paths, seed=seed)
            budgets = {c: c.budget(num_samples=data.num_full, default_epochs=max_epochs) for c in drawn.candidates}
            solvers = Solvers(reduced, num_workers=num_solvers, run=run, files=files)
            forecasts, bands = _forecast_all(budgets, simulation, solvers, data, reduced.statistics, phase)
    with reporter.phase("rank", "forecasts and prices"):
        entries = rank_candidates(
            drawn.candidates,
            [forecasts[c] for c in drawn.candidates],
            budgets=[budgets[c] for c in drawn.candidates],
            step_times=step_times,
            num_samples_full=data.num_full,
            usd_per_hour=trained_on.usd_per_hour,
        )
    limit = reduced.statistics.stability_limit()
    ranking = Ranking(
        task=task.name,
        method=method,
        target=goal,
        entries=entries,
        phases=reporter.seconds,
        notes=(
            *drawn.notes,
            *probed.facts.notes,
            *(work_notes if terms.offers else ()),
            *price_notes,
            *warn_of_age(terms.offers, datetime.now(UTC).date()),
        ),
        provenance=Provenance(
            num_samples=data.num,
            num_samples_full=data.num_full,
            num_outputs=probed.facts.num_outputs,
            num_trainable=probed.facts.num_trainable,
            proj_dim=proj_dim,
            seed=seed,
            num_paths=num_paths,
            initial_loss=start,
            stability_limit=limit if math.isfinite(limit) else None,
            usd_per_hour=trained_on.usd_per_hour,
            machine=trained_on.label,
            step_seconds={size: step_times[size].seconds for size in sorted(step_times)},
            step_source="; ".join(dict.fromkeys(step_times[size].source for size in sorted(step_times))),
        ),
        timing=timing,
        terms=terms,
    )
    curves = to_arrays({entry.candidate: bands[entry.candidate] for entry in entries})
    run.record(run.storage.write_arrays(CURVES_FILE, curves, made_from=reduced.train.made_from))
    run.write_json("ranking.json", ranking.to_json(), made_from=reduced.train.made_from)
    reporter.say(f"Kept in {run.storage.root}; give --name {run.name} to go on from there.")
    return ranking


@dataclass(frozen=True, kw_only=True, eq=False)
class _Data:
    """What is probed of the task's data."""

    probed: Task
    """The task as probe workers get it."""
    timed: Task
    """The task as the timer gets it."""
    num_full: int
    """N_full, samples of the whole training set."""
    index: Mapping[Split, NDArray[np.int64]]
    """Positions of the probed samples."""

    @property
    def num(self) -> int:
        """N, training samples probed."""
        return len(self.index["train"])


def _open(task: Task, candidates: Sequence[Candidate], samples: int | None, seed: int, *, validation: bool) -> _Data:
    """Open the data, choose what is probed, and hold the batch sizes against both."""
    train = ray_data.open_source(task.data, task)
    num_full = ray_data.count(train)
    largest = max(c.batch_size for c in candidates)
    if largest > num_full:
        raise InputError(
            f"A candidate has batch_size {largest}, but the training data has only N = {num_full} samples.",
            f"Keep batch sizes in the search space to at most {num_full}.",
        )
    size = min(num_full, max(DEFAULT_SAMPLES, largest)) if samples is None else samples
    index: dict[Split, NDArray[np.int64]] = {
        "train": choose_subsample(num_full, None if size == num_full else size, seed)
    }
    if largest > size:
        raise InputError(
            f"A candidate has batch_size {largest}, but only N = {size} samples are to be probed.",
            f"Probe at least {largest} samples, or keep batch sizes to at most {size}.",
        )
    others = None
    if validation:
        others = ray_data.open_source(task.validation, task)
        most = ray_data.count(others)
        index["validation"] = choose_subsample(most, None if most <= size else size, seed)
    probed, timed = ray_data.with_rows(task, train, others, index["train"], index.get("validation"))
    return _Data(probed=probed, timed=timed, num_full=num_full, index=index)


def _forecast_all(
    budgets: Mapping[Candidate, int],
    simulation: Simulation,
    solvers: Solvers,
    data: _Data,
    statistics: Statistics,
    phase: Phase,
) -> tuple[dict[Candidate, Forecast], dict[Candidate, Band]]:
    """Simulate all candidates, and without noise once more those for which it is in doubt whether noise is to blame."""
    target = simulation.target
    rows = solvers.solve(budgets, simulation, phase)
    doubtful = {
        c: budget
        for c, budget in budgets.items()
        if needs_full_batch(
            rows[c].curves,
            rows[c].number,
            target=target,
            budget=budget,
            candidate=c,
            num_samples=data.num,
            num_samples_full=data.num_full,
        )
    }
    quiet = solvers.solve(doubtful, replace(simulation, full_batch=True), phase)
    bands = {c: band_of(rows[c].curves, rows[c].number, budget=budget) for c, budget in budgets.items()}
    forecasts = {
        c: forecast(
            rows[c].curves,
            rows[c].number,
            target=target,
            budget=budget,
            num_samples=data.num,
            num_samples_full=data.num_full,
            batch_size=c.batch_size,
            stability_share=statistics.stability_share(c.lr, c.momentum, nesterov=c.nesterov),
            full_batch_reaches=None
            if c not in quiet
            else reaches(
                quiet[c].curves,
                quiet[c].number,
                target=target,
                budget=budget,
                steps_per_epoch=data.num_full / c.batch_size,
            ),
        )
        for c, budget in budgets.items()
    }
    return forecasts, bands


def _check_numbers(*, num_workers: int | None, num_paths: int, max_epochs: float, method: str, seed: int) -> None:
    for name, number, least in (("num_workers", num_workers, 1), ("num_paths", num_paths, 1), ("seed", seed, 0)):
        if number is not None and (not isinstance(number, int) or number < least):
            raise InputError(f"{name} is {number!r}.", f"Give a whole number of at least {least}.")
    if not (math.isfinite(max_epochs) and max_epochs > 0):
        raise InputError(f"max_epochs is {max_epochs!r}.", "Give a number above 0.")
    if method not in get_args(Method):
        raise InputError(f"Unknown method {method!r}.", f"Use one of: {', '.join(get_args(Method))}.")
