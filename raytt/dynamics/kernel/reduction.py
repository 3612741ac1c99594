"""Fewer coordinates for the same Jacobian rows: an exact rotation onto the span that training can move in.

Gradients are combinations of the rows that enter the loss (the *anchors*: training rows; for several tangents, those of
all of them). All displacements of the weights lie in the anchors' span, so that every curve depends on the rows only
through inner products anchor–anchor and other–anchor (others: validation rows). The coordinates found here reproduce
exactly these. Inner products other–other are kept only up to the others' part inside the span; rows whose mutual
products matter must be anchors.

Notation: n anchor rows in R sketch dimensions, G = Z Zᵀ (n × n), A = Zᵀ Z (R × R), rank r ≤ min(n, R).

* From G = Q Λ Qᵀ:  anchors Q Λ^½, others X Zᵀ Q Λ^{−½} (`coordinates_from_gram`); rows themselves are not needed.
* From A = V Λ Vᵀ:  every row times V (`basis_from_second_moment`); cheaper when n > R.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RANK_TOLERANCE = 1e-12
"""Directions whose eigenvalue is below this times the largest are dropped: some 10³ times the rounding error of a
float64 eigendecomposition, and far below what any training of fewer than 10⁹ stable steps can move along."""


def coordinates_from_gram(gram: Floats, others: Sequence[Floats] = ()) -> tuple[Floats, list[Floats]]:
    """Coordinates of anchor rows and of other rows from inner products alone.

    Args:
        gram: G, shape ``(n, n)``, symmetric positive semidefinite.
        others: Inner products of other rows with the anchors, each ``(m, n)``.

    Returns:
        The anchors' coordinates ``(n, r)``, whose Gram matrix is G, and the others' ``(m, r)`` each, whose products
        with the anchors' coordinates are those given; r is the numerical rank of G (1 for an all-zero G). Coordinates
        are sorted by falling eigenvalue.
    """
    eigenvalues, vectors = principal_axes(gram)
    roots = np.sqrt(eigenvalues)
    inverse = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0)
    return vectors * roots, [(other @ vectors) * inverse for other in others]


def basis_from_second_moment(moment: Floats) -> Floats:
    """Orthonormal basis V ``(R, r)`` of the anchors' span from A = Zᵀ Z ``(R, R)``; rows have coordinates ``rows @
    V``.
    """
    return principal_axes(moment)[1]


def principal_axes(matrix: Floats) -> tuple[Floats, Floats]:
    """Eigenpairs of a positive semidefinite matrix above `RANK_TOLERANCE`, falling: ``(n, n) -> (r,), (n, r)``, r ≥ 1.

    Each eigenvector's largest entry is positive, so that coordinates do not depend on the signs LAPACK happens to give.
    """
    eigenvalues, vectors = scipy.linalg.eigh(matrix, driver="evd")
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    rank = max(1, int(np.count_nonzero(eigenvalues > RANK_TOLERANCE * max(float(eigenvalues[0]), 0.0))))
    kept = np.maximum(eigenvalues[:rank], 0.0)
    axes = vectors[:, :rank]
    signs = np.where(axes[np.abs(axes).argmax(axis=0), np.arange(rank)] < 0, -1.0, 1.0)
    return kept, np.ascontiguousarray(axes * signs)
