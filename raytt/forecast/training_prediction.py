"""Forecasts for training in the user's own mode, from descent rates along a reference run.

Notation: τ learning-rate time Σ η^eff; v_B(s) the descent rate at saved state s for minibatches of B (`raytt.rates`); ρ
loss ratio, smoothed minibatch loss over that of the first minibatches.

A candidate walks along the reference run's loss curve (`raytt.rates.walk`): in learning-rate time, times the measured
ratio v_B/v_{B_ref}, with the excess loss that the noise of its minibatches keeps up at its learning rate. The target is
on the training loss as a trainer logs it: the loss of minibatches, smoothed.

One candidate's forecast is made in `raytt.forecast.training_forecast`; what is not to be trusted, and why, is in
`raytt.forecast.training_trust`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.forecast.curve_bands import POINTS, Band
from raytt.forecast.family_rates import FamilyRates, Scale, scale_of
from raytt.forecast.final_qualities import FinalQualities
from raytt.forecast.final_quality import FinalQuality
from raytt.forecast.forecast import Forecast
from raytt.forecast.pilots.calibration import Calibration, FamilyPaths
from raytt.forecast.pilots.ending import Ending
from raytt.forecast.pilots.instability import climbed, is_covered, why_suspect, why_unstable
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.forecast.predicted_curves import PredictedCurves, predicted_curves
from raytt.forecast.reference_check import ReferenceCheck
from raytt.forecast.training_forecast import Z, settled_steps, training_forecast
from raytt.forecast.training_reference import TrainingReference
from raytt.forecast.training_trust import left_out, untrusted_anywhere
from raytt.pricing.machine import Timing
from raytt.rates.evaluation import EVALUATED, WHOLE
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.target import Target

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingPrediction:
    """Walks of all candidates along their family's reference run, and what follows from them."""

    budgets: Mapping[Candidate, int]
    """Steps each candidate may take."""
    rates: Mapping[tuple[str, Scale], FamilyRates]
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
        groups: dict[tuple[str, Scale], list[Candidate]] = {}
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
        return (
            f"Validation curves are those of eval mode, of up to {WHOLE} samples: {EVALUATED} are followed, the others "
            "are evaluated at some steps and near the target.",
        )

    def depth_of(self, candidate: Candidate, target: Target) -> float:
        """ln(initial / training loss) at which a candidate's family meets a target; ≤ 0 where it is met at once.

        A target on a curve that is evaluated is met where the reference run met it, or at the latest at its end.
        """
        return self.family(candidate).reference.depth(target)

    def calibrated(self, pilots: Sequence[PilotRun], target: Target) -> TrainingPrediction:
        """The same, learned from pilots at the depth of the target.

        Args:
            pilots: Runs of candidates; none: what is known before any.
            target: The event.
        """
        paths = {}
        for optimizer in sorted({c.optimizer.name for c in self.budgets}):
            members = sorted((c for c in self.budgets if c.optimizer.name == optimizer), key=Candidate.sort_key)
            families = {c: self.family(c) for c in members}
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

    def told(self, notes: Sequence[str], *, made_from: str) -> TrainingPrediction:
        """The same with further notes, from further inputs."""
        return replace(self, task_notes=(*self.task_notes, *notes), made_from=made_from)

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
        runs = {} if self.calibration is None else self.calibration.runs
        return {
            c: training_forecast(c, target, family=self.family(c), predicted=self._curves[c], runs=runs)
            for c in self.budgets
        }

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
        learned = [ending.run for ending in self.endings if not climbed(ending.run)]
        return FinalQualities(
            budgets=self.budgets,
            curves=self._curves,
            num_samples_full=self.num_samples_full,
            unstable={c: why for c, why in reasons.items() if why is not None},
            untrusted={
                c: (
                    *([] if (why := why_suspect(c, runs)) is None else [why]),
                    *untrusted_anywhere(
                        c, family=self.family(c), predicted=self._curves[c], covered=is_covered(c, learned)
                    ),
                )
                for c in self.budgets
            },
            doubts={c: left_out(c) for c in self.budgets},
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
                reach = math.exp(Z * predicted.spread(name))
                scaled = [np.interp(steps * factor, own, curve) for factor in (reach, 1.0, 1.0 / reach)]
                curves[name] = np.sort(np.stack(scaled), axis=0)
            found[candidate] = Band(steps=steps, curves=curves)
        return found

    def settled_steps(self, candidate: Candidate, target: Target) -> float | None:
        """See `raytt.forecast.training_forecast.settled_steps`."""
        return settled_steps(target, family=self.family(candidate), predicted=self._curves[candidate])

    def family(self, candidate: Candidate) -> FamilyRates:
        """Rates along the reference run that a candidate follows."""
        return self.rates[candidate.family, scale_of(candidate.optimizer)]


def check_training_target(target: Target) -> None:
    """Raise `InputError` where a target cannot be predicted from descent rates."""
    if target.settles:
        raise InputError(
            f"Target {target} with mode='train': the loss of minibatches is too noisy to tell where it settles.",
            "Take a level as target, such as 0.3, loss=0.5, val_loss=0.6 or val_accuracy=0.9, or mode='eval'.",
        )
