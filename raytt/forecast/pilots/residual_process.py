"""Residuals of one optimizer family learned from its pilots: a Gaussian process around one prediction.

Notation as in `raytt.forecast.pilots.residual_prior`. The amplitude a ≥ 1 is the most likely one a posteriori under
ln a ~ |N(0, `AMPLITUDE_SPREAD`²)|, on a fixed grid: the only thing about the prior that a few pilots can tell. It is
never below 1: one pilot that was predicted well made intervals too narrow (they held 64–86 % instead of 90).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.pilots.gaussian_process import GaussianProcess, log_density
from raytt.forecast.pilots.residual_prior import Places, ResidualPrior, covariance, features
from raytt.forecast.pilots.residuals import Residual
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

AMPLITUDE_SPREAD = 0.5
"""Scale of ln a: on tasks unlike those of the record predictions may err twice as much."""
AMPLITUDES = np.exp(np.linspace(0.0, 1.5, 31))
"""The grid of a."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualProcess:
    """A family's residuals, given those of its pilots."""

    prior: ResidualPrior
    """Before any pilot."""
    budgets: Mapping[Candidate, int]
    """Steps of all candidates of the family, in an order that numbers them; pilots are among them."""
    observed: Mapping[Candidate, Sequence[Residual]]
    """Of each pilot, at the levels it passed."""

    @cached_property
    def _numbers(self) -> dict[Candidate, int]:
        return {candidate: number for number, candidate in enumerate(self.budgets)}

    @cached_property
    def _models(self) -> dict[Candidate, int]:
        families = sorted({candidate.family for candidate in self.budgets})
        return {candidate: families.index(candidate.family) for candidate in self.budgets}

    def _places_of(self, places: Sequence[tuple[Candidate, float]]) -> Places:
        rows = [(self._numbers[c], features(c, self.budgets[c]), depth) for c, depth in places]
        return Places.of(rows, [self._models[c] for c, _ in places])

    @cached_property
    def _known(self) -> tuple[Places, Floats, Floats]:
        rows = [(c, one) for c in sorted(self.observed, key=self._numbers.__getitem__) for one in self.observed[c]]
        places = self._places_of([(c, one.depth) for c, one in rows])
        return places, np.array([one.value for _, one in rows]), np.array([one.noise for _, one in rows])

    def _places(self, candidates: Sequence[Candidate], depth: float) -> Places:
        return self._places_of([(c, depth) for c in candidates])

    @cached_property
    def amplitude(self) -> float:
        """The amplitude a; 1 without observations."""
        places, values, noise = self._known
        if not len(values):
            return 1.0
        unit = covariance(self.prior, places, places)
        scores = [
            GaussianProcess(covariance=a * a * unit, noise=noise, values=values).log_likelihood()
            - 0.5 * (np.log(a) / AMPLITUDE_SPREAD) ** 2
            for a in AMPLITUDES
        ]
        return float(AMPLITUDES[int(np.argmax(scores))])

    @cached_property
    def _process(self) -> GaussianProcess:
        places, values, noise = self._known
        unit = covariance(self.prior, places, places)
        return GaussianProcess(covariance=self.amplitude**2 * unit, noise=noise, values=values)

    def predict(self, candidates: Sequence[Candidate], depth: float) -> tuple[Floats, Floats]:
        """Mean (m,) and covariance (m, m) of the residuals of candidates at a depth."""
        wanted, scale = self._places(candidates, depth), self.amplitude**2
        return self._process.posterior(
            scale * covariance(self.prior, wanted, self._known[0]), scale * covariance(self.prior, wanted, wanted)
        )

    def left_out(self) -> dict[Candidate, tuple[float, float]]:
        """Of each pilot: error of its deepest residual predicted from the other pilots alone, and ln of its density.

        The error is real less predicted; the density has the noise and the whole uncertainty of the prediction in it.
        """
        places, values, _ = self._known
        found = {}
        for candidate in sorted(self.observed, key=self._numbers.__getitem__):
            own = np.flatnonzero(places.candidates == self._numbers[candidate])
            if not len(own):
                continue
            mean, spread = self._process.left_out(own)
            last = int(np.argmax(places.depths[own]))
            error = float(values[own][last] - mean[last])
            found[candidate] = (error, log_density(np.array([error]), spread[last : last + 1, last : last + 1]))
        return found
