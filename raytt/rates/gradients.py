"""Gradients of real minibatches at given weights, in training mode.

Notation: w the weights at a saved point, D trainable ones; b = 0, 1, … the number of a minibatch of B samples, freshly
drawn; g_b the gradient of its mean loss with batch norms, dropout and augmentation as in training, shape (D,).

Everything about minibatch b (its samples, their augmentation, dropout masks) is a function of (seed, point, B, b), so
that g_b has the same bits whichever process computes it and after whatever else. Running statistics are put back after
each pass: a gradient leaves no trace.

What is kept of a *block* of K_i minibatches are two vectors of D numbers,

    s_i = Σ_b g_b,    q_i = Σ_b g_b²  (per coordinate),

from which every pair of minibatches can be summed without a K × K matrix of full gradients (`raytt.rates.signal`), for
any diagonal preconditioner, with one pass over the data. Blocks add up; the same blocks give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raytt.rates.fresh_batches import FreshBatches, drawn_positions
from raytt.rates.randomness import seeded
from raytt.task.losses import Loss, as_loss
from raytt.task.task import Task
from raytt.training.model import PreparedModel, prepare_for_training


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientBlock:
    """What is kept of the gradients of K_i minibatches of one size at one point."""

    count: int
    """K_i."""
    total: Tensor
    """s_i = Σ_b g_b, shape (D,), float32 on the CPU."""
    squares: Tensor
    """q_i = Σ_b g_b², shape (D,), float32 on the CPU."""
    loss: float
    """Mean of the minibatches' losses."""


class MinibatchGradients:
    """A network in training mode, and the gradients and losses of freshly drawn minibatches at any of its states.

    Args:
        task: Its network and training data.
        seed: Of all draws.
        device: Where to compute.

    Raises:
        InputError: If data or network cannot be used.
    """

    def __init__(self, task: Task, *, seed: int, device: str | torch.device = "cpu") -> None:
        self._seed = seed
        self._device = device
        self._loss: Loss = as_loss(task.loss)
        self._data = FreshBatches(task, device=device)
        self._model: PreparedModel = prepare_for_training(task, device=device)
        self._parameters = list(self._model.trainable.values())

    @property
    def num_trainable(self) -> int:
        """D."""
        return self._model.num_trainable

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put parameters and buffers into a saved state (`raytt.rates.reference.Point`)."""
        self._model.module.load_state_dict(state)

    def weights(self) -> Tensor:
        """The trainable weights, flattened, a copy on the CPU; shape ``(D,)``."""
        return _flat([p.detach() for p in self._parameters])

    def set_weights(self, flat: Tensor) -> None:
        """Overwrite the trainable weights by ``flat``, shape ``(D,)``."""
        start = 0
        with torch.no_grad():
            for parameter in self._parameters:
                size = parameter.numel()
                parameter.copy_(flat[start : start + size].view_as(parameter))
                start += size

    def gradient(self, point: int, batch_size: int, number: int) -> tuple[Tensor, float]:
        """g_b, flattened in the order of the network's parameters, shape ``(D,)`` on the CPU; and the minibatch's loss.

        Args:
            point: Number of the point whose state is loaded; it only enters the draws.
            batch_size: B.
            number: b.
        """
        for parameter in self._parameters:
            parameter.grad = None
        # Buffers are put back after the backward pass, which may need them as the forward pass left them.
        with _buffers_kept(self._model.module):
            value = self._pass(point, batch_size, number)
            value.backward()  # type: ignore[no-untyped-call]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        return _flat(parts), float(value.detach())

    @torch.no_grad()
    def loss(self, point: int, batch_size: int, number: int) -> float:
        """Loss of minibatch b in training mode at the present weights, without a gradient."""
        with _buffers_kept(self._model.module):
            return float(self._pass(point, batch_size, number))

    def block(self, point: int, batch_size: int, numbers: Sequence[int]) -> GradientBlock:
        """Sums over the minibatches ``numbers``, in that order."""
        total = torch.zeros(self.num_trainable)
        squares = torch.zeros(self.num_trainable)
        losses = 0.0
        for number in numbers:
            gradient, value = self.gradient(point, batch_size, number)
            total += gradient
            squares.addcmul_(gradient, gradient)
            losses += value
        return GradientBlock(
            count=len(numbers),
            total=total,
            squares=squares,
            loss=losses / len(numbers),
        )

    def _pass(self, point: int, batch_size: int, number: int) -> Tensor:
        """Mean loss of minibatch b; running statistics move."""
        positions = drawn_positions(len(self._data), batch_size, self._seed, point, batch_size, number)
        with seeded("gradients", self._seed, point, batch_size, number, device=self._device):
            inputs, targets = self._data.read(positions)
            return self._loss.value(self._model.forward(self._model.module, inputs), targets).mean()


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Put running statistics back after the block."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    yield
    with torch.no_grad():
        for buffer, kept in before:
            buffer.copy_(kept)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1).float().cpu() for t in tensors])
