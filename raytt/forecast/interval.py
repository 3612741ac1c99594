"""The prediction interval of steps to target: minibatch noise, sampling of the data, and model error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]

COVERAGE = 0.9
"""Nominal coverage of the interval: a convention of how results are presented."""


def interval(
    steps: float,
    crossings: Floats,
    resampled: Floats,
    *,
    sampling_share: float,
    model_spread: float = 0.0,
    path_variance: float | None = None,
) -> tuple[float | None, float | None]:
    """Lower and upper end in steps. Both are None with a single path of unknown variance; the upper one is None where
    some paths do not reach the target.

    With x = ln(1 + steps) per path, s² their variance, b² the mean squared change of x under bootstrap resampling of
    the samples, and σ the standard deviation of the model error, x lies within

        √(t² [(1 + 1/P) s² + (1 − N/N_full) b²] + z² σ²)

    of its centre, t and z the quantiles of Student's t distribution with P − 1 degrees of freedom and of the normal
    distribution (z replaces t where s² is given).

    Args:
        steps: The centre.
        crossings: Step at which each of the P paths reaches the target, +inf where it does not, shape (P,).
        resampled: The same on each path's bootstrap resample of the samples.
        sampling_share: 1 − N/N_full, the finite-population correction.
        model_spread: σ (`raytt.forecast.model_error`).
        path_variance: s² of similar candidates, for a single path, which has no sample variance.
    """
    num_paths = len(crossings)
    if num_paths < 2 and path_variance is None:
        return None, None
    centre, finite = np.log1p(steps), np.isfinite(crossings)
    x = np.log1p(crossings[finite])
    bounded = bool(finite.all())
    quantile = float(ndtri(0.5 + COVERAGE / 2.0))
    if path_variance is None:
        # Paths that never cross are censored above; the lower half of a symmetric distribution has the same variance.
        path_variance = (
            float(x.var(ddof=1)) if bounded else float(np.square(np.minimum(x - centre, 0.0)[x <= centre]).mean())
        )
        noise_quantile = float(stdtrit(num_paths - 1, 0.5 + COVERAGE / 2.0))
    else:
        noise_quantile = quantile
    sampling_variance = 0.0
    if sampling_share > 0.0:
        both = finite & np.isfinite(resampled)
        bounded = bounded and bool(both.all())
        if both.any():
            sampling_variance = float(np.square(np.log1p(resampled[both]) - np.log1p(crossings[both])).mean())
    spread = np.sqrt((1.0 + 1.0 / num_paths) * path_variance + sampling_share * sampling_variance)
    reach = float(np.hypot(noise_quantile * spread, quantile * model_spread))
    low = min(steps, max(0.0, float(np.expm1(centre - reach))))
    return low, max(steps, float(np.expm1(centre + reach))) if bounded else None
