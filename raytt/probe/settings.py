"""How Jacobian rows are computed: what a user may choose, and what all workers of a run have in common."""

from __future__ import annotations

from dataclasses import dataclass

from raytt.errors import InputError
from raytt.settings.declaration import setting_of
from raytt.settings.estimator import EstimatorSettings, Precision


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How Jacobian rows are computed. All of it is part of a run's fingerprint: another value means other bits."""

    proj_dim: int = EstimatorSettings.proj_dim
    """Sketch dimension R."""
    proj_seed: int = 0
    """Seed of the sketch."""
    max_outputs: int = EstimatorSettings.max_outputs
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
    precision: Precision = EstimatorSettings.precision
    """Of the network's forward and backward passes; per-sample gradients and sketches add up in float32 either way."""

    def __post_init__(self) -> None:
        for name in ("proj_dim", "max_outputs", "precision"):
            setting_of(EstimatorSettings, name).check(getattr(self, name))
        for name in ("block_size", "num_threads", "max_chunk_bytes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, below 1.", f"Give a positive {name}.")
