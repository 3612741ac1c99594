"""What a prediction depends on besides task and candidates: the settings, and how far reference runs go."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from raytt.settings.cluster import ClusterSettings
from raytt.settings.estimator import EstimatorSettings
from raytt.settings.ranking import RankingSettings
from raytt.task.rank_objective import OBJECTIVES
from raytt.task.target import Target

STOP_RATIO = 0.2
"""Loss ratio at which reference runs stop, unless the target is a loss ratio: then they go on to that, …"""
LEAST_STOP_RATIO = 0.05
"""… but not below this. Along the path predictions are several times better than beyond its end."""
MOST_STOP_RATIO = 0.5
"""… and at least this far: a run that ends there says too little of what follows. With it, median errors over all
thresholds on diabetes were 63 % (AdamW) and ∞ (SGD), against 7 and 8 with 0.2, on digits 27 and 19 against 9 and 12
(``python -m benchmarks.accuracy.sensitivity``, 2026-11-26)."""
NUM_WAYPOINTS = 3
"""Tangents on a reference run, at least, besides the one at the pre-trained weights: one for each fall of the loss by
`FALL`, …"""
MOST_WAYPOINTS = 5
"""… but at most so many. With 5 instead of 3 on runs down to 0.1 of the initial loss the median error on digits was 14
instead of 17 % (SGD) and 21 instead of 25 % (AdamW), on diabetes the same (2026-11-26)."""
FALL = 0.58
"""Approximate factor between the losses at neighbouring tangents: 0.2 ^ (1/3), so that a run to `STOP_RATIO` has
`NUM_WAYPOINTS`."""
COST_SHARE = 0.1
"""A reference run may cost this share of the sample gradients that all candidates of its family would in their
budgets."""
LEAST_STEPS = 40
"""Lower bound of the same, in steps: a shorter run leaves no path to predict along. A guard."""


@dataclass(frozen=True, kw_only=True)
class RankPlan:
    """What is to be predicted, and how."""

    target: Target
    """When training is done."""
    ranking: RankingSettings = field(default_factory=RankingSettings)
    """Seed, and budget of candidates that bring none."""
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    """Where work runs."""
    estimator: EstimatorSettings = field(default_factory=EstimatorSettings)
    """Probe, reference run and simulation."""
    whole_set: bool | None = None
    """Whether curves are carried over from the probed samples to the whole set (`raytt.forecast.full_dataset`).
    None: see `lifts`."""
    stop_ratio: float | None = None
    """Loss ratio at which reference runs stop; None: as `STOP_RATIO` says."""
    num_waypoints: int | None = None
    """Tangents on a reference run, besides the one at the pre-trained weights; None: as `NUM_WAYPOINTS` says."""

    def lifts(self, *, has_references: bool) -> bool:
        """Whether simulations are carried over to the whole set: unless a reference run's correction removes what
        few samples do to the training loss (`raytt.forecast.control_variate`). Validation curves it does not correct.
        """
        if self.whole_set is not None:
            return self.whole_set
        return self.target.needs_validation or not has_references

    def stops_at(self) -> float:
        """Loss ratio at which reference runs stop."""
        if self.stop_ratio is not None:
            return self.stop_ratio
        goal = self.target.loss_ratio
        return max(LEAST_STOP_RATIO, min(STOP_RATIO if goal is None else goal, MOST_STOP_RATIO))

    @property
    def negative_goal(self) -> float | None:
        """A target on the training loss that is not positive, towards which ratios of losses mean nothing."""
        absolute = self.target.curve == "train_loss" and not (self.target.relative or self.target.settles)
        return self.target.value if absolute and self.target.value <= 0.0 else None

    @property
    def objective_evaluated(self) -> bool:
        """Whether candidates are ranked by what is evaluated on validation data."""
        name = self.ranking.objective
        return name is not None and OBJECTIVES.get(name).needs_validation

    def waypoints(self) -> int:
        """Tangents on a reference run, besides the one at the pre-trained weights."""
        if self.num_waypoints is not None:
            return self.num_waypoints
        falls = math.log(self.stops_at()) / math.log(FALL)
        return min(max(NUM_WAYPOINTS, math.ceil(falls)), MOST_WAYPOINTS)
