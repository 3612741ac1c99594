"""From simulated curves to steps to target, with an interval and a status.

Notation: P sample paths, t a step, L(t) the mean training loss, B the batch size, N the samples probed, N_full those of
the whole training set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, stdtrit

from raytt.candidates import Candidate
from raytt.correction import Correction
from raytt.crossing import PathCurves, plateau_fall
from raytt.dynamics.curves import Curves
from raytt.errors import InputError
from raytt.losses import CrossEntropy, Loss
from raytt.target import Target

Floats = NDArray[np.float64]

COVERAGE = 0.9
"""Share of runs that the interval is meant to hold."""
TRUSTED_PASSES = 2.0
"""Passes over the probed samples up to which they stand for a larger training set."""
SPIKE = 2.0
"""Rise of the loss over its start beyond which the linearized network is not to be trusted: it comes back, a real one
may not. (A small tanh network really trained at 28 settings: the 7 whose simulated loss rose above twice its start all
ended above their start, of the other 21 one.)"""
EDGE_SHARE = 0.2
"""Without a reference run: share of the stability limit at the pre-trained weights up to which a peak learning rate is
trusted. Curvature grows as features move, so that real training leaves the stable range well below that limit: of the
digits example, runs at up to 0.2 of it trained, those at 0.23 and 0.3 diverged or collapsed."""
EDGE = 1.5
"""With a reference run: peak learning rate over the stability limit at the sharpest tangent, beyond which a run is at
the edge of stability: it may train, but when it reaches a loss is a matter of luck."""
LOST = 8.0
"""The same ratio beyond which a run leaves for good: of the digits and diabetes tasks of the record, SGD runs at up to
6.5 trained (badly), those from 9.9 on collapsed or diverged."""
LOST_EFFECTIVE = 30.0
"""Effective rate lr/(1 − μ) over plain SGD's limit beyond which momentum does not help either: runs at up to 10
trained, one at 98 collapsed."""
FAR_RATIO = 3.0
"""A target this many times below the loss at which the reference run stopped is far beyond it."""
FLAT_BUDGETS = 4.0
"""A curve is flat if at its last pace the target is more than this many further budgets away."""
DECAYED = 0.05
"""Schedules that end below this fraction of the peak learning rate stop by themselves, not because of noise."""


class Status(StrEnum):
    """What is predicted to happen to a candidate within its budget."""

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
    Status.NOT_REACHED: "still above the target when its budget of steps ends: give it more steps or a higher learning "
    "rate.",
    Status.UNSTABLE: "diverges, or ends worse than it began: its learning rate is too high.",
    Status.NOISE_FLOOR: "minibatch noise keeps it above the target: a lower learning rate or a larger batch would "
    "reach it.",
    Status.UNTRUSTED: "reaches the target in simulation, but the prediction is not to be trusted, for the reason given "
    "with it (a learning rate at the edge of stability, or more passes over the probed samples than they can stand "
    "for): ranked last among those that reach it.",
}


@dataclass(frozen=True, kw_only=True)
class PathTrust:
    """What a reference run says about where predictions along its path can be trusted."""

    sharpness: float
    """Largest λ_max of the loss curvature over the tangents, in the coordinates in which the optimizer steps."""
    last_ratio: float
    """Loss ratio at which the reference run stopped."""
    batch_size: int
    """Of the reference run."""

    def edge(self, candidate: Candidate) -> float:
        """Peak learning rate over the stability limit; 1 is the edge.

        The limit of sgd is 2(1 + μ)/λ_max, in Nesterov's form that over 1 + 2μ (`raytt.kernel.statistics`). AdamW is a
        heavy ball with rate lr (1 − β₁) and momentum β₁ in coordinates scaled by its preconditioner: its limit is
        2(1 + β₁)/((1 − β₁) λ_max) (Cohen et al. 2022, arXiv 2207.14484).
        """
        if candidate.optimizer == "adamw":
            beta = candidate.betas[0]
            return candidate.lr * (1.0 - beta) / (1.0 + beta) * self.sharpness / 2.0
        ahead = 1.0 + 2.0 * candidate.momentum * candidate.nesterov
        return candidate.lr * self.sharpness / 2.0 / (1.0 + candidate.momentum) * ahead

    def lost(self, candidate: Candidate) -> bool:
        """Whether a candidate is so far over the edge that it will not come back."""
        effective = candidate.lr / (1.0 - candidate.momentum) * self.sharpness / 2.0
        beyond = candidate.optimizer == "sgd" and effective > LOST_EFFECTIVE
        return beyond or self.edge(candidate) > LOST


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Steps to target of one candidate."""

    status: Status
    steps: float | None
    """Median over sample paths, optimizer steps; None unless status is REACHED or UNTRUSTED."""
    low: float | None = None
    """Lower end of the 90 % interval, steps; None where steps is None, and with a single path, which has no spread."""
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
    """What limits the trust in this forecast, in plain words; empty where nothing is known to."""

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
) -> Forecast:
    """The forecast of the candidate in row ``row`` of the curves.

    * Each path reaches the target where its curve first crosses it; between two records a loss is taken to change
      exponentially, an accuracy linearly. Paths that do not cross within the budget count as +∞ in the median, so
      that the target is reached only if more than half of the paths reach it.
    * Interval: with x = ln(1 + steps) per path, s² their variance, and b² the mean squared change of x under bootstrap
      resampling of the samples, x is taken as normal with variance (1 + 1/P) s² + (1 − N/N_full) b², the second term
      for the samples not probed (finite-population correction); 90 % lie between Student's quantiles with P − 1
      degrees of freedom. Accuracies and validation losses have no resampled curves, hence no second term. The error
      of the linearization is not in it.
    * UNSTABLE: of the paths that miss the target, most hold +∞ or spend the last quarter of the budget above their
      initial loss (in median over records). Cross-entropy has bounded gradients and seldom overflows: a learning rate
      beyond the stability limit shows as a loss that stays high. A spike that is over by then is not unstable. If the
      same learning rate reaches the target without minibatch noise, noise is to blame: NOISE_FLOOR.
    * NOISE_FLOOR: missed, flat at the end (see `needs_full_batch`), and the full-batch simulation reaches the target.
    * UNTRUSTED: reached, but only after more than `TRUSTED_PASSES` passes over the N < N_full probed samples, or after
      the loss rose above `SPIKE` times its start (in median over paths), or with a learning rate at the edge of
      stability: with a reference run above `EDGE` (and UNSTABLE where `PathTrust.lost`, whatever the simulation says),
      without one above `EDGE_SHARE` of the limit at the pre-trained weights.

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
        trust: Where predictions along the path of the reference run hold; None without one.
    """
    end = int(min(budget, curves.steps_done[row]))
    epoch = num_samples_full / candidate.batch_size
    paths = PathCurves.of(curves, row, end=end)
    if correction is not None:
        times = correction.apply(paths.times, paths.train_loss)
        # A simulation that stopped at its target covers, corrected, other steps than it took.
        paths = replace(paths, times=times, end=int(min(budget, np.ceil(times[-1]))))
    if trust is not None and trust.lost(candidate):
        return Forecast(status=Status.UNSTABLE, steps=None, doubts=(_edge_words(trust.edge(candidate)),))
    crossings = paths.crossings(target, epoch)
    steps = float(np.median(crossings))
    if not np.isfinite(steps):
        return Forecast(
            status=_missed_status(paths, target, crossings, full_batch_reaches=full_batch_reaches),
            steps=None,
            shortfall=_shortfall(paths, target, epoch),
            accuracy=_at(paths.times, paths.train_accuracy, np.full(len(crossings), paths.end)),
            val_accuracy=_at(paths.times, paths.val_accuracy, np.full(len(crossings), paths.end)),
        )
    again = replace(PathCurves.of(curves, row, end=end, resampled=True), times=paths.times, end=paths.end)
    sampling_share = 1.0 - num_samples / num_samples_full
    low, high = _interval(steps, crossings, again.crossings(target, epoch), sampling_share=sampling_share)
    grave, slight = _doubts(
        paths,
        crossings,
        target=target,
        candidate=candidate,
        passes=steps * candidate.batch_size / num_samples if num_samples < num_samples_full else 0.0,
        stability_share=stability_share,
        trust=trust,
    )
    return Forecast(
        status=Status.UNTRUSTED if grave else Status.REACHED,
        doubts=(*grave, *slight),
        steps=steps,
        low=low,
        high=high,
        shortfall=0.0,
        accuracy=_at(paths.times, paths.train_accuracy, crossings),
        val_accuracy=_at(paths.times, paths.val_accuracy, crossings),
    )


