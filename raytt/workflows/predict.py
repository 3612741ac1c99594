"""From a task and candidates to simulated learning curves: all that needs the cluster."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np

from raytt.cluster.plumbing import shipping
from raytt.cluster.plumbing.dispatch import await_cpu
from raytt.cluster.plumbing.metrics import Metrics
from raytt.cluster.plumbing.progress import Phase, Reporter
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import WorkerResources, connect
from raytt.cluster.plumbing.workers import patient
from raytt.cluster.stages.full_dataset import solve_whole
from raytt.cluster.stages.probe import probe
from raytt.cluster.stages.reduce import Reduced, reduce
from raytt.cluster.stages.reference_runs import ReferencePlan, run_references
from raytt.cluster.stages.solve import Simulation, Solvers
from raytt.cluster.stages.step_times import measure_step_times
from raytt.cluster.stages.step_work import measure_work
from raytt.cluster.stages.subsample import open_data
from raytt.cluster.stages.tangents import PathTangents, changes, probe_path
from raytt.dynamics.curves import CandidateCurves
from raytt.forecast.control_variate import Correction, exponent_of
from raytt.forecast.forecast import needs_full_batch
from raytt.forecast.prediction import Prediction
from raytt.forecast.reference_choice import reference_candidate
from raytt.forecast.screening import SCREENED_FROM, contenders
from raytt.forecast.trust import PathTrust
from raytt.pricing.machine import Timing
from raytt.probe.outputs import loss_on_few
from raytt.probe.settings import ProbeSettings
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.losses import as_loss
from raytt.task.target import Target
from raytt.task.target_check import check_target
from raytt.task.task import Task
from raytt.workflows.settings import COST_SHARE, LEAST_STEPS, RankPlan


def predict(task: Task, candidates: Sequence[Candidate], plan: RankPlan, run: Run, *, reporter: Reporter) -> Prediction:
    """Probe, run the references, simulate.

    Args:
        task: What would be trained.
        candidates: M ≥ 1.
        plan: How.
        run: The run directory.
        reporter: Shows phases.
    """
    loss, worker = as_loss(task.loss), plan.worker
    settings = ProbeSettings(
        proj_dim=plan.proj_dim,
        proj_seed=plan.seed,
        num_threads=worker.cpus,
        device=worker.device,
        precision=plan.precision,
        max_outputs=plan.max_outputs,
    )
    with ExitStack() as stack:
        with reporter.phase("start", "connecting to Ray, opening the data"):
            session = stack.enter_context(connect(plan.address, shared_storage=not run.storage.is_local))
            limits = plan.limits
            if plan.needed_workers is not None:
                session.check(worker, plan.needed_workers)
                limits = patient(limits) if session.started_here else limits
            await_cpu(limits.placement_seconds)
            if not session.is_client:
                reporter.meter = Metrics(run.name, num_candidates=len(candidates))
            stack.enter_context(shipping.by_value(task))
            data = open_data(task, candidates, plan.samples, plan.seed, validation=plan.target.needs_validation)
            task_ref, files = shipping.put(data.probed), Files(session, run.storage)
        num_probers = plan.num_workers or max(plan.limits.min_workers, session.workers_that_fit(worker))
        num_solvers = plan.num_workers or max(1, session.workers_that_fit(WorkerResources()))
        with reporter.phase("probe", "building the network") as phase:
            probed = probe(
                data.probed,
                task_ref,
                settings=settings,
                samples=data.index,
                num_samples_full=data.num_full,
                resources=worker,
                num_workers=num_probers,
                run=run,
                files=files,
                phase=phase,
                limits=limits,
            )
        with reporter.phase("reduce", "Gram matrix") as phase:
            if probed.facts.outputs_per_sample < probed.facts.num_outputs:
                loss = loss_on_few(loss)
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
            check_target(
                plan.target,
                loss=as_loss(task.loss),
                has_validation=True,
                num_outputs=probed.facts.num_outputs,
                initial_loss=reduced.statistics.mean_loss,
            )
        timed_ref = task_ref if data.timed is data.probed else shipping.put(data.timed)
        with reporter.phase("time", "training steps") as phase:
            sizes = [c.batch_size for c in candidates]
            machine = worker if plan.custom_worker else session.whole_machine()
            step_times = measure_step_times(timed_ref, sizes, resources=machine, run=run, phase=phase)
            work, work_notes = measure_work(timed_ref, sizes, run=run, phase=phase)
        budgets = {c: c.budget(num_samples=data.num_full, default_epochs=plan.max_epochs) for c in candidates}
        paths: dict[str, PathTangents] = {}
        trust: dict[str, PathTrust] = {}
        if plan.reference_steps != 0:
            with reporter.phase("reference", "training a little for real") as phase:
                references = run_references(
                    timed_ref,
                    _reference_plans(budgets, reduced, plan),
                    eval_index=data.timed_index,
                    resources=worker,
                    run=run,
                    files=files,
                    phase=phase,
                )
            with reporter.phase("tangents", "probing along the reference run") as phase:
                for reference in references:
                    path = probe_path(
                        data.probed,
                        task_ref,
                        reference,
                        probed,
                        settings=settings,
                        samples=data.index,
                        resources=worker,
                        num_workers=num_probers,
                        run=run,
                        files=files,
                        phase=phase,
                        limits=limits,
                    )
                    paths[reference.optimizer] = path
                    along = changes(path, loss, files, run, phase)
                    trust[reference.optimizer] = PathTrust(
                        sharpness=max(along.sharpness),
                        features_move=along.features_move,
                        last_ratio=float(reference.losses.min() / reference.losses[0]),
                        batch_size=reference.candidate.batch_size,
                        part=math.log(data.num_full / data.num),
                    )
        with reporter.phase("solve", "simulations") as phase:
            simulation = Simulation(
                loss=loss, target=plan.target, method=plan.method, num_paths=plan.num_paths, seed=plan.seed
            )
            solvers = Solvers(reduced, paths, num_workers=num_solvers, run=run, files=files)
            lifts = plan.lifts(has_references=bool(paths))
            reference_rows, corrections = _check_references(
                paths,
                trust,
                solvers,
                simulation,
                phase,
                num_samples=data.num,
                num_trained=data.num_trained,
                lifts=lifts,
            )
            whole = partial(
                solve_whole,
                solvers,
                phase=phase,
                num_samples=data.num,
                num_samples_full=data.num_full if lifts else data.num,
            )
            screens = plan.screen and len(budgets) > SCREENED_FROM and plan.num_paths > 1
            found = Prediction(
                budgets=budgets,
                rows=whole(budgets, replace(simulation, num_paths=1) if screens else simulation),
                quiet={},
                num_paths=plan.num_paths,
                num_samples=data.num,
                num_samples_full=data.num_full,
                facts=probed.facts,
                statistics=reduced.statistics,
                spectrum=reduced.spectrum,
                made_from=reduced.train.made_from,
                step_times=step_times,
                timing=Timing(timed=step_times, work=work),
                work_notes=tuple(work_notes),
                reference_notes=data.notes if paths else (),
                references=tuple(path.reference for path in paths.values()),
                trust=trust,
                corrections=corrections,
                reference_rows=reference_rows,
            )
            if screens:
                chosen = {c: budgets[c] for c in contenders(found.forecasts(plan.target), budgets)}
                found = replace(found, rows={**found.rows, **whole(chosen, simulation, known=found.rows)})
            return replace(found, quiet=_without_noise(found, simulation, solvers, phase))


def reporter_of(run: Run, *, progress: bool) -> Reporter:
    """Shows phases on standard error and adds what they take to the run's own account."""
    return Reporter(sys.stderr if progress else None, earlier=run.seconds, on_end=run.spend)


