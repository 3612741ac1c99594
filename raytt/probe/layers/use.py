"""What the probe knows about one application of trainable parameters in a forward pass.

Notation: n samples in a micro-batch, C outputs (a group of them), T further positions of a layer's input (time, space).

The rows of the Jacobian are built use by use. A use is linear in its own parameters, out = A(x) w + const, so with
γ_c = ∂f_c/∂out from one backward pass per output c, the contribution to ∂f_ic/∂w is the part of A(x)ᵀγ_c that belongs
to sample i, and the contribution to the radial derivative ∂f_ic/∂w · w₀ is ⟨γ_ic, A(x_i) w₀⟩.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge


class Emit(Protocol):
    """Receives gradients piece by piece."""

    def __call__(self, samples: slice, outputs: slice, name: str, start: int, values: Tensor, /) -> None:
        """Of these samples and outputs, from coordinate ``start`` of a parameter on.

        Args:
            samples: Some of the micro-batch.
            outputs: Some of the group.
            name: The parameter.
            start: Its first coordinate.
            values: Shape ``(samples, outputs, coordinates)``, memory that the next piece overwrites.
        """
        ...


@runtime_checkable
class OuterEmit(Emit, Protocol):
    """Also receives sums of outer products that nobody has multiplied out."""

    def outer(self, samples: slice, outputs: slice, name: str, start: int, left: Tensor, right: Tensor) -> None:
        """Σ_p left[i, c, u, p] · right[i, p, k] at coordinate ``start`` + u·K + k, see `Sketch.accumulate_outer`."""
        ...


Site = tuple[str, ...]
"""Identifies a use from one forward pass to the next: kind of operation, parameters, number of its occurrence."""


def widen(tensor: Tensor) -> Tensor:
    """The tensor in float32 where its own type is narrower: what adds up must not add up in 16 bits."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Consecutive coordinates of a parameter, used as a tensor of some shape."""

    name: str
    """The parameter."""
    start: int
    """First coordinate in the flattened parameter."""
    shape: torch.Size
    """Shape in which the operation sees it."""

    def of(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The same coordinates of other weights, in this shape, at least in float32."""
        flat = weights[self.name].detach().reshape(-1)[self.start : self.start + self.shape.numel()]
        return widen(flat.view(self.shape))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the samples are in a tensor: along ``axis``, which may be flattened together with k other positions."""

    axis: int
    """The axis, of size n·k."""
    minor: bool = False
    """Whether samples vary fastest along it (position = j·n + i) instead of slowest (i·k + j)."""

    def split(self, tensor: Tensor, num_samples: int) -> Tensor:
        """A view ``(n, …)`` with the samples first and the axis itself reduced to its k other positions."""
        before, size, after = tensor.shape[: self.axis], tensor.shape[self.axis], tensor.shape[self.axis + 1 :]
        k = size // num_samples
        if self.minor:
            return tensor.view(*before, k, num_samples, *after).movedim(self.axis + 1, 0)
        return tensor.view(*before, num_samples, k, *after).movedim(self.axis, 0)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How large transients may get."""

    max_bytes: int
    """Bound on each of: unfolded inputs, weight gradients of a tile, output gradients of a group of outputs."""
    tile_bytes: int = 1 << 22
    """Size aimed at for a tile of weight gradients, which is sketched right away."""
    tile_rows: int = 8
    """Most rows (samples × outputs) of a tile that holds a part of a layer's weights, at least those of one sample: so
    few that it holds many units of each, as matrix products of few units run at half their rate
    (`benchmarks.probe_variants`). A tile with all weights of a small layer may hold more rows."""

    def samples(self, num_samples: int, num_outputs: int, weights: int, itemsize: int) -> int:
        """How many samples to treat together, in equal parts, in a layer of so many weights."""
        whole = min(self.tile_bytes, self.max_bytes) // (num_outputs * weights * itemsize)
        most = max(1, whole, self.tile_rows // num_outputs)
        return -(-num_samples // -(-num_samples // most))

    def coordinates(self, rows: int, itemsize: int) -> int:
        """How many coordinates a tile of so many rows may have."""
        return max(1, min(self.tile_bytes, self.max_bytes) // (rows * itemsize))


def parts(grads: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """The outputs of each part of a group, and the part."""
    done = 0
    for part in grads:
        yield slice(done, done + part.shape[1]), part
        done += part.shape[1]


class Use(ABC):
    """One application of at most two segments of trainable parameters, a weight and a bias.

    Args:
        kind: The operation's name.
        weight: Trainable segment that multiplies the input, or None.
        bias: Trainable segment that is added, or None.
    """

    edge: GradientEdge
    """Where the gradient of the result is taken (set by the capture, safe against later in-place operations)."""
    shape: torch.Size
    """Shape of the result."""
    site: Site
    """Set by the capture."""

    def __init__(self, kind: str, weight: Segment | None, bias: Segment | None) -> None:
        self.kind = kind
        self.weight = weight
        self.bias = bias
        self.any_order = True
        """Whether `contract` is as fast with folded gradients in any memory order as with contiguous ones."""

    @property
    def segments(self) -> list[Segment]:
        """The trainable segments."""
        return [s for s in (self.weight, self.bias) if s is not None]

    def repeats(self, num_samples: int) -> int:
        """How many times each weight is applied per sample, T; 1 where that is not worth knowing."""
        return 1

    @abstractmethod
    def allows(self, axis: int) -> bool:
        """Whether samples along this axis of the result have separate gradients here."""

    @abstractmethod
    def fold(self, grad: Tensor, layout: Layout, num_samples: int) -> Tensor:
        """The result's gradient (or a tensor like the result) in the form `contract` wants, ``(n, …)``."""

    @abstractmethod
    def contract(self, grads: Sequence[Tensor], layout: Layout, emit: Emit, budget: Budget) -> None:
        """Per-sample gradients of the segments, emitted piece by piece.

        Args:
            grads: Folded output gradients of a group of outputs, float32 or float64, in parts ``(n, C_j, …)`` of
                consecutive outputs: large ones are not copied together.
            layout: Where the samples are.
            emit: Receives the pieces.
            budget: Bounds on transients.
        """

    @abstractmethod
    def value(self, weights: Mapping[str, Tensor], layout: Layout, num_samples: int) -> Tensor:
        """The part of the result that is linear in the segments, at other weights w: A(x) w, folded.

        At least in float32, whatever the network's own precision.
        """
