"""What the probe's benchmarks conclude from: the error of a Gram matrix, and variants that have to compute the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.probe import PROJ_DIM, gram_error
from benchmarks.probe_variants import VARIANTS, Layer, fused, tiles


def test_gram_error_is_relative_to_lengths_and_to_the_dimension() -> None:
    rows = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0]])
    exact = (rows @ rows.T).double()
    assert gram_error(rows, exact) == pytest.approx(0.0, abs=1e-12)
    exact[0, 1] = exact[1, 0] = 0.6
    assert gram_error(rows, exact) == pytest.approx(0.1 * 4**0.5)


def _gradients(layer: Layer) -> Tensor:
    """∂f/∂W, shape (n, C, U, K)."""
    return torch.einsum("ncup,npk->ncuk", layer.grads, layer.inputs)


def _placed(layer: Layer, signed: Tensor, block_length: int) -> Tensor:
    """Coordinates (n, C, D) added one after the other to where their block's shift puts them."""
    expected = torch.zeros_like(layer.buffer)
    for j in range(signed.shape[-1]):
        block, offset = divmod(j, block_length)
        expected[..., layer.shifts[block] + offset] += signed[..., j]
    return expected


@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "fused"])
def test_every_tiling_gives_the_same_sketch(name: str, positions: int) -> None:
    layer = Layer.of(3, 2, 30, 200, positions)
    expected = _placed(layer, _gradients(layer).flatten(2) * layer.signs, PROJ_DIM)
    variant: Callable[[Layer], None] = VARIANTS[name]
    variant(layer)
    torch.testing.assert_close(layer.buffer, expected)


def test_tiles_smaller_than_the_layer_cover_it_once() -> None:
    layer = Layer.of(5, 2, 30, 200, 2)
    expected = _placed(layer, _gradients(layer).flatten(2) * layer.signs, PROJ_DIM)
    tiles(layer, 4 * 4 * 200 * 7, 4, reuse=True)
    torch.testing.assert_close(layer.buffer, expected)


@pytest.mark.parametrize("positions", [1, 3])
def test_fused_products_carry_one_sign_per_unit_and_one_per_input(positions: int) -> None:
    layer = Layer.of(3, 2, 30, 200, positions)
    signed = _gradients(layer) * layer.signs[:30].view(-1, 1) * layer.signs[:200]
    expected = _placed(layer, signed.flatten(2), PROJ_DIM // 200 * 200)
    fused(layer)
    torch.testing.assert_close(layer.buffer, expected)
