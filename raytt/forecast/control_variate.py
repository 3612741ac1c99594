"""Multiplicative bias correction of simulated steps, with the reference run as a control variate.

Notation: ρ loss ratio (training loss over its initial value); T(ρ) first step at which it is reached.

The reference run is really trained, and also simulated like any candidate. At loss ratio ρ the simulation is biased by
the factor c(ρ) = T_real(ρ) / T_sim(ρ). A candidate's simulated time t at which its loss first falls to ρ is multiplied
by c(ρ): errors that all runs along one path share (features between two tangents, the sketch, the subsample) cancel,
errors of the candidate alone remain. (Control variates: Owen, *Monte Carlo theory, methods and examples*, ch. 8.)

Where only a subset of the training samples was probed, the simulation overfits this subset, which is faster than
fitting all samples; the reference run is not limited to the subset, so c corrects for this as well. (Extrapolating the
simulation to the whole set first, as `raytt.forecast.full_dataset` does, and measuring c on the result was no better
and takes as many simulations again. Median errors of SGD and AdamW, with the subset's curves and with extrapolated
ones, in per cent: Fashion-MNIST, 512 of 5,000 samples: 9 and 17, 34 and 43; digits, 128 of 400: 20 and 20, 20 and 23;
diabetes, 100 of 200: 28 and 37, 19 and 12. ``python -m benchmarks.accuracy --tasks digits --samples 128``, likewise the
others.)

Below the ratio ρ_S at which the reference run stopped there is no measurement, and the factor is extrapolated as
c(ρ) = c(ρ_S) (ρ/ρ_S)^b. With all samples probed, b = `SOONER`: real networks keep adapting their features to the
samples that are not fitted yet, in directions that the path does not contain. Where features are fixed they cannot, and
b = 0: on docstrings with only the head trained, median errors (90th percentiles) were 9 (30) % with AdamW and 8 (17) %
with SGD with `SOONER`, without it 9 (18) and 5 (16). With a subset probed, b = −`LATER`, since overfitting of the
subset goes on. Curves that were extrapolated to the whole set have b = 0.

The remaining error of a candidate depends on its gradient noise, whose scale grows with η/B (Jastrzębski et al. 2017,
arXiv 1711.04623). The simulated noise is that of the reference run's features; in real training features move further
when there is less of it. With x = ln of the candidate's η/B over the reference's (η the peak learning rate over 1 − μ;
|x| at most ln `MOST_NOISE`) and d = ln(ρ_S/ρ) ≥ 0, steps are multiplied by exp((`NOISE` + `NOISE_BEYOND` d) x), unless
features are fixed. The sign is the same in nearly every task of the record, for SGD and for AdamW.

Whether the unfitted constants matter is measured by ``python -m benchmarks.constants``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

LEVELS = 24
"""Loss ratios, evenly in their logarithm, at which c is measured: numerical resolution. With 6 of them the median error
on diabetes was 8 (AdamW) and 10 % (SGD), with 24 7 and 8, with 48 9 and 8 (``python -m benchmarks.constants --sections
forecasts``, 2026-11-29, as are the figures below)."""
FIRST_RATIO = 0.9
"""The highest of them: above it too few steps have been taken for a ratio of steps. With 0.95 the 90 % intervals of SGD
on diabetes held 88 instead of 94 % of the runs, with 0.8 as many."""
ONE_STEP = 1.0
"""Added to both times, since a crossing is known to about one step, a large relative error early in training. A
numerical guard: none of the figures on diabetes differs with 0 to 2."""
SOONER = 0.09
"""Exponent below the reference run's end, fitted to real training of several tasks, each left out in turn
(``python -m benchmarks.accuracy.spread``)."""
LATER = 0.1
"""The same where only a subset was probed: the simulation goes on overfitting it below the reference run's end. Not
fitted, and not measured yet: ``python -m benchmarks.constants --sections part`` varies it."""
NOISE = 0.025
"""Exponent of the noise scale relative to the reference's, fitted to real training of several tasks, each left out in
turn (``python -m benchmarks.accuracy.noise``) …"""
NOISE_BEYOND = 0.06
"""… and what it grows by for each factor of e of the loss below the reference run's end."""
MOST_NOISE = 8.0
"""Largest ratio of noise scales, either way, that the law of noise is applied to; it is not extrapolated further. On
diabetes no figure differs between 4 and no bound at all; with 1, which is no law of noise, the 90th percentile of
AdamW's errors was 20 instead of 32 % there (other tasks gain by the law: ``python -m benchmarks.accuracy.noise``)."""
PAST_END = 0.7
"""The reference run is simulated to this share of its lowest loss, so that all its simulated paths pass that loss; at
most `WIDEST` times its own steps, as a longer one is outside the bound of the correction. A numerical guard."""
WIDEST = 3.0
"""Bound of the correction, either way: a simulation that is further off does not follow the reference run at all. A
guard: on diabetes no figure differs between 1.5 and no bound at all; with 1, which is no correction, median errors were
20 (AdamW) and 15 % (SGD) instead of 7 and 8."""


