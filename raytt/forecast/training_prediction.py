"""Forecasts for training in the user's own mode, from descent rates along a reference run.

Notation: τ learning-rate time Σ η^eff; v_B(s) the descent rate at saved state s for minibatches of B (`raytt.rates`); ρ
loss ratio, smoothed minibatch loss over that of the first minibatches.

A candidate walks along the reference run's loss curve (`raytt.rates.walk`): in learning-rate time, times the measured
ratio v_B/v_{B_ref}, with the excess loss that the noise of its minibatches keeps up at its learning rate. The target is
on the training loss as a trainer logs it: the loss of minibatches, smoothed.

The 90 % interval of steps T holds, in ln T, the standard error of ln(v_B/v_{B_ref}) and a model error σ that is fitted
to real training (`MODEL_SPREAD`); to first order ln T changes by as much as that logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from raytt.errors import InputError
from raytt.forecast.curve_bands import POINTS, Band
from raytt.forecast.forecast import Forecast, Status
from raytt.forecast.interval import COVERAGE
from raytt.forecast.reference_check import ReferenceCheck
from raytt.pricing.machine import Timing
from raytt.rates.pooling import LEAST_ERROR, fit_inverse_line, smooth_over_points
from raytt.rates.rate_table import RateTable
from raytt.rates.signal import Signal
from raytt.rates.smoothing import smoothed
from raytt.rates.walk import ReferencePath, Walk, walk
from raytt.task.candidate import Candidate
from raytt.task.optimizers import Adaptive, Optimizer
from raytt.task.target import Target

Floats = NDArray[np.float64]

MODEL_SPREAD = 0.15
"""Standard deviation σ of ln(real/predicted steps) that rates do not explain. On two small networks (one with batch
norm, one with layer norm) errors with 16 minibatches a rate had medians of 6 and 7 % with AdamW, 9 and 14 % with SGD,
and 90th percentiles of 15 to 29 %: normal laws with σ from 0.09 to 0.2 (``python -m benchmarks.rates``, 2026-11-29)."""
FAR_BEYOND = 0.5
"""A target below this share of the loss at which the reference run stopped is extrapolated too far to be trusted."""
FAST = 10.0
"""Effective learning rate over the reference run's beyond which a forecast is untrusted: whether training diverges or
stalls there is not measured."""
_TINY = 1e-300
_Z = float(ndtri(0.5 + COVERAGE / 2.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingReference:
    """What a reference run in training mode did."""

    candidate: Candidate
    """Its configuration, as it ended."""
    losses: Floats
    """Loss of minibatch t before update t, shape (T,)."""
    times: Floats
    """τ after t = 0 … T updates, shape (T + 1,)."""
    point_steps: tuple[int, ...]
    """Updates done at the saved states, from 0."""
    wasted_steps: int
    """Steps of attempts that were given up."""
    stopped: str
    """Why it stopped."""

    @property
    def optimizer(self) -> str:
        """The family it stands for."""
        return self.candidate.optimizer.name

    @property
    def note(self) -> str:
        """Its configuration, in one sentence."""
        c = self.candidate
        pieces = "".join(f", {piece}" for piece in c.optimizer.describe().values())
        return (
            f"Reference run in training mode: {c.optimizer.name}, lr {c.lr:.3g}{pieces}, batch {c.batch_size}, "
            f"{len(self.losses)} steps ({self.wasted_steps} more in abandoned attempts), stopped {self.stopped}."
        )

    def path(self) -> ReferencePath:
        """Its smoothed loss along its own learning-rate time."""
        return ReferencePath(
            candidate=self.candidate, times=self.times[: len(self.losses)], losses=smoothed(self.losses)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyRates:
    """Descent rates and noises along a reference run, of one way of scaling gradients.

    v_B: 1/v on a straight line in 1/B at each saved state, ln(v_B/v_{B_ref}) averaged over neighbouring states
    (`raytt.rates.pooling`). The reference's own column stands first, under a size that no candidate has, because the
    candidates' scaling may be another one.
    """

    reference: TrainingReference
    """The run."""
    batch_sizes: tuple[int, ...]
    """Of the columns; the reference's among them."""
    own: Sequence[Sequence[Signal]]
    """Of the candidates: one row per saved state, one column per batch size."""
    base: Sequence[Signal]
    """Of the reference's own optimizer and batch size, one per saved state."""

    def table(self) -> tuple[RateTable, Floats]:
        """The table to walk with, and the standard error of ln of each column's mean rate, shape ``(columns,)``."""
        signals = [[base, *row] for base, row in zip(self.base, self.own, strict=True)]
        rates, errors, noises = (
            np.array([[getattr(signal, name) for signal in row] for row in signals])
            for name in ("rate", "rate_error", "noise")
        )
        # A rate is not known better than this, whatever a jackknife of few blocks says.
        errors = np.maximum(np.nan_to_num(errors, nan=np.inf), LEAST_ERROR * np.abs(rates) + _TINY)
        errors = np.where(np.isfinite(errors), errors, np.abs(rates) + _TINY)
        sizes = np.array(self.batch_sizes, dtype=np.float64)
        fits = np.array([fit_inverse_line(sizes, r, e) for r, e in zip(rates[:, 1:], errors[:, 1:], strict=True)])
        same = self.batch_sizes.index(self.reference.candidate.batch_size)
        # Where the scaling is the reference's own, its rate is that of the line, too.
        shared = bool(np.allclose(rates[:, 0], rates[:, 1 + same], rtol=1e-9))
        base = fits[:, same : same + 1] if shared else np.maximum(rates[:, :1], errors[:, :1])
        logs = np.log(fits) - np.log(base)
        relative = errors[:, 1:] / fits
        pooled = smooth_over_points(logs, np.hypot(relative, errors[:, :1] / base))
        floor = 1e-3 * float(np.max(np.abs(noises))) + _TINY
        table = RateTable(
            times=np.asarray([self.reference.times[step] for step in self.reference.point_steps]),
            batch_sizes=(0, *self.batch_sizes),
            reference_batch_size=0,
            rates=np.concatenate([np.ones((len(pooled), 1)), np.exp(pooled)], axis=1),
            noises=np.maximum(noises, floor),
        )
        return table, np.sqrt(np.square(relative).sum(axis=0)) / len(relative)


