"""The walk along a reference's path: against exact expected losses of SGD on least squares, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.rates.rate_table import RateTable
from raytt.rates.slowing import Slowing
from raytt.rates.walk import ReferencePath, Walk, walk
from raytt.task.candidate import Candidate

from .problems import NUM_SAMPLES, regression

Floats = NDArray[np.float64]

X, Y = (t.numpy() for t in regression())
HESSIAN = X.T @ X / NUM_SAMPLES
BEST = np.linalg.solve(HESSIAN, X.T @ Y[:, 0] / NUM_SAMPLES)
RESIDUAL = X @ BEST - Y[:, 0]
SIZES = (30, 6, 3)


def expected_losses(rates: Floats, batch_size: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Exact expected loss of SGD from w = 0 after 0 … T steps, and E|∇L|², tr Σ_B, E gᵀHg there; shapes (T + 1,).

    With d = w − w*, minibatches drawn without replacement and M = E d dᵀ:
    M ← (I − ηH) M (I − ηH) + η² E Σ_B(w), by explicit sums over samples.
    """
    second, mean = np.outer(BEST, BEST), -BEST
    floor = 0.5 * float(np.mean(RESIDUAL**2))
    rows = []
    for t in range(len(rates) + 1):
        spread = noise_covariance(second, mean, batch_size)
        pull = HESSIAN @ HESSIAN @ second
        bend = float(np.trace(pull @ HESSIAN) + np.trace(HESSIAN @ spread))
        rows.append(
            (floor + 0.5 * float(np.trace(HESSIAN @ second)), float(np.trace(pull)), float(np.trace(spread)), bend)
        )
        if t < len(rates):
            step = np.eye(len(BEST)) - rates[t] * HESSIAN
            second = step @ second @ step.T + rates[t] ** 2 * spread
            mean = step @ mean
    losses, squares, noises, bends = np.asarray(rows).T
    return losses, squares, noises, bends


def noise_covariance(second: Floats, mean: Floats, batch_size: int) -> Floats:
    """E Σ_B(w) for d of given mean and second moments: gradients of samples are x_i (x_iᵀ d + r_i)."""
    share = (1.0 / batch_size - 1.0 / NUM_SAMPLES) * NUM_SAMPLES / (NUM_SAMPLES - 1)
    size = np.einsum("ij,jk,ik->i", X, second, X) + 2.0 * RESIDUAL * (X @ mean) + RESIDUAL**2
    spread = np.einsum("i,ij,ik->jk", size, X, X) / NUM_SAMPLES - HESSIAN @ second @ HESSIAN
    return np.asarray(share * spread)


def _error(scale: float, candidate: Candidate, *, noise: bool) -> float:
    """Largest |ln(predicted/exact)| of the loss, all learning rates and times scaled by ``scale``."""
    lr, steps = 0.1 * scale, round(30 / scale)
    chosen = Candidate(lr=candidate.lr * scale, batch_size=candidate.batch_size, schedule=candidate.schedule)
    losses, squares, _, _ = expected_losses(np.full(steps, lr), SIZES[0])
    # What minibatches of each size would tell at the reference's own weights.
    each = [at_the_reference(lr, steps, size) for size in SIZES]
    noises, bends = (np.stack(columns, axis=1) for columns in zip(*each, strict=True))
    times = lr * np.arange(steps + 1)
    table = RateTable(
        times=times,
        batch_sizes=SIZES,
        reference_batch_size=SIZES[0],
        rates=np.repeat(squares[:, None], len(SIZES), axis=1),
        noises=noises if noise else None,
        curvatures=bends / (noises + squares[:, None]) if noise else None,
    )
    path = ReferencePath(candidate=Candidate(lr=lr, batch_size=SIZES[0]), times=times, losses=losses)
    found = walk(path, table, [chosen], [steps])
    real = expected_losses(chosen.effective_rates(steps), chosen.batch_size)[0]
    within = found.places[0] <= times[-1]
    return float(np.abs(np.log(found.losses[0] / real))[within].max())


