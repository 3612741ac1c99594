"""From a task and candidates to simulated learning curves: all that needs the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from raytt.cluster.plumbing.progress import Phase, Reporter
from raytt.cluster.stages.probe import Probed, probe
from raytt.cluster.stages.reduce import Reduced, reduce
from raytt.cluster.stages.solve import Simulation, Solvers
from raytt.forecast.prediction import Prediction
from raytt.forecast.screening import SCREENED_FROM, contenders
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss, as_loss
from raytt.task.target_check import check_target
from raytt.task.task import Task
from raytt.workflows.plan import RankPlan
from raytt.workflows.reference_paths import ReferencePaths, follow_references
from raytt.workflows.simulation import Simulator
from raytt.workflows.step_costs import time_steps
from raytt.workflows.workspace import Workspace, open_workspace


@dataclass(frozen=True, kw_only=True, eq=False)
class Linearized:
    """The network linearized at its pre-trained weights."""

    probed: Probed
    """Sketched Jacobian rows of the probed samples, and what the network is."""
    reduced: Reduced
    """Their kernel."""
    loss: Loss
    """Loss on the probed outputs."""


def predict(task: Task, candidates: Sequence[Candidate], plan: RankPlan, run: Run, *, reporter: Reporter) -> Prediction:
    """Probe, time, run the references, simulate.

    Args:
        task: What would be trained.
        candidates: M ≥ 1.
        plan: How.
        run: The run directory.
        reporter: Shows phases.
    """
    with open_workspace(task, candidates, plan, run, reporter=reporter) as space:
        network = linearize(task, space, plan)
        costs = time_steps(candidates, space)
        budgets = {
            c: c.budget(num_samples=space.data.num_full, default_epochs=plan.ranking.max_epochs) for c in candidates
        }
        paths = follow_references(space, budgets, plan, network.probed, network.reduced, network.loss)
        with reporter.phase("solve", "simulations") as phase:
            simulator = _simulator(network, paths, space, plan, phase)
            reference_rows, corrections = simulator.references(paths)
            screens = plan.estimator.screen and len(budgets) > SCREENED_FROM and plan.estimator.num_paths > 1
            found = Prediction(
                budgets=budgets,
                rows=simulator.candidates(budgets, num_paths=1 if screens else None),
                quiet={},
                num_paths=plan.estimator.num_paths,
                num_samples=space.data.num,
                num_samples_full=space.data.num_full,
                facts=network.probed.facts,
                statistics=network.reduced.statistics,
                spectrum=network.reduced.spectrum,
                made_from=network.reduced.train.made_from,
                step_times=costs.timing.timed,
                timing=costs.timing,
                work_notes=costs.notes,
                reference_notes=space.data.notes if paths.tangents else (),
                references=tuple(path.reference for path in paths.tangents.values()),
                trust=paths.trust,
                corrections=corrections,
                reference_rows=reference_rows,
            )
            if screens:
                chosen = {c: budgets[c] for c in contenders(found.forecasts(plan.target), budgets)}
                found = replace(found, rows={**found.rows, **simulator.candidates(chosen, known=found.rows)})
            return replace(found, quiet=simulator.without_noise(found))


def linearize(task: Task, space: Workspace, plan: RankPlan) -> Linearized:
    """Probe the network at its pre-trained weights and reduce the rows to a kernel.

    Raises:
        InputError: If the loss there says that the target cannot be met, or is met already.
    """
    loss = as_loss(task.loss)
    with space.reporter.phase("probe", "building the network") as phase:
        probed = probe(
            space.data.probed,
            space.probed_ref,
            settings=space.probe,
            samples=space.data.index,
            num_samples_full=space.data.num_full,
            resources=space.worker,
            num_workers=space.num_probers,
            run=space.run,
            files=space.files,
            phase=phase,
            limits=space.limits,
        )
    with space.reporter.phase("reduce", "Gram matrix") as phase:
        if probed.facts.outputs_per_sample < probed.facts.num_outputs:
            sampled = loss.sampled()
            assert sampled is not None  # Few outputs are probed for no other losses.
            loss = sampled
        reduced = reduce(
            probed,
            loss,
            settings=space.probe,
            num_samples=space.data.num,
            num_workers=space.num_solvers,
            run=space.run,
            files=space.files,
            phase=phase,
        )
        check_target(
            plan.target,
            loss=as_loss(task.loss),
            has_validation=True,
            num_outputs=probed.facts.num_outputs,
            initial_loss=reduced.statistics.mean_loss,
        )
    return Linearized(probed=probed, reduced=reduced, loss=loss)


def _simulator(network: Linearized, paths: ReferencePaths, space: Workspace, plan: RankPlan, phase: Phase) -> Simulator:
    simulation = Simulation(
        loss=network.loss,
        target=plan.target,
        method=plan.estimator.method,
        num_paths=plan.estimator.num_paths,
        seed=plan.ranking.seed,
    )
    return Simulator(
        solvers=Solvers(
            network.reduced, paths.tangents, num_workers=space.num_solvers, run=space.run, files=space.files
        ),
        simulation=simulation,
        data=space.data,
        lifts=plan.lifts(has_references=bool(paths.tangents)),
        phase=phase,
    )
