"""Rates along a reference run as the table that candidates walk with."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from raytt.forecast.family_rates import NEVER_SETTLED, SETTLED, FamilyRates, scale_of
from raytt.forecast.training_reference import TrainingReference
from raytt.rates.signal import Signal
from raytt.task.candidate import Candidate

STEPS = 100


def family(*, optimizer: str = "sgd", noise: float = 1e-6, own_rate: float = 2.0, error: float = 0.01) -> FamilyRates:
    candidate = Candidate(optimizer=optimizer, lr=0.01, batch_size=32)
    times = candidate.lr * np.arange(STEPS + 1)
    reference = TrainingReference(
        candidate=candidate,
        losses=2.0 * np.ones(STEPS),
        times=times,
        point_steps=(0, 50, STEPS),
        evaluated=(),
        wasted_steps=0,
        stopped="",
    )

    def signal(rate: float) -> Signal:
        return Signal(rate=rate, noise=noise, rate_error=error, noise_error=0.0, minibatches=16)

    own = [[signal(0.6 * own_rate), signal(own_rate)]] * 3
    return FamilyRates(reference=reference, batch_sizes=(16, 32), own=own, base=[signal(2.0)] * 3)


def test_the_table_holds_ratios_to_the_reference_s_own_rate() -> None:
    table, errors = family(optimizer="adamw").table()
    np.testing.assert_allclose(table.rates, [[1.0, 0.6, 1.0]] * 3, rtol=0.03)
    assert errors[1] == 0.0
    assert 0.0 < errors[0] < 0.1


def test_another_scaling_has_the_ratio_of_its_own_rate() -> None:
    table, _ = family(optimizer="adamw", own_rate=1.0).table()
    np.testing.assert_allclose(table.rates[:, 2], 0.5, rtol=1e-6)
    # Where neither can be told from noise, the mean squares of both stand for them.
    noisy, _ = family(optimizer="adamw", own_rate=1.0, noise=8.0, error=5.0).table()
    np.testing.assert_allclose(noisy.rates[:, 2], 9.0 / 10.0, rtol=1e-6)


def test_a_quadratic_gains_all_that_small_steps_promise_and_little_of_what_large_ones_do() -> None:
    """L = ½ h w², steps of η: the loss falls by η v (1 − ½ η h) a step, v = h² w²."""
    for share in (0.01, 1.9):
        curvature = 1.0
        lr = share / curvature
        w = (1.0 - lr * curvature) ** np.arange(STEPS + 1)
        losses = 0.5 * curvature * w**2
        base = family()
        reference = replace(base.reference, losses=losses[:-1], times=lr * np.arange(STEPS + 1))
        states = range(STEPS)
        signals = [replace(base.base[0], rate=float((curvature * w[s]) ** 2)) for s in states]
        found = replace(base, reference=replace(reference, point_steps=tuple(states)), base=signals)
        assert found.gained() == pytest.approx(1.0 - 0.5 * share, rel=0.1)


def test_what_promises_nothing_is_no_sign() -> None:
    base = family()
    assert replace(base, base=[replace(signal, rate=-1.0) for signal in base.base]).gained() == math.inf


@pytest.mark.parametrize(("share", "kept"), [(0.5 * SETTLED, 1.0), (0.5 * (SETTLED + NEVER_SETTLED), 0.5), (2.0, 0.0)])
def test_noise_that_would_make_up_much_of_the_loss_is_left_out(share: float, kept: float) -> None:
    # ¼ η n over a loss of 2.
    found = family(noise=share * 2.0 / (0.25 * 0.01))
    assert found.noise_share() == pytest.approx(kept, abs=1e-5)
    table, _ = found.table()
    assert table.noises is not None
    np.testing.assert_allclose(table.noises[0, 1], found.base[0].noise * found.noise_share())


def test_only_adaptive_optimizers_have_a_scale_of_their_own() -> None:
    sgd = Candidate(lr=0.1)
    adamw = Candidate(optimizer="adamw", lr=0.1)
    assert scale_of(sgd.optimizer) is None
    assert scale_of(adamw.optimizer) != scale_of(replace(adamw, eps=0.1).optimizer)