def at_the_reference(lr: float, steps: int, batch_size: int) -> tuple[Floats, Floats]:
    """Tr Σ_B and E gᵀ H g for minibatches of ``batch_size`` at the weights of the reference; shape (T + 1,) each."""
    second, mean = np.outer(BEST, BEST), -BEST
    noises, bends = [], []
    for _ in range(steps + 1):
        spread = noise_covariance(second, mean, batch_size)
        noises.append(float(np.trace(spread)))
        bends.append(float(np.trace(HESSIAN @ HESSIAN @ second @ HESSIAN) + np.trace(HESSIAN @ spread)))
        step = np.eye(len(BEST)) - lr * HESSIAN
        second = step @ second @ step.T + lr**2 * noise_covariance(second, mean, SIZES[0])
        mean = step @ mean
    return np.asarray(noises), np.asarray(bends)


CASES = [
    Candidate(lr=0.05, batch_size=6),
    Candidate(lr=0.1, batch_size=3),
    Candidate(lr=0.15, batch_size=3, schedule="cosine"),
]


@pytest.mark.parametrize("candidate", CASES, ids=["half", "small", "cosine"])
def test_on_least_squares_the_error_is_of_the_order_of_the_learning_rate(candidate: Candidate) -> None:
    errors = [_error(scale, candidate, noise=True) for scale in (0.5, 0.25, 0.125)]
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < 0.7 * errors[1]
    assert errors[2] < 0.08


@pytest.mark.parametrize("candidate", CASES[1:], ids=["small", "cosine"])
def test_most_of_what_small_batches_cost_is_the_excess(candidate: Candidate) -> None:
    for scale in (0.5, 0.25):
        assert _error(scale, candidate, noise=True) < 0.6 * _error(scale, candidate, noise=False)


def _line(
    rates: Floats | None = None, noises: Floats | None = None, curvatures: Floats | None = None
) -> tuple[ReferencePath, RateTable]:
    """A reference of η = 0.1 whose loss is exp(−τ) over 40 steps, and rates of two batch sizes."""
    times = 0.1 * np.arange(41)
    path = ReferencePath(candidate=Candidate(lr=0.1), times=times, losses=np.exp(-times))
    table = RateTable(
        times=np.array([0.0, 2.0]),
        batch_sizes=(32, 8),
        reference_batch_size=32,
        rates=np.array([[1.0, 0.5], [1.0, 0.5]]) if rates is None else rates,
        noises=noises,
        curvatures=curvatures,
    )
    return path, table


def _loss_without_excess(found: Walk, path: ReferencePath) -> Floats:
    return path.loss(found.places)


def test_the_reference_itself_takes_its_own_steps_whatever_its_noise() -> None:
    noises, curvatures = np.array([[0.2, 0.9], [0.4, 2.0]]), np.array([[2.0, 3.0], [4.0, 5.0]])
    for n, h in ((None, None), (noises, None), (noises, curvatures)):
        path, table = _line(noises=n, curvatures=h)
        found = walk(path, table, [Candidate(lr=0.1)], [40])
        np.testing.assert_allclose(found.places[0], path.times, atol=1e-12)
        np.testing.assert_allclose(found.losses[0], path.losses, atol=1e-12)
        steps, beyond = found.steps_to([np.exp(-1.0), np.exp(-2.05)])
        np.testing.assert_allclose(steps[0], [10.0, 20.5], rtol=2e-3)
        assert not beyond.any()


def test_half_the_rate_takes_twice_the_learning_rate_time() -> None:
    path, table = _line()
    candidates = [Candidate(lr=0.1, batch_size=8), Candidate(lr=0.05, batch_size=32), Candidate(lr=0.2, batch_size=8)]
    steps, _ = walk(path, table, candidates, [60, 60, 60]).steps_to([np.exp(-1.0)])
    np.testing.assert_allclose(steps[:, 0], [20.0, 20.0, 10.0])


