"""Per-sample gradients that are sums of outer products over positions, in tiles that are sketched right away.

Linear layers and convolutions share them: with G groups, U units per group, P positions, K inputs per group,

    ∂f_c/∂W[g, u, k] = Σ_p γ_c[g, u, p] · a[g, p, k]          for each sample

A depthwise convolution has G channels and U = 1: nothing is expanded to a dense weight. (On processors those in one and
two dimensions have a loop of their own, `raytt.probe.kernels.depthwise`.) With few positions a processor does not make
the values at all: what receives them multiplies as it adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from raytt.probe.layers.use import Budget, Emit, OuterEmit, Segment, parts

_FEW = 8
"""Positions up to which products go straight into the sketch on a processor; with more, matrix products are faster."""


class Positions(Protocol):
    """The layer inputs a, fetched in parts since unfolding a convolution's input may take much memory."""

    def parts(self, num_samples: int, max_bytes: int) -> list[slice]:
        """Ranges of positions that together cover 0…P−1, each at most ``max_bytes`` for so many samples if possible."""
        ...

    def fetch(self, samples: slice, positions: slice) -> Tensor:
        """a, shape ``(samples, G, positions, K)``."""
        ...


def contract_outer(
    grads: Sequence[Tensor], inputs: Positions, num_inputs: int, segment: Segment, emit: Emit, budget: Budget
) -> None:
    """Emit the gradient of a weight of shape ``(G·U, K)``.

    Args:
        grads: γ in parts of consecutive outputs, shape ``(n, C_j, G, U, P)``.
        inputs: a.
        num_inputs: K.
        segment: The weight.
        emit: Receives the tiles.
        budget: Bounds on a tile and on the part of a held at once.
    """
    n, _, G, U, P = grads[0].shape
    if isinstance(emit, OuterEmit) and G == 1 and P <= _FEW and grads[0].device.type == "cpu":
        everything = slice(0, n)
        right = inputs.fetch(everything, slice(0, P))[:, 0]
        for outputs, part in parts(grads):
            emit.outer(everything, outputs, segment.name, segment.start, part[:, :, 0], right)
        return
    most = max(part.shape[1] for part in grads)
    step = budget.samples(n, most, G * U * num_inputs, grads[0].element_size())
    if len(inputs.parts(step, budget.max_bytes)) > 1:
        step = 1
    for s0 in range(0, n, step):
        samples = slice(s0, min(s0 + step, n))
        positions = inputs.parts(step, budget.max_bytes)
        only = inputs.fetch(samples, positions[0]) if len(positions) == 1 else None

        def fetch(chosen: slice, samples: slice = samples, only: Tensor | None = only) -> Tensor:
            return inputs.fetch(samples, chosen) if only is None else only

        for outputs, part in parts(grads):
            for start, tile in _tiles(part[samples], positions, fetch, num_inputs, budget):
                emit(samples, outputs, segment.name, segment.start + start, tile)


def _tiles(
    grads: Tensor, positions: Sequence[slice], fetch: Callable[[slice], Tensor], num_inputs: int, budget: Budget
) -> Iterator[tuple[int, Tensor]]:
    """First coordinate and values, ``(n, C, coordinates)``, of tile after tile."""
    n, C, G, U, _ = grads.shape
    K = num_inputs
    wanted = budget.coordinates(n * C, grads.element_size())
    group_step = max(1, min(G, wanted // (U * K)))
    unit_step = U if wanted >= U * K else max(1, wanted // K)
    # All tiles are made in the same memory: fresh pages for each cost as much as the product itself.
    scratch = grads.new_empty(n * C * group_step * unit_step * K)
    for g0 in range(0, G, group_step):
        groups = slice(g0, min(g0 + group_step, G))
        for u0 in range(0, U, unit_step):
            units = slice(u0, min(u0 + unit_step, U))
            tile: Tensor | None = None
            for chosen in positions:
                a, left = fetch(chosen), grads[:, :, groups, units, chosen]
                tile = (
                    _product(left, a[:, groups], scratch) if tile is None else tile.add_(_product(left, a[:, groups]))
                )
            assert tile is not None
            yield (g0 * U + u0) * K, tile


def _product(grads: Tensor, inputs: Tensor, scratch: Tensor | None = None) -> Tensor:
    """``(n, C, G, U, P), (n, G, P, K) -> (n, C, G·U·K)``, with one group in the memory of ``scratch``."""
    n, C, G, U, P = grads.shape
    K = inputs.shape[-1]
    if G == 1 and P > 1 and grads.stride(3) == 1 and grads.device.type == "cpu":
        # Units are innermost: multiplied as they lie, sample by sample.
        memory = grads.new_empty(n * C * U * K) if scratch is None else scratch[: n * C * U * K]
        product = memory.view(n, C, U, K)
        for i in range(n):
            torch.bmm(grads[i, :, 0], inputs[i].expand(C, P, K), out=product[i])
        return product.view(n, C, U * K)
    left = grads.transpose(1, 2).reshape(n * G, C * U, P)
    right = inputs.reshape(n * G, P, K)
    out = None if scratch is None else scratch[: n * G * C * U * K].view(n * G, C * U, K)
    # One position is an outer product, for which broadcasting beats a matrix product with an inner dimension of 1.
    product = torch.mul(left, right, out=out) if P == 1 else torch.bmm(left, right, out=out)
    if G == 1:
        return product.view(n, C, U * K)
    return product.view(n, G, C, U * K).transpose(1, 2).reshape(n, C, G * U * K)
