"""Exact discrete dynamics of the linearized network under the candidates' own SGD (METHOD §4).

Notation: M candidates on one sample path, batch b_t of B samples, state w (displacement from the pre-trained weights
w₀) and α (part along w₀ itself, so that the weights are w₀(1 + α) + w), learning rate η_t, momentum μ, weight decay λ.

    d = (1/B) Σ_{i∈b_t} J_iᵀ g_i + λ·(weights),   v ← μ v + d,   weights ← weights − η_t (d + μ v if nesterov else v)

as `torch.optim.SGD` has it with dampening 0 (its first velocity, v = d, is what v = 0 before the first step gives). The
decay acts on w and on 1 + α separately; α has its own velocity and no other gradient.

Paths are walked one after the other, with all candidates on one path as the rows of a matrix: they share the minibatch,
whose rows of the Jacobian are gathered once and stay in the processor's cache (measured 2.5 times faster than all paths
in one batched product), and each row stops as soon as its own curve has arrived.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.candidates import Candidate
from raytt.dynamics.draws import path_seed
from raytt.dynamics.network import Batch, Network
from raytt.dynamics.recording import Recorder
from raytt.losses import Loss
from raytt.minibatches import minibatches

CHUNK = 256
"""Steps whose minibatches and learning rates are made at a time."""

Ints = NDArray[np.int64]


class Sgd:
    """State and update of M rows: torch's SGD on a `Network`."""

    def __init__(self, network: Network, candidates: Sequence[Candidate]) -> None:
        self._network = network
        self.state = network.zeros(len(candidates))
        self._momentum = self._column([c.momentum for c in candidates])
        self._decay = self._column([c.weight_decay for c in candidates])
        self._nesterov = self._column([c.momentum if c.nesterov else 0.0 for c in candidates])
        self._uses_momentum = any(c.momentum > 0 for c in candidates)
        self._uses_nesterov = any(c.nesterov for c in candidates)
        self._velocity = torch.zeros_like(self.state) if self._uses_momentum else None
        uses_decay = any(c.weight_decay > 0 for c in candidates)
        self._alpha = self._column([0.0] * len(candidates)) if uses_decay else None
        self._alpha_velocity = self._column([0.0] * len(candidates))

    def _column(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=self.state.dtype, device=self.state.device).unsqueeze(1)

    @property
    def alpha(self) -> Tensor | None:
        """α per row, shape (M,); None where no row decays."""
        return None if self._alpha is None else self._alpha.squeeze(1)

    def step(self, loss: Loss, batch: Batch, lr: Tensor) -> None:
        """One optimizer step on a batch with learning rates ``lr`` (M, 1)."""
        residual = loss.residual(self._network.outputs(self.state, self.alpha, batch), batch.targets)
        scale = 1.0 / batch.outputs.shape[0]
        if self._velocity is None:
            if self._alpha is not None:
                self.state.mul_(1.0 - lr * self._decay)
                self._alpha.sub_(lr * self._decay * (1.0 + self._alpha))
            self._network.accumulate(self.state, residual * -lr.unsqueeze(2), batch, scale)
            return
        # Nesterov's step η (d + μ v⁺) with v⁺ = μ v + d is η (1 + μ) v⁺ − η μ v. The second part is applied first, so
        # that d is never held apart; the decay, which wants the weights before it, takes it out again through ``keep``.
        ahead = lr * self._nesterov
        keep = self._momentum - self._decay * ahead
        if self._uses_nesterov:
            self.state.addcmul_(self._velocity, ahead)
        self._velocity.mul_(keep)
        if self._alpha is not None:
            self._velocity.addcmul_(self.state, self._decay)
            self._alpha.addcmul_(self._alpha_velocity, ahead)
            self._alpha_velocity.mul_(keep).addcmul_(1.0 + self._alpha, self._decay)
            self._alpha.addcmul_(self._alpha_velocity, -lr * (1.0 + self._nesterov))
        self._network.accumulate(self._velocity, residual, batch, scale)
        self.state.addcmul_(self._velocity, -lr * (1.0 + self._nesterov))

    def keep(self, rows: Tensor) -> None:
        """Go on with ``rows`` (positions among the current ones) only."""
        self.state, self._momentum, self._decay, self._nesterov, self._alpha_velocity = (
            x.index_select(0, rows)
            for x in (self.state, self._momentum, self._decay, self._nesterov, self._alpha_velocity)
        )
        self._velocity = None if self._velocity is None else self._velocity.index_select(0, rows)
        self._alpha = None if self._alpha is None else self._alpha.index_select(0, rows)