def test_high_learning_rates_make_less_of_their_steps() -> None:
    path, table = _line()
    candidates = [Candidate(lr=lr) for lr in (0.05, 0.1, 0.2, 0.001)]
    steps, _ = walk(path, table, candidates, [60, 60, 60, 2000], slowing=Slowing(usual=0.3)).steps_to([np.exp(-1.0)])
    # 1/η, times (η/0.1)^0.3, but for learning rates below a tenth of the reference's.
    np.testing.assert_allclose(steps[:3, 0], [20.0 * 0.5**0.3, 10.0, 5.0 * 2.0**0.3], rtol=1e-2)
    np.testing.assert_allclose(steps[3, 0], 1000.0 * 0.1**0.3, rtol=1e-2)


def test_rates_between_points_are_interpolated_in_their_logarithm() -> None:
    path, table = _line(np.array([[1.0, 1.0], [1.0, 0.25]]))
    places = walk(path, table, [Candidate(lr=1e-3, batch_size=8)], [3000]).places[0]
    # dτ/dT = 4^(−τ/2) to τ = 2, so that 2^τ = 1 + ln 2 · T.
    time = 1e-3 * np.arange(3001)
    np.testing.assert_allclose(places, np.log1p(np.log(2.0) * time) / np.log(2.0), rtol=1e-3)


def test_momentum_ramps_up_and_warm_up_takes_its_time() -> None:
    path, table = _line()
    heavy = Candidate(lr=0.01, momentum=0.9)
    warm = Candidate(lr=0.1, warmup_steps=9)
    found = walk(path, table, [heavy, warm], [40, 40])
    velocity, place = 0.0, [0.0]
    for _ in range(40):
        velocity = 0.9 * velocity + 1.0
        place.append(place[-1] + 0.01 * velocity)
    np.testing.assert_allclose(found.places[0], place)
    assert found.places[1, 9] == pytest.approx(0.45)


def test_the_excess_of_a_candidate_comes_in_place_of_the_reference_s() -> None:
    path, table = _line(noises=np.array([[0.4, 1.6], [0.4, 1.6]]))
    found = walk(path, table, [Candidate(lr=0.2, batch_size=8)], [30])
    more = found.losses[0] - _loss_without_excess(found, path)[0]
    np.testing.assert_allclose(more[1:], 0.25 * (0.2 * 1.6 - 0.1 * 0.4), atol=1e-12)
    assert more[0] == 0.0


def test_curvature_makes_the_excess_larger_and_gradual() -> None:
    noises, curvatures = np.full((2, 2), 1.6), np.full((2, 2), 2.0)
    path, table = _line(noises=noises, curvatures=curvatures)
    found = walk(path, table, [Candidate(lr=0.05, batch_size=8)], [100])
    more = found.losses[0] - _loss_without_excess(found, path)[0]
    settled = 0.25 * 1.6 * (0.05 / (1 - 0.05) - 0.1 / (1 - 0.1))
    assert more[-1] == pytest.approx(settled, rel=1e-3)
    assert more[1] == pytest.approx(0.25 * 1.6 * (0.2 * 0.05 / 0.95 - 0.4 * 0.1 / 0.9 * 0.25), rel=0.02)


def test_a_target_below_the_excess_waits_for_the_schedule() -> None:
    path, table = _line(noises=np.array([[0.01, 4.0], [0.01, 4.0]]))
    level = [np.exp(-2.0)]
    constant, past = walk(path, table, [Candidate(lr=0.2, batch_size=8)], [300]).steps_to(level)
    cosine = walk(path, table, [Candidate(lr=0.2, batch_size=8, schedule="cosine")], [60]).steps_to(level)[0]
    # Not on the path, whose end it meets after 40 steps: only beyond, where noise falls with the loss.
    assert past[0, 0]
    assert constant[0, 0] > 40
    assert 20 < cosine[0, 0] < 60


