"""Extrapolation from the probed samples to the whole training set: the loss if all N_full samples were trained on.

A small subset is overfitted faster than the whole set, so that the simulated training loss on the N probed samples
falls too fast. The *two-sided* estimate also simulates training on n₁ < n₂ < … < N of them, and takes both the loss on
the n samples trained on (a lower bound) and the loss on the probed samples left out (an upper bound), which converge to
one curve as n grows. At each step

    trained(n) ≈ L / (1 + a xₙ),    left out(n) ≈ L (1 + b xₙ),    xₙ = (N/n)^α,    a, b ≥ 0,

is fitted by least squares in the logarithms, α common to all steps; L / (1 + a x) at n = N_full is the training loss
of the whole set, L (1 + b x) the loss on unseen samples. Power laws in the number of samples are those of learning
curves (Cortes et al. 1993, *Learning curves: asymptotic values and rate of convergence*; Hestness et al. 2017, arXiv
1712.00409); both sides share one exponent, since five parameters fitted to five losses would follow their noise.

``python -m benchmarks.accuracy --tasks digits --samples 128`` measures it against real training. After dozens of passes
over very few samples the held-out loss rises again (overfitting), and the estimate is too high.

Where the smaller simulations have stopped, the last known ratio of the whole set's loss to the probed samples' is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raytt.dynamics.curves import Curves

Floats = NDArray[np.float64]

EXPONENTS = (0.5, 0.7, 1.0, 1.4)
"""Grid for α: from the slow 1/√n of noisy estimates to beyond the 1/n of classical asymptotics."""
LEVELS = 96
"""Grid points for L, evenly in its logarithm between the loss trained on and the lowest held-out loss, and `MARGIN`
beyond."""
MARGIN = 0.2
"""Share of that range by which the grid for ln L extends past either end. Not measured yet: ``python -m
benchmarks.constants --sections whole-set`` varies it."""
_TINY = 1e-12


def lift(
    curves: Curves, row: int, smaller: Sequence[tuple[int, Curves, int]], *, num_samples: int, num_samples_full: int
) -> Curves:
    """The curves of one candidate extrapolated to training on N_full samples.

    The ratio of losses, and that of error rates, is fitted to means over paths and applied to every path.

    Args:
        curves: Simulations with all N probed samples.
        row: Of the candidate there.
        smaller: n, simulations with n samples, and the candidate's row there, for each n < N.
        num_samples: N.
        num_samples_full: N_full > N.

    Returns:
        Curves of that candidate alone (M = 1), at the same steps.
    """
    steps = curves.steps
    sizes = np.array([*(n for n, _, _ in smaller), num_samples], dtype=np.float64)
    valid = np.array([steps <= c.steps_done[i] for _, c, i in smaller])
    trained = [_loss_at(c.train_loss[i], c.steps, steps) for _, c, i in smaller]
    trained.append(_loss_at(curves.train_loss[row], steps, steps))
    left_out = [_loss_at(_known(c.held_loss)[i], c.steps, steps) for _, c, i in smaller]
    ratio = whole_ratio(np.array(trained), np.array(left_out), sizes, num_samples_full, valid)
    one = slice(row, row + 1)
    found = replace(
        curves,
        train_loss=curves.train_loss[one] * ratio.trained,
        train_loss_resampled=curves.train_loss_resampled[one] * ratio.trained,
        train_accuracy=None if curves.train_accuracy is None else curves.train_accuracy[one],
        val_loss=None if curves.val_loss is None else curves.val_loss[one] * ratio.unseen,
        val_accuracy=None if curves.val_accuracy is None else curves.val_accuracy[one],
        steps_done=curves.steps_done[one],
    )
    if found.train_accuracy is None:
        return found
    wrong = [_error_at(_known(c.train_accuracy)[i], c.steps, steps, n) for n, c, i in smaller]
    wrong.append(_error_at(found.train_accuracy[0], steps, steps, num_samples))
    missed = [_error_at(_known(c.held_accuracy)[i], c.steps, steps, num_samples - n) for n, c, i in smaller]
    ratio = whole_ratio(np.array(wrong), np.array(missed), sizes, num_samples_full, valid)
    # Errors of single paths may be zero: they are shifted by what the mean changes.
    shift = wrong[-1] * (ratio.trained - 1.0)
    accuracy = np.clip(found.train_accuracy - shift, 0.0, 1.0)
    val_accuracy = found.val_accuracy
    if val_accuracy is not None:
        val_accuracy = 1.0 - (1.0 - val_accuracy) * ratio.unseen
    return replace(found, train_accuracy=accuracy, val_accuracy=val_accuracy)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ratio:
    """Loss when training on N_full samples over that when training on N; at each step, shape (T,)."""

    trained: Floats
    """Of the loss on the samples trained on, ≥ 1."""
    unseen: Floats
    """Of the loss on unseen samples, ≤ 1."""


def whole_ratio(
    trained: Floats,
    left_out: Floats,
    sizes: Floats,
    num_samples_full: int,
    valid: NDArray[np.bool_] | None = None,
) -> Ratio:
    """Losses with N_full samples over those with N at each step, ``(K, T), (K − 1, T), (K,) -> (T,)``.

    Args:
        trained: Mean loss on the n samples trained on, for each of the K sizes n₁ < … < n_K = N; positive or +inf.
        left_out: Mean loss on the others of the N, for all sizes but N.
        sizes: n.
        num_samples_full: N_full.
        valid: Where the simulations of the smaller sizes have not ended, shape (K − 1, T); None: everywhere.
    """
    # Relative to their start: that a subset is harder or easier than the rest is no overfitting.
    logs = [np.log(np.maximum(curves, _TINY)) for curves in (trained, left_out)]
    logs = [curves - curves[:, :1] for curves in logs]
    known = np.isfinite(logs[0][:-1]) & np.isfinite(logs[1]) & np.isfinite(logs[0][-1])
    if valid is not None:
        known &= valid
    steps = np.flatnonzero(known.all(axis=0))
    if len(steps) == 0:
        return Ratio(trained=np.ones(trained.shape[1]), unseen=np.ones(trained.shape[1]))
    fits = [_fit(logs[0][:, steps], logs[1][:, steps], sizes, num_samples_full, alpha) for alpha in EXPONENTS]
    _, more, less = min(fits, key=lambda fit: fit[0])
    # Between fitted steps and behind the last one, the ratio is carried on.
    every = np.arange(trained.shape[1])
    return Ratio(
        trained=np.exp(np.interp(every, steps, np.maximum(more, 0.0))),
        unseen=np.exp(np.interp(every, steps, np.minimum(less, 0.0))),
    )


def _fit(
    trained: Floats, left_out: Floats, sizes: Floats, num_samples_full: int, alpha: float
) -> tuple[float, Floats, Floats]:
    """Sum of squared errors of an exponent, and ln of both ratios, from logarithms of losses."""
    x, whole = (sizes[-1] / sizes) ** alpha, (sizes[-1] / num_samples_full) ** alpha
    low, high = trained[-1], left_out.min(axis=0)
    spread = np.maximum(high - low, 0.0)
    grid = np.linspace(-MARGIN, 1.0 + MARGIN, LEVELS)[:, None]
    level = low + grid * spread  # (G, T)
    # Given L, each side is a line through the origin.
    a = _slope(np.exp(level[:, None] - trained) - 1.0, x)
    b = _slope(np.exp(left_out - level[:, None]) - 1.0, x[:-1])
    errors = np.square(level[:, None] - np.log1p(a[:, None] * x[:, None]) - trained).sum(axis=1)
    errors += np.square(level[:, None] + np.log1p(b[:, None] * x[:-1, None]) - left_out).sum(axis=1)
    best = errors.argmin(axis=0)
    column = np.arange(len(best))
    level, a, b = level[best, column], a[best, column], b[best, column]
    # Over the loss that was simulated, not the fitted one: where nothing tells both sides apart the ratio is 1.
    more = level - np.log1p(a * whole) - trained[-1]
    less = np.log1p(b * whole) - np.log1p(b)
    return float(errors[best, column].sum()), more, less


def _slope(values: Floats, x: Floats) -> Floats:
    """Least-squares slope ≥ 0 of ``values`` (G, K, T) over ``x`` (K,); shape (G, T)."""
    return np.asarray(np.maximum((values * x[:, None]).sum(axis=1) / np.square(x).sum(), 0.0))


def _loss_at(curves: Floats, from_steps: Floats, to_steps: Floats) -> Floats:
    """Geometric mean over paths at other steps, ``(P, T'), (T',), (T,) -> (T,)``; +inf where a path diverged."""
    typical = np.exp(np.log(np.maximum(curves, _TINY)).mean(axis=0))
    return np.asarray(np.interp(to_steps, from_steps, typical))


def _error_at(accuracy: Floats, from_steps: Floats, to_steps: Floats, count: int) -> Floats:
    """Mean error rate, at least that of half a sample."""
    return np.asarray(np.maximum(np.interp(to_steps, from_steps, 1.0 - accuracy.mean(axis=0)), 0.5 / count))


def _known(curve: Floats | None) -> Floats:
    if curve is None:
        raise ValueError("a simulation with a subset holds curves of the samples left out")
    return curve
