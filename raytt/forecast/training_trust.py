"""Why a forecast from descent rates is not to be trusted, and what descent rates do not know of a candidate.

Each reason is a sentence; each bound says what it was measured on.
"""

from __future__ import annotations

import math

from raytt.forecast.family_rates import FamilyRates
from raytt.forecast.predicted_curves import PredictedCurves
from raytt.rates.clipping import clips
from raytt.task.candidate import Candidate
from raytt.task.optimizers import Adaptive
from raytt.task.target import Target

FAR_BEYOND = 0.5
"""A target below this share of the loss at which the reference run stopped is extrapolated too far to be trusted."""
FAST, FAST_ADAPTIVE = 5.0, 12.0
"""Learning rate over that of the fastest reference run, as shares of the stability limit, beyond which a forecast is
untrusted. Plain SGD at 6 times the reference's took 1.3 to 3.6 times the predicted steps on two small networks, at 2
times 0.9 to 1.2 times; AdamW at 10 times 1.0 to 1.6, at 30 times 1.3 to 5 (``python -m benchmarks.rates.fast``,
2026-11-29)."""
AS_FAST = 2.0
"""Effective learning rate over the reference run's up to which that is of no account: without momentum a learning rate
is nearer to its limit, and slower all the same."""
NOISY = 0.7
"""Excess loss of noise over the loss at the target beyond which a forecast is untrusted: with less, and within the
other bounds, real steps were 0.8 to 1.7 times the predicted ones, with more 0.8 to 20 times, or training failed (same).
"""
PAST_END = 1.05
"""Learning-rate time, at the same training loss, over that of the reference run's end beyond which a validation curve
is extrapolated. Noisy candidates go further along the path to the same loss, and are not meant."""
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
SLOWED_BEYOND = 1.5
"""Factor of steps by which a candidate is slower than the faster of two reference runs because it overshoots more, by
extrapolation, beyond which its forecast is untrusted. Up to it errors in three examples were 0 to 46 %, beyond it they
went up to factors of 2.1, 2.6 and 7.4 (``python -m benchmarks.rates.lower``, 2026-11-29). A judgement."""


def untrusted_at(
    candidate: Candidate,
    target: Target,
    *,
    level: float,
    steps: float,
    family: FamilyRates,
    predicted: PredictedCurves,
    covered: bool = False,
) -> tuple[str, ...]:
    """Why it is not to be trusted that a candidate meets the target where it is predicted to.

    Args:
        candidate: Of the family.
        target: The event.
        level: The value that the target means.
        steps: Where it is predicted to be met.
        family: Rates along the reference run that the candidate follows.
        predicted: Its curves.
        covered: Whether a pilot that was no slower arrived: how near to instability candidates may be was measured.
    """
    path = family.reference.path()
    found = []
    lowest = float(path.losses.min())
    if target.curve == "train_loss" and level < (FAR_BEYOND * lowest if lowest > 0.0 else lowest):
        found.append(
            f"the target is below {FAR_BEYOND:g} times the loss at which the reference run stopped: its curve is "
            "extrapolated"
        )
    elif target.curve != "train_loss" and predicted.quality_place(steps) > PAST_END * float(path.times[-1]):
        found.append(
            "it meets the target beyond the end of the reference run, where nothing is known of validation curves"
        )
    found += untrusted_anywhere(candidate, family=family, predicted=predicted, covered=covered)
    if predicted.noise(steps) > NOISY:
        found.append(
            f"minibatch noise makes up {predicted.noise(steps):.0%} of its loss there: a lower learning rate or "
            "larger batches would be better known"
        )
    return tuple(found)


def untrusted_anywhere(
    candidate: Candidate, *, family: FamilyRates, predicted: PredictedCurves, covered: bool = False
) -> tuple[str, ...]:
    """Reasons that hold at any step. Arguments as of `untrusted_at`."""
    reference = family.reference.candidate
    found = []
    gained = family.gained() if family.measured else math.inf
    if gained < LEAST_GAINED:
        found.append(
            f"the reference run that it follows gained {gained:.0%} of what its gradients promise: its learning "
            f"rate of {reference.lr:.3g} is so high that lower ones may be as fast"
        )
    if not covered:
        found += _too_fast(candidate, family)
    if not predicted.error < 1.0:
        found.append(f"the descent rate for batch size {candidate.batch_size} could not be told from noise")
    return tuple(found)


def _too_fast(candidate: Candidate, family: FamilyRates) -> list[str]:
    """Why a candidate meets more curvature or noise than was measured."""
    reference, found = family.reference.candidate, []
    known = [reference] if family.second is None else [reference, family.second.reference.candidate]
    fastest = max(known, key=lambda c: c.effective_lr)
    own, usual = (c.optimizer.stability_share(c.lr, 1.0) for c in (candidate, fastest))
    most = FAST_ADAPTIVE if isinstance(candidate.optimizer, Adaptive) else FAST
    if own / usual > most and candidate.effective_lr > AS_FAST * fastest.effective_lr:
        found.append(
            f"its learning rate is {own / usual:.0f} times as near to instability as the reference run's: whether "
            "training diverges or stalls there was not measured"
        )
    slower = family.slowed_beyond(candidate)
    if slower > SLOWED_BEYOND:
        found.append(
            f"its steps overshoot more than those of the two runs that were measured: that they are {slower:.1f} times "
            "slower for it is extrapolated"
        )
    noisier = family.noise_ratio(candidate)
    unsettled = family.measured and family.noise_share() < 1.0
    if unsettled and noisier > (NOISIER_ADAPTIVE if isinstance(candidate.optimizer, Adaptive) else NOISIER):
        found.append(
            f"the noise of its steps is {noisier:.0f} times the reference run's, and so large in this network that "
            "what it costs is not known: it may slow training down or stall it"
        )
    return found


def left_out(candidate: Candidate) -> tuple[str, ...]:
    """What descent rates do not know of a candidate, in plain words."""
    found = []
    if candidate.max_grad_norm is not None and not clips(candidate):
        found.append(
            "its max_grad_norm is left out of the descent rates: constant clipping cancels in "
            f"{candidate.optimizer.name}, changes of the gradient's norm do not"
        )
    if getattr(candidate.optimizer, "weight_decay", 0.0) > 0.0 and not candidate.optimizer.plain_decay:
        found.append(f"its weight decay, which {candidate.optimizer.name} scales, is left out of the descent rates")
    return tuple(found)
