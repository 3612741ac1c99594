"""A Gaussian process over learning curves of many candidates.

Notation: score z of candidate i at progress p (`raytt.forecast.curves.normal_scores`), v = ln(p + ε), similarity k of
candidates (`raytt.forecast.curves.similarity`).

    cov(z_i(p), z_j(p')) = c² + (s² k_ij + g² x_i x_j + o² 1{i = j}) exp(−|v − v'| / ℓ),   observed with noise n

c: what all have in common; s: what alike candidates share; g: a slope in x, ln of the seconds of an evaluation less
its mean over candidates, in standard deviations (larger networks cost more and are often better; which way the slope
goes is learned); o: a candidate's own. The Ornstein–Uhlenbeck factor says
that a curve's rank at a share p of its training correlates with its final rank like p^(1/ℓ). It is Markov: given a
curve's last value, earlier ones say little, so that only the last and one at half its length are kept.

Source of the idea: Swersky, Snoek, Adams 2014, *Freeze-thaw Bayesian optimization* (arXiv 1406.3896).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LENGTH = 20.0
"""ℓ: the metric itself correlates with its end as with 11.7 (11.1–12.3 with each data set left out, ``python -m
benchmarks.arena.constants``), but part of that is noise and growth that the scale of scores takes away. Between 12, 20
and 40, 20 ranked five of the recorded data sets best for little money."""
NOUGHT = 1e-8
"""ε: what is seen before the learning rate has risen at all correlates with the end like exp(−18/ℓ)."""
COMMON, SMOOTH, SLOPE, OWN, NOISE = 0.55, 0.7, 0.3, 0.7, 0.08
"""c, s, g, o, n: half of the variance of a score is put down to hyperparameters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observations:
    """m scores."""

    candidates: Ints
    """i, shape (m,)."""
    progress: Floats
    """p, shape (m,)."""
    scores: Floats
    """z, shape (m,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """One place per candidate, and what the observations say of them together with all candidates' ends."""

    variance: Floats
    """Of a new observation there, noise included, shape (m,)."""
    covariance: Floats
    """With the final scores of all n candidates, shape (n, m)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveProcess:
    """The process, given observations; there may be none."""

    similarity: Floats
    """k, shape (n, n)."""
    log_cost: Floats
    """x, shape (n,)."""
    observed: Observations

    def _prior(self, i: Ints, p: Floats, j: Ints, q: Floats) -> Floats:
        away = np.abs(np.log(p + NOUGHT)[:, None] - np.log(q + NOUGHT)[None, :])
        shared = SMOOTH**2 * self.similarity[np.ix_(i, j)] + OWN**2 * (i[:, None] == j[None, :])
        shared += SLOPE**2 * np.outer(self.log_cost[i], self.log_cost[j])
        return np.asarray(COMMON**2 + shared * np.exp(-away / LENGTH))

    def _variance(self, i: Ints) -> Floats:
        return np.asarray(COMMON**2 + SMOOTH**2 + (SLOPE * self.log_cost[i]) ** 2 + OWN**2)

    @cached_property
    def _factor(self) -> Floats:
        o = self.observed
        total = self._prior(o.candidates, o.progress, o.candidates, o.progress)
        total[np.diag_indices_from(total)] += NOISE**2
        return np.asarray(np.tril(cho_factor(total, lower=True)[0]))

    def _reduced(self, i: Ints, p: Floats) -> Floats:
        """L⁻¹ K of places, shape (observations, m)."""
        o = self.observed
        cross = self._prior(o.candidates, o.progress, i, p)
        return np.asarray(solve_triangular(self._factor, cross, lower=True)) if len(o.scores) else cross

    @cached_property
    def _ends(self) -> tuple[Ints, Floats, Floats]:
        n = len(self.similarity)
        ids, ones = np.arange(n), np.ones(n)
        return ids, ones, self._reduced(ids, ones)

    def final(self) -> tuple[Floats, Floats]:
        """Mean and variance of the final scores of all candidates, shape (n,) each."""
        ids, ones, reduced = self._ends
        o = self.observed
        variance = self._variance(ids) - np.square(reduced).sum(axis=0)
        if not len(o.scores):
            return np.zeros(len(ids)), variance
        weights = cho_solve((self._factor, True), o.scores)
        mean = self._prior(ids, ones, o.candidates, o.progress) @ weights
        return np.asarray(mean), np.maximum(variance, 0.0)

    def places(self, candidates: Ints, progress: Floats) -> Places:
        """What a further observation of these candidates at that progress would say of all ends."""
        ids, ones, ends = self._ends
        reduced = self._reduced(candidates, progress)
        variance = self._variance(candidates) + NOISE**2 - np.square(reduced).sum(axis=0)
        return Places(variance=variance, covariance=self._prior(ids, ones, candidates, progress) - ends.T @ reduced)
