"""How Jacobian rows are computed: what a user may choose, and what all workers of a run have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from raytt.errors import InputError

Precision = Literal["float32", "bfloat16"]
"""Of a network's forward and backward passes, see `raytt.probe.precision`."""


MAX_OUTPUTS = 24
"""Outputs probed per sample, at most: with fewer classes all are."""
LEAST_OUTPUTS = 8
"""Of ``max_outputs``: with fewer there is no room for each kind."""


def as_precision(value: str) -> Precision:
    """The precision of that name.

    Raises:
        InputError: If there is none.
    """
    for known in get_args(Precision):
        if value == known:
            return known  # type: ignore[no-any-return]
    raise InputError(f"precision is {value!r}.", f"Use one of: {', '.join(get_args(Precision))}.")


def check_max_outputs(value: int) -> int:
    """The value.

    Raises:
        InputError: If it is below `LEAST_OUTPUTS`.
    """
    if value < LEAST_OUTPUTS:
        raise InputError(
            f"max_outputs is {value}, below {LEAST_OUTPUTS}: too few outputs to stand for the others.",
            f"Give at least {LEAST_OUTPUTS}; with as many as there are classes all are probed.",
        )
    return value


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How Jacobian rows are computed. All of it is part of a run's fingerprint: another value means other bits."""

    proj_dim: int = 2048
    """Sketch dimension R."""
    proj_seed: int = 0
    """Seed of the sketch."""
    max_outputs: int = MAX_OUTPUTS
    """Outputs probed per sample, at most, where there are more classes (`raytt.probe.outputs`)."""
    block_size: int = 16
    """Samples per block, the unit of work that always gives the same bits; fewer run at a time to save memory."""
    device: str = "cpu"
    """Where the network runs, as torch names it."""
    num_threads: int = 1
    """CPU threads of torch while probing."""
    max_chunk_bytes: int = 512 * 2**20
    """Bound in bytes on each of the large transients: output gradients of a group of outputs (at least one output), an
    unfolded layer input (at least one row of one sample), a tile of weight gradients (at least one weight row). Half
    of it, and so on, on a worker whose device runs out of memory all the same: see `raytt.probe.memory`."""
    precision: Precision = "float32"
    """Of the network's forward and backward passes; per-sample gradients and sketches add up in float32 either way."""

    def __post_init__(self) -> None:
        for name in ("proj_dim", "block_size", "num_threads", "max_chunk_bytes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, below 1.", f"Give a positive {name}.")
        check_max_outputs(self.max_outputs)
        as_precision(self.precision)
