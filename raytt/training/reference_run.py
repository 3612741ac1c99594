"""The reference run: a short real training whose weights on the way become tangents.

Notation: loss ratio ρ = mean training loss over its initial value, on the probed samples; w_0 … w_S the weights kept;
for an adaptive optimizer D_s = √v + ε at w_s (v corrected as it does itself), and D₀ the geometric mean of D_1 … D_S.

The run stops at the loss ratio asked for. Weights are kept where the loss first falls below ratios spaced evenly in
ln ρ between 1 and that, so that each segment of the path does a like share of the work. A run that turns unstable (its
loss climbs well above the lowest seen) is restarted at a third of the learning rate, and one that hardly moves at
three times: which learning rate suits is not known beforehand, since curvature grows as features move (30-fold within
36 steps on the digits example).

The size of the preconditioner goes with its shape: V_ref = Σ_j v_j D₀_j / D_j² over all weights, what the rows' own
second moments are compared with, and the other numbers of `raytt.dynamics.steppers.Preconditioner`; means over
w_1 … w_S.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.dynamics.steppers import Preconditioner
from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss, as_loss
from raytt.task.minibatches import check_batch_size, iterate_minibatches
from raytt.task.optimizers import Adaptive
from raytt.task.task import Task
from raytt.training.datasets import Split, open_dataset
from raytt.training.loop import evaluate
from raytt.training.model import PreparedModel, prepare_model
from raytt.training.objective import Objective
from raytt.training.steps import Steps

Floats = NDArray[np.float64]

SPACING = 0.1
"""Steps between evaluations, as a share of the steps done: how far a run may overshoot a loss ratio, against the cost
of evaluating."""
CLIMB = 1.5
"""A loss this many times the lowest so far means that the run is unstable. Of ten runs on diabetes, begun at 1/30 to 30
times the learning rate that raytt chooses and given 600 steps, five got to 0.2 of the initial loss with 1.25, 1.5 and
2 (two, one and one restarted), four with 1.1 (six restarted) (2026-11-29-constants, by ``python -m
benchmarks.constants --sections references``, which varies the rules below as well: not measured yet)."""
CLIMB_FROM = 0.2
"""Share of the initial loss below which the lowest loss is not looked at: noise at a low loss is no instability."""
BATCH_CLIMB = 10.0
"""A minibatch loss this many times the initial loss ends an attempt at once. A guard against divergence between two
evaluations."""
PATIENCE_STEPS = 60
"""A run whose loss ratio is still above `SLOW_RATIO` then is restarted with a higher learning rate."""
SLOW_RATIO = 0.93
"""See `PATIENCE_STEPS`."""
MOST_RESTARTS = 3
"""In both directions together."""
LR_FACTOR = 3.0
"""By which a restart multiplies or divides the learning rate: about half a decade."""
WORTH_KEEPING = 0.97
"""The last weights of a run that ends between two loss ratios become a tangent only if their loss is below this share
of the lowest up to the tangent before."""
FLOOR = 0.02
"""Of the root mean square of D: weights that have not met a gradient yet (a quarter to a half of a network with dead
units) have D = ε, by which whatever gradient they meet next would be blown up a million-fold, while the optimizer's own
second moments would grow with it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Waypoint:
    """The network on the way."""

    step: int
    """Optimizer steps done."""
    weights: NDArray[np.float32]
    """All trainable weights, flattened in the order of the network's parameters, shape (D,)."""
    scale: NDArray[np.float32] | None = None
    """D_s = √v + ε of an adaptive optimizer, at least `FLOOR` of its root mean square, shape (D,)."""
    second: NDArray[np.float32] | None = None
    """v itself, shape (D,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceRun:
    """What the reference run did."""

    candidate: Candidate
    """Its configuration, with the learning rate it ended with."""
    seed: int
    """Of its minibatches."""
    steps: NDArray[np.int64]
    """At which losses were evaluated, shape (T,), from 0."""
    losses: Floats
    """Mean training loss on the probed samples there, shape (T,)."""
    waypoints: tuple[Waypoint, ...]
    """w_1 … w_S."""
    preconditioner: Preconditioner | None
    """Of an adaptive optimizer; None for others."""
    wasted_steps: int
    """Steps of attempts that were given up."""
    seconds: float
    """Wall-clock time of it all."""
    stopped: str
    """Why it stopped, for the reader."""


def run_reference(
    task: Task,
    candidate: Candidate,
    *,
    seed: int,
    stop_ratio: float,
    num_waypoints: int,
    most_steps: int,
    eval_index: Sequence[int] | NDArray[np.int64],
    device: str | torch.device = "cpu",
    on_step: Callable[[int, float], None] | None = None,
) -> ReferenceRun:
    """Train until the loss ratio is at most ``stop_ratio``, and keep weights on the way.

    Args:
        task: What is trained; on all its training data.
        candidate: How; its learning rate may be changed as described above. Its schedule should be constant.
        seed: Of the minibatches.
        stop_ratio: Loss ratio in (0, 1) at which to stop.
        num_waypoints: S ≥ 1, points to keep.
        most_steps: Steps after which to stop all the same, restarts included.
        eval_index: Positions of the probed training samples, on which losses are evaluated.
        device: Where to train.
        on_step: Called with each evaluated step and loss ratio.

    Raises:
        InputError: If the loss falls at no learning rate tried, or data or network cannot be used.
    """
    begin = time.perf_counter()
    loss = as_loss(task.loss)
    dataset = open_dataset(task.data, task)
    fit = Split(task, dataset, device=device)
    check_batch_size(len(fit), candidate.samples_per_step)
    measured = Split(task, dataset, eval_index, device=device)
    wasted, tried_up, tried_down = 0, False, False
    for attempt in range(MOST_RESTARTS + 1):
        last = attempt == MOST_RESTARTS
        model = prepare_model(task, device=device)
        updates = Steps(model, Objective(task), candidate)
        run = _Attempt(model, updates, loss, fit, measured, candidate, seed, stop_ratio, num_waypoints)
        verdict = run.go(most_steps - wasted, impatient=not last and not tried_down, on_step=on_step)
        enough = wasted + run.done >= most_steps
        if verdict == "stable" or last or enough:
            break
        tried_up, tried_down = tried_up or verdict == "slow", tried_down or verdict == "unstable"
        wasted += run.done
        lr = candidate.lr * LR_FACTOR if verdict == "slow" else candidate.lr / LR_FACTOR
        candidate = replace(candidate, lr=lr)
    waypoints = run.finish()
    if not waypoints:
        raise InputError(
            f"The reference run did not lower the training loss (last learning rate {candidate.lr:.3g}, "
            f"{wasted + run.done} steps).",
            "Check the learning rates in the search space, allow more reference_steps, or use reference_steps=0 (the "
            "training-free method).",
        )
    return ReferenceRun(
        candidate=candidate,
        seed=seed,
        steps=np.asarray(run.steps, dtype=np.int64),
        losses=np.asarray(run.losses),
        waypoints=waypoints,
        preconditioner=_preconditioner(candidate, waypoints, run.start),
        wasted_steps=wasted,
        seconds=time.perf_counter() - begin,
        stopped=run.stopped,
    )


class _Attempt:
    """One training run from the pre-trained weights."""

    def __init__(
        self,
        model: PreparedModel,
        updates: Steps,
        loss: Loss,
        fit: Split,
        measured: Split,
        candidate: Candidate,
        seed: int,
        stop_ratio: float,
        num_waypoints: int,
    ) -> None:
        self._model, self._loss, self._fit, self._measured = model, loss, fit, measured
        self._candidate, self._seed = candidate, seed
        self._updates = updates
        levels = [stop_ratio ** (k / num_waypoints) for k in range(1, num_waypoints + 1)]
        self._due = [*levels[:-1], stop_ratio]
        self._num_waypoints = num_waypoints
        self._waypoints: list[Waypoint] = []
        self.start = _flat([p.detach() for p in model.trainable.values()])
        """w₀, shape (D,)."""
        self.steps: list[int] = [0]
        self.losses: list[float] = [evaluate(model, loss, measured)[0]]
        self.done = 0
        self.stopped = ""

    def go(self, most_steps: int, *, impatient: bool, on_step: Callable[[int, float], None] | None) -> str:
        """Train: 'stable', 'unstable' or 'slow'."""
        c = self._candidate
        lowest, due = self.losses[0], 1
        rates = c.learning_rates(max(1, most_steps))
        for rows in iterate_minibatches(len(self._fit), c.samples_per_step, self._seed, stop=max(0, most_steps)):
            value = self._updates.take(float(rates[self.done]), self._fit.batch, rows)
            self.done += 1
            if not value <= BATCH_CLIMB * self.losses[0]:
                return "unstable"
            if self.done < due and self.done < most_steps:
                continue
            due = self.done + max(1, int(SPACING * self.done))
            found = evaluate(self._model, self._loss, self._measured)[0]
            if not found <= CLIMB * max(lowest, CLIMB_FROM * self.losses[0]):
                return "unstable"
            lowest = min(lowest, found)
            self.steps.append(self.done)
            self.losses.append(found)
            ratio = found / self.losses[0]
            if on_step is not None:
                on_step(self.done, ratio)
            if ratio <= self._due[0]:
                self._due = [level for level in self._due if level < ratio]
                self._keep()
                if not self._due:
                    self.stopped = f"at {ratio:.2f} of the initial loss"
                    return "stable"
            if impatient and self.done >= PATIENCE_STEPS and ratio > SLOW_RATIO:
                return "slow"
        self.stopped = f"after {self.done} steps, the most that its share of the saved cost allows"
        return "stable"

    def finish(self) -> tuple[Waypoint, ...]:
        """The waypoints; with the last weights where the run stopped early and they are better than nothing."""
        reached = self._waypoints[-1].step if self._waypoints else 0
        lower = [x for step, x in zip(self.steps, self.losses, strict=True) if step <= reached]
        if self.stopped and self.done > reached and self.losses[-1] < WORTH_KEEPING * min(lower):
            self._keep()
        return tuple(self._waypoints)

    def _keep(self) -> None:
        scale = second = None
        if isinstance(self._candidate.optimizer, Adaptive):
            scale, second = self._preconditioner(self._candidate.optimizer)
        weights = _flat([p.detach() for p in self._model.trainable.values()])
        self._waypoints.append(Waypoint(step=self.done, weights=weights, scale=scale, second=second))

    def _preconditioner(self, optimizer: Adaptive) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """D_s and v."""
        # A parameter that the loss does not depend on gets no gradient, and torch makes no state for it.
        states, parameters = self._updates.optimizer.state, self._model.trainable.values()
        moments = [states[p][optimizer.moment] if p in states else torch.zeros_like(p) for p in parameters]
        moment = _flat(moments).astype(np.float64)
        second = moment / optimizer.moment_correction(self.done)
        scale = np.sqrt(second) + optimizer.eps
        floored = np.maximum(scale, FLOOR * np.sqrt(np.mean(scale**2)))
        return floored.astype(np.float32), second.astype(np.float32)


def _preconditioner(
    candidate: Candidate, waypoints: Sequence[Waypoint], start: NDArray[np.float32]
) -> Preconditioner | None:
    optimizer = candidate.optimizer
    return preconditioner_of(waypoints, optimizer.eps, start) if isinstance(optimizer, Adaptive) else None


def preconditioner_of(waypoints: Sequence[Waypoint], eps: float, start: NDArray[np.float32]) -> Preconditioner | None:
    """V_ref (geometric mean over waypoints), e and what weight decay needs (arithmetic means); None without any.

    Args:
        waypoints: With their preconditioners.
        eps: ε of the optimizer.
        start: The pre-trained weights w₀, shape (D,).
    """
    common = common_scale(waypoints)
    if common is None:
        return None
    weight = common.astype(np.float64)
    # Where all pre-trained weights are zero, each counts alike.
    squares = np.square(start.astype(np.float64)) if np.any(start) else np.ones(len(start))
    moments, shares, inverses, pulls = [], [], [], []
    for waypoint in waypoints:
        assert waypoint.scale is not None
        assert waypoint.second is not None
        scale = waypoint.scale.astype(np.float64)
        moments.append(float((waypoint.second * weight / scale**2).sum()))
        shares.append(float((np.minimum(eps / scale, 1.0) * weight).sum() / weight.sum()))
        inverses.append(float((squares * weight / scale).sum() / (squares * weight).sum()))
        pulls.append(float((np.square(start.astype(np.float64)) * weight / scale**2).sum()))
    # Gradients that vanished everywhere leave nothing to compare with.
    if min(moments) <= 0.0:
        return None
    return Preconditioner(
        second_moment=float(np.exp(np.mean(np.log(moments)))),
        eps_share=float(np.mean(shares)),
        inverse=float(np.mean(inverses)),
        weights=float(np.mean(pulls)),
    )


def common_scale(waypoints: Sequence[Waypoint]) -> NDArray[np.float32] | None:
    """D₀, the geometric mean of the waypoints' preconditioners, shape (D,); None without any."""
    scales = [w.scale for w in waypoints if w.scale is not None]
    if not scales:
        return None
    return np.asarray(np.exp(np.mean([np.log(s.astype(np.float64)) for s in scales], axis=0)), dtype=np.float32)


def unflatten(flat: NDArray[Any], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by parameter name from their flattened form."""
    parts: dict[str, Tensor] = {}
    start = 0
    for name, tensor in like.items():
        size = tensor.numel()
        parts[name] = torch.tensor(flat[start : start + size]).view(tensor.shape)
        start += size
    return parts


def _flat(tensors: Sequence[Tensor]) -> NDArray[np.float32]:
    return torch.cat([t.reshape(-1).float().cpu() for t in tensors]).numpy()