def _doubts(
    paths: PathCurves,
    crossings: Floats,
    *,
    target: Target,
    candidate: Candidate,
    passes: float,
    stability_share: float,
    trust: PathTrust | None,
) -> tuple[list[str], list[str]]:
    """Reasons not to trust a forecast at all, and reasons to trust it less."""
    grave: list[str] = []
    slight: list[str] = []
    if passes > TRUSTED_PASSES:
        grave.append(f"takes {passes:.1f} passes over the probed samples, which over-fit sooner than the whole set")
    finite = np.isfinite(crossings)
    if float(np.median(paths.peaks(crossings)[finite])) > SPIKE:
        grave.append(f"its loss rises above {SPIKE:g} times its start on the way")
    if trust is None:
        if stability_share > EDGE_SHARE:
            grave.append(f"learning rate at {stability_share:.0%} of the stability limit at the pre-trained weights")
        return grave, slight
    edge = trust.edge(candidate)
    if edge > EDGE:
        grave.append(_edge_words(edge))
    at = [np.interp(t, paths.times, loss) / loss[0] for t, loss in zip(crossings, paths.train_loss, strict=True)]
    ratio = float(np.median(np.asarray(at)[finite]))
    if ratio * FAR_RATIO < trust.last_ratio:
        slight.append(f"far below the {trust.last_ratio:.2f} of the initial loss at which the reference run stopped")
    if 2 * candidate.batch_size < trust.batch_size:
        slight.append(f"batches much smaller than the reference run's {trust.batch_size}")
    return grave, slight


