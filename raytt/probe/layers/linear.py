"""Linear layers, and matrix products with a trainable matrix on the right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from raytt.probe.layers.outer import contract_outer
from raytt.probe.layers.use import Budget, Emit, Layout, Segment, Use, parts, widen

Locate = Callable[[object], Segment | None]
"""The trainable segment that an argument is, or None."""


class LinearUse(Use):
    """out = x Wᵀ + b with x ``(…, I)``, W ``(O, I)``, b ``(O,)``: ∂f_c/∂W = Σ_t γ_c[t] ⊗ x[t], ∂f_c/∂b = Σ_t γ_c[t]."""

    def __init__(self, x: Tensor, out: Tensor, weight: Segment | None, bias: Segment | None) -> None:
        super().__init__("linear", weight, bias)
        self._x = x.detach()
        self._ndim = out.ndim
        self._num_outputs = out.shape[-1]

    def repeats(self, num_samples: int) -> int:
        return self.shape[:-1].numel() // num_samples

    def allows(self, axis: int) -> bool:
        return axis < self._ndim - 1

    def fold(self, grad: Tensor, layout: Layout, num_samples: int) -> Tensor:
        """``(…, O) -> (n, O, T)``."""
        return layout.split(grad, num_samples).reshape(num_samples, -1, grad.shape[-1]).transpose(1, 2)

    def contract(self, grads: Sequence[Tensor], layout: Layout, emit: Emit, budget: Budget) -> None:
        n = grads[0].shape[0]
        if self.weight is not None:
            x = layout.split(self._x, n).reshape(n, 1, -1, self._x.shape[-1]).to(grads[0].dtype)
            contract_outer([g.unsqueeze(2) for g in grads], _Held(x), x.shape[-1], self.weight, emit, budget)
        if self.bias is not None:
            for outputs, part in parts(grads):
                emit(slice(0, n), outputs, self.bias.name, self.bias.start, part.sum(dim=-1))

    def value(self, weights: Mapping[str, Tensor], layout: Layout, num_samples: int) -> Tensor:
        bias = None if self.bias is None else self.bias.of(weights)
        if self.weight is not None:
            return self.fold(functional.linear(widen(self._x), self.weight.of(weights), bias), layout, num_samples)
        assert bias is not None
        return self.fold(bias.expand(*self._x.shape[:-1], self._num_outputs), layout, num_samples)


class MatmulUse(Use):
    """out = x W + b with x ``(…, I)``, W ``(I, O)`` (the layout of GPT-2's layers): ∂f_c/∂W = Σ_t x[t] ⊗ γ_c[t]."""

    def __init__(self, x: Tensor, out: Tensor, weight: Segment | None, bias: Segment | None) -> None:
        super().__init__("matmul", weight, bias)
        self._x = x.detach()
        self._ndim = out.ndim
        self._num_outputs = out.shape[-1]

    def repeats(self, num_samples: int) -> int:
        return self.shape[:-1].numel() // num_samples

    def allows(self, axis: int) -> bool:
        return axis < self._ndim - 1

    def fold(self, grad: Tensor, layout: Layout, num_samples: int) -> Tensor:
        """``(…, O) -> (n, T, O)``."""
        return layout.split(grad, num_samples).reshape(num_samples, -1, grad.shape[-1])

    def contract(self, grads: Sequence[Tensor], layout: Layout, emit: Emit, budget: Budget) -> None:
        n, _, T, _ = grads[0].shape
        x = layout.split(self._x, n).reshape(n, T, -1).to(grads[0].dtype).transpose(1, 2)
        for outputs, part in parts(grads):
            if self.bias is not None:
                emit(slice(0, n), outputs, self.bias.name, self.bias.start, part.sum(dim=2))
            if self.weight is not None:
                self._contract_weight(part, outputs, x, self.weight, emit, budget)

    def _contract_weight(
        self, grads: Tensor, outputs: slice, x: Tensor, weight: Segment, emit: Emit, budget: Budget
    ) -> None:
        n, C, T, units = grads.shape
        step = budget.samples(n, C, weight.shape.numel(), grads.element_size())
        inputs = max(1, budget.coordinates(step * C, grads.element_size()) // units)
        for s0 in range(0, n, step):
            samples = slice(s0, min(s0 + step, n))
            right = grads[samples].transpose(1, 2).reshape(-1, T, C * units)
            for i0 in range(0, x.shape[1], inputs):
                tile = torch.bmm(x[samples, i0 : i0 + inputs], right)
                tile = tile.view(*tile.shape[:2], C, units).transpose(1, 2).reshape(tile.shape[0], C, -1)
                emit(samples, outputs, weight.name, weight.start + i0 * units, tile)

    def value(self, weights: Mapping[str, Tensor], layout: Layout, num_samples: int) -> Tensor:
        shape = (*self._x.shape[:-1], self._num_outputs)
        bias = None if self.bias is None else self.bias.of(weights).expand(shape)
        if self.weight is None:
            assert bias is not None
            return self.fold(bias, layout, num_samples)
        product = widen(self._x) @ self.weight.of(weights)
        return self.fold(product if bias is None else product + bias, layout, num_samples)


class _Held:
    def __init__(self, x: Tensor) -> None:
        self._x = x

    def parts(self, num_samples: int, max_bytes: int) -> list[slice]:
        return [slice(0, self._x.shape[2])]

    def fetch(self, samples: slice, positions: slice) -> Tensor:
        return self._x[samples, :, positions]


def linear(out: Tensor, locate: Locate, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Use | None:
    """Rule for ``torch.nn.functional.linear``."""
    if weight.ndim != 2 or input.ndim < 2:
        return None
    return LinearUse(input, out, locate(weight), locate(bias))


def matmul(out: Tensor, locate: Locate, input: Tensor, other: Tensor) -> Use | None:
    """Rule for ``torch.matmul`` and ``torch.mm`` with a trainable second factor."""
    if other.ndim != 2 or input.ndim < 2 or locate(other) is None:
        return None
    return MatmulUse(input, out, locate(other), None)


def addmm(
    out: Tensor, locate: Locate, input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Use | None:
    """Rule for ``torch.addmm``, bias + x W."""
    if beta != 1 or alpha != 1 or input.ndim != 1:
        return None
    return MatmulUse(mat1, out, locate(mat2), locate(input))