def test_past_the_end_noise_falls_in_proportion_to_the_loss() -> None:
    path, table = _line(noises=np.full((2, 2), 0.5))
    found = walk(path, table, [Candidate(lr=0.4)], [60])
    late = found.places[0] > 4.5
    fall = path.loss(found.places[0][:-1]) / path.losses[-1]
    np.testing.assert_allclose(found.excess[0, 1:][late[:-1]], 0.25 * 0.4 * 0.5 * fall[late[:-1]])


def test_budgets_end_the_walk() -> None:
    path, table = _line(noises=np.full((2, 2), 0.1))
    found = walk(path, table, [Candidate(lr=0.1), Candidate(lr=0.1)], [5, 30])
    steps, _ = found.steps_to([np.exp(-1.0)])
    assert np.isinf(steps[0, 0])
    assert steps[1, 0] == pytest.approx(10.0, rel=1e-3)
    assert found.places[0, -1] == pytest.approx(0.5)
    np.testing.assert_array_equal(found.losses[0, 5:], found.losses[0, 5])


def test_past_the_end_a_power_law_goes_on_and_is_marked() -> None:
    times = np.concatenate([[0.0], np.geomspace(0.1, 4.0, 60)])
    losses = (1.0 + times) ** -1.0
    path = ReferencePath(candidate=Candidate(lr=0.1), times=times, losses=losses)
    _, table = _line()
    steps, beyond = walk(path, table, [Candidate(lr=0.1)], [400]).steps_to([0.25, 0.1])
    assert steps[0, 0] == pytest.approx(30.0, rel=0.02)
    assert list(beyond[0]) == [False, True]
    # (1 + τ)⁻¹ = 0.1 at τ = 9; the exponent at the end is below 1 yet, which is the safe side.
    assert 90.0 < steps[0, 1] < 130.0


def test_a_learning_rate_above_what_the_curvature_allows_is_marked() -> None:
    path, table = _line(noises=np.ones((2, 2)), curvatures=np.full((2, 2), 2.0))
    candidates = [
        Candidate(lr=0.9, batch_size=8),
        Candidate(lr=1.1, batch_size=8),
        Candidate(lr=1.1, momentum=0.5, batch_size=8),
    ]
    assert list(walk(path, table, candidates, [10, 10, 10]).over_limit) == [False, True, False]


def test_what_was_not_measured_is_refused() -> None:
    path, table = _line()
    with pytest.raises(InputError, match="batch size 16"):
        walk(path, table, [Candidate(lr=0.1, batch_size=16)], [10])
    with pytest.raises(InputError, match="at least one"):
        walk(path, table, [], [])
    with pytest.raises(InputError, match=r"rate is -0\.1"):
        _line(np.array([[1.0, -0.1], [1.0, 0.5]]))
    with pytest.raises(InputError, match="noise is 0"):
        _line(noises=np.zeros((2, 2)))
    with pytest.raises(InputError, match="reference's batch size"):
        RateTable(times=np.zeros(1), batch_sizes=(8,), reference_batch_size=32, rates=np.ones((1, 1)))
    with pytest.raises(ValueError, match="2 points and 2 batch sizes"):
        _line(noises=np.ones((3, 2)))


def test_small_minibatches_log_more_of_the_same_weights() -> None:
    """Ln levels of 0.4 at the end: the logged loss is higher by that factor, what is learnt is the same."""
    candidate = Candidate(lr=0.01, batch_size=8)
    times = np.linspace(0.0, 1.0, 101)
    path = ReferencePath(candidate=Candidate(lr=0.01, batch_size=32), times=times, losses=2.0 * np.exp(-times))
    plain = RateTable(times=np.array([0.0, 1.0]), batch_sizes=(0, 8), reference_batch_size=0, rates=np.ones((2, 2)))
    higher = replace(plain, levels=np.array([[0.0, 0.0], [0.0, 0.4]]))
    usual, logged = (walk(path, table, [candidate], [100]) for table in (plain, higher))
    np.testing.assert_array_equal(usual.losses, usual.learnt)
    np.testing.assert_array_equal(logged.learnt, usual.learnt)
    np.testing.assert_allclose(logged.losses, usual.losses * np.exp(0.4 * usual.places))
