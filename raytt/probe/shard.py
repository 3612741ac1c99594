"""What a probe worker returns: sketched Jacobian rows of a block of samples, as plain arrays that Arrow can store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Shard:
    """Sketched Jacobian rows of n samples at one tangent point."""

    index: NDArray[np.int64]
    """Positions of the samples in the data set, shape (n,)."""
    outputs: NDArray[np.float32]
    """f, shape (n, C)."""
    rows: NDArray[np.float32]
    """Z = J S, shape (n, C, R)."""
    radial: NDArray[np.float32]
    """J w₀, unsketched, shape (n, C)."""
    targets: NDArray[Any]
    """y, shape (n,) int64 or (n, C) float32."""
    updates: NDArray[np.float32] | None = None
    """J D₀^½ D⁻¹ S of a preconditioned optimizer, whose ``rows`` are J D₀^−½ S; shape (n, C, R); None for others."""
    halvings: NDArray[np.int64] | None = None
    """How often the worker had computed less at a time because memory ran out, when it computed each sample, shape
    (n,); None where it never did. Where they differ, rows of the same sample differ in their last bits."""

    def __post_init__(self) -> None:
        n, c, _ = self.rows.shape
        if (
            self.index.shape != (n,)
            or self.outputs.shape != (n, c)
            or self.radial.shape != (n, c)
            or len(self.targets) != n
        ):
            raise ValueError(
                f"shapes disagree: index {self.index.shape}, outputs {self.outputs.shape}, rows {self.rows.shape}, "
                f"radial {self.radial.shape}, targets {self.targets.shape}"
            )
