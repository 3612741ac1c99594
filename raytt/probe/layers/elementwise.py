"""Parameters that are broadcast against activations: scales and shifts of norms, position embeddings, class tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from raytt.probe.layers.linear import Locate
from raytt.probe.layers.use import Budget, Emit, Layout, Segment, Use


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

    def allows(self, axis: int) -> bool:
        return self._broadcast[axis] == 1

    def fold(self, grad: Tensor, layout: Layout, num_samples: int) -> Tensor:
        """``(…) -> (n, …)`` with one more axis."""
        return layout.split(grad, num_samples)

    def contract(self, grads: Tensor, layout: Layout, emit: Emit, budget: Budget) -> None:
        n = grads.shape[0]
        if self.bias is not None:
            emit(slice(0, n), self.bias.name, self.bias.start, self._reduce(grads) * self._sign)
        if self.weight is not None:
            a = self._split_factor(layout, n).to(grads.dtype)
            row_bytes = max(1, grads[0].numel() * grads.element_size())
            step = max(1, min(n, budget.tile_bytes // row_bytes))
            for s0 in range(0, n, step):
                samples = slice(s0, min(s0 + step, n))
                product = grads[samples] * a[samples].unsqueeze(1)
                emit(samples, self.weight.name, self.weight.start, self._reduce(product))

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
