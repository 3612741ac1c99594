"""The reduction of rows that fit into memory, without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytt.dynamics.kernel.gram import flat_rows, gram_tile, second_moment
from raytt.dynamics.kernel.reduction import basis_from_second_moment, coordinates_from_gram

Floats = NDArray[np.float64]


def reduce_rows(anchors: NDArray[Any], others: Sequence[NDArray[Any]] = ()) -> tuple[Floats, list[Floats]]:
    """Coordinates of rows held in memory, through the smaller of G and A.

    Args:
        anchors: Rows ``(n, R)`` or ``(N, C, R)``.
        others: Rows of the same sketch, shapes alike.

    Returns:
        Coordinates ``(…, r)`` of the anchors and of the others, leading shapes as given.
    """
    count, width = int(np.prod(anchors.shape[:-1])), anchors.shape[-1]
    if count <= width:
        gram = gram_tile(anchors, anchors)
        found, rest = coordinates_from_gram(gram, [gram_tile(other, anchors) for other in others])
    else:
        basis = basis_from_second_moment(second_moment(anchors))
        found, rest = flat_rows(anchors) @ basis, [flat_rows(other) @ basis for other in others]
    shaped = [c.reshape(*o.shape[:-1], -1) for c, o in zip(rest, others, strict=True)]
    return found.reshape(*anchors.shape[:-1], -1), shaped