def exponent_of(*, features_move: bool, all_samples: bool, lifts: bool) -> float:
    """The exponent b below the end of the reference run.

    Args:
        features_move: Whether tangents along the path differ.
        all_samples: Whether all training samples were probed.
        lifts: Whether simulated curves are extrapolated from the probed samples to the whole set.
    """
    if not all_samples:
        return 0.0 if lifts else -LATER
    return SOONER if features_move else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Correction:
    """c(ρ), piecewise linear in ln ρ."""

    ratios: Floats
    """Loss ratios, falling, shape (K,), K ≥ 1."""
    factors: Floats
    """c there, shape (K,)."""
    end: float = 0.0
    """ρ_S, the lowest ratio of the reference run; 0: the factor at the last ratio holds below it, too."""
    exponent: float = 0.0
    """b."""
    noise: float = 0.0
    """x, of the candidate; 0: like the reference."""

    @classmethod
    def measure(
        cls, steps: Floats, real: Floats, simulated_steps: Floats, simulated: Floats, *, exponent: float = SOONER
    ) -> Correction:
        """The correction factors from the reference run's real and simulated losses.

        Args:
            steps: Of the real losses, shape (T,).
            real: Real losses, shape (T,).
            simulated_steps: Of the simulated losses, shape (U,).
            simulated: Simulated losses of several sample paths, shape (P, U).
            exponent: b.
        """
        lowest = float(np.min(real) / real[0])
        ratios = np.geomspace(FIRST_RATIO, min(lowest * 1.001, FIRST_RATIO), LEVELS)
        took = first_crossings(steps, real[None], ratios)[0]
        expected = np.median(first_crossings(simulated_steps, simulated, ratios), axis=0)
        known = np.isfinite(took) & np.isfinite(expected)
        if not known.any():
            return cls(ratios=np.ones(1), factors=np.ones(1), end=lowest, exponent=exponent)
        factors = np.clip((took[known] + ONE_STEP) / (expected[known] + ONE_STEP), 1.0 / WIDEST, WIDEST)
        return cls(ratios=ratios[known], factors=factors, end=lowest, exponent=exponent)

    def of(self, candidate: Candidate, reference: Candidate) -> Correction:
        """The correction of a candidate, whose gradient noise differs from the reference run's."""
        return replace(self, noise=relative_noise(candidate, reference))

    def apply(self, times: Floats, losses: Floats) -> Floats:
        """Corrected times of a simulated curve, ``(T,), (P, T) -> (T,)``; non-decreasing.

        Args:
            times: Simulated steps.
            losses: Training losses of P paths there; ρ is that of their median.
        """
        typical = np.median(losses, axis=0)
        finite = np.where(np.isfinite(typical), typical, typical[0])
        ratio = np.minimum.accumulate(finite) / max(float(typical[0]), 1e-300)
        where = -np.log(np.clip(ratio, 1e-300, 1.0))
        factors = np.interp(where, -np.log(self.ratios), self.factors)
        beyond = np.maximum(0.0, where + np.log(self.end)) if self.end > 0.0 else np.zeros_like(where)
        factors = factors * np.exp((NOISE + NOISE_BEYOND * beyond) * self.noise - self.exponent * beyond)
        return np.asarray(np.maximum.accumulate(times * factors))


def relative_noise(candidate: Candidate, reference: Candidate) -> float:
    """The log ratio x of noise scales, in [−ln `MOST_NOISE`, ln `MOST_NOISE`]."""
    own, other = (c.effective_lr / c.samples_per_step for c in (candidate, reference))
    most = math.log(MOST_NOISE)
    return min(max(math.log(own / other), -most), most)


def first_crossings(steps: Floats, losses: Floats, ratios: Floats) -> Floats:
    """Step at which each curve first falls to each ratio of its initial value, log-linear between records, +inf where
    it does not; ``(T,), (P, T), (K,) -> (P, K)``.
    """
    found = np.full((len(losses), len(ratios)), np.inf)
    for row, curve in enumerate(losses):
        gap = np.log(np.maximum(curve, 1e-300)) - np.log(max(float(curve[0]), 1e-300))
        lowest = np.minimum.accumulate(gap)
        for column, ratio in enumerate(np.log(ratios)):
            hits = np.flatnonzero(lowest <= ratio)
            if len(hits) == 0:
                continue
            i = int(hits[0])
            if i == 0 or not np.isfinite(gap[i - 1]):
                found[row, column] = steps[i]
                continue
            share = (gap[i - 1] - ratio) / (gap[i - 1] - gap[i])
            found[row, column] = steps[i - 1] + share * (steps[i] - steps[i - 1])
    return found
