"""Gram matrix of sketched Jacobian rows, tile by tile, and its R × R counterpart.

Notation: blocks a, b of n_a, n_b samples with C outputs each; rows Z_i ∈ R^{C × R};
Θ = Z Zᵀ (NC × NC); A = Zᵀ Z (R × R).

Everything is accumulated in float64: products of float32 numbers are exact there, so that Θ is symmetric positive
semidefinite to about 1e-16 of its largest eigenvalue. The bits of a tile depend on the two blocks alone; how samples
are cut into blocks must therefore not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def flat_rows(rows: NDArray[Any]) -> Floats:
    """Rows ``(n, C, R)`` of n samples as a float64 matrix ``(nC, R)``; a matrix stays one."""
    return np.ascontiguousarray(rows.reshape(-1, rows.shape[-1]), dtype=np.float64)


def gram_tile(rows_a: NDArray[Any], rows_b: NDArray[Any]) -> Floats:
    """Inner products of two blocks of rows, ``(n_a, C, R), (n_b, C, R) -> (n_a C, n_b C)``."""
    return np.asarray(flat_rows(rows_a) @ flat_rows(rows_b).T)


def second_moment(rows: NDArray[Any]) -> Floats:
    """A = Σ_i Z_iᵀ Z_i of one block, ``(n, C, R) -> (R, R)``; those of several blocks are added in a fixed order."""
    flat = flat_rows(rows)
    return np.asarray(flat.T @ flat)


def assemble(
    tiles: Mapping[tuple[int, int], Floats], sizes: Sequence[int], columns: Sequence[int] | None = None
) -> Floats:
    """The whole matrix from its tiles.

    Args:
        tiles: Tile (i, j) has shape ``(sizes[i], columns[j])``.
        sizes: Rows of each block of rows (samples × outputs).
        columns: Columns of each block of columns; None means the matrix is a Gram matrix: symmetric, columns cut like
            rows, tiles with i ≤ j suffice and the others are ignored.

    Returns:
        The matrix ``(Σ sizes, Σ columns)``, exactly symmetric where ``columns`` is None.

    Raises:
        ValueError: If a tile is missing or has another shape.
    """
    symmetric = columns is None
    widths = sizes if columns is None else columns
    tops, lefts = [0, *accumulate(sizes)], [0, *accumulate(widths)]
    whole = np.empty((tops[-1], lefts[-1]))
    for i in range(len(sizes)):
        for j in range(i if symmetric else 0, len(widths)):
            tile = tiles.get((i, j))
            if tile is None or tile.shape != (sizes[i], widths[j]):
                found = "missing" if tile is None else f"of shape {tile.shape}"
                raise ValueError(f"tile {(i, j)} is {found}, expected {(sizes[i], widths[j])}")
            whole[tops[i] : tops[i + 1], lefts[j] : lefts[j + 1]] = tile
            if symmetric and j > i:
                whole[tops[j] : tops[j + 1], lefts[i] : lefts[i + 1]] = tile.T
    if symmetric:
        for i in range(len(sizes)):  # a diagonal tile is symmetric only to rounding
            block = whole[tops[i] : tops[i + 1], tops[i] : tops[i + 1]]
            block[:] = np.tril(block) + np.tril(block, -1).T
    return whole
