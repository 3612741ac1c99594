"""Learning curves of many candidates on the linearized network: the entry to all solvers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from raytt.dynamics.curves import Curves
from raytt.dynamics.draws import bootstrap_weights, choose_subsets
from raytt.dynamics.kernel.statistics import Statistics, statistics_of
from raytt.dynamics.network import LinearNetwork, Network, linear_network
from raytt.dynamics.recording import Recorder, measured_records, record_steps
from raytt.dynamics.sde import simulate_sde
from raytt.dynamics.steppers import Preconditioner
from raytt.dynamics.tangent import Tangent
from raytt.dynamics.walk import walk
from raytt.settings.estimator import Method
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss
from raytt.task.minibatches import check_batch_size
from raytt.task.target import Target


def simulate(
    tangent: Tangent,
    loss: Loss,
    candidates: Sequence[Candidate],
    budgets: Sequence[int],
    *,
    num_paths: int,
    seed: int,
    target: Target | None,
    method: Method = "sgd",
    full_batch: bool = False,
    record_at: Sequence[int] | None = None,
    network: Network | None = None,
    preconditioner: Preconditioner | None = None,
    subset: int | None = None,
) -> Curves:
    """Simulate M candidates on P sample paths of common random numbers.

    Args:
        tangent: The linearized network, in float32 or float64, on the device where the work is to be done.
        loss: Loss on outputs.
        candidates: M ≥ 1 candidates of equal optimizer and batch size B ≤ N. Their order changes results by rounding
            only, and so does which others are there; same order, same bits. (The SDE's grid of times follows the worst
            candidate: there it is within the solver's tolerance.)
        budgets: Steps of each, at least 1; its schedule ends there.
        num_paths: P. With ``full_batch`` one path is simulated, whatever is asked for.
        seed: Of all draws; equal seeds share draws between calls, also for other batch sizes.
        target: Rows that have reached it are not simulated further. None, or a plateau: all go to the end of their
            budget.
        method: ``"sgd"``: the candidates' own discrete updates. ``"sde"``: the stochastic differential equation.
        full_batch: Gradient of all N samples in each step: no noise.
        record_at: Steps to record at besides 0 and the budgets. None means `raytt.dynamics.recording.record_steps`;
            where a target (no plateau) says which of them matter, others are interpolated (`raytt.dynamics.between`).
        network: What is simulated: by default `linear_network` of this tangent; one that was made before (it may hold
            a Gram matrix that takes seconds), or a `PathNetwork` that begins at this tangent.
        preconditioner: Of an adaptive optimizer, see `raytt.dynamics.steppers`; None: it stands still.
        subset: n, samples that each path trains on, drawn anew for each; B ≤ n < N. None: all N. Only with ``"sgd"``
            and minibatches.

    Returns:
        Curves with P paths (1 with ``full_batch``), common steps for all candidates.

    Raises:
        InputError: If B > N, or the target is on a curve that this tangent and loss do not have.
    """
    if not candidates or len(candidates) != len(budgets) or min(budgets) < 1 or num_paths < 1:
        raise ValueError(f"{len(candidates)} candidates, budgets {list(budgets)}, {num_paths} paths")
    if len({(c.optimizer.name, c.samples_per_step) for c in candidates}) > 1:
        raise ValueError("candidates of one simulation need one optimizer and one batch size")
    num_samples = tangent.train.outputs.shape[0]
    check_batch_size(num_samples if subset is None else subset, candidates[0].samples_per_step)
    if subset is not None and (subset >= num_samples or full_batch or method != "sgd"):
        raise ValueError(f"a subset of {subset} of {num_samples} samples with method {method}, {full_batch=}")
    paths = 1 if full_batch else num_paths
    steps = record_steps(budgets) if record_at is None else _steps(record_at, budgets)
    subsets = None if subset is None else choose_subsets(num_samples, subset, seed, paths)
    sparse = record_at is None and target is not None and not target.settles and method == "sgd"
    recorder = Recorder(
        tangent=tangent,
        loss=loss,
        steps=steps,
        candidates=len(candidates),
        weights=bootstrap_weights(num_samples, seed, paths),
        target=target,
        measured=measured_records(steps, budgets) if sparse else None,
        members=None if subsets is None else _members(subsets, num_samples),
    )
    with torch.no_grad():
        network = network or linear_network(tangent)
        if method == "sgd":
            walk(
                network,
                loss,
                candidates,
                budgets,
                recorder,
                paths=paths,
                seed=seed,
                full_batch=full_batch,
                preconditioner=preconditioner,
                subsets=subsets,
            )
        else:
            if not isinstance(network, LinearNetwork):
                raise ValueError("the stochastic differential equation knows one tangent only")
            statistics = statistics_of(tangent.train, loss)
            stops = [_stable_steps(c, budget, statistics) for c, budget in zip(candidates, budgets, strict=True)]
            simulate_sde(
                network,
                loss,
                candidates,
                budgets,
                recorder,
                paths=paths,
                seed=seed,
                full_batch=full_batch,
                stops=stops,
            )
            for row, (stop, budget) in enumerate(zip(stops, budgets, strict=True)):
                if stop < budget:
                    recorder.give_up(row, stop)
    return recorder.curves()


def _members(subsets: Sequence[NDArray[np.int64]], num_samples: int) -> NDArray[np.bool_]:
    members = np.zeros((len(subsets), num_samples), dtype=bool)
    for path, chosen in enumerate(subsets):
        members[path, chosen] = True
    return members


def _stable_steps(candidate: Candidate, budget: int, statistics: Statistics) -> int:
    """Steps before the learning rate first exceeds the stability limit, which the continuous flow does not know."""
    rates = candidate.learning_rates(budget)
    above = rates > statistics.stability_limit(candidate.optimizer)
    return int(above.argmax()) if above.any() else budget


def _steps(record_at: Sequence[int], budgets: Sequence[int]) -> NDArray[np.int64]:
    wanted = {0, *budgets, *(int(step) for step in record_at if step <= max(budgets))}
    return np.array(sorted(wanted), dtype=np.int64)
