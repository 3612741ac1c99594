"""From simulated curves to steps to target, with an interval and a status.

Notation: P sample paths, t a step, L(t) the mean training loss, B the batch size, N the samples probed, N_full those of
the whole training set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from raytt.dynamics.curves import Curves
from raytt.forecast.control_variate import Correction
from raytt.forecast.crossing import PathCurves
from raytt.forecast.interval import interval
from raytt.forecast.model_error import model_spread
from raytt.forecast.trust import PathTrust, doubts_of
from raytt.task.candidate import Candidate
from raytt.task.target import Target

Floats = NDArray[np.float64]

FLAT_BUDGETS = 4.0
"""A curve is flat if, at its last rate of improvement, the target is more than this many further budgets away.
Not measured yet: ``python -m benchmarks.constants --sections noise-floors`` varies it."""
DECAYED = 0.05
"""Final over peak learning rate below which a schedule has annealed: a curve then flattens for lack of learning rate,
not because of noise. Not measured yet: see `FLAT_BUDGETS`."""


class Status(StrEnum):
    """The predicted outcome of a candidate within its budget."""

    REACHED = "reached"
    NOT_REACHED = "not reached"
    UNSTABLE = "unstable"
    NOISE_FLOOR = "noise floor"
    UNTRUSTED = "untrusted"

    @property
    def explanation(self) -> str:
        """One sentence for the reader of a table."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Status.REACHED: "reaches the target within its budget of steps.",
    Status.NOT_REACHED: "has not reached the target when its budget of steps ends: give it more steps or a higher "
    "learning rate.",
    Status.UNSTABLE: "diverges, or ends with a higher loss than it started with: its learning rate is too high.",
    Status.NOISE_FLOOR: "minibatch noise keeps it above the target: a lower learning rate or a larger batch would "
    "reach it.",
    Status.UNTRUSTED: "is predicted to reach the target, but the prediction is not trusted, for the reason given with "
    "it: ranked last among those that reach it.",
}


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Steps to target of one candidate."""

    status: Status
    steps: float | None
    """Median over sample paths, optimizer steps; None unless status is REACHED or UNTRUSTED."""
    low: float | None = None
    """Lower end of the 90 % interval, steps; None where steps is None, and with one path, which has no variance."""
    high: float | None = None
    """Upper end of the 90 % interval, steps; None also where some sample paths do not reach the target at all."""
    shortfall: float | None = None
    """How far from the target the budget ends, ≥ 0: ln(loss / target), or the missing accuracy, or for a plateau
    ln(allowed / actual loss after one patience); 0 where reached, None where the loss diverged."""
    accuracy: float | None = None
    """Predicted training accuracy at the target, else at the end of the budget, in [0, 1]."""
    val_accuracy: float | None = None
    """Predicted validation accuracy there, in [0, 1]."""
    doubts: tuple[str, ...] = ()
    """Reasons to trust this forecast less, as sentences; empty where there are none."""

    def __post_init__(self) -> None:
        wanted = self.status in (Status.REACHED, Status.UNTRUSTED)
        stray = not wanted and (self.low is not None or self.high is not None)
        if (self.steps is not None) != wanted or stray or (self.low is None and self.high is not None):
            raise ValueError(f"status {self.status} with steps {(self.steps, self.low, self.high)}")
        numbers = [n for n in (self.low, self.steps, self.high) if n is not None]
        if not bool(np.isfinite(numbers).all()) or numbers != sorted(numbers) or min(numbers, default=0.0) < 0:
            raise ValueError(f"interval {self.low}…{self.high} does not hold {self.steps}, or is negative or infinite")

    @property
    def reaches(self) -> bool:
        """Whether there is a number of steps."""
        return self.steps is not None


def forecast(
    curves: Curves,
    row: int,
    *,
    target: Target,
    budget: int,
    num_samples: int,
    num_samples_full: int,
    candidate: Candidate,
    full_batch_reaches: bool | None = None,
    stability_share: float = 0.0,
    correction: Correction | None = None,
    trust: PathTrust | None = None,
    path_variance: float | None = None,
) -> Forecast:
    """The forecast of the candidate in row ``row`` of the curves.

    * Each path reaches the target where its curve first crosses it; between two records a loss is taken to change
      exponentially, an accuracy linearly. Paths that do not cross within the budget count as +∞ in the median, so
      that the target is reached only if more than half of the paths reach it.
    * Interval: see `raytt.forecast.interval`. Accuracies and validation losses have no resampled curves, so that
      their intervals lack the sampling of the data; without a reference run they lack the linearization error.
    * UNSTABLE: of the paths that miss the target, most hold +∞ or spend the last quarter of the budget above their
      initial loss (in median over records). Cross-entropy has bounded gradients and seldom overflows: a learning rate
      beyond the stability limit shows as a loss that stays high. A spike that is over by then is not unstable. If the
      same learning rate reaches the target without minibatch noise, noise is the cause: NOISE_FLOOR.
    * NOISE_FLOOR: missed, flat at the end (see `needs_full_batch`), and the full-batch simulation reaches the target.
    * UNTRUSTED: reached, but only after more than `TRUSTED_PASSES` passes over the N < N_full probed samples, or after
      the loss rose above `SPIKE` times its start (in median over paths), or with a learning rate at the edge of
      stability: with a reference run above the optimizer's `trusted_share` (and UNSTABLE where `PathTrust.lost`,
      whatever the simulation says), without one above `EDGE_SHARE` of the limit at the pre-trained weights.
    * Doubts of every status hold what the simulation of the candidate leaves out (`Candidate.doubts`).

    Args:
        curves: Simulated curves.
        row: Of the candidate.
        target: The event to predict.
        budget: Steps the candidate may take.
        num_samples: N.
        num_samples_full: N_full.
        candidate: The configuration.
        full_batch_reaches: Whether the simulation without minibatch noise reaches the target; None if it was not run.
        stability_share: How near the edge the peak learning rate is at the pre-trained weights, see
            `Statistics.stability_share`.
        correction: Of the simulation's steps, from the reference run.
        trust: Range in which predictions along the path of the reference run are trusted; None without one.
        path_variance: Of ln(1 + steps) between paths, for a candidate with one path; None: estimated from its paths.
    """
    epoch = num_samples_full / candidate.samples_per_step
    paths = _paths(curves, row, budget, correction)
    if trust is not None and trust.lost(candidate):
        return Forecast(status=Status.UNSTABLE, steps=None, doubts=(trust.why_lost(candidate), *candidate.doubts()))
    crossings = paths.crossings(target, epoch)
    steps = float(np.median(crossings))
    if not np.isfinite(steps):
        return Forecast(
            status=_missed_status(paths, target, crossings, full_batch_reaches=full_batch_reaches),
            steps=None,
            shortfall=_shortfall(paths, target, epoch),
            doubts=candidate.doubts(),
            accuracy=_at(paths.times, paths.train_accuracy, np.full(len(crossings), paths.end)),
            val_accuracy=_at(paths.times, paths.val_accuracy, np.full(len(crossings), paths.end)),
        )
    again = replace(_resampled(curves, row, budget), times=paths.times, end=paths.end)
    sampling_share = 1.0 - num_samples / num_samples_full
    spread = 0.0
    if trust is not None:
        regime = trust.regime(candidate, paths.loss_ratio(crossings))
        spread = model_spread(regime, validation=target.needs_validation)
    low, high = interval(
        steps,
        crossings,
        again.crossings(target, epoch),
        sampling_share=sampling_share,
        model_spread=spread,
        path_variance=path_variance,
    )
    grave, slight = doubts_of(
        paths,
        crossings,
        candidate=candidate,
        passes=steps * candidate.samples_per_step / num_samples if num_samples < num_samples_full else 0.0,
        stability_share=stability_share,
        trust=trust,
    )
    return Forecast(
        status=Status.UNTRUSTED if grave else Status.REACHED,
        doubts=(*grave, *slight, *candidate.doubts()),
        steps=steps,
        low=low,
        high=high,
        shortfall=0.0,
        accuracy=_at(paths.times, paths.train_accuracy, crossings),
        val_accuracy=_at(paths.times, paths.val_accuracy, crossings),
    )


def spread_of_paths(
    curves: Curves,
    row: int,
    *,
    target: Target,
    budget: int,
    steps_per_epoch: float,
    correction: Correction | None = None,
) -> float | None:
    """Variance of ln(1 + steps) between the paths of a candidate; None where some miss the target, or with one path."""
    crossings = _paths(curves, row, budget, correction).crossings(target, steps_per_epoch)
    if len(crossings) < 2 or not np.isfinite(crossings).all():
        return None
    return float(np.log1p(crossings).var(ddof=1))


def reaches(curves: Curves, row: int, *, target: Target, budget: int, steps_per_epoch: float) -> bool:
    """Whether more than half of the paths reach the target within the budget; for full-batch curves: the only path."""
    paths = PathCurves.of(curves, row, end=int(min(budget, curves.steps_done[row])))
    return bool(np.isfinite(np.median(paths.crossings(target, steps_per_epoch))))


def needs_full_batch(
    curves: Curves,
    row: int,
    *,
    target: Target,
    budget: int,
    candidate: Candidate,
    num_samples: int,
    num_samples_full: int,
) -> bool:
    """Whether a full-batch simulation is needed to decide if minibatch noise keeps this candidate from the target.

    This is so where the target is missed by a finite curve that is flat at the end (mean over the last quarter of the
    budget against the quarter before: at that rate more than `FLAT_BUDGETS` further budgets are missing) or ends above
    its initial loss, while the schedule has not annealed the learning rate (`DECAYED`). A plateau target is reached,
    not prevented, by a noise floor.
    """
    paths = PathCurves.of(curves, row, end=int(min(budget, curves.steps_done[row])))
    crossings = paths.crossings(target, num_samples_full / candidate.samples_per_step)
    if target.settles or np.isfinite(np.median(crossings)) or candidate.samples_per_step >= num_samples:
        return False
    missed = ~np.isfinite(crossings)
    if _most(paths.diverged()[missed]) or candidate.lr_factors(budget)[-1] < DECAYED:
        return False
    return _most(paths.ends_above_start()[missed]) or _flat(paths, target, missed & ~paths.diverged())


def _paths(curves: Curves, row: int, budget: int, correction: Correction | None) -> PathCurves:
    """The curves of a candidate at corrected steps."""
    paths = PathCurves.of(curves, row, end=int(min(budget, curves.steps_done[row])))
    if correction is None:
        return paths
    times = correction.apply(paths.times, paths.train_loss)
    # A simulation that stopped at its target covers, corrected, other steps than it took.
    return replace(paths, times=times, end=int(min(budget, np.ceil(times[-1]))))


def _resampled(curves: Curves, row: int, budget: int) -> PathCurves:
    return PathCurves.of(curves, row, end=int(min(budget, curves.steps_done[row])), resampled=True)


def _missed_status(paths: PathCurves, target: Target, crossings: Floats, *, full_batch_reaches: bool | None) -> Status:
    missed = ~np.isfinite(crossings)
    diverged, above = paths.diverged(), paths.ends_above_start()
    if _most(diverged[missed]):
        return Status.UNSTABLE
    noisy = bool(full_batch_reaches) and not target.settles
    if _most((diverged | above)[missed]):
        return Status.NOISE_FLOOR if noisy else Status.UNSTABLE
    return Status.NOISE_FLOOR if noisy and _flat(paths, target, missed & ~diverged) else Status.NOT_REACHED


def _most(flags: NDArray[np.bool_]) -> bool:
    return bool(2 * flags.sum() >= len(flags))


def _flat(paths: PathCurves, target: Target, chosen: NDArray[np.bool_]) -> bool:
    third, last = paths.late_gaps(target)
    finite = chosen & np.isfinite(third) & np.isfinite(last)
    if not finite.any():
        return False
    before, after = float(third[finite].mean()), float(last[finite].mean())
    # The windows lie a quarter of the budget apart.
    pace_per_budget = 4.0 * (before - after)
    return pace_per_budget <= 0.0 or max(after, 0.0) > FLAT_BUDGETS * pace_per_budget


def _shortfall(paths: PathCurves, target: Target, steps_per_epoch: float) -> float | None:
    if target.settles:
        gap = np.log1p(-target.value) + paths.last_falls(target, steps_per_epoch * target.patience)
    else:
        gap = paths.late_gaps(target)[1]
    typical = float(np.median(gap))
    return max(typical, 0.0) if np.isfinite(typical) else None


def _at(times: Floats, curve: Floats | None, steps: Floats) -> float | None:
    """Median over paths of a curve at each path's own step, leaving out infinite steps."""
    if curve is None:
        return None
    return float(np.median([np.interp(t, times, c) for t, c in zip(steps, curve, strict=True) if np.isfinite(t)]))
