"""What a ranking was asked for, checked: everything that a prediction depends on besides task and candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from raytt.cluster.plumbing.session import WorkerResources
from raytt.cluster.plumbing.workers import Limits
from raytt.dynamics.simulate import Method
from raytt.probe.settings import MAX_OUTPUTS, Precision
from raytt.task.target import Target

STOP_RATIO = 0.2
"""Loss ratio at which reference runs stop, unless the target is a loss ratio: then they go on to that, …"""
LEAST_STOP_RATIO = 0.05
"""… but not below this. Along the path predictions are several times better than beyond its end."""
NUM_WAYPOINTS = 3
"""Tangents on a reference run, at least, besides the one at the pre-trained weights: one for each fall of the loss by
`FALL`, …"""
MOST_WAYPOINTS = 5
"""… but at most so many. With 5 instead of 3 on runs down to 0.1 of the initial loss the median error on digits was 14
instead of 17 % (SGD) and 21 instead of 25 % (AdamW), on diabetes the same (2026-11-26)."""
FALL = 0.58
"""Factor between the losses at neighbouring tangents, about: 0.2 ^ (1/3)."""
COST_SHARE = 0.1
"""A reference run may cost this share of the sample gradients that all candidates of its family would in their
budgets."""
LEAST_STEPS = 40
"""But so many steps in any case: fewer would leave no path."""


@dataclass(frozen=True, kw_only=True)
class RankPlan:
    """What `rank` was asked for, checked."""

    target: Target
    seed: int
    proj_dim: int
    samples: int | None
    num_workers: int | None
    limits: Limits
    """When waiting and trying again end."""
    needed_workers: int | None
    """Workers for which the cluster must have resources from the start; None: they may come later."""
    worker: WorkerResources
    custom_worker: bool
    """Whether the user said what a worker is."""
    address: str | None
    max_epochs: float
    num_paths: int
    method: Method
    reference_steps: int | None
    """Most steps of a reference run; None: `COST_SHARE`; 0: no reference run, the training-free method."""
    screen: bool = True
    """Whether of many candidates the costly ones are simulated on one path only (`raytt.forecast.screening`)."""
    precision: Precision = "float32"
    """Of the network's passes in the probe."""
    max_outputs: int = MAX_OUTPUTS
    """Outputs probed per sample, at most, where there are more classes."""
    whole_set: bool | None = None
    """Whether curves are carried over from the probed samples to the whole set (`raytt.forecast.full_dataset`).
    None: see `lifts`."""
    stop_ratio: float | None = None
    """Loss ratio at which reference runs stop; None: as `STOP_RATIO` says."""
    num_waypoints: int | None = None
    """Tangents on a reference run, besides the one at the pre-trained weights; None: as `NUM_WAYPOINTS` says."""

    def lifts(self, *, has_references: bool) -> bool:
        """Whether simulations are carried over to the whole set: unless a reference run's correction takes out what
        few samples do to the training loss (`raytt.forecast.control_variate`). Validation curves it does not correct.
        """
        if self.whole_set is not None:
            return self.whole_set
        return self.target.needs_validation or not has_references

    def stops_at(self) -> float:
        """Loss ratio at which reference runs stop."""
        if self.stop_ratio is not None:
            return self.stop_ratio
        reaches_for = self.target.value if self.target.kind == "loss_ratio" else STOP_RATIO
        return max(LEAST_STOP_RATIO, min(reaches_for, 0.5))

    def waypoints(self) -> int:
        """Tangents on a reference run, besides the one at the pre-trained weights."""
        if self.num_waypoints is not None:
            return self.num_waypoints
        falls = math.log(self.stops_at()) / math.log(FALL)
        return min(max(NUM_WAYPOINTS, math.ceil(falls)), MOST_WAYPOINTS)
