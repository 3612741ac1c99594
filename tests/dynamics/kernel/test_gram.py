"""Gram tiles against one whole product, and the refusal of wrong tiles."""

from __future__ import annotations

import numpy as np
import pytest

from raytt.dynamics.kernel.gram import assemble, gram_tile, second_moment

SIZES = (4, 1, 3)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((8, 2, 50)).astype(np.float32)


def blocks(rows: np.ndarray) -> list[np.ndarray]:
    return np.split(rows, np.cumsum(SIZES)[:-1])


def test_assembled_tiles_are_the_whole_product(rows: np.ndarray) -> None:
    parts = blocks(rows)
    tiles = {(i, j): gram_tile(parts[i], parts[j]) for i in range(3) for j in range(i, 3)}
    whole = assemble(tiles, [2 * n for n in SIZES])
    flat = rows.reshape(16, 50).astype(np.float64)
    # float64 sums of 50 products of order 1.
    np.testing.assert_allclose(whole, flat @ flat.T, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(whole, whole.T)
    assert np.linalg.eigvalsh(whole)[0] > -1e-12


def test_sums_are_made_in_double_precision() -> None:
    """Sums of float32 products in float32 would lose the small term."""
    rows = np.array([[[1e4, 1.0, 1e4]]], dtype=np.float32)
    other = np.array([[[1e4, 1.0, -1e4]]], dtype=np.float32)
    assert gram_tile(rows, other)[0, 0] == 1.0
    assert second_moment(np.array([[[1e4]], [[1.0]]], dtype=np.float32))[0, 0] == 1e8 + 1.0


def test_a_tile_depends_on_its_blocks_alone(rows: np.ndarray) -> None:
    parts = blocks(rows)
    copies = [part.copy() for part in parts]
    np.testing.assert_array_equal(gram_tile(parts[0], parts[2]), gram_tile(copies[0], copies[2]))


def test_rectangular_assembly(rows: np.ndarray) -> None:
    parts = blocks(rows)
    others = np.random.default_rng(1).standard_normal((3, 2, 50)).astype(np.float32)
    halves = [others[:1], others[1:]]
    tiles = {(i, j): gram_tile(halves[i], parts[j]) for i in range(2) for j in range(3)}
    whole = assemble(tiles, [2, 4], columns=[2 * n for n in SIZES])
    np.testing.assert_allclose(
        whole, others.reshape(6, 50).astype(float) @ rows.reshape(16, 50).T.astype(float), atol=1e-13
    )


def test_second_moments_add_up(rows: np.ndarray) -> None:
    flat = rows.reshape(16, 50).astype(np.float64)
    np.testing.assert_allclose(sum(second_moment(part) for part in blocks(rows)), flat.T @ flat, atol=1e-13)


def test_a_missing_or_misshapen_tile_is_named() -> None:
    with pytest.raises(ValueError, match=r"tile \(0, 1\) is missing"):
        assemble({(0, 0): np.eye(2), (1, 1): np.eye(1)}, [2, 1])
    with pytest.raises(ValueError, match=r"tile \(0, 0\) is of shape \(3, 3\), expected \(2, 2\)"):
        assemble({(0, 0): np.eye(3)}, [2])