def _reference_plans(budgets: Mapping[Candidate, int], reduced: Reduced, plan: RankPlan) -> list[ReferencePlan]:
    """One reference run per optimizer family, within its share of the cost."""
    plans = []
    for family in sorted({c.optimizer for c in budgets}):
        own = {c: budget for c, budget in budgets.items() if c.optimizer == family}
        candidate = reference_candidate(list(own), stability_limit=reduced.statistics.stability_limit())
        saved = sum(c.batch_size * budget for c, budget in own.items())
        share = round(COST_SHARE * saved / candidate.batch_size)
        plans.append(
            ReferencePlan(
                candidate=candidate,
                seed=plan.seed,
                stop_ratio=plan.stops_at(),
                num_waypoints=plan.waypoints(),
                most_steps=max(LEAST_STEPS, share) if plan.reference_steps is None else plan.reference_steps,
            )
        )
    return plans


def _check_references(
    paths: Mapping[str, PathTangents],
    trust: Mapping[str, PathTrust],
    solvers: Solvers,
    simulation: Simulation,
    phase: Phase,
    *,
    num_samples: int,
    num_trained: int,
    lifts: bool,
) -> tuple[dict[str, CandidateCurves], dict[str, Correction]]:
    """Simulate each reference run on its own path, and measure how far off that is."""
    rows: dict[str, CandidateCurves] = {}
    corrections: dict[str, Correction] = {}
    for family, path in paths.items():
        reference = path.reference
        ratio = float(reference.losses.min() / reference.losses[0])
        goal = Target(kind="loss_ratio", value=min(0.99, 0.7 * ratio))
        steps = {reference.candidate: max(10, 3 * int(reference.steps[-1]))}
        found = solve_whole(
            solvers,
            steps,
            replace(simulation, target=goal),
            phase,
            num_samples=num_samples,
            num_samples_full=num_trained if lifts else num_samples,
        )
        rows[family] = row = found[reference.candidate]
        corrections[family] = Correction.measure(
            reference.steps.astype(np.float64),
            reference.losses,
            row.curves.steps,
            row.curves.train_loss[row.number],
            exponent=exponent_of(
                features_move=trust[family].features_move, all_samples=num_samples == num_trained, lifts=lifts
            ),
        )
    return rows, corrections


def _without_noise(
    found: Prediction, simulation: Simulation, solvers: Solvers, phase: Phase
) -> dict[Candidate, CandidateCurves]:
    """Simulate without noise those candidates for which it is in doubt whether noise is to blame."""
    doubtful = {
        c: budget
        for c, budget in found.budgets.items()
        if needs_full_batch(
            found.rows[c].curves,
            found.rows[c].number,
            target=simulation.target,
            budget=budget,
            candidate=c,
            num_samples=found.num_samples,
            num_samples_full=found.num_samples_full,
        )
    }
    return solvers.solve(doubtful, replace(simulation, full_batch=True), phase)
