"""Candidates walk along the path of a reference run: from descent rates to loss curves and steps to a target.

Notation: τ_ref learning-rate time Σ η^eff of the reference run (learning rate η_ref, batch size B_ref), coordinate of
the path; L(τ_ref) its smoothed loss; v_B(τ_ref), n_B(τ_ref) descent rate and noise of minibatches of B at that place
(`raytt.rates.signal`), h_B(τ_ref) the mean curvature along a minibatch's step (`benchmarks.rates.trial_steps`).

*Progress.* Every candidate walks the same path. In step t it moves on by

    Δτ_ref = η^eff_t v_B/v_{B_ref}        at its present place:

learning-rate time, times a batch-size factor that is measured, times what clipping leaves of it
(`raytt.rates.clipping`), less what weight decay takes (`raytt.rates.decay`).

In real training high learning rates make somewhat less of their steps than that, for reasons that rates to first order
do not hold: progress is multiplied with (η/η_ref)^−p (`raytt.rates.slowing`).

*Noise.* Minibatch noise keeps weights at a distance from the path, where the loss is higher by E (`raytt.rates.excess`,
which needs no more than n_B and h_B). The reference's own is part of L, so that a candidate's predicted loss is

    L(τ_ref) − E_ref(τ_ref) + E_t.

This, not a lower rate, is what high learning rates and small batches cost: of each step's fall η v the second order
takes ½ η² c, but at the reference's weights v holds the pull back to the path, of the same size. A target below the
excess is not reached before a schedule lowers the learning rate: the noise floor. Past the reference's end n falls in
proportion to the loss; were it to stay, every fast candidate would have a floor there.

Between the points at which rates were measured, ln(v_B/v_{B_ref}), ln n_B and h_B are linear in τ_ref; before the first
and after the last they stay. Past the reference's end its loss goes on as a power law of τ_ref, with the exponent of
the last `TAIL` of ln τ_ref: slower than an exponential, which is the safe side; what lies there is marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.rates.clipping import kept_by_clipping
from raytt.rates.decay import plain_decay, slope, slowed
from raytt.rates.excess import relaxed, stationary_excess
from raytt.rates.rate_table import RateTable, batch_of
from raytt.rates.slowing import Slowing
from raytt.rates.smoothing import first_crossings
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

TAIL = 0.7
"""Natural logarithm of the factor of τ_ref over which the reference's last exponent is fitted: its second half."""
_NONE = Slowing(usual=0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferencePath:
    """A reference run's loss along its own learning-rate time."""

    candidate: Candidate
    """How it was trained."""
    times: Floats
    """τ_ref after 0 … T − 1 steps, shape (T,), increasing from 0."""
    losses: Floats
    """Smoothed loss there, shape (T,)."""

    def exponent(self) -> float:
        """The a ≥ 0 of L ∝ τ^−a at the end; 0 where the loss is not positive."""
        tail = self.times > self.times[-1] * np.exp(-TAIL)
        if tail.sum() < 2:
            return 0.0
        if not self.losses[tail].min() > 0.0:
            # A loss that becomes negative follows no power law towards zero: past the end it is taken to stay.
            return 0.0
        slope = np.polyfit(np.log(self.times[tail]), np.log(self.losses[tail]), 1)[0]
        return max(0.0, -float(slope))

    def loss(self, times: Floats) -> Floats:
        """L at any τ_ref, past the end by the power law; any shape."""
        inside = np.interp(times, self.times, self.losses)
        beyond = np.maximum(times / self.times[-1], 1.0)
        return np.asarray(inside * beyond ** -self.exponent())

    def fall_beyond(self, times: Floats) -> Floats:
        """L(τ) over the last loss past the end, 1 before; any shape."""
        return np.asarray(np.maximum(times / self.times[-1], 1.0) ** -self.exponent())

    def places(self, losses: Floats, walked: Floats) -> Floats:
        """τ at which the reference itself had these losses; any shape.

        Args:
            losses: Predicted losses.
            walked: τ_ref of those who have them, taken where a loss is below the reference's last one.
        """
        falling = np.minimum.accumulate(self.losses)
        found = np.interp(losses, falling[::-1], self.times[::-1])
        beyond = losses < falling[-1]
        return np.where(beyond, np.maximum(walked, self.times[-1]), found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """What is predicted of M candidates, after 0 … T steps; a candidate stays where its budget ends."""

    places: Floats
    """τ_ref, shape (M, T + 1)."""
    losses: Floats
    """Predicted loss, as it is logged with minibatches of the candidate's own size, shape (M, T + 1)."""
    learnt: Floats
    """The same as minibatches of the reference's size would have it, shape (M, T + 1)."""
    excess: Floats
    """E_t, what of it is the work of noise, shape (M, T + 1)."""
    over_limit: Flags
    """Whether a candidate's learning rate exceeded what the mean curvature allows, shape (M,): its noise then has no
    stationary size, and the prediction is none."""
    end: float
    """τ_ref at which the reference run ended."""

    def steps_to(self, levels: Sequence[float]) -> tuple[Floats, Flags]:
        """Steps until the loss is first at most each level, and whether the place lies past the reference's end.

        Steps are real numbers, linearly interpolated; +inf if not within the budget. Shapes ``(M, levels)`` both.
        """
        steps = np.arange(self.places.shape[1], dtype=np.float64)
        found = np.stack([first_crossings(steps, curve, levels) for curve in self.losses])
        last = np.where(np.isfinite(found), found, steps[-1])
        at = np.stack([np.interp(row, steps, places) for row, places in zip(last, self.places, strict=True)])
        return found, at > self.end


def walk(
    path: ReferencePath,
    table: RateTable,
    candidates: Sequence[Candidate],
    budgets: Sequence[int],
    *,
    paces: Floats | None = None,
    slowing: Slowing = _NONE,
) -> Walk:
    """Walk all candidates at once.

    Args:
        path: Of the reference run.
        table: Descent rates on it, for every candidate's batch size.
        candidates: M of the optimizer whose rates the table holds.
        budgets: Steps of each, which are the length of its schedule.
        paces: What each candidate's progress is multiplied with, shape (M,); None: 1. Its noise stays as it is.
        slowing: By how much high learning rates make less of their steps.

    Raises:
        InputError: If there are no candidates or no rates for a batch size.
    """
    if len(candidates) == 0:
        raise InputError("There is no candidate to walk with.", "Give at least one.")
    total = max(budgets)
    nominal, moves = np.zeros((2, len(candidates), total))
    for m, (candidate, budget) in enumerate(zip(candidates, budgets, strict=True)):
        nominal[m, :budget], moves[m, :budget] = candidate.learning_rates(budget), candidate.effective_rates(budget)
    columns = np.asarray([table.column(batch_of(c)) for c in candidates], dtype=np.int64)
    heavy = np.asarray([_momentum(c) for c in candidates])
    reference_excess = _reference_excess(path, table)
    kept, quieter = kept_by_clipping(table, candidates)
    decays = np.asarray([plain_decay(c) for c in candidates]) - plain_decay(path.candidate)
    places, excess = np.zeros((2, len(candidates), total + 1))
    over_limit = np.zeros(len(candidates), dtype=bool)
    speeds = np.ones(len(candidates)) if paces is None else paces
    shares = moves / path.candidate.effective_lr
    for t in range(total):
        here = table.at(places[:, t], columns)
        progress = here.factor * table.blend(kept, places[:, t])
        if here.pull is not None and decays.any():
            progress = slowed(progress, decays * here.pull / slope(path.loss, path.times, places[:, t]))
        lessened = slowing.factor(shares[:, t], here.load, places[:, t])
        places[:, t + 1] = places[:, t] + moves[:, t] * lessened * progress * speeds
        excess[:, t + 1] = excess[:, t]
        if here.noise is None:
            continue
        going = moves[:, t] > 0.0
        # Past the end noise goes on falling as the loss does: where all is learnt no gradient is left.
        noise = here.noise * table.blend(quieter, places[:, t]) * path.fall_beyond(places[:, t])
        target, over = stationary_excess(noise, here.curvature, nominal[:, t], moves[:, t], heavy)
        over_limit |= over & going
        moved = relaxed(excess[:, t], target, here.curvature, moves[:, t])
        excess[going, t + 1] = moved[going]
    along = path.loss(places)
    # Past the end the reference's own excess falls, too.
    own_excess = np.interp(places, path.times, reference_excess) * path.fall_beyond(places)
    learnt = along + excess - own_excess
    losses = learnt + along * np.expm1(table.log_level(places, columns))
    return Walk(
        places=places, losses=losses, learnt=learnt, excess=excess, over_limit=over_limit, end=float(path.times[-1])
    )


def _momentum(candidate: Candidate) -> float:
    """μ of a velocity that adds gradients up, from lr/(1 − μ)."""
    return 1.0 - candidate.lr / candidate.effective_lr


def _reference_excess(path: ReferencePath, table: RateTable) -> Floats:
    """E_ref after 0 … T − 1 of the reference's own steps, shape (T,)."""
    steps = len(path.times)
    found = np.zeros(steps)
    if table.noises is None:
        return found
    moves = np.diff(path.times)
    nominal, effective = path.candidate.learning_rates(steps), path.candidate.effective_rates(steps)
    share = np.divide(nominal, effective, out=np.ones(steps), where=effective > 0.0)
    own = np.asarray([table.column(table.reference_batch_size)])
    heavy = np.asarray([_momentum(path.candidate)])
    for t, move in enumerate(moves):
        here = table.at(path.times[t : t + 1], own)
        assert here.noise is not None
        rate = np.asarray([move])
        target, _ = stationary_excess(here.noise, here.curvature, rate * share[t], rate, heavy)
        found[t + 1] = relaxed(found[t : t + 1], target, here.curvature, rate)[0]
    return found
