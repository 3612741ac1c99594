"""Parameters that are broadcast against activations: scales and shifts of norms, position embeddings, class tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from raytt.probe.kernels import scale_and_shift
from raytt.probe.layers.linear import Locate
from raytt.probe.layers.use import Budget, Emit, Layout, Segment, Use, parts


class ElementwiseUse(Use):
    """out = a ⊙ w + σ b with w and b broadcast to the result's shape: ∂f_c/∂w = Σ γ_c ⊙ a, ∂f_c/∂b = σ Σ γ_c.

    The sums run over the axes along which the parameter is broadcast, except that of the samples.

    Args:
        kind: The operation's name.
        out: The result.
        factor: Gives a, of a shape that broadcasts to the result's, when it is needed.
        broadcast: Shape of the parameters with ones in front, as many axes as the result has.
        weight: w, or None.
        bias: b, or None.
        sign: σ.
    """

    def __init__(
        self,
        kind: str,
        out: Tensor,
        factor: Callable[[], Tensor] | None,
        broadcast: tuple[int, ...],
        weight: Segment | None,
        bias: Segment | None,
        sign: float = 1.0,
    ) -> None:
        super().__init__(kind, weight, bias)
        self._factor = factor
        self._broadcast = broadcast
        self._out_shape = out.shape
        self._sign = sign

    def repeats(self, num_samples: int) -> int:
        return self.shape.numel() // (num_samples * torch.Size(self._broadcast).numel())

    def allows(self, axis: int) -> bool:
        return self._broadcast[axis] == 1

    def fold(self, grad: Tensor, layout: Layout, num_samples: int) -> Tensor:
        """``(…) -> (n, …)`` with one more axis."""
        return layout.split(grad, num_samples)

    def contract(self, grads: Sequence[Tensor], layout: Layout, emit: Emit, budget: Budget) -> None:
        n = grads[0].shape[0]
        a = None if self.weight is None else self._split_factor(layout, n).to(grads[0].dtype)
        everything = slice(0, n)
        for outputs, part in parts(grads):
            if self.weight is not None and a is not None and self._innermost(part):
                products, sums = self._dense(part, a)
                emit(everything, outputs, self.weight.name, self.weight.start, products)
            else:
                sums = self._reduce(part)
                self._contract_weight(part, a, outputs, emit, budget)
            if self.bias is not None:
                emit(everything, outputs, self.bias.name, self.bias.start, sums * self._sign)

    def _contract_weight(self, grads: Tensor, a: Tensor | None, outputs: slice, emit: Emit, budget: Budget) -> None:
        if self.weight is None or a is None:
            return
        row_bytes = max(1, grads[0].numel() * grads.element_size())
        step = max(1, min(len(grads), budget.tile_bytes // row_bytes))
        for s0 in range(0, len(grads), step):
            samples = slice(s0, min(s0 + step, len(grads)))
            products = self._reduce(grads[samples] * a[samples].unsqueeze(1))
            emit(samples, outputs, self.weight.name, self.weight.start, products)

    def value(self, weights: Mapping[str, Tensor], layout: Layout, num_samples: int) -> Tensor:
        total: Tensor | None = None
        if self.weight is not None:
            total = self._split_factor(layout, num_samples) * self.weight.of(weights).view(self._broadcast)
        if self.bias is not None:
            shift = self.bias.of(weights).view(self._broadcast).expand(self._out_shape)
            shift = layout.split(shift, num_samples) * self._sign
            total = shift if total is None else total + shift
        assert total is not None
        return total

    def _split_factor(self, layout: Layout, num_samples: int) -> Tensor:
        assert self._factor is not None
        return layout.split(self._factor().expand(self._out_shape), num_samples)

    def _innermost(self, grads: Tensor) -> bool:
        """Whether the parameters lie along one axis, innermost in the memory of a processor: nothing is copied then."""
        axes = self._axes()
        return len(axes) == 1 and grads.stride(axes[0] + 2) == 1 and grads.device.type == "cpu"

    def _axes(self) -> list[int]:
        return [a for a, size in enumerate(self._broadcast) if size > 1]

    def _dense(self, grads: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Σ γ_c ⊙ a and Σ γ_c over all axes but the parameters', ``(n, C, coordinates)`` each."""
        (axis,) = self._axes()
        n, C = grads.shape[:2]
        channels = self._broadcast[axis]
        left = grads.movedim(axis + 2, -1).reshape(n, C, -1, channels)
        return scale_and_shift(left, factor.movedim(axis + 1, -1).reshape(n, -1, channels))

    def _reduce(self, tensor: Tensor) -> Tensor:
        """Sum ``(n, C, *out)`` over the broadcast axes to ``(n, C, coordinates)``."""
        axes = [a + 2 for a, size in enumerate(self._broadcast) if size == 1]
        summed = tensor.sum(dim=axes) if axes else tensor
        return summed.reshape(*tensor.shape[:2], -1)


def pad_shape(shape: torch.Size, ndim: int) -> tuple[int, ...]:
    """Shape with leading ones, as broadcasting aligns it."""
    return (1,) * (ndim - len(shape)) + tuple(shape)


def add(out: Tensor, locate: Locate, input: Any, other: Any, *, alpha: float = 1) -> Use | None:
    """Rule for ``torch.add``."""
    return _shift(out, locate(input), 1.0) or _shift(out, locate(other), float(alpha))


def sub(out: Tensor, locate: Locate, input: Any, other: Any, *, alpha: float = 1) -> Use | None:
    """Rule for ``torch.sub``."""
    return _shift(out, locate(input), 1.0) or _shift(out, locate(other), -float(alpha))


def mul(out: Tensor, locate: Locate, input: Any, other: Any) -> Use | None:
    """Rule for ``torch.mul``."""
    for parameter, factor in ((input, other), (other, input)):
        segment = locate(parameter)
        if segment is not None and isinstance(factor, Tensor):
            return ElementwiseUse("mul", out, factor.detach, pad_shape(segment.shape, out.ndim), segment, None)
    return None


def expand(out: Tensor, locate: Locate, input: Tensor, *sizes: Any, **_: Any) -> Use | None:
    """Rule for ``Tensor.expand``."""
    return _shift(out, locate(input), 1.0)


def _shift(out: Tensor, segment: Segment | None, sign: float) -> Use | None:
    if segment is None:
        return None
    return ElementwiseUse("add", out, None, pad_shape(segment.shape, out.ndim), None, segment, sign)
