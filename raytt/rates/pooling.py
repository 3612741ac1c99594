"""Rates of several batch sizes and neighbouring points pooled, where each alone is mostly noise.

Notation: v_B(s) the estimated rate for batch size B at point s, e_B(s) its standard error.

* *Batch sizes.* An Adam-type optimizer divides by √(ḡ² + s²/B) per coordinate, and 1/v_B is close to a straight line in
  1/B, a + c/B with a, c ≥ 0 (both ends are exact: v_∞ = Σ|ḡ|, and v ∝ √B is spread out by coordinates of different
  noise). It is fitted by weighted least squares in ln v: Gauss–Newton steps from the fit of 1/v itself.
* *Points.* ln v_B(s) − ln v_{B_ref}(s) changes slowly along the path; it is averaged over neighbouring points with
  weights 1 : `NEIGHBOUR` over squared errors (`smooth_over_points`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Floats = NDArray[np.float64]

NEIGHBOUR = 0.5
"""Weight of a neighbouring point's measurement of equal precision."""
LEAST_ERROR = 0.03
"""Standard error of ln v below which nothing is believed to be known."""
_ITERATIONS = 20


def fit_inverse_line(batch_sizes: Floats, rates: Floats, errors: Floats) -> Floats:
    """v_B of the line 1/v_B = a + c/B, a, c ≥ 0, shape ``(n,)`` as the arguments.

    Minimises Σ ((v_B − v̂_B) / e_B)² by iterated non-negative least squares: with the present fit v, v̂ − v is
    −v² (1/v̂ − 1/v) to first order, so that residuals in 1/v weigh v²/e. Estimates at or below 0 take part through their
    linearised residual, instead of an infinite 1/v̂.
    """
    design = np.stack([np.ones_like(batch_sizes), 1.0 / batch_sizes], axis=1)
    weights = 1.0 / np.square(errors)
    # A start that is positive whatever noise did: all rates equal to their weighted mean.
    fit = np.full(len(rates), max(float(weights @ rates / weights.sum()), float(errors.min()), 1e-300))
    for _ in range(_ITERATIONS):
        # v̂ ≈ v + ∂v/∂(1/v) Δ, hence 1/v + Δ with Δ = −(v̂ − v)/v² is what the line has to meet.
        target = 1.0 / fit - (rates - fit) / np.square(fit)
        scale = np.square(fit) / errors
        coefficients, _ = nnls(design * scale[:, None], target * scale)
        line = design @ coefficients
        new = 1.0 / np.maximum(line, 1e-3 / fit)
        if np.allclose(new, fit, rtol=1e-9):
            break
        # Half of the way keeps Newton's method from overshooting.
        fit = np.sqrt(fit * new)
    return fit


def smooth_over_points(log_ratios: Floats, errors: Floats) -> Floats:
    """ln(v_B/v_{B_ref}) averaged over each point and its neighbours; shape ``(P, columns)`` as both arguments.

    Args:
        log_ratios: NaN where a rate was not positive: such a place takes its neighbours' value.
        errors: Standard errors of the log ratios; NaN goes with NaN.
    """
    points = len(log_ratios)
    distance = np.abs(np.subtract.outer(np.arange(points), np.arange(points)))
    kernel = np.where(distance == 0, 1.0, np.where(distance == 1, NEIGHBOUR, 1e-6))
    known = np.isfinite(log_ratios)
    precision = np.where(known, 1.0 / np.square(np.maximum(np.where(known, errors, 1.0), LEAST_ERROR)), 0.0)
    weight = kernel @ precision
    total = kernel @ (precision * np.where(known, log_ratios, 0.0))
    return np.where(weight > 0.0, total / np.where(weight > 0.0, weight, 1.0), 0.0)
