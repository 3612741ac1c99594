"""What the probe knows about one application of trainable parameters in a forward pass.

Notation: n samples in a micro-batch, C outputs (a group of them), T further positions of a layer's input (time, space).

The rows of the Jacobian are built use by use. A use is linear in its own parameters, out = A(x) w + const, so with
γ_c = ∂f_c/∂out from one backward pass per output c, the contribution to ∂f_ic/∂w is the part of A(x)ᵀγ_c that belongs
to sample i, and the contribution to the radial derivative ∂f_ic/∂w · w₀ is ⟨γ_ic, A(x_i) w₀⟩.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

Emit = Callable[[slice, str, int, Tensor], None]
"""Receives a piece of gradients: samples, parameter name, first coordinate, values ``(samples, C, coordinates)``, whose
memory the next piece overwrites."""

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
    tile_bytes: int = 1 << 21
    """Size aimed at for a tile of weight gradients, which is sketched right away."""
    tile_rows: int = 32
    """Most rows (samples × outputs) of such a tile, at least those of one sample: enough to spread the cost of each
    addition over them, but so few that a tile holds long runs of coordinates and the rows' sketches stay in cache
    (measured on one core, EfficientNet-Lite0 at 32 pixels: a quarter less time than 256 rows in 1 MiB)."""

    def samples(self, num_samples: int, num_outputs: int) -> int:
        """How many samples to treat together, in equal parts."""
        parts = min(num_samples, -(-num_samples * num_outputs // self.tile_rows))
        return -(-num_samples // parts)

    def coordinates(self, rows: int, itemsize: int) -> int:
        """How many coordinates a tile of so many rows may have."""
        return max(1, min(self.tile_bytes, self.max_bytes) // (rows * itemsize))


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
    def contract(self, grads: Tensor, layout: Layout, emit: Emit, budget: Budget) -> None:
        """Per-sample gradients of the segments, emitted piece by piece.

        Args:
            grads: Folded output gradients of a group of outputs, ``(n, C, …)``, float32 or float64.
            layout: Where the samples are.
            emit: Receives the pieces.
            budget: Bounds on transients.
        """

    @abstractmethod
    def value(self, weights: Mapping[str, Tensor], layout: Layout, num_samples: int) -> Tensor:
        """The part of the result that is linear in the segments, at other weights w: A(x) w, folded.

        At least in float32, whatever the network's own precision.
        """
