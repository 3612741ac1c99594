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
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from raytt.errors import InputError
from raytt.forecast.curve_bands import POINTS, Band
from raytt.forecast.family_rates import FamilyRates, scale_of
from raytt.forecast.final_qualities import FinalQualities
from raytt.forecast.final_quality import FinalQuality
from raytt.forecast.forecast import Forecast, Status
from raytt.forecast.interval import COVERAGE
from raytt.forecast.pilots.calibration import Calibration, FamilyPaths
from raytt.forecast.pilots.ending import Ending
from raytt.forecast.pilots.instability import why_unstable
from raytt.forecast.pilots.outcome import met_forecast, real_forecast
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.forecast.predicted_curves import PredictedCurves, predicted_curves
from raytt.forecast.reference_check import ReferenceCheck
from raytt.forecast.training_reference import TrainingReference
from raytt.pricing.machine import Timing
from raytt.rates.clipping import clips
from raytt.rates.evaluation import EVALUATED
from raytt.rates.smoothing import first_crossing
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.optimizers import Adaptive
from raytt.task.target import Target

Floats = NDArray[np.float64]

FAR_BEYOND = 0.5
"""A target below this share of the loss at which the reference run stopped is extrapolated too far to be trusted."""
FAST, FAST_ADAPTIVE = 5.0, 12.0
"""Learning rate over the reference run's, as shares of the stability limit, beyond which a forecast is untrusted. Plain
SGD at 6 times the reference's took 1.3 to 3.6 times the predicted steps on two small networks, at 2 times 0.9 to 1.2
times; AdamW at 10 times 1.0 to 1.6, at 30 times 1.3 to 5 (``python -m benchmarks.rates.fast``, 2026-11-29)."""
AS_FAST = 2.0
"""Effective learning rate over the reference run's up to which that is of no account: without momentum a learning rate
is nearer to its limit, and slower all the same."""
NOISY = 0.7
"""Excess loss of noise over the loss at the target beyond which a forecast is untrusted: with less, and within the
other bounds, real steps were 0.8 to 1.7 times the predicted ones, with more 0.8 to 20 times, or training failed (same).
"""
PAST_END = 1.05
"""Learning-rate time over that of the reference run's end beyond which a validation curve is extrapolated."""
MUCH_EARLIER = 1.3
"""Steps to a target over those with settled batch-norm statistics from which on their lag is worth a sentence."""
NOISIER, NOISIER_ADAPTIVE = 2.5, 8.0
"""Learning rate times noise over the reference run's beyond which a forecast is untrusted, where the excess loss of
noise cannot be told (`FamilyRates.noise_share`). EfficientNet-Lite0 on digits: four runs of SGD with 3.6 to 4.7 times
the noise took 1.6 times the predicted steps, or did not arrive in 3 times as many; AdamW with up to 6 times took 0.9 to
1.6 times. A judgement from these few."""
LEAST_GAINED = 0.15
"""Share of what its rates promise that a reference run gained, below which nothing on its path is trusted: there
curvature sets the pace and not learning-rate time, and lower learning rates may be as fast. It was 0.30 to 0.91 in nine
cases on five networks, whose median errors were 5 to 13 %, and 0.014 to 0.053 in four cases (a MobileNet and a vision
transformer at learning rates too high for them) with median errors of 24 to 105 % (``python -m
benchmarks.rates.quality``, 2026-11-29). Between the two the bound is a judgement."""
_TINY = 1e-300
_Z = float(ndtri(0.5 + COVERAGE / 2.0))


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
    calibration: Calibration | None = None
    """What pilots say of the error of the walks; None: there are none."""
    endings: tuple[Ending, ...] = ()
    """Pilots that were trained to the ends of their budgets, from which final qualities learn."""
    _curves: dict[Candidate, PredictedCurves] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        groups: dict[tuple[str, float | None], list[Candidate]] = {}
        for candidate in self.budgets:
            groups.setdefault((candidate.family, scale_of(candidate.optimizer)), []).append(candidate)
        for key, members in groups.items():
            learned = None if self.calibration is None else self.calibration.learned(members[0].optimizer.name)
            budgets = [self.budgets[c] for c in members]
            self._curves.update(predicted_curves(self.rates[key], members, budgets, learned))

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
        found = {family.reference.family: family.reference for family in self.rates.values()}
        return tuple(found[name] for name in sorted(found))

    @property
    def initial_loss(self) -> float:
        """Smoothed loss of the first minibatches, of the first family."""
        return self.references[0].initial_loss

    @property
    def initial_losses(self) -> Mapping[str, float]:
        """The same of each family."""
        return {reference.family: reference.initial_loss for reference in self.references}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know, one sentence each."""
        return (
            *self.task_notes,
            "Training losses are those a trainer logs: the smoothed loss of minibatches in training mode.",
            *self._evaluation_note(),
            *(reference.note for reference in self.references),
            *(() if self.calibration is None else self.calibration.notes),
            *self._endings_note(),
        )

    @property
    def initial_val_loss(self) -> float | None:
        """In eval mode, of the first family; None where nothing was evaluated."""
        evaluated = self.references[0].evaluated
        return evaluated[0][1].val_loss if evaluated else None

    def _endings_note(self) -> tuple[str, ...]:
        if not self.endings:
            return ()
        one = "1 candidate was" if len(self.endings) == 1 else f"{len(self.endings)} candidates were"
        return (f"Pilots: {one} trained to the end, and the final qualities of the others learned from it.",)

    def _evaluation_note(self) -> tuple[str, ...]:
        if not any(reference.evaluated for reference in self.references):
            return ()
        return (f"Validation curves are those of eval mode, evaluated on at most {EVALUATED} samples.",)

    def depth_of(self, candidate: Candidate, target: Target) -> float:
        """ln(initial / training loss) at which a candidate's family meets a target; ≤ 0 where it is met at once.

        A target on a curve that is evaluated is met where the reference run met it, or at the latest at its end.
        """
        reference = self.rates[candidate.family, scale_of(candidate.optimizer)].reference
        return reference.depth(target)

    def calibrated(self, pilots: Sequence[PilotRun], target: Target) -> TrainingPrediction:
        """The same, learned from pilots at the depth of the target.

        Args:
            pilots: Runs of candidates; none: what is known before any.
            target: The event.
        """
        paths = {}
        for optimizer in sorted({c.optimizer.name for c in self.budgets}):
            members = sorted((c for c in self.budgets if c.optimizer.name == optimizer), key=Candidate.sort_key)
            families = {c: self.rates[c.family, scale_of(c.optimizer)] for c in members}
            references = {family.reference.family: family.reference for family in families.values()}
            starts = {name: reference.initial_loss for name, reference in references.items()}
            depths = {name: reference.depth(target) for name, reference in references.items()}
            paths[optimizer] = FamilyPaths(
                budgets={c: self.budgets[c] for c in members},
                initial_losses={c: starts[c.family] for c in members},
                depths={c: depths[c.family] for c in members},
                rates={c: family.walk for c, family in families.items() if family.measured},
                time_alone={c: partial(family.walk, plain=True) for c, family in families.items()},
            )
        return replace(self, calibration=Calibration.of(paths, pilots))

    def forecasts(self, target: Target) -> dict[Candidate, Forecast]:
        """What happens to each candidate.

        Raises:
            InputError: If the target cannot be predicted from descent rates, or is on a curve that was not evaluated.
        """
        check_training_target(target)
        known = {name for predicted in self._curves.values() for name in predicted.curves}
        if target.curve not in known:
            raise InputError(
                f"Target {target} is on the {target.curve}, which the reference runs did not evaluate.",
                f"Rank with this target, or take one on: {', '.join(sorted(known))}.",
            )
        return {candidate: self._forecast(candidate, target) for candidate in self.budgets}

    def qualities(
        self, objective: str | None = None, stopping: EarlyStopping | None = None
    ) -> dict[Candidate, FinalQuality]:
        """What each candidate has at the end of its own budget, see `FinalQualities.qualities`."""
        return self.final(stopping).qualities(objective)

    def final(self, stopping: EarlyStopping | None = None) -> FinalQualities:
        """From which the qualities follow."""
        runs = () if self.calibration is None else tuple(self.calibration.runs.values())
        runs = (*runs, *(ending.run for ending in self.endings))
        reasons = {c: why_unstable(c, runs) for c in self.budgets}
        return FinalQualities(
            budgets=self.budgets,
            curves=self._curves,
            num_samples_full=self.num_samples_full,
            unstable={c: why for c, why in reasons.items() if why is not None},
            untrusted={c: self._untrusted_anywhere(c) for c in self.budgets},
            doubts={c: tuple(_left_out(c)) for c in self.budgets},
            endings=self.endings,
            stopping=stopping,
        )

    def bands(self) -> dict[Candidate, Band]:
        """Predicted curves with the model error's band: steps scaled by exp(±z σ)."""
        found = {}
        for candidate, budget in self.budgets.items():
            predicted = self._curves[candidate]
            steps = np.unique(np.round(np.linspace(0, budget, min(POINTS, budget + 1))))
            own = np.arange(budget + 1, dtype=np.float64)
            curves = {}
            for name, curve in predicted.curves.items():
                reach = math.exp(_Z * predicted.spread(name))
                scaled = [np.interp(steps * factor, own, curve) for factor in (reach, 1.0, 1.0 / reach)]
                curves[name] = np.sort(np.stack(scaled), axis=0)
            found[candidate] = Band(steps=steps, curves=curves)
        return found

    def _forecast(self, candidate: Candidate, target: Target) -> Forecast:
        predicted = self._curves[candidate]
        curve = predicted.curves[target.curve]
        level = float(target.level(self._start(candidate, target)))
        # Downwards, whatever is asked for: first crossings are those of falling curves.
        sign = -1.0 if target.on_accuracy else 1.0
        steps = first_crossing(np.arange(len(curve), dtype=np.float64), sign * curve, sign * level)
        doubts = _left_out(candidate)
        runs = {} if self.calibration is None else self.calibration.runs
        unstable = why_unstable(candidate, runs.values())
        if unstable is not None:
            return Forecast(status=Status.UNSTABLE, steps=None, doubts=(unstable,))
        pilot = runs.get(candidate)
        if pilot is not None and pilot.target == target and pilot.met is not None:
            return met_forecast(pilot.met)
        if pilot is not None and target.curve == "train_loss" and (real := real_forecast(pilot, level)) is not None:
            return real
        if predicted.over_limit:
            return Forecast(status=Status.UNSTABLE, steps=None, doubts=tuple(doubts))
        accuracies = predicted.accuracies(steps)
        if not math.isfinite(steps):
            last = float(curve[-1])
            return Forecast(
                status=Status.NOT_REACHED,
                steps=None,
                shortfall=max(0.0, _missing(last, level, on_accuracy=target.on_accuracy)),
                doubts=tuple(doubts),
                accuracy=accuracies[0],
                val_accuracy=accuracies[1],
            )
        untrusted = self._untrusted(candidate, target, level, steps)
        if pilot is not None and target.curve == "train_loss" and len(pilot.losses) > steps:
            # It was given up before it arrived, later than it should have.
            steps = float(len(pilot.losses))
            untrusted = (f"trained for real as a pilot, it had not arrived after {len(pilot.losses)} steps", *untrusted)
        learnt = self.settled_steps(candidate, target)
        lag = () if learnt is None or not learnt < steps / MUCH_EARLIER else (_lagging(learnt),)
        reach = math.exp(_Z * predicted.spread(target.curve))
        return Forecast(
            status=Status.UNTRUSTED if untrusted else Status.REACHED,
            steps=steps,
            low=steps / reach,
            high=steps * reach,
            accuracy=accuracies[0],
            val_accuracy=accuracies[1],
            doubts=(*doubts, *lag, *untrusted),
        )

    def _start(self, candidate: Candidate, target: Target) -> float:
        """The initial value of the target's curve."""
        reference = self.rates[candidate.family, scale_of(candidate.optimizer)].reference
        if target.curve == "train_loss":
            return reference.initial_loss
        return float(getattr(reference.evaluated[0][1], target.curve))

    def settled_steps(self, candidate: Candidate, target: Target) -> float | None:
        """Steps to the target with running statistics that keep up; None where there are none that lag, or nothing is
        evaluated.
        """
        settled = self._curves[candidate].settled.get(target.curve)
        if settled is None:
            return None
        sign, level = -1.0 if target.on_accuracy else 1.0, float(target.level(self._start(candidate, target)))
        return first_crossing(np.arange(len(settled), dtype=np.float64), sign * settled, sign * level)

    def _untrusted(self, candidate: Candidate, target: Target, level: float, steps: float) -> tuple[str, ...]:
        family, predicted = self.rates[candidate.family, scale_of(candidate.optimizer)], self._curves[candidate]
        path = family.reference.path()
        found = []
        lowest = float(path.losses.min())
        if target.curve == "train_loss" and level < (FAR_BEYOND * lowest if lowest > 0.0 else lowest):
            found.append(
                f"the target is below {FAR_BEYOND:g} times the loss at which the reference run stopped: its curve is "
                "extrapolated"
            )
        elif target.curve != "train_loss" and predicted.place(steps) > PAST_END * float(path.times[-1]):
            found.append(
                "it meets the target beyond the end of the reference run, where nothing is known of validation curves"
            )
        found += self._untrusted_anywhere(candidate)
        if predicted.noise(steps) > NOISY:
            found.append(
                f"minibatch noise makes up {predicted.noise(steps):.0%} of its loss there: a lower learning rate or "
                "larger batches would be better known"
            )
        return tuple(found)

    def _untrusted_anywhere(self, candidate: Candidate) -> tuple[str, ...]:
        """Reasons that hold at any step."""
        family, predicted = self.rates[candidate.family, scale_of(candidate.optimizer)], self._curves[candidate]
        reference = family.reference.candidate
        found = []
        gained = family.gained() if family.measured else math.inf
        if gained < LEAST_GAINED:
            found.append(
                f"the reference run that it follows gained {gained:.0%} of what its gradients promise: its learning "
                f"rate of {reference.lr:.3g} is so high that lower ones may be as fast"
            )
        own, usual = (c.optimizer.stability_share(c.lr, 1.0) for c in (candidate, reference))
        most = FAST_ADAPTIVE if isinstance(candidate.optimizer, Adaptive) else FAST
        if own / usual > most and candidate.effective_lr > AS_FAST * reference.effective_lr:
            found.append(
                f"its learning rate is {own / usual:.0f} times as near to instability as the reference run's: whether "
                "training diverges or stalls there was not measured"
            )
        noisier = family.noise_ratio(candidate)
        unsettled = family.measured and family.noise_share() < 1.0
        if unsettled and noisier > (NOISIER_ADAPTIVE if isinstance(candidate.optimizer, Adaptive) else NOISIER):
            found.append(
                f"the noise of its steps is {noisier:.0f} times the reference run's, and so large in this network that "
                "what it costs is not known: it may slow training down or stall it"
            )
        if not predicted.error < 1.0:
            found.append(f"the descent rate for batch size {candidate.batch_size} could not be told from noise")
        return tuple(found)


