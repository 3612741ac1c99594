"""The curves that are predicted of candidates of one family: training loss, validation loss, accuracies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.family_rates import FamilyRates
from raytt.forecast.pilots.calibration import FamilyCalibration
from raytt.rates.quality import QualityPath
from raytt.rates.rate_table import batch_of
from raytt.rates.smoothing import as_smoothed
from raytt.rates.walk import ReferencePath
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]

MODEL_SPREAD = 0.15
"""Standard deviation σ of ln(real/predicted steps) that rates do not explain. Errors of six
predictions on four networks with 16 minibatches a rate had 90th percentiles of 15 to 30 %: normal laws with σ from 0.09
to 0.16 (``python -m benchmarks.rates.quality``, 2026-11-29)."""
VALIDATION_EXTRA = 0.13
"""σ of steps to a validation target on top of that: errors had medians of 8 to 14 %, and 90th percentiles of 24 to 36 %
(``python -m benchmarks.rates.quality``, 2026-11-29)."""
_TINY = 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedCurves:
    """What is predicted of one candidate after 0 … T steps of its budget."""

    curves: Mapping[str, Floats]
    """By name ("train_loss", and what was evaluated), shape (T + 1,)."""
    settled: Mapping[str, Floats]
    """Those that were evaluated as they would be if running statistics of batch norms kept up; empty without such."""
    places: Floats
    """τ_ref, shape (T + 1,)."""
    noise_share: Floats
    """E over the predicted training loss, shape (T + 1,); over how far it has fallen where losses may be negative."""
    over_limit: bool
    """See `raytt.rates.walk.Walk`."""
    error: float
    """Standard error of ln(v_B/v_{B_ref}); 0 where no rate is used."""
    learned: float | None
    """Standard deviation of ln steps to a training loss that pilots leave; None without pilots."""
    path: ReferencePath
    """The reference run's loss."""
    quality: QualityPath | None
    """What was evaluated along it; None where nothing was."""
    quality_places: Floats
    """τ at which the reference run had the same training loss, shape (T + 1,)."""
    excess: Floats
    """E, shape (T + 1,)."""
    bare_losses: Floats
    """Training loss without any work of noise, L − E_ref, shape (T + 1,). Beyond the reference run's end its E_ref is
    taken to fall as its loss does; in the curves it stays, which makes little of losses far below that end."""

    def spread(self, name: str) -> float:
        """Standard deviation of ln steps to a level of a curve."""
        model = MODEL_SPREAD if self.learned is None else self.learned
        if name != "train_loss":
            # What a validation curve adds is not the walk's, of which pilots tell.
            model = math.hypot(model, VALIDATION_EXTRA)
        return math.hypot(model, min(self.error, 1.0))

    def quality_place(self, steps: float) -> float:
        """τ at which the reference run had the same training loss as after so many steps."""
        return float(np.interp(steps, np.arange(len(self.quality_places)), self.quality_places))

    def noise(self, steps: float) -> float:
        """E over the loss after so many steps."""
        return float(np.interp(steps, np.arange(len(self.noise_share)), self.noise_share))

    def accuracies(self, steps: float) -> tuple[float | None, float | None]:
        """In training and in validation after ``steps``, for +inf at the end; None where they are not known."""
        at = min(steps, len(self.places) - 1.0)
        own = np.arange(len(self.places), dtype=np.float64)
        curves = [self.curves.get(name) for name in ("train_accuracy", "val_accuracy")]
        train, validation = (None if curve is None else float(np.interp(at, own, curve)) for curve in curves)
        return train, validation


def predicted_curves(
    family: FamilyRates,
    candidates: Sequence[Candidate],
    budgets: Sequence[int],
    learned: FamilyCalibration | None = None,
) -> dict[Candidate, PredictedCurves]:
    """Walk candidates of one family and read off all curves.

    Quality is read where the reference had the same training loss, not where it had done the same share of its way:
    the excess loss that noise keeps up is in it, too, though not what smaller minibatches alone log. Over five cases
    the 90th percentiles of errors in steps were 21 to 65 % by place and 24 to 36 % by loss (``python -m
    benchmarks.rates.quality``, 2026-11-29).
    """
    _, errors = family.table()
    path = family.reference.path()
    paces, spreads = (None, None) if learned is None else learned.paces(candidates)
    plain = learned is not None and not learned.uses_rates
    walked = family.walk(candidates, budgets, paces, plain=plain)
    quality = family.reference.quality(family.lag)
    # What a trainer's log is smoothed to, for candidates as for the real runs that they are compared with.
    shown = as_smoothed(walked.losses)
    places = path.places(walked.learnt, walked.places)
    evaluated: dict[str, Floats] = {}
    settled: dict[str, Floats] = {}
    if quality is not None:
        evaluated = quality.predicted(places, updates=[c.accumulation_steps for c in candidates])
        if family.lag is not None:
            settled = {name: quality.settled(name, places) for name in family.lag.quality}
    # E_ref at each place, which the walk subtracts.
    own = path.loss(walked.places) + walked.excess - walked.learnt
    bare = path.loss(walked.places) - own
    found = {}
    for row, (candidate, budget) in enumerate(zip(candidates, budgets, strict=True)):
        upto = slice(0, budget + 1)
        found[candidate] = PredictedCurves(
            curves={name: curve[row, upto] for name, curve in ({"train_loss": shown} | evaluated).items()},
            settled={name: curve[row, upto] for name, curve in settled.items()},
            places=walked.places[row, upto],
            noise_share=_share(walked.excess[row, upto], walked.losses[row, upto], path),
            over_limit=bool(walked.over_limit[row]),
            # Learning-rate time alone uses no rate.
            error=0.0 if plain else float(errors[family.batch_sizes.index(batch_of(candidate))]),
            learned=None if spreads is None else float(spreads[row]),
            path=path,
            quality=quality,
            quality_places=places[row, upto],
            excess=walked.excess[row, upto],
            bare_losses=bare[row, upto],
        )
    return found


def _share(excess: Floats, losses: Floats, path: ReferencePath) -> Floats:
    whole = losses if path.losses.min() > 0.0 else path.losses[0] - losses
    # At the start nothing has fallen, nor is there any noise.
    return np.where(excess > 0.0, excess / np.maximum(whole, _TINY), 0.0)
