"""The reference run as a control variate: what its own simulation is wrong by is taken out of every candidate.

Notation: ρ loss ratio (training loss over its initial value); T(ρ) first step at which it is reached.

The reference run was really trained, and is also simulated like any candidate. At loss ratio ρ the simulation is off by
the factor c(ρ) = T_real(ρ) / T_sim(ρ). A candidate's simulated time t at which its loss first fell to ρ becomes c(ρ) t:
errors that all runs on one path share (features between two tangents, the sketch, the subsample) cancel, those of the
candidate alone stay.

Where only some of the training samples were probed, the simulation learns these few by heart too soon, the reference
run not: that is part of c. (Carrying the simulation over to the whole set first, as `raytt.forecast.full_dataset` does,
and measuring c on what comes out was no better and needs as many simulations again. Median errors of SGD and AdamW,
this way and that way, in per cent: Fashion-MNIST, 512 of 5,000 samples: 9 and 17, 34 and 43; digits, 128 of 400: 20 and
20, 20 and 23; diabetes, 100 of 200: 28 and 37, 19 and 12. ``python -m benchmarks.accuracy --tasks digits --samples
128``, likewise the others.)

Below the ratio ρ_S at which the reference stopped nothing was measured, and the path is extrapolated with
c(ρ) = c(ρ_S) (ρ/ρ_S)^b. With all samples, b = `SOONER`: real networks go on adapting to the samples that are left, in
directions that the reference had no reason to take. Where features stand still they cannot, and b = 0: on docstrings
with the head alone trained, median errors (90th percentiles) were 9 (30) % with AdamW and 8 (17) % with SGD with
`SOONER`, without it 9 (18) and 5 (16). With a part of the samples, b = −`LATER`: learning by heart gets worse. A
simulation carried over to the whole set has b = 0.

What is left differs between candidates by their minibatch noise, which grows with η/B (Jastrzębski et al. 2017,
arXiv 1711.04623). Simulated noise is that of the reference's features; in real training, features come further under
less of it. With x = ln of the candidate's η/B over the reference's (η the peak learning rate over 1 − μ; |x| at most
ln `MOST_NOISE`) and d = ln(ρ_S/ρ) ≥ 0, steps are multiplied by exp((`NOISE` + `NOISE_BEYOND` d) x), unless features
stand still. The sign is the same in nearly every task of the record, for SGD as for AdamW.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

LEVELS = 24
"""Loss ratios, evenly in their logarithm, at which c is measured."""
FIRST_RATIO = 0.9
"""Above this, too few steps have been taken to tell."""
ONE_STEP = 1.0
"""Added to both times: a crossing is known to a step or so, which early on is much."""
SOONER = 0.09
"""Exponent below the reference's end, of real training of several tasks, each left out in turn
(``python -m benchmarks.accuracy.spread``)."""
LATER = 0.1
"""The same where only some of the samples were probed: learning by heart goes on below the reference's end. A modest
value; not fitted."""
NOISE = 0.025
"""Exponent of the noise relative to the reference's, of real training of several tasks, each left out in turn
(``python -m benchmarks.accuracy.noise``) …"""
NOISE_BEYOND = 0.06
"""… and what a fall of the loss by a factor of e below the reference's end adds to it."""
MOST_NOISE = 8.0
"""Factor beyond which more or less noise makes no further difference."""
WIDEST = 3.0
"""A correction is at most this factor; one that would be larger says that the path is wrong."""


def exponent_of(*, features_move: bool, all_samples: bool, lifts: bool) -> float:
    """The exponent b below the end of the reference run.

    Args:
        features_move: Whether tangents along the path differ.
        all_samples: Whether all training samples were probed.
        lifts: Whether simulations are carried over from those probed to all.
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
        """C from the reference's real and simulated losses.

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
        """That of a candidate, which has more or less noise than the reference run."""
        return replace(self, noise=relative_noise(candidate, reference))

    def apply(self, times: Floats, losses: Floats) -> Floats:
        """Corrected times of a simulated curve, ``(T,), (P, T) -> (T,)``; never falling.

        Args:
            times: Simulated steps.
            losses: Training losses of P paths there; their median tells how far the candidate has come.
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
    """X, in [−ln `MOST_NOISE`, ln `MOST_NOISE`]."""
    own, other = (c.lr / (1.0 - c.momentum) / c.batch_size for c in (candidate, reference))
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