def _edge_words(edge: float) -> str:
    return f"learning rate {edge:.2g} times the edge of stability along the reference run"


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
    """Whether a simulation without minibatch noise must tell if noise is what keeps this candidate from the target.

    So where the target is missed by a finite curve that is flat at the end (mean over the last quarter of the budget
    against the quarter before: at that pace more than `FLAT_BUDGETS` further budgets are missing) or ends above its
    initial loss, while the schedule has not brought the learning rate near zero. A plateau is reached, not prevented,
    by a noise floor.
    """
    paths = PathCurves.of(curves, row, end=int(min(budget, curves.steps_done[row])))
    crossings = paths.crossings(target, num_samples_full / candidate.batch_size)
    if target.kind == "plateau" or np.isfinite(np.median(crossings)) or candidate.batch_size >= num_samples:
        return False
    missed = ~np.isfinite(crossings)
    if _most(paths.diverged()[missed]) or candidate.lr_factors(budget)[-1] < DECAYED:
        return False
    return _most(paths.ends_above_start()[missed]) or _flat(paths, target, missed & ~paths.diverged())


def _missed_status(paths: PathCurves, target: Target, crossings: Floats, *, full_batch_reaches: bool | None) -> Status:
    missed = ~np.isfinite(crossings)
    diverged, above = paths.diverged(), paths.ends_above_start()
    if _most(diverged[missed]):
        return Status.UNSTABLE
    noisy = bool(full_batch_reaches) and target.kind != "plateau"
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
    if target.kind == "plateau":
        fall = plateau_fall(paths, steps_per_epoch * target.patience)
        gap = np.log1p(-target.value) + fall
    else:
        gap = paths.late_gaps(target)[1]
    typical = float(np.median(gap))
    return max(typical, 0.0) if np.isfinite(typical) else None


