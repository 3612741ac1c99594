"""Trial steps at a saved point: how much a single step really lowers the loss, at several learning rates.

Notation: w the weights at the point, g_a the gradient of a fresh minibatch of B, p a preconditioner, ℓ_c the loss of
another fresh minibatch of B in training mode. One trial is

    f(η) = (1/C) Σ_c [ℓ_c(w) − ℓ_c(w − η p g_a)] / η       the same C minibatches (samples, masks) before and after

so that differences between minibatches cancel. To second order in η its mean over trials is

    E f(η) = v_B − ½ η c_B,     v_B = ⟨ḡ, p ḡ⟩,   c_B = E (p g)ᵀ H (p g) = (p ḡ)ᵀ H (p ḡ) + tr(H p Σ_B p)

with H the Hessian of the mean loss: the curvature holds that of the noise, which gradients alone do not tell. Each
trial gives a least-squares line in η; v and c are means over trials with their standard errors.

A *single* step of η > 2 v/c raises the loss on average. That is no stability limit of a run: what noise adds to the
loss saturates, since the gradient then holds a pull back. For runs the mean curvature along a step counts,
h = c/(v + n) with n the noise of `raytt.rates.signal`, which says how large the excess gets (`raytt.rates.excess`).

Only forward passes beside one gradient a trial. All draws are functions of (seed, point, B, number of the minibatch).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from raytt.errors import InputError
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.signal import Signal

Floats = NDArray[np.float64]

_FAR = 1 << 20
"""Numbers of the trials' minibatches start here, so that they are other ones than those of the rates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialSteps:
    """Falls per learning rate of several trials at one point with one batch size."""

    learning_rates: Floats
    """η tried, shape (E,), increasing."""
    falls: Floats
    """f(η) of each trial, shape (trials, E); −inf where the loss after the step was not finite."""


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """The line v − ½ η c through trial steps."""

    rate: float
    """v."""
    rate_error: float
    """Its standard error; NaN for a single trial."""
    curvature: float
    """c; may be negative by chance or where the loss is concave along the step."""
    curvature_error: float
    """Its standard error; NaN for a single trial."""

    def mean_curvature(self, signal: Signal) -> float:
        """H = c/(v + n) ≥ 0, one over learning rate, with v + n of the same batch size, point and preconditioner."""
        return max(self.curvature, 0.0) / (signal.rate + signal.noise)


def try_steps(
    source: MinibatchGradients,
    state: Mapping[str, Tensor],
    *,
    point: int,
    batch_size: int,
    learning_rates: Sequence[float],
    trials: Sequence[int],
    measured_on: int,
    scale: Tensor | None = None,
) -> TrialSteps:
    """Take trial steps from a saved state; it is what the network holds afterwards.

    Args:
        source: The network and its data.
        state: Of the point.
        point: Its number, which only enters the draws.
        batch_size: B, of the step and of what it is measured on.
        learning_rates: Effective learning rates to try, at least two, positive.
        trials: Numbers of the trials, 0, 1, …: any sharding of them gives the same falls.
        measured_on: C ≥ 1 minibatches on which each trial is measured.
        scale: p, shape ``(D,)``; None means 1.

    Raises:
        InputError: If fewer than two different learning rates, no trial or no minibatch is given.
    """
    rates = np.asarray(sorted(set(learning_rates)), dtype=np.float64)
    if len(rates) < 2 or rates[0] <= 0.0 or len(trials) == 0 or measured_on < 1:
        raise InputError(
            f"Trial steps at {list(learning_rates)} with {len(trials)} trials on {measured_on} minibatches.",
            "Give at least two different learning rates above 0, one trial and one minibatch.",
        )
    source.load(state)
    start = source.weights()
    falls = np.empty((len(trials), len(rates)))
    for row, trial in enumerate(trials):
        first = _FAR + trial * (measured_on + 1)
        gradient, _ = source.gradient(point, batch_size, first)
        step = gradient if scale is None else gradient * scale
        others = range(first + 1, first + 1 + measured_on)
        before = [source.loss(point, batch_size, number) for number in others]
        for column, rate in enumerate(rates):
            source.set_weights(start - float(rate) * step)
            after = [source.loss(point, batch_size, number) for number in others]
            fall = float(np.mean(before) - np.mean(after)) / float(rate)
            falls[row, column] = fall if math.isfinite(fall) else -math.inf
        source.set_weights(start)
    return TrialSteps(learning_rates=rates, falls=falls)


def fit_curvature(tried: TrialSteps) -> Curvature:
    """Mean line over the trials.

    Raises:
        InputError: If a loss after a step was not finite, which no line describes.
    """
    if not bool(np.isfinite(tried.falls).all()):
        raise InputError(
            f"The loss was not finite after a trial step of at most {tried.learning_rates[-1]:.3g}.",
            "Try smaller learning rates.",
        )
    design = np.stack([np.ones_like(tried.learning_rates), -0.5 * tried.learning_rates], axis=1)
    # Each trial's own line: trials are independent, the falls of one trial are not.
    lines = tried.falls @ np.linalg.pinv(design).T
    count = len(lines)
    errors = np.std(lines, axis=0, ddof=1) / math.sqrt(count) if count > 1 else np.full(2, np.nan)
    return Curvature(
        rate=float(lines[:, 0].mean()),
        rate_error=float(errors[0]),
        curvature=float(lines[:, 1].mean()),
        curvature_error=float(errors[1]),
    )