def scale_of(optimizer: Optimizer) -> float | None:
    """What tells the ways of scaling gradients of one family apart: ε of an adaptive optimizer, None for others."""
    return optimizer.eps if isinstance(optimizer, Adaptive) else None


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingPrediction:
    """Walks of all candidates along their family's reference run, and what follows from them."""

    budgets: Mapping[Candidate, int]
    """Steps each candidate may take."""
    rates: Mapping[tuple[str, float | None], FamilyRates]
    """By optimizer family and `scale_of`."""
    num_samples_full: int
    """N_full."""
    num_trainable: int
    """D."""
    timing: Timing
    """Step times with the work of a step, from which times on other machines follow."""
    work_notes: tuple[str, ...]
    """What the user must know of how the work of a step was counted."""
    task_notes: tuple[str, ...]
    """What the user must know of data and network in training mode."""
    made_from: str
    """Fingerprint of the reference runs."""
    _walks: dict[Candidate, tuple[Walk, int, float]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        groups: dict[tuple[str, float | None], list[Candidate]] = {}
        for candidate in self.budgets:
            groups.setdefault((candidate.optimizer.name, scale_of(candidate.optimizer)), []).append(candidate)
        for key, members in groups.items():
            family = self.rates[key]
            table, errors = family.table()
            found = walk(family.reference.path(), table, members, [self.budgets[c] for c in members])
            for row, candidate in enumerate(members):
                error = float(errors[family.batch_sizes.index(candidate.batch_size)])
                self._walks[candidate] = (found, row, error)

    @property
    def method(self) -> str | None:
        """``rates``: predictions follow reference runs by descent rates."""
        return "rates"

    @property
    def num_samples(self) -> int | None:
        """None: there is no subsample."""
        return None

    @property
    def num_outputs(self) -> int | None:
        """None: outputs play no part."""
        return None

    @property
    def stability_limit(self) -> float:
        """+inf: it is not measured."""
        return math.inf

    @property
    def checks(self) -> tuple[ReferenceCheck, ...]:
        """None: a reference run is predicted by itself exactly."""
        return ()

    @property
    def references(self) -> tuple[TrainingReference, ...]:
        """The reference runs, one per family."""
        found = {family.reference.optimizer: family.reference for family in self.rates.values()}
        return tuple(found[name] for name in sorted(found))

    @property
    def initial_loss(self) -> float:
        """Smoothed loss of the first minibatches, of the first family."""
        return float(self.references[0].path().losses[0])

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know, one sentence each."""
        return (
            *self.task_notes,
            "Targets are on the training loss as a trainer logs it: the smoothed loss of minibatches in training mode.",
            *(reference.note for reference in self.references),
        )

    def forecasts(self, target: Target) -> dict[Candidate, Forecast]:
        """What happens to each candidate.

        Raises:
            InputError: If the target is not a level of the training loss.
        """
        check_training_target(target)
        return {candidate: self._forecast(candidate, target) for candidate in self.budgets}

    def bands(self) -> dict[Candidate, Band]:
        """Predicted loss curves with the model error's band: steps scaled by exp(±z σ)."""
        found = {}
        for candidate, budget in self.budgets.items():
            walked, row, error = self._walks[candidate]
            steps = np.unique(np.round(np.linspace(0, budget, min(POINTS, budget + 1))))
            losses = walked.losses[row]
            own = np.arange(budget + 1, dtype=np.float64)
            reach = math.exp(_Z * math.hypot(MODEL_SPREAD, min(error, 1.0)))
            curves = [np.interp(steps * factor, own, losses[: budget + 1]) for factor in (reach, 1.0, 1.0 / reach)]
            found[candidate] = Band(steps=steps, curves={"train_loss": np.stack(curves)})
        return found

    def _forecast(self, candidate: Candidate, target: Target) -> Forecast:
        walked, row, error = self._walks[candidate]
        path = self.rates[candidate.optimizer.name, scale_of(candidate.optimizer)].reference.path()
        level = float(target.level(float(path.losses[0])))
        steps = float(walked.steps_to([level])[0][row, 0])
        doubts = _left_out(candidate)
        if walked.over_limit[row]:
            return Forecast(status=Status.UNSTABLE, steps=None, doubts=tuple(doubts))
        if not math.isfinite(steps):
            last = float(walked.losses[row, self.budgets[candidate]])
            return Forecast(
                status=Status.NOT_REACHED,
                steps=None,
                shortfall=max(0.0, math.log(max(last, 1e-30) / level)),
                doubts=tuple(doubts),
            )
        untrusted = self._untrusted(candidate, level, error)
        reach = math.exp(_Z * math.hypot(MODEL_SPREAD, min(error, 1.0)))
        return Forecast(
            status=Status.UNTRUSTED if untrusted else Status.REACHED,
            steps=steps,
            low=steps / reach,
            high=steps * reach,
            doubts=(*doubts, *untrusted),
        )

    def _untrusted(self, candidate: Candidate, level: float, error: float) -> tuple[str, ...]:
        family = self.rates[candidate.optimizer.name, scale_of(candidate.optimizer)]
        path, reference = family.reference.path(), family.reference.candidate
        found = []
        if level < FAR_BEYOND * float(path.losses.min()):
            found.append(
                f"the target is below {FAR_BEYOND:g} times the loss at which the reference run stopped: its curve is "
                "extrapolated"
            )
        fast = candidate.effective_lr / reference.effective_lr
        if fast > FAST:
            found.append(
                f"its effective learning rate is {fast:.0f} times the reference run's: whether training diverges there "
                "was not measured"
            )
        if not error < 1.0:
            found.append(f"the descent rate for batch size {candidate.batch_size} could not be told from noise")
        return tuple(found)


def _left_out(candidate: Candidate) -> list[str]:
    """What descent rates do not know of a candidate, in plain words."""
    found = []
    if candidate.max_grad_norm is not None:
        found.append("its max_grad_norm is left out of the descent rates")
    if getattr(candidate.optimizer, "weight_decay", 0.0) > 0.0:
        found.append("its weight decay is left out of the descent rates")
    return found


def check_training_target(target: Target) -> None:
    """Raise `InputError` unless the target is a level of the training loss."""
    if target.curve != "train_loss" or target.settles:
        raise InputError(
            f"Target {target} with mode='train': descent rates tell the training loss only.",
            "Take a level of the training loss as target, such as 0.3 or loss=0.5, or mode='eval'.",
        )
