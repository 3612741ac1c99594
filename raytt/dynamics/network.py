"""The linearized network under a block of candidates: outputs at a state, and pulling residuals back into the state.

Notation: M rows of state (one per candidate), N training samples and N_v validation samples, C outputs, B samples of a
batch. A state is the displacement of the weights from the pre-trained ones, in one of two representations between which
every optimizer that is linear in gradients and weights cannot tell:

* `CoordinateNetwork`: the r coordinates of the displacement, f = f₀ + Z w. One product for outputs, one for gradients.
* `GramNetwork`: what the displacement does to all outputs, u = Z w, f = f₀ + u. Outputs are read off, a batch b
  moves u by Θ_{·b} g_b: one product per step instead of two, and evaluating all samples costs none.

Which is cheaper follows from the shapes (`linear_network`). The part of the displacement along the pre-trained weights
themselves, which only weight decay moves, is one number α per row: outputs get α · radial, exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from raytt.dynamics.tangent import Samples, Tangent

GRAM_BYTES = 1 << 30
"""Largest Gram matrix that a solver holds, bytes."""
GRAM_ADVANTAGE = 2.5
"""A `GramNetwork` is used while it has at most this many times as many columns as there are coordinates: coordinates
need two products per step and one per record, the Gram form one per step. Equal speed was measured at 2.5 to 3."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """B samples as a network wants them."""

    samples: Tensor | slice
    """Positions among the training samples, shape (B,) int64; a slice where they are contiguous."""
    rows: Tensor
    """What a residual of shape (M, B·C) is multiplied by to give a change of state, shape (B·C, width)."""
    outputs: Tensor
    """Outputs at zero displacement, shape (B, C)."""
    radial: Tensor
    """Outputs per unit of α, shape (B, C)."""
    targets: Tensor
    """Shape (B, …)."""


class Network(ABC):
    """What an optimizer needs of a simplified network. States are ``(M, width)`` tensors that start at zero."""

    width: int
    """Numbers per row of state."""
    train: Samples
    """The training samples at the pre-trained weights."""
    validation: Samples | None
    """Those simulated along, or None."""

    @abstractmethod
    def zeros(self, rows: int) -> Tensor:
        """The state of M rows at the pre-trained weights."""

    @abstractmethod
    def batch(self, index: Tensor) -> Batch:
        """The samples ``index`` (B,). It may live in a buffer that the next call overwrites."""

    @abstractmethod
    def full_batch(self) -> Batch:
        """All training samples."""

    @abstractmethod
    def outputs(self, state: Tensor, alpha: Tensor | None, batch: Batch) -> Tensor:
        """Outputs of a batch, ``(M, width), (M,) -> (M, B, C)``; alpha None means 0."""

    @abstractmethod
    def validation_outputs(self, state: Tensor, alpha: Tensor | None) -> Tensor | None:
        """Outputs of the validation samples, ``(M, N_v, C)``, or None without validation."""

    @abstractmethod
    def accumulate(self, into: Tensor, residual: Tensor, batch: Batch, scale: float) -> None:
        """Add ``scale`` · Σ_b J_bᵀ g_b to ``into`` (M, width), for residuals g of shape (M, B, C).

        J is taken at the states for which `outputs` was asked last.
        """

    @abstractmethod
    def squared_norm(self, gradient: Tensor, residual: Tensor, batch: Batch, scale: float) -> Tensor:
        """‖scale · Σ_b J_bᵀ g_b‖² in weights, shape (M,), of what `accumulate` made of zeros, ``gradient``."""


class LinearNetwork(Network):
    """One tangent point under a block of rows."""

    def __init__(self, tangent: Tangent, table: Tensor) -> None:
        self.train, self.validation = tangent.train, tangent.validation
        self._origin = tangent.train.outputs - _shift(tangent.train, tangent.position)
        self._val_origin = None
        if tangent.validation is not None:
            self._val_origin = tangent.validation.outputs - _shift(tangent.validation, tangent.position)
        self._table = table.reshape(self._origin.shape[0], -1)
        self.width = self._table.shape[1] // self._origin.shape[1]
        self._buffer = table.new_empty(0)

    def zeros(self, rows: int) -> Tensor:
        return self._table.new_zeros(rows, self.width)

    def batch(self, index: Tensor) -> Batch:
        shape = (index.shape[0], self._table.shape[1])
        if self._buffer.shape != shape:
            self._buffer = self._table.new_empty(shape)
        # Into the same memory each time, which stays in cache: a fresh tensor costs several times as much.
        torch.index_select(self._table, 0, index, out=self._buffer)
        return self._batch(index, self._buffer, index)

    def full_batch(self) -> Batch:
        return self._batch(slice(0, self._origin.shape[0]), self._table, slice(None))

    def _batch(self, samples: Tensor | slice, rows: Tensor, index: Tensor | slice) -> Batch:
        return Batch(
            samples=samples,
            rows=rows.view(-1, self.width),
            outputs=self._origin[index],
            radial=self.train.radial[index],
            targets=self.train.targets[index],
        )

    def outputs(self, state: Tensor, alpha: Tensor | None, batch: Batch) -> Tensor:
        return _displaced(batch.outputs, batch.radial, self.moved(state, batch), alpha)

    def validation_outputs(self, state: Tensor, alpha: Tensor | None) -> Tensor | None:
        if self.validation is None or self._val_origin is None:
            return None
        return _displaced(self._val_origin, self.validation.radial, self.moved_validation(state), alpha)

    def accumulate(self, into: Tensor, residual: Tensor, batch: Batch, scale: float) -> None:
        into.addmm_(residual.reshape(into.shape[0], -1), batch.rows, alpha=scale)

    @abstractmethod
    def moved(self, state: Tensor, batch: Batch) -> Tensor:
        """What the displacement does to the outputs of a batch, ``(M, width) -> (M, B, C)``."""

    @abstractmethod
    def moved_validation(self, state: Tensor) -> Tensor:
        """The same for the validation samples, ``(M, width) -> (M, N_v, C)``."""


class CoordinateNetwork(LinearNetwork):
    """State: the r coordinates of the displacement."""

    def __init__(self, tangent: Tangent) -> None:
        super().__init__(tangent, tangent.train.jacobian.contiguous())

    def squared_norm(self, gradient: Tensor, residual: Tensor, batch: Batch, scale: float) -> Tensor:
        return gradient.square().sum(dim=1)

    def moved(self, state: Tensor, batch: Batch) -> Tensor:
        return (state @ batch.rows.T).view(state.shape[0], *batch.outputs.shape)

    def moved_validation(self, state: Tensor) -> Tensor:
        assert self.validation is not None
        jacobian = self.validation.jacobian
        return (state @ jacobian.reshape(-1, self.width).T).view(state.shape[0], *jacobian.shape[:2])


class GramNetwork(LinearNetwork):
    """State: the displacement of all outputs, training samples first, shape (M, (N + N_v) · C)."""

    def __init__(self, tangent: Tangent) -> None:
        rows = _flat(tangent.train)
        seen = rows if tangent.validation is None else torch.cat([rows, _flat(tangent.validation)])
        super().__init__(tangent, rows @ seen.T)

    def squared_norm(self, gradient: Tensor, residual: Tensor, batch: Batch, scale: float) -> Tensor:
        # The gradient is Θ_{·b} g here, of which the batch's own part times g is ‖J_bᵀ g‖².
        return (self.moved(gradient, batch) * residual).sum(dim=(1, 2)) * scale

    def moved(self, state: Tensor, batch: Batch) -> Tensor:
        shaped = state.view(state.shape[0], -1, self.train.outputs.shape[1])
        if isinstance(batch.samples, slice):
            return shaped[:, batch.samples]
        return shaped.index_select(1, batch.samples)

    def moved_validation(self, state: Tensor) -> Tensor:
        count, num_outputs = self.train.outputs.shape
        return state.view(state.shape[0], -1, num_outputs)[:, count:]


def linear_network(tangent: Tangent) -> LinearNetwork:
    """The cheaper representation of a tangent, decided by its shapes alone."""
    anchors, num_coordinates = tangent.train.radial.numel(), tangent.train.jacobian.shape[2]
    columns = anchors + (0 if tangent.validation is None else tangent.validation.radial.numel())
    fits = anchors * columns * tangent.train.jacobian.element_size() <= GRAM_BYTES
    if fits and columns <= GRAM_ADVANTAGE * num_coordinates:
        return GramNetwork(tangent)
    return CoordinateNetwork(tangent)


def _flat(samples: Samples) -> Tensor:
    return samples.jacobian.reshape(-1, samples.jacobian.shape[2])


def _shift(samples: Samples, position: Tensor) -> Tensor:
    """J w̃_s: how far the outputs at the tangent point are above those of its plane at the pre-trained weights."""
    return samples.jacobian @ position


def _displaced(origin: Tensor, radial: Tensor, moved: Tensor, alpha: Tensor | None) -> Tensor:
    outputs = origin + moved
    return outputs if alpha is None else outputs.add_(radial * alpha.view(-1, 1, 1))
