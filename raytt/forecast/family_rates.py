"""Descent rates along a reference run, pooled into the table that candidates walk with.

Notation: v_B(s), n_B(s) descent rate and noise at saved state s for minibatches of B (`raytt.rates.signal`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.training_reference import TrainingReference
from raytt.rates.batch_factor import ADAPTIVE, PLAIN, batch_factors
from raytt.rates.lag import LagTable
from raytt.rates.rate_table import Batch, RateTable, batch_of, samples_of
from raytt.rates.signal import Signal
from raytt.rates.walk import Walk, walk
from raytt.task.candidate import Candidate
from raytt.task.optimizers import Adaptive, Lion, Optimizer

Floats = NDArray[np.float64]

SETTLED, NEVER_SETTLED = 0.15, 0.35
"""Excess loss by ¼ η n over the loss, of reference runs, see `FamilyRates.noise_share`. It was 0.06 to 0.13 in two
small networks and MiniLM, where taking it in made predictions better, 0.65 to 1.3 in EfficientNet-Lite0 with AdamW,
where it made them useless (``python -m benchmarks.rates.quality``). Chosen between the two: a judgement."""
TOLD = 2.0
"""A rate over its standard error from which on it is told from noise."""
_LEAST_SHARE = 1e-6
_TINY = 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyRates:
    """Descent rates and noises along a reference run, of one way of scaling gradients.

    v_B/v_{B_ref}: 1/v on a straight line in 1/B, whose slope changes slowly from one saved state to the next
    (`raytt.rates.batch_factor`). The reference's own column stands first, under a size that no candidate has, because
    the candidates' scaling may be another one.
    """

    reference: TrainingReference
    """The run."""
    batch_sizes: tuple[Batch, ...]
    """Of the columns, with their accumulation; the reference's among them."""
    own: Sequence[Sequence[Signal]]
    """Of the candidates: one row per saved state, one column per batch size."""
    base: Sequence[Signal]
    """Of the reference's own optimizer and batch size, one per saved state."""
    lag: LagTable | None = None
    """How running statistics of batch norms lag behind; None where there are none or nothing is evaluated."""
    measured: bool = True
    """False where a pilot stands for the reference run: all rates are then the same, and pilots alone tell more."""

    def table(self) -> tuple[RateTable, Floats]:
        """The table to walk with, and the standard error of ln of each column's mean rate, shape ``(columns,)``."""
        signals = [[base, *row] for base, row in zip(self.base, self.own, strict=True)]
        rates, errors, noises = (
            np.array([[getattr(signal, name) for signal in row] for row in signals])
            for name in ("rate", "rate_error", "noise")
        )
        sizes = np.array([samples_of(batch) for batch in self.batch_sizes], dtype=np.float64)
        same = self.batch_sizes.index(batch_of(self.reference.candidate))
        adaptive = isinstance(self.reference.candidate.optimizer, Adaptive)
        found = batch_factors(sizes, same, rates[:, 1:], errors[:, 1:], ADAPTIVE if adaptive else PLAIN)
        logs = found.logs + _log_rescaling([row[0] for row in signals], [row[1 + same] for row in signals])[:, None]
        floor = 1e-3 * float(np.max(np.abs(noises))) + _TINY
        table = RateTable(
            times=np.asarray([self.reference.times[step] for step in self.reference.point_steps]),
            batch_sizes=(0, *self.batch_sizes),
            reference_batch_size=0,
            rates=np.concatenate([np.ones((len(logs), 1)), np.exp(logs)], axis=1),
            noises=np.maximum(noises, floor) * self.noise_share(),
            norms=np.array([[signal.norms for signal in row] for row in signals]) if signals[0][0].norms else None,
            pulls=np.array([[signal.pull for signal in row] for row in signals]),
        )
        return table, found.errors.mean(axis=0)

    def noise_ratio(self, candidate: Candidate) -> float:
        """η^eff n of a candidate over that of the reference run; the median over the saved states."""
        column = self.batch_sizes.index(batch_of(candidate))
        ratios = [row[column].noise / max(base.noise, _TINY) for row, base in zip(self.own, self.base, strict=True)]
        return float(np.median(ratios)) * candidate.effective_lr / self.reference.candidate.effective_lr

    def noise_share(self) -> float:
        """The share of the excess loss ¼ η n that is taken into account, in (0, 1].

        The formula holds for noise that has settled. In a network with many more weights than samples most of it moves
        weights that the loss hardly depends on, and does not settle in the course of a run. It shows: of the reference
        run itself ¼ η n would then be much of its loss, or more. Up to `SETTLED` of it (the median over the saved
        states) the formula is believed, beyond `NEVER_SETTLED` not at all, and between the two in part.
        """
        path, candidate = self.reference.path(), self.reference.candidate
        losses = np.interp([self.reference.times[step] for step in self.reference.point_steps], path.times, path.losses)
        excess = 0.25 * candidate.effective_lr * np.array([signal.noise for signal in self.base])
        share = float(np.median(excess / np.maximum(np.abs(losses), _TINY)))
        return max(float(np.clip((NEVER_SETTLED - share) / (NEVER_SETTLED - SETTLED), 0.0, 1.0)), _LEAST_SHARE)

    def walk(
        self,
        candidates: Sequence[Candidate],
        budgets: Sequence[int],
        paces: Floats | None = None,
        *,
        plain: bool = False,
    ) -> Walk:
        """Walks along the reference run; ``plain``: by its learning-rate time alone, whatever the batch size."""
        table, _ = self.table()
        if plain:
            table = replace(table, rates=np.ones_like(table.rates), noises=None)
        return walk(self.reference.path(), table, candidates, budgets, paces=paces)


def _log_rescaling(base: Sequence[Signal], own: Sequence[Signal]) -> Floats:
    """Ln of the candidates' rate over the reference's at the reference's batch size, where they scale differently.

    Both are from the same minibatches, so that most of their noise cancels; where they are noise all the same, the
    ratio of mean squares, v + n, stands for that of rates.
    """
    found = []
    for usual, other in zip(base, own, strict=True):
        if min(usual.rate / (usual.rate_error + _TINY), other.rate / (other.rate_error + _TINY)) > TOLD:
            found.append(math.log(other.rate / usual.rate))
        else:
            found.append(math.log((other.rate + other.noise) / (usual.rate + usual.noise)))
    return np.array(found)


def scale_of(optimizer: Optimizer) -> float | None:
    """What tells the ways of scaling gradients of one family apart.

    ε of an adaptive optimizer; how much Lion averages; None for others.
    """
    if isinstance(optimizer, Lion):
        return optimizer.averaged_variance
    return optimizer.eps if isinstance(optimizer, Adaptive) else None