def _lagging(learnt: float) -> str:
    return (
        f"its running batch-norm statistics lag behind: with settled ones it would be there after {learnt:.0f} "
        "steps (re-estimate them before evaluating, or raise the norms' momentum)"
    )


def _missing(last: float, level: float, *, on_accuracy: bool) -> float:
    """How far a curve that ends at ``last`` is from a level: the accuracy missing, or ln(loss / level)."""
    if on_accuracy:
        return level - last
    # A level at or below 0 has no logarithm: the difference stands for it.
    return math.log(max(last, _TINY) / level) if level > 0.0 else last - level


def _left_out(candidate: Candidate) -> list[str]:
    """What descent rates do not know of a candidate, in plain words."""
    found = []
    if candidate.max_grad_norm is not None and not clips(candidate):
        found.append(
            "its max_grad_norm is left out of the descent rates: constant clipping cancels in "
            f"{candidate.optimizer.name}, changes of the gradient's norm do not"
        )
    if getattr(candidate.optimizer, "weight_decay", 0.0) > 0.0 and not candidate.optimizer.plain_decay:
        found.append(f"its weight decay, which {candidate.optimizer.name} scales, is left out of the descent rates")
    return found


def check_training_target(target: Target) -> None:
    """Raise `InputError` where a target cannot be predicted from descent rates."""
    if target.settles:
        raise InputError(
            f"Target {target} with mode='train': the loss of minibatches is too noisy to tell where it settles.",
            "Take a level as target, such as 0.3, loss=0.5, val_loss=0.6 or val_accuracy=0.9, or mode='eval'.",
        )
