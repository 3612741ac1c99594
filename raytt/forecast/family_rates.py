"""Descent rates along a reference run, pooled into the table that candidates walk with.

Notation: v_B(s), n_B(s) descent rate and noise at saved state s for minibatches of B (`raytt.rates.signal`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.second_run import SecondRun
from raytt.forecast.training_reference import TrainingReference
from raytt.rates.batch_factor import ADAPTIVE, PLAIN, batch_factors
from raytt.rates.batch_level import log_levels
from raytt.rates.lag import LagTable
from raytt.rates.rate_table import Batch, RateTable, batch_of, samples_of
from raytt.rates.signal import Signal
from raytt.rates.slowing import Slowing
from raytt.rates.slowing_measurement import measured_slowing
from raytt.rates.walk import Walk, walk
from raytt.task.candidate import Candidate
from raytt.task.optimizers import Adafactor, Adaptive, Lion, Optimizer

Floats = NDArray[np.float64]
Scale = float | tuple[float | None, ...] | None
"""What `scale_of` gives."""

SETTLED, NEVER_SETTLED = 0.15, 0.35
"""Excess loss by ¼ η n over the loss, of reference runs of networks without batch norm, see
`FamilyRates.noise_share`. It was 0.03 to 0.12 in MiniLM, a vision transformer and a small network, where taking it in
made predictions better. The upper one is a judgement."""
SETTLED_NORMS, NEVER_SETTLED_NORMS = 0.06, 0.10
"""The same with batch norm: noise of a minibatch's composition is in n, and weights before a norm may move without any
effect. It was 0.03 in a small network, where taking it in made predictions better, 0.11 and 0.13 in a ResNet, 0.17 and
0.23 in EfficientNet-Lite0 on photographs, 0.65 to 1.3 on digits, where it mostly made them worse: 90th percentiles of
errors in steps to validation losses were 181, 62, 212 and 91 % with it, 64, 29, 22 and 242 % without (ResNet with SGD
and AdamW, EfficientNet with AdamW and SGD; ``python -m benchmarks.rates.quality``, 2026-11-29)."""
TOLD = 2.0
"""A rate over its standard error from which on it is told from noise."""
_SAME = Signal(rate=1.0, noise=1e-12, rate_error=0.0, noise_error=0.0, minibatches=2)
SLOWING = 0.1
"""p of (η/η_ref)^p, by which steps of candidates with another learning rate than the reference run's are longer or
shorter than descent rates say. Without it the error of predicted steps goes with ln η in all of six cases (correlation
−0.3 to −0.8). With 0.1 the medians of |ln(predicted/real)| are 0.05–0.09 instead of 0.07–0.15, lower in all six; 90th
percentiles are lower in four, and higher in two small networks with AdamW (0.22 and 0.28 instead of 0.17 and 0.20).
With 0.2 medians are lower still in three and higher in three (``python -m benchmarks.rates.learning_rates``,
2026-11-29)."""
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
    batch_norms: bool = False
    """Whether there are batch norms that use the statistics of each minibatch."""
    second: SecondRun | None = None
    """A run at another learning rate; None: there is none."""
    measured: bool = True
    """False where no rates were measured: all are then the same, and pilots alone tell more."""

    @classmethod
    def unmeasured(cls, reference: TrainingReference, candidates: Sequence[Candidate]) -> FamilyRates:
        """Before any rate is measured: all are the same, and candidates walk by learning-rate time alone."""
        sizes = sorted({batch_of(c) for c in (*candidates, reference.candidate)}, key=lambda b: (samples_of(b), str(b)))
        states = len(reference.point_steps)
        return cls(
            reference=reference,
            batch_sizes=tuple(sizes),
            own=[[_SAME] * len(sizes)] * states,
            base=[_SAME] * states,
            measured=False,
        )

    def table(self) -> tuple[RateTable, Floats]:
        """The table to walk with, and the standard error of ln of each column's mean rate, shape ``(columns,)``."""
        signals = [[base, *row] for base, row in zip(self.base, self.own, strict=True)]
        rates, errors, noises = (
            np.array([[getattr(signal, name) for signal in row] for row in signals])
            for name in ("rate", "rate_error", "noise")
        )
        sizes = np.array([samples_of(batch) for batch in self.batch_sizes], dtype=np.float64)
        same = self.batch_sizes.index(batch_of(self.reference.candidate))
        adaptive = self.reference.candidate.optimizer.scale_free
        found = batch_factors(sizes, same, rates[:, 1:], errors[:, 1:], ADAPTIVE if adaptive else PLAIN)
        logs = found.logs + _log_rescaling([row[0] for row in signals], [row[1 + same] for row in signals])[:, None]
        floor = 1e-3 * float(np.max(np.abs(noises))) + _TINY
        table = RateTable(
            times=np.asarray([self.reference.times[step] for step in self.reference.point_steps]),
            batch_sizes=(0, *self.batch_sizes),
            reference_batch_size=0,
            rates=np.concatenate([np.ones((len(logs), 1)), np.exp(logs)], axis=1),
            noises=np.maximum(noises, floor) * self.noise_share(),
            levels=self._levels(),
            norms=np.array([[signal.norms for signal in row] for row in signals]) if signals[0][0].norms else None,
            pulls=np.array([[signal.pull for signal in row] for row in signals]),
            squares=np.array([[_square(signal) for signal in row] for row in signals]),
        )
        return table, found.errors.mean(axis=0)

    def _levels(self) -> Floats:
        """Of `RateTable`; 0 for the reference's own column."""
        sizes = np.array([_minibatch(batch) for batch in self.batch_sizes], dtype=np.float64)
        losses = np.array([[signal.loss for signal in row] for row in self.own])
        found = log_levels(sizes, _minibatch(batch_of(self.reference.candidate)), losses)
        return np.concatenate([np.zeros((len(found), 1)), found], axis=1)

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
        states) the formula is believed, beyond `NEVER_SETTLED` not at all, and between the two in part; with batch
        norms `SETTLED_NORMS` and `NEVER_SETTLED_NORMS` are the bounds.
        """
        low, high = (SETTLED_NORMS, NEVER_SETTLED_NORMS) if self.batch_norms else (SETTLED, NEVER_SETTLED)
        path, candidate = self.reference.path(), self.reference.candidate
        losses = np.interp([self.reference.times[step] for step in self.reference.point_steps], path.times, path.losses)
        excess = 0.25 * candidate.effective_lr * np.array([signal.noise for signal in self.base])
        share = float(np.median(excess / np.maximum(np.abs(losses), _TINY)))
        return max(float(np.clip((high - share) / (high - low), 0.0, 1.0)), _LEAST_SHARE)

    def gained(self) -> float:
        """The fall of the reference's loss between its saved states over ∫ v dτ, what its rates promise to first order;
        +inf where they promise nothing.

        It is 1 for small learning rates, and less where steps overshoot in directions of high curvature. Between saved
        states v is linear in the loss, which is known at every step: in τ it falls too fast for straight lines.
        """
        path, at = self.reference.path(), [self.reference.times[step] for step in self.reference.point_steps]
        rates = np.array([max(signal.rate, 0.0) for signal in self.base])
        losses = np.interp(at, path.times, path.losses)
        order = np.argsort(losses)
        times = np.unique(np.concatenate([path.times[path.times <= at[-1]], at]))
        lowest = np.interp(times, path.times, np.minimum.accumulate(path.losses))
        promised = float(np.trapezoid(np.interp(lowest, losses[order], rates[order]), times))
        return float(losses[0] - losses[-1]) / promised if promised > 0.0 else math.inf

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
        slowing = Slowing(usual=0.0) if plain else self.slowing
        return walk(self.reference.path(), table, candidates, budgets, paces=paces, slowing=slowing)

    @cached_property
    def slowing(self) -> Slowing:
        """By how much high learning rates make less of their steps."""
        if self.second is None:
            return Slowing(usual=SLOWING)
        return measured_slowing(self.reference.path(), self.table()[0], self.second.reference.path(), SLOWING)

    def slowed_beyond(self, candidate: Candidate) -> float:
        """The factor by which a candidate's steps are slowed beyond what was measured, at most; see `Slowing`."""
        column = self.batch_sizes.index(batch_of(candidate))
        loads = [_square(row[column]) / _square(base) for row, base in zip(self.own, self.base, strict=True)]
        share = candidate.effective_lr / self.reference.candidate.effective_lr
        return self.slowing.extrapolated(share * float(np.median(loads)))


def _square(signal: Signal) -> float:
    """Mean square of a minibatch's gradient."""
    return max(signal.rate + signal.noise, _TINY)


def _minibatch(batch: Batch) -> int:
    """Samples that are passed together, which is what batch norms see."""
    return batch if isinstance(batch, int) else batch[0]


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


def scale_of(optimizer: Optimizer) -> Scale:
    """What tells the ways of scaling gradients of one family apart.

    ε of an adaptive optimizer; how much Lion averages; ε₁, ε₂ and d of Adafactor; None for others.
    """
    if isinstance(optimizer, Adafactor):
        return (*optimizer.eps, optimizer.d)
    if isinstance(optimizer, Lion):
        return optimizer.averaged_variance
    return optimizer.eps if isinstance(optimizer, Adaptive) else None
