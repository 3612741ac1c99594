"""Convolutions in one, two and three dimensions: strided, padded, dilated, grouped, depthwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from raytt.probe.kernels import Geometry, depthwise
from raytt.probe.layers.linear import Locate
from raytt.probe.layers.outer import contract_outer
from raytt.probe.layers.use import Budget, Emit, Layout, Segment, Use, parts, widen


@dataclass(frozen=True, kw_only=True)
class _Geometry:
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    """Left and right of each dimension, last dimension first, as ``torch.nn.functional.pad`` wants it."""
    groups: int
    in_channels: int
    out_size: tuple[int, ...]


class ConvUse(Use):
    """out[o, p] = Σ_{i,k} W[o, i, k] x[i, p·stride + k·dilation] + b[o], with x padded by zeros.

    Unfolding x gives a[p, (i, k)] and ∂f_c/∂W[o, (i, k)] = Σ_p γ_c[o, p] a[p, (i, k)], group by group.
    """

    def __init__(self, x: Tensor, out: Tensor, geometry: _Geometry, weight: Segment | None, bias: Segment | None):
        super().__init__("conv", weight, bias)
        self._x = x.detach()
        self._geometry = geometry
        self._out_shape = out.shape
        channels_alone = geometry.groups == geometry.in_channels == out.shape[1]
        self._alone = channels_alone and len(geometry.kernel) <= 2 and out.device.type == "cpu"
        self.any_order = geometry.groups == 1 or self._alone

    def repeats(self, num_samples: int) -> int:
        return self.shape.numel() // (num_samples * self.shape[1])

    def allows(self, axis: int) -> bool:
        return axis == 0

    def fold(self, grad: Tensor, layout: Layout, num_samples: int) -> Tensor:
        """``(n·k, O, *space) -> (n, O, k·space)``."""
        split = layout.split(grad, num_samples)
        return split.transpose(1, 2).reshape(num_samples, grad.shape[1], -1)

    def contract(self, grads: Sequence[Tensor], layout: Layout, emit: Emit, budget: Budget) -> None:
        n, _, units, P = grads[0].shape
        if self.bias is not None:
            for outputs, part in parts(grads):
                emit(slice(0, n), outputs, self.bias.name, self.bias.start, part.sum(dim=-1))
        if self.weight is not None and self._alone:
            self._contract_alone(grads, layout, self.weight, emit, budget)
        elif self.weight is not None:
            g = self._geometry
            patches = _Patches(layout.split(self._padded(), n), g, grads[0].dtype)
            grouped = [part.view(n, -1, g.groups, units // g.groups, P) for part in grads]
            contract_outer(grouped, patches, patches.num_inputs, self.weight, emit, budget)

    def _contract_alone(
        self, grads: Sequence[Tensor], layout: Layout, weight: Segment, emit: Emit, budget: Budget
    ) -> None:
        """A depthwise convolution in one or two dimensions on a processor: nothing is unfolded."""
        n, _, channels, _ = grads[0].shape
        g = self._geometry
        one = (1,) * (2 - len(g.kernel))
        x = layout.split(self._x, n).to(grads[0].dtype)  # (n, frames, channels, *space)
        x = x.reshape(*x.shape[:3], *one, *x.shape[3:]).permute(0, 1, 3, 4, 2).contiguous()
        before = (*(0 for _ in one), *reversed(g.padding[::2]))
        geometry = Geometry((*one, *g.kernel), (*one, *g.stride), (*one, *g.dilation), before)  # type: ignore[arg-type]
        for outputs, part in parts(grads):
            innermost = part.transpose(2, 3).view(n, part.shape[1], x.shape[1], *one, *g.out_size, channels)
            step = budget.samples(n, part.shape[1], weight.shape.numel(), part.element_size())
            for s0 in range(0, n, step):
                samples = slice(s0, min(s0 + step, n))
                values = depthwise(innermost[samples], x[samples], geometry)
                emit(samples, outputs, weight.name, weight.start, values)

    def value(self, weights: Mapping[str, Tensor], layout: Layout, num_samples: int) -> Tensor:
        bias = None if self.bias is None else self.bias.of(weights)
        if self.weight is None:
            assert bias is not None
            spread = bias.view(-1, *(1,) * len(self._geometry.kernel)).expand(self._out_shape)
            return self.fold(spread, layout, num_samples)
        g = self._geometry
        convolve = _FUNCTIONS[len(g.kernel)]
        out = convolve(widen(self._padded()), self.weight.of(weights), bias, g.stride, 0, g.dilation, g.groups)
        return self.fold(out, layout, num_samples)

    def _padded(self) -> Tensor:
        # Padded anew for each group of outputs: keeping the copy would double the memory of the forward pass.
        return functional.pad(self._x, self._geometry.padding) if any(self._geometry.padding) else self._x


class _Patches:
    """Unfolded input of a convolution, ``(samples, G, positions, inputs per group × kernel)``."""

    def __init__(self, x: Tensor, geometry: _Geometry, dtype: torch.dtype) -> None:
        self._x = x  # (n, k, I, *space): k frames per sample
        self._geometry = geometry
        self._dtype = dtype
        g = geometry
        self.num_inputs = g.in_channels // g.groups * _product(g.kernel)
        self._per_row = _product(g.out_size[1:])

    def parts(self, num_samples: int, max_bytes: int) -> list[slice]:
        """Whole frames, or some rows of one frame, as many as fit."""
        g = self._geometry
        frames, rows = self._x.shape[1], g.out_size[0]
        item = torch.empty(0, dtype=self._dtype).element_size()
        row_bytes = num_samples * g.groups * self._per_row * self.num_inputs * item
        fit = max(1, max_bytes // row_bytes)
        if fit >= frames * rows:
            return [slice(0, frames * rows * self._per_row)]
        step = fit // rows * rows if fit >= rows else 0
        if step:
            bounds = [*range(0, frames * rows, step), frames * rows]
        else:
            bounds = [*(f * rows + r for f in range(frames) for r in range(0, rows, fit)), frames * rows]
        return [slice(a * self._per_row, b * self._per_row) for a, b in pairwise(bounds)]

    def fetch(self, samples: slice, positions: slice) -> Tensor:
        g = self._geometry
        rows = g.out_size[0]
        first, last = positions.start // self._per_row, positions.stop // self._per_row
        frames = slice(first // rows, -(-last // rows))
        offset = first - frames.start * rows
        height = rows if frames.stop - frames.start > 1 else last - first
        x = self._x[samples, frames]
        space = x.stride()[3:]
        size = (height, *g.out_size[1:])
        view = x.as_strided(
            (*x.shape[:3], *size, *g.kernel),
            (
                *x.stride()[:3],
                *(a * b for a, b in zip(space, g.stride, strict=True)),
                *(a * b for a, b in zip(space, g.dilation, strict=True)),
            ),
            x.storage_offset() + offset * g.stride[0] * space[0],
        )  # (n, k, I, *out, *kernel)
        dims = len(g.kernel)
        # Positions innermost: whole image rows are copied at a time, and a 1×1 convolution copies nothing.
        order = (0, 2, *range(3 + dims, 3 + 2 * dims), 1, *range(3, 3 + dims))
        unfolded = view.permute(order).to(self._dtype).reshape(x.shape[0], g.groups, self.num_inputs, -1)
        return unfolded.transpose(2, 3)


def _rule(dims: int) -> Callable[..., Use | None]:
    def conv(
        out: Tensor,
        locate: Locate,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> Use | None:
        if input.ndim != dims + 2:
            return None
        kernel, spread = tuple(weight.shape[2:]), _tuple(dilation, dims)
        geometry = _Geometry(
            kernel=kernel,
            stride=_tuple(stride, dims),
            dilation=spread,
            padding=_padding(padding, kernel, spread),
            groups=groups,
            in_channels=input.shape[1],
            out_size=tuple(out.shape[2:]),
        )
        return ConvUse(input, out, geometry, locate(weight), locate(bias))

    return conv


def _padding(padding: int | str | Sequence[int], kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        pairs = [(t // 2, t - t // 2) for t in totals]
    elif isinstance(padding, str):
        pairs = [(0, 0)] * len(kernel)
    else:
        pairs = [(p, p) for p in _tuple(padding, len(kernel))]
    return tuple(side for pair in reversed(pairs) for side in pair)


def _tuple(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    return tuple(value) * dims if len(value) == 1 else tuple(value)


def _product(sizes: tuple[int, ...]) -> int:
    return int(torch.Size(sizes).numel())


_FUNCTIONS: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
conv1d, conv2d, conv3d = _rule(1), _rule(2), _rule(3)
