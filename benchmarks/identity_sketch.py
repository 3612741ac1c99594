"""Rows as they are, for what is measured against the exact ones: in benchmarks and in tests of small networks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from raytt.probe.sketch import outer_values


class IdentitySketch:
    """No projection: all parameters flattened and concatenated in the given order, R = D. For exact small problems.

    Args:
        shapes: Shape of each parameter by name.
    """

    label = "identity-1"

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._offsets: dict[str, int] = {}
        total = 0
        for name, shape in shapes.items():
            self._offsets[name] = total
            total += int(np.prod(shape, dtype=np.int64))
        self.proj_dim = total

    @property
    def buffer_dim(self) -> int:
        """D."""
        return self.proj_dim

    def accumulate(self, buffer: Tensor, name: str, start: int, values: Tensor) -> None:
        """See `Sketch.accumulate`."""
        first = self._offsets[name] + start
        buffer[..., first : first + values.shape[-1]] += values

    def accumulate_outer(self, buffer: Tensor, name: str, start: int, left: Tensor, right: Tensor) -> None:
        """See `Sketch.accumulate_outer`."""
        self.accumulate(buffer, name, start, outer_values(left, right))

    def finish(self, buffer: Tensor) -> Tensor:
        """See `Sketch.finish`."""
        return buffer
