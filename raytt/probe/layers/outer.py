"""Per-sample gradients that are sums of outer products over positions, in tiles that are sketched right away.

Linear layers and convolutions share them: with G groups, U units per group, P positions, K inputs per group,

    ∂f_c/∂W[g, u, k] = Σ_p γ_c[g, u, p] · a[g, p, k]          for each sample

A depthwise convolution has G channels and U = 1: nothing is expanded to a dense weight.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from raytt.probe.layers.use import Budget, Emit, Segment


class Positions(Protocol):
    """The layer inputs a, fetched in parts since unfolding a convolution's input may take much memory."""

    def parts(self, num_samples: int, max_bytes: int) -> list[slice]:
        """Ranges of positions that together cover 0…P−1, each at most ``max_bytes`` for so many samples if possible."""
        ...

    def fetch(self, samples: slice, positions: slice) -> Tensor:
        """a, shape ``(samples, G, positions, K)``."""
        ...


def contract_outer(
    grads: Tensor, inputs: Positions, num_inputs: int, segment: Segment, emit: Emit, budget: Budget
) -> None:
    """Emit the gradient of a weight of shape ``(G·U, K)``.

    Args:
        grads: γ, shape ``(n, C, G, U, P)``.
        inputs: a.
        num_inputs: K.
        segment: The weight.
        emit: Receives the tiles.
        budget: Bounds on a tile and on the part of a held at once.
    """
    n, C, G, U, _ = grads.shape
    K = num_inputs
    step = budget.samples(n, C)
    if len(inputs.parts(step, budget.max_bytes)) > 1:
        step = 1
    wanted = budget.coordinates(step * C, grads.element_size())
    group_step = max(1, min(G, wanted // (U * K)))
    unit_step = U if wanted >= U * K else max(1, wanted // K)
    # All tiles are made in the same memory: fresh pages for each cost as much as the product itself.
    scratch = grads.new_empty(step * C * group_step * unit_step * K)
    for s0 in range(0, n, step):
        samples = slice(s0, min(s0 + step, n))
        parts = inputs.parts(step, budget.max_bytes)
        only = inputs.fetch(samples, parts[0]) if len(parts) == 1 else None
        for g0 in range(0, G, group_step):
            groups = slice(g0, min(g0 + group_step, G))
            for u0 in range(0, U, unit_step):
                units = slice(u0, min(u0 + unit_step, U))
                tile: Tensor | None = None
                for part in parts:
                    a = inputs.fetch(samples, part) if only is None else only
                    left = grads[samples, :, groups, units, part]
                    tile = (
                        _product(left, a[:, groups], scratch)
                        if tile is None
                        else tile.add_(_product(left, a[:, groups]))
                    )
                assert tile is not None
                emit(samples, segment.name, segment.start + (g0 * U + u0) * K, tile)


def _product(grads: Tensor, inputs: Tensor, scratch: Tensor | None = None) -> Tensor:
    """``(n, C, G, U, P), (n, G, P, K) -> (n, C, G·U·K)``, with one group in the memory of ``scratch``."""
    n, C, G, U, P = grads.shape
    K = inputs.shape[-1]
    if G == 1 and grads.stride(3) == 1:  # units are innermost in memory: copied in that order
        left = grads[:, :, 0].permute(0, 3, 1, 2).reshape(n, P, C * U).transpose(1, 2)
    else:
        left = grads.transpose(1, 2).reshape(n * G, C * U, P)
    right = inputs.reshape(n * G, P, K)
    out = None if scratch is None else scratch[: n * G * C * U * K].view(n * G, C * U, K)
    # One position is an outer product, for which broadcasting beats a matrix product with an inner dimension of 1.
    product = torch.mul(left, right, out=out) if P == 1 else torch.bmm(left, right, out=out)
    if G == 1:
        return product.view(n, C, U * K)
    return product.view(n, G, C, U * K).transpose(1, 2).reshape(n, C, G * U * K)