def simulate_sgd(
    network: Network,
    loss: Loss,
    candidates: Sequence[Candidate],
    budgets: Sequence[int],
    recorder: Recorder,
    *,
    paths: int,
    seed: int,
    full_batch: bool,
) -> None:
    """Walk all paths and store what the recorder wants.

    Args:
        network: The simplified network; its floating type and device are those of the simulation.
        loss: Loss on outputs.
        candidates: M candidates of equal batch size.
        budgets: Steps of each; schedules end there. Each must be among the recorder's steps.
        recorder: Receives the curves.
        paths: P; with ``full_batch`` all are alike.
        seed: Of the minibatches, see `raytt.dynamics.draws.path_seed`.
        full_batch: Whether each step takes the gradient of all N samples.
    """
    factors = [c.lr * c.lr_factors(budget) for c, budget in zip(candidates, budgets, strict=True)]
    for path in range(paths):
        batches = _full_batches(network) if full_batch else _minibatches(network, candidates[0].batch_size, seed, path)
        _walk(network, loss, candidates, np.asarray(budgets), factors, recorder, path, batches)


def _walk(
    network: Network,
    loss: Loss,
    candidates: Sequence[Candidate],
    budgets: Ints,
    rates: Sequence[NDArray[np.float64]],
    recorder: Recorder,
    path: int,
    batches: Iterator[Batch],
) -> None:
    block = Sgd(network, candidates)
    rows = np.arange(len(candidates))
    everything = network.full_batch()
    table = _rate_table(rates, rows, 0, block.state)
    step = 0
    for record, due in enumerate(recorder.steps):
        while step < due:
            if step > 0 and step % CHUNK == 0:
                table = _rate_table(rates, rows, step, block.state)
            block.step(loss, next(batches), table[step % CHUNK])
            step += 1
        outputs = network.outputs(block.state, block.alpha, everything)
        found = recorder.measure(outputs, network.validation_outputs(block.state, block.alpha), path)
        finished = recorder.store(record, rows, np.full_like(rows, path), found) | (budgets[rows] <= due)
        if finished.all():
            return
        if finished.any():
            going = torch.as_tensor(np.flatnonzero(~finished), device=block.state.device)
            rows = rows[~finished]
            block.keep(going)
            table = table.index_select(1, going)


def _rate_table(rates: Sequence[NDArray[np.float64]], rows: Ints, start: int, like: Tensor) -> Tensor:
    """Learning rates of ``rows`` in the chunk of steps from ``start``, shape (CHUNK, M, 1); 0 after a candidate's
    budget.
    """
    table = np.zeros((CHUNK, len(rows), 1))
    for column, row in enumerate(rows):
        part = rates[row][start : start + CHUNK]
        table[: len(part), column, 0] = part
    return torch.as_tensor(table, dtype=like.dtype, device=like.device)


def _minibatches(network: Network, batch_size: int, seed: int, path: int) -> Iterator[Batch]:
    num_samples, device = network.train.outputs.shape[0], network.train.outputs.device
    start = 0
    while True:
        drawn = minibatches(num_samples, batch_size, CHUNK, path_seed(seed, path), start=start)
        for index in torch.as_tensor(drawn, device=device):
            yield network.batch(index)
        start += CHUNK


def _full_batches(network: Network) -> Iterator[Batch]:
    batch = network.full_batch()
    while True:
        yield batch
