"""What all stages of a prediction share: the connection to Ray, the opened data, the run directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from raytt.cluster.plumbing import shipping
from raytt.cluster.plumbing.dispatch import await_cpu
from raytt.cluster.plumbing.metrics import Metrics
from raytt.cluster.plumbing.progress import Reporter
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import Session, WorkerResources, connect
from raytt.cluster.plumbing.workers import Limits, patient
from raytt.cluster.stages.subsample import Opened, open_data, open_for_training
from raytt.probe.settings import ProbeSettings
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.task import Task
from raytt.workflows.plan import RankPlan


@dataclass(frozen=True, kw_only=True, eq=False)
class Workspace:
    """What all stages share."""

    run: Run
    """The run directory."""
    files: Files
    """Its files, as workers read and write them."""
    reporter: Reporter
    """Shows phases."""
    data: Opened
    """The task's data, and which samples are probed."""
    probed_ref: Any
    """The task as probe workers get it, in the object store."""
    timed_ref: Any
    """The task as the timer and the reference run get it, in the object store."""
    probe: ProbeSettings
    """How Jacobian rows are computed."""
    worker: WorkerResources
    """A probe worker's."""
    machine: WorkerResources
    """Of the machine on which training steps are timed."""
    limits: Limits
    """When waiting for workers and trying again end."""
    num_probers: int
    """Probe workers, at most."""
    num_solvers: int
    """Tasks of one CPU at a time, at most."""


def reporter_of(run: Run, *, progress: bool) -> Reporter:
    """Shows phases on standard error and adds what they take to the run's own account."""
    return Reporter(sys.stderr if progress else None, earlier=run.seconds, on_end=run.spend)


@contextmanager
def open_workspace(
    task: Task, candidates: Sequence[Candidate], plan: RankPlan, run: Run, *, reporter: Reporter
) -> Iterator[Workspace]:
    """Connect to Ray, check that it has what is asked for, open the data; disconnects at the end.

    Args:
        task: What would be trained.
        candidates: M ≥ 1.
        plan: How.
        run: The run directory.
        reporter: Shows phases.

    Raises:
        ResourceError: If the cluster does not have what is asked for.
        InputError: If the data cannot be used, or not with the batch sizes of the candidates.
    """
    worker = WorkerResources.of(plan.cluster)
    with ExitStack() as stack:
        with reporter.phase("start", "connecting to Ray, opening the data"):
            session = stack.enter_context(connect(plan.cluster.address, shared_storage=not run.storage.is_local))
            limits = _checked_limits(session, plan, worker)
            if not session.is_client:
                reporter.meter = Metrics(run.name, num_candidates=len(candidates))
            stack.enter_context(shipping.by_value(task))
            data = _open(task, candidates, plan)
            probed_ref, files = shipping.put(data.probed), Files(session, run.storage)
            timed_ref = probed_ref if data.timed is data.probed else shipping.put(data.timed)
        num_workers = plan.cluster.num_workers
        yield Workspace(
            run=run,
            files=files,
            reporter=reporter,
            data=data,
            probed_ref=probed_ref,
            timed_ref=timed_ref,
            probe=_probe_settings(plan, worker),
            worker=worker,
            machine=worker if plan.cluster.customizes_workers else session.whole_machine(),
            limits=limits,
            num_probers=num_workers or max(limits.min_workers, session.workers_that_fit(worker)),
            num_solvers=num_workers or max(1, session.workers_that_fit(WorkerResources())),
        )


def _open(task: Task, candidates: Sequence[Candidate], plan: RankPlan) -> Opened:
    if task.mode == "train":
        return open_for_training(task, candidates)
    return open_data(
        task,
        candidates,
        plan.estimator.samples,
        plan.ranking.seed,
        validation=plan.target.needs_validation,
    )


def _checked_limits(session: Session, plan: RankPlan, worker: WorkerResources) -> Limits:
    """Limits of the plan, once the cluster has room for the workers that it must have from the start."""
    limits, needed = Limits.of(plan.cluster), plan.cluster.workers_from_the_start
    if needed is not None:
        session.check(worker, needed)
        limits = patient(limits) if session.started_here else limits
    await_cpu(limits.placement_seconds)
    return limits


def _probe_settings(plan: RankPlan, worker: WorkerResources) -> ProbeSettings:
    return ProbeSettings(
        proj_dim=plan.estimator.proj_dim,
        proj_seed=plan.ranking.seed,
        num_threads=worker.cpus,
        device=worker.device,
        precision=plan.estimator.precision,
        max_outputs=plan.estimator.max_outputs,
    )