def _interval(
    steps: float, crossings: Floats, resampled: Floats, *, sampling_share: float
) -> tuple[float | None, float | None]:
    num_paths = len(crossings)
    if num_paths < 2:
        return None, None
    centre, finite = np.log1p(steps), np.isfinite(crossings)
    x = np.log1p(crossings[finite])
    bounded = bool(finite.all())
    # Paths that never cross censor the upper side; the lower half of a symmetric law has the variance of the whole.
    path_variance = (
        float(x.var(ddof=1)) if bounded else float(np.square(np.minimum(x - centre, 0.0)[x <= centre]).mean())
    )
    sampling_variance = 0.0
    if sampling_share > 0.0:
        both = finite & np.isfinite(resampled)
        bounded = bounded and bool(both.all())
        if both.any():
            sampling_variance = float(np.square(np.log1p(resampled[both]) - np.log1p(crossings[both])).mean())
    spread = np.sqrt((1.0 + 1.0 / num_paths) * path_variance + sampling_share * sampling_variance)
    reach = float(stdtrit(num_paths - 1, 0.5 + COVERAGE / 2.0)) * spread
    low = min(steps, max(0.0, float(np.expm1(centre - reach))))
    return low, max(steps, float(np.expm1(centre + reach))) if bounded else None


def _at(times: Floats, curve: Floats | None, steps: Floats) -> float | None:
    """Median over paths of a curve at each path's own step, leaving out infinite steps."""
    if curve is None:
        return None
    return float(np.median([np.interp(t, times, c) for t, c in zip(steps, curve, strict=True) if np.isfinite(t)]))


def check_target(
    target: Target,
    *,
    loss: Loss,
    has_validation: bool,
    num_outputs: int | None = None,
    initial_loss: float | None = None,
) -> None:
    """Raise `InputError` if no training could meet the target; to be repeated once the initial loss is known.

    With label smoothing s over C outputs, cross-entropy is nowhere below the entropy of the smoothed target,
    −q ln q − (C − 1)(s/C) ln(s/C) with q = 1 − s + s/C.

    Args:
        target: The event.
        loss: What is minimised.
        has_validation: Whether the task has validation data.
        num_outputs: C.
        initial_loss: Mean training loss at the pre-trained weights.
    """
    if target.needs_validation and not has_validation:
        raise InputError(f"Target {target} needs validation data.", "Give Task a `validation`, or take another target.")
    if target.kind in ("accuracy", "val_accuracy") and type(loss).correct is Loss.correct:
        raise InputError(
            f"Target {target} needs a loss with a notion of a correct answer, and {type(loss).__name__} has none.",
            "Take a loss target, or use loss='cross_entropy'.",
        )
    relative = target.kind in ("loss_ratio", "plateau")
    if relative and initial_loss is not None and not initial_loss > 0.0:
        raise InputError(
            f"Target {target} is relative to the loss, which is {initial_loss:g} at the pre-trained weights.",
            "A relative target needs a positive initial loss: take an absolute one, or train something left to learn.",
        )
    if target.kind == "loss_ratio":
        level = None if initial_loss is None else target.value * initial_loss
    else:
        level = target.value if target.kind in ("loss", "val_loss") else None
    if level is not None and isinstance(loss, CrossEntropy) and num_outputs is not None:
        floor = _smoothing_entropy(loss.label_smoothing, num_outputs)
        if level <= floor:
            raise InputError(
                f"Target {target} asks for a loss of {level:.4g}, but with label smoothing {loss.label_smoothing:g} "
                f"over {num_outputs} outputs cross-entropy cannot fall below {floor:.4g}.",
                "Take a higher target, an accuracy, or less label smoothing.",
            )


def _smoothing_entropy(smoothing: float, num_outputs: int) -> float:
    rest = smoothing / num_outputs
    return float(entr(1.0 - smoothing + rest) + (num_outputs - 1) * entr(rest))
