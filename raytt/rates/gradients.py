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
from torch import Tensor

from raytt.rates.fresh_batches import FreshBatches
from raytt.rates.norm_statistics import read_statistics, tracking_norms
from raytt.rates.randomness import seeded
from raytt.rates.rate_table import Batch
from raytt.task.optimizers import WeightTensor
from raytt.task.task import Task
from raytt.training.model import PreparedModel, prepare_for_training
from raytt.training.objective import Objective
from raytt.training.parameter_groups import per_weight

LOSS_SCALE = 2.0**16
"""What the loss is multiplied with for gradients in half precision, halved until they are finite: torch's GradScaler
begins there, too."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientBlock:
    """What is kept of the gradients of K_i minibatches of one size (steps, with accumulation) at one point."""

    count: int
    """K_i."""
    total: Tensor
    """s_i = Σ_b g_b, shape (D,), float32 on the CPU."""
    squares: Tensor
    """q_i = Σ_b g_b², shape (D,), float32 on the CPU."""
    loss: float
    """Mean of the minibatches' losses."""
    norms: tuple[float, ...] = ()
    """|g_b| of each, over all trainable weights, K_i numbers; none where they were not kept."""


class MinibatchGradients:
    """A network in training mode, and the gradients and losses of freshly drawn minibatches at any of its states.

    Args:
        task: Its network and training data.
        seed: Of all draws.
        device: Where to compute.

    Attributes:
        objective: What is lowered.
        model: The network.

    Raises:
        InputError: If data or network cannot be used.
    """

    def __init__(self, task: Task, *, seed: int, device: str | torch.device = "cpu") -> None:
        self._seed = seed
        self._device = device
        self.objective = Objective(task)
        self._data = FreshBatches(task, self.objective, device=device)
        self.model: PreparedModel = prepare_for_training(task, device=device)
        self._parameters = list(self.model.trainable.values())
        self._clean: list[Tensor] | None = None

    @property
    def num_trainable(self) -> int:
        """D."""
        return self.model.num_trainable

    def lr_scales(self) -> Tensor | None:
        """What the learning rate of each trainable weight is multiplied with, shape ``(D,)``; None where that is 1."""
        groups = self.model.groups
        return per_weight(self.model.trainable, groups, [group.lr_scale for group in groups])

    def decayed_weights(self) -> Tensor:
        """The trainable weights that the candidate's own weight decay takes, others as 0, times `lr_scales`; (D,)."""
        groups = self.model.groups
        shares = [group.lr_scale if group.weight_decay is None else 0.0 for group in groups]
        spread = per_weight(self.model.trainable, groups, shares)
        return self.weights() if spread is None else self.weights() * spread

    def weight_tensors(self) -> list[WeightTensor]:
        """The trainable tensors as they are now, in the order of the gradients' coordinates."""
        return [
            WeightTensor(
                shape=tuple(p.shape),
                rms=float(p.detach().float().square().mean().sqrt()),
                resolution=torch.finfo(p.dtype).eps,
            )
            for p in self._parameters
        ]

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put parameters and buffers into a saved state (`raytt.rates.reference.Point`)."""
        self.model.module.load_state_dict(state)
        self._clean = None

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
        self._clean = None

    def gradient(self, point: int, batch: Batch, number: int) -> tuple[Tensor, float]:
        """g_b, flattened in the order of the network's parameters, shape ``(D,)`` on the CPU; and the mean loss.

        Args:
            point: Number of the point whose state is loaded; it only enters the draws.
            batch: B samples, or (B, A): A minibatches of B, each passed on its own, with the loss of a step that
                accumulates them.
            number: b.
        """
        scale, total = self._differentiate(point, batch, number)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        return _flat(parts) / scale, total

    def _differentiate(self, point: int, batch: Batch, number: int) -> tuple[float, float]:
        """Leave a multiple of g_b in the parameters' ``grad``; the factor, and the mean loss."""
        scale = LOSS_SCALE if self.objective.scales_loss else 1.0
        total = self._backward(point, batch, number, scale)
        while scale > 1.0 and not all(bool(torch.isfinite(g).all()) for _, g in self._gradients()):
            scale /= 2.0
            total = self._backward(point, batch, number, scale)
        return scale, total

    def _gradients(self) -> Iterator[tuple[int, Tensor]]:
        """Number and gradient of each parameter that got one."""
        for number, parameter in enumerate(self._parameters):
            if parameter.grad is not None:
                yield number, parameter.grad.detach().float()

    def _backward(self, point: int, batch: Batch, number: int, scale: float) -> float:
        """Leave ``scale`` times the gradient in the parameters; the mean loss."""
        for parameter in self._parameters:
            parameter.grad = None
        # Buffers are put back after the backward pass, which may need them as the forward pass left them.
        with self._unchanged():
            total = 0.0
            for value in self._passes(point, batch, number):
                (scale * value).backward()  # type: ignore[no-untyped-call]
                total += float(value.detach())
        return total

    @torch.no_grad()
    def loss(self, point: int, batch: Batch, number: int) -> float:
        """Loss of minibatch b in training mode at the present weights, without a gradient."""
        with self._unchanged():
            return sum(float(value) for value in self._passes(point, batch, number))

    def block(self, point: int, batch: Batch, numbers: Sequence[int]) -> GradientBlock:
        """Sums over the minibatches ``numbers``, in that order.

        Gradients are added where they are, parameter by parameter: no copy of D numbers is made for a minibatch, and
        none leaves the device before the block has ended.
        """
        total, squares = (torch.zeros(self.num_trainable, device=self._device) for _ in range(2))
        totals, products = self._views(total), self._views(squares)
        losses, norms = 0.0, []
        for number in numbers:
            scale, value = self._differentiate(point, batch, number)
            parts = []
            for i, gradient in self._gradients():
                totals[i].add_(gradient, alpha=1.0 / scale)
                products[i].addcmul_(gradient, gradient, value=1.0 / scale**2)
                parts.append(torch.linalg.vector_norm(gradient, dtype=torch.float32))
            norms.append(float(torch.linalg.vector_norm(torch.stack(parts))) / scale if parts else 0.0)
            losses += value
        return GradientBlock(
            count=len(numbers),
            total=total.cpu(),
            squares=squares.cpu(),
            loss=losses / len(numbers),
            norms=tuple(norms),
        )

    def _views(self, flat: Tensor) -> list[Tensor]:
        """Parts of a vector of D numbers in the shapes of the parameters."""
        sizes = [parameter.numel() for parameter in self._parameters]
        return [part.view(p.shape) for part, p in zip(torch.split(flat, sizes), self._parameters, strict=True)]

    @torch.no_grad()
    def settled_statistics(self, point: int, batch: Batch, numbers: Sequence[int]) -> Tensor:
        """Running statistics at the present weights: plain averages over minibatches (`raytt.rates.norm_statistics`).

        Those of the network are left as they are.
        """
        norms = tracking_norms(self.model.module)
        momenta = [norm.momentum for norm in norms]
        with self._unchanged():
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None
            try:
                for number in numbers:
                    list(self._passes(point, batch, number))
                return read_statistics(norms)
            finally:
                for norm, momentum in zip(norms, momenta, strict=True):
                    norm.momentum = momentum

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Put running statistics back afterwards, and trainable weights that the forward pass caps or renormalises.

        Statistics change in every pass and are copied before it; weights are copied once for as long as they stay.
        """
        before = [(buffer, buffer.clone()) for buffer in self.model.module.buffers()]
        if self._clean is None:
            self._clean = [p.detach().clone() for p in self._parameters]
        marks = [(p._version, p.data_ptr()) for p in self._parameters]
        yield
        with torch.no_grad():
            for buffer, kept in before:
                buffer.copy_(kept)
            for parameter, kept, mark in zip(self._parameters, self._clean, marks, strict=True):
                if (parameter._version, parameter.data_ptr()) != mark:
                    parameter.copy_(kept)

    def _passes(self, point: int, batch: Batch, number: int) -> Iterator[Tensor]:
        """What each of the A minibatches adds to the loss of step b; running statistics move."""
        size, times = (batch, 1) if isinstance(batch, int) else batch
        key = (self._seed, point, size, number) if times == 1 else (self._seed, point, size, number, times)
        positions = self._data.draw(size * times, *key)
        with seeded("gradients", *key, device=self._device):
            yield from self.objective.parts(self.model, map(self._data.read, positions.reshape(times, size)), times)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1).float().cpu() for t in tensors])
