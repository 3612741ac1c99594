"""The stochastic differential equation against exact moments, closed forms and its claimed orders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch

from raytt.dynamics.curves import Curves
from raytt.dynamics.kernel.spectrum import Spectrum
from raytt.dynamics.kernel.statistics import statistics_of
from raytt.dynamics.network import CoordinateNetwork, GramNetwork
from raytt.dynamics.recording import Recorder
from raytt.dynamics.sde import Clock, heun_step, increment, simulate_sde
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Tangent
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy, SquaredError
from raytt.task.optimizers import Sgd
from tests.support.closed_form import flow_factors, heavy_ball_factors, mean_loss, step_factors
from tests.support.linear_problems import frozen_backbone, gram, squared_problem
from tests.support.spectra import spectrum_from_gram

ACCURACY = 0.01
"""Of adaptive steps without noise: what the docstring of `raytt.dynamics.sde.TOLERANCE` promises, rounded up."""


def spectrum_of(tangent: Tangent) -> Spectrum:
    return spectrum_from_gram(gram(tangent), (tangent.train.outputs - tangent.train.targets).numpy())


def integrate(
    tangent: Tangent, candidate: Candidate, budget: int, *, step: float, paths: int, full_batch: bool = False
) -> Curves:
    """Squared loss with fixed steps, without the cost of bootstrap weights for very many paths."""
    num_samples = tangent.train.outputs.shape[0]
    recorder = Recorder(
        tangent=tangent,
        loss=SquaredError(),
        steps=np.array([0, budget]),
        candidates=1,
        weights=np.full((paths, num_samples), 1.0 / num_samples),
        target=None,
    )
    simulate_sde(
        GramNetwork(tangent),
        SquaredError(),
        [candidate],
        [budget],
        recorder,
        paths=paths,
        seed=0,
        full_batch=full_batch,
        step=step,
    )
    return recorder.curves()


@pytest.mark.parametrize("network_type", [GramNetwork, CoordinateNetwork])
def test_increment_has_the_drift_and_covariance_of_the_formula(network_type: type) -> None:
    """With ξ running through the unit vectors, the increments' noise parts b_j give Σ_j b_j b_jᵀ = v Σ without
    sampling.
    """
    tangent = squared_problem(num_samples=7, num_outputs=3, width=40)
    network = network_type(tangent)
    residual = (tangent.train.outputs - tangent.train.targets).expand(7, 7, 3)
    xi = torch.eye(7, dtype=torch.float64)
    variance = torch.full((7,), 0.37, dtype=torch.float64)
    options = {"step": 0.2, "xi": xi}
    changes = increment(network, residual, network.full_batch(), variance=variance, **options)
    drift = increment(network, residual, network.full_batch(), variance=torch.zeros_like(variance), **options)

    rows, g = tangent.train.jacobian, residual[0]
    per_sample = torch.stack([rows[i].T @ g[i] for i in range(7)])
    mean = per_sample.mean(0)
    sigma = per_sample.T @ per_sample / 7 - torch.outer(mean, mean)
    seen = rows.reshape(-1, 40) if network_type is GramNetwork else torch.eye(40, dtype=torch.float64)
    torch.testing.assert_close(drift, (-0.2 * (seen @ mean)).expand(7, -1))
    noise = changes - drift
    torch.testing.assert_close(noise.T @ noise, 0.37 * seen @ sigma @ seen.T)


def test_clock_accumulates_time_and_noise() -> None:
    candidate = Candidate(lr=0.3, momentum=0.5, schedule="cosine", warmup_steps=4, batch_size=2)
    clock = Clock.of(candidate, 20)
    rates = 0.6 * candidate.lr_factors(20)
    assert clock.end == pytest.approx(rates.sum())
    # From the middle of step 2 to the middle of step 5, each step being as long as its rate.
    start, end = rates[:2].sum() + rates[2] / 2, rates[:5].sum() + rates[5] / 2
    expected = rates[2] ** 2 / 2 + (rates[3:5] ** 2).sum() + rates[5] ** 2 / 2
    assert clock.noise(start, end) == pytest.approx(expected)
    assert clock.noise(clock.end, clock.end + 0.5) == pytest.approx(0.5 * rates[-1])


@pytest.mark.parametrize("width", [30, 5])
def test_without_noise_it_follows_the_closed_form(width: int) -> None:
    """For schedules, warm-up and momentum (as effective learning rate), from the start to the end of learning."""
    tangent = squared_problem(width=width)
    spectrum = spectrum_of(tangent)
    candidates = [
        Candidate(lr=0.02, batch_size=4),
        Candidate(lr=0.01, momentum=0.9, batch_size=4),
        Candidate(lr=0.05, schedule="cosine", warmup_steps=50, batch_size=4),
        Candidate(lr=0.05, schedule="step", step_size=300, gamma=0.0, batch_size=4),
    ]
    budgets = [4000, 4000, 600, 900]
    curves = simulate(
        tangent,
        SquaredError(),
        candidates,
        budgets,
        num_paths=1,
        seed=0,
        target=None,
        method="sde",
        full_batch=True,
    )
    for row, (candidate, budget) in enumerate(zip(candidates, budgets, strict=True)):
        rates = candidate.optimizer.effective_lr(candidate.learning_rates(budget))
        tau = np.concatenate([[0.0], np.cumsum(rates)])[np.minimum(curves.steps, budget).astype(int)]
        expected = mean_loss(spectrum, flow_factors(spectrum.eigenvalues, tau))
        assert curves.train_loss[row, 0, 0] == pytest.approx(expected[0], rel=1e-12)
        np.testing.assert_allclose(curves.train_loss[row, 0], expected, rtol=ACCURACY)
    assert curves.steps_done.tolist() == budgets


def test_end_of_learning_is_what_no_weight_reaches() -> None:
    tangent = squared_problem(width=5)
    spectrum = spectrum_of(tangent)
    budget = int(40 / spectrum.eigenvalues[-1] / 0.05)
    curves = simulate(
        tangent,
        SquaredError(),
        [Candidate(lr=0.05, batch_size=4)],
        [budget],
        num_paths=1,
        seed=0,
        target=None,
        method="sde",
        full_batch=True,
    )
    assert curves.train_loss[0, 0, -1] == pytest.approx(0.5 * spectrum.remainder / 12, rel=1e-6)


@pytest.mark.parametrize("method", ["sgd", "sde"])
def test_composition(method: str) -> None:
    """Going on from where t₁ steps led for t₂ more equals t₁ + t₂ steps. Where t₁ leads is known in closed form."""
    tangent = squared_problem()
    kernel = gram(tangent) / 12
    t1, t2, lr = 30, 50, 0.1
    moves = (
        np.linalg.matrix_power(np.eye(24) - lr * kernel, t1)
        if method == "sgd"
        else scipy.linalg.expm(-lr * t1 * kernel)
    )
    residual = (tangent.train.outputs - tangent.train.targets).numpy().reshape(-1)
    there = tangent.train.targets + torch.as_tensor((moves @ residual).reshape(12, 2))
    onwards = replace(tangent, train=replace(tangent.train, outputs=there))
    options = {"num_paths": 1, "seed": 0, "target": None, "method": method, "full_batch": True}
    candidates = [Candidate(lr=lr, batch_size=4)]
    whole = simulate(tangent, SquaredError(), candidates, [t1 + t2], record_at=[t1], **options)
    rest = simulate(onwards, SquaredError(), candidates, [t2], **options)
    tolerance = 1e-9 if method == "sgd" else ACCURACY
    at_t1 = whole.train_loss[0, 0, int(np.flatnonzero(whole.steps == t1)[0])]
    assert rest.train_loss[0, 0, 0] == pytest.approx(at_t1, rel=tolerance)
    assert rest.train_loss[0, 0, -1] == pytest.approx(whole.train_loss[0, 0, -1], rel=tolerance)


def test_discrete_steps_follow_their_closed_form() -> None:
    tangent = squared_problem()
    spectrum = spectrum_of(tangent)
    candidates = [
        Candidate(lr=0.3, schedule="linear", warmup_steps=9, batch_size=4),
        Candidate(lr=0.1, momentum=0.9, batch_size=4),
    ]
    curves = simulate(tangent, SquaredError(), candidates, [120] * 2, num_paths=1, seed=0, target=None, full_batch=True)
    steps = curves.steps.astype(int)
    plain = step_factors(spectrum.eigenvalues, 0.3 * candidates[0].lr_factors(120))[steps]
    heavy = heavy_ball_factors(spectrum.eigenvalues, 0.1, 0.9, steps)
    np.testing.assert_allclose(curves.train_loss[0, 0], mean_loss(spectrum, plain), rtol=1e-9)
    np.testing.assert_allclose(curves.train_loss[1, 0], mean_loss(spectrum, heavy), rtol=1e-9)


def test_weight_decay_follows_the_linear_equation() -> None:
    """d(w, 1+α)/dτ = −(ZᵀZ/N w + λ w + …, λ (1+α)): solved as one matrix exponential."""
    tangent = squared_problem()
    decay = 0.4
    rows, ray = tangent.train.jacobian.reshape(24, 30).numpy(), tangent.train.radial.numpy().reshape(24)
    residual = (tangent.train.outputs - tangent.train.targets).numpy().reshape(24)
    # State (w, s, 1) with s = 1 + α: outputs − targets = residual + Z w + ray (s − 1).
    system = np.zeros((32, 32))
    system[:30, :30] = -rows.T @ rows / 12 - decay * np.eye(30)
    system[:30, 30] = -rows.T @ ray / 12
    system[:30, 31] = -rows.T @ (residual - ray) / 12
    system[30, 30] = -decay
    start = np.concatenate([np.zeros(30), [1.0, 1.0]])
    curves = simulate(
        tangent,
        SquaredError(),
        [Candidate(lr=0.05, weight_decay=decay, batch_size=4)],
        [200],
        num_paths=1,
        seed=0,
        target=None,
        method="sde",
        full_batch=True,
    )
    expected = []
    for step in curves.steps:
        state = scipy.linalg.expm(system * 0.05 * step) @ start
        expected.append(0.5 * np.square(residual + rows @ state[:30] + ray * (state[30] - 1)).sum() / 12)
    np.testing.assert_allclose(curves.train_loss[0, 0], expected, rtol=ACCURACY)


def test_drift_is_of_second_order() -> None:
    tangent = squared_problem()
    spectrum = spectrum_of(tangent)
    exact = mean_loss(spectrum, flow_factors(spectrum.eigenvalues, np.array([2.0])))[0]
    candidate = Candidate(lr=0.1, batch_size=4)
    errors = [
        abs(integrate(tangent, candidate, 20, step=2.0 / n, paths=1, full_batch=True).train_loss[0, 0, -1] - exact)
        for n in (16, 32, 64)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.15)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(2.0, abs=0.15)


def exact_expected_loss(tangent: Tangent, rates: np.ndarray, batch_size: int) -> float:
    """E L at the end for squared loss with one output, from the closed equation of second moments.

    With e the residuals, A = Θ/N, M = E[e eᵀ]:  dM/dτ = −A M − M A + (η/(B N)) Θ [(I − 𝟏𝟏ᵀ/N) ∘ M] Θ.
    """
    theta = gram(tangent)
    n = len(theta)
    eye, centred = np.eye(n), np.eye(n) - 1.0 / n
    drift = -(np.kron(theta, eye) + np.kron(eye, theta)) / n
    noise = np.kron(theta, theta) @ np.diag(centred.reshape(-1)) / (batch_size * n)
    residual = (tangent.train.outputs - tangent.train.targets).numpy().reshape(-1)
    moment = np.outer(residual, residual).reshape(-1)
    for rate in rates:
        moment = scipy.linalg.expm(rate * (drift + rate * noise)) @ moment
    return 0.5 * float(np.trace(moment.reshape(n, n))) / n


def scheme_expected_loss(tangent: Tangent, rate: float, batch_size: int, *, end: float, parts: int) -> float:
    """E L of the scheme itself, without sampling: a step is linear in e and in ξ, so that averages over ξ = ±√N e_j are
    exact.

    Each ξ gives a matrix T (read off the code by stepping all unit vectors); M ← mean of T M Tᵀ.
    """
    n = tangent.train.outputs.shape[0]
    zero = torch.zeros(n, 1, dtype=torch.float64)
    network = GramNetwork(replace(tangent, train=replace(tangent.train, outputs=zero, targets=zero)))
    unit = torch.eye(n, dtype=torch.float64)
    h = end / parts
    maps = []
    for direction in torch.cat([unit, -unit]) * n**0.5:
        state, _, _ = heun_step(
            network,
            SquaredError(),
            unit,
            unit.unsqueeze(2),
            network.full_batch(),
            step=h,
            variance=torch.full((n,), rate * h / batch_size, dtype=torch.float64),
            xi=direction.expand(n, n),
        )
        maps.append(state.T.numpy())
    residual = (tangent.train.outputs - tangent.train.targets).numpy().reshape(-1)
    moment = np.outer(residual, residual)
    for _ in range(parts):
        moment = np.mean([m @ moment @ m.T for m in maps], axis=0)
    return 0.5 * float(np.trace(moment)) / n


@pytest.mark.parametrize("share", [0.9, 0.3])
def test_noise_is_of_weak_order_one(share: float) -> None:
    """Expected loss against the exact second moments. With less noise the order seen lies between the two claimed."""
    tangent = squared_problem(num_samples=4, num_outputs=1, width=6)
    spectrum = spectrum_of(tangent)
    top = float(spectrum.eigenvalues[0])
    rate = share / top
    exact = exact_expected_loss(tangent, np.full(4, rate), 1)
    silent = mean_loss(spectrum, flow_factors(spectrum.eigenvalues, np.array([4 * rate])))[0]
    assert exact > 1.1 * silent  # noise matters
    errors = [
        abs(scheme_expected_loss(tangent, rate, 1, end=4 * rate, parts=parts) - exact) for parts in (32, 64, 128, 256)
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(1.0, abs=0.1)
    assert errors[-1] < 0.02 * exact


def test_error_of_the_noise_shrinks_with_the_noise() -> None:
    """At a fixed step, the error beyond the drift's own is proportional to ε² = η/B."""
    tangent = squared_problem(num_samples=4, num_outputs=1, width=6)
    spectrum = spectrum_of(tangent)
    end = 1.0 / float(spectrum.eigenvalues[0])
    silent = mean_loss(spectrum, flow_factors(spectrum.eigenvalues, np.array([end])))[0]
    drift_error = scheme_expected_loss(tangent, 0.0, 1, end=end, parts=8) - silent
    excess = []
    for parts_of_time in (20, 40, 80):
        rate = end / parts_of_time
        exact = exact_expected_loss(tangent, np.full(parts_of_time, rate), 1)
        excess.append(scheme_expected_loss(tangent, rate, 1, end=end, parts=8) - exact - drift_error)
    assert excess[0] / excess[1] == pytest.approx(2.0, rel=0.15)
    assert excess[1] / excess[2] == pytest.approx(2.0, rel=0.15)


def test_noise_follows_the_schedule() -> None:
    """Adaptive steps and a falling learning rate: the expected loss is that of the exact moments."""
    tangent = squared_problem(num_samples=4, num_outputs=1, width=6)
    top = float(spectrum_of(tangent).eigenvalues[0])
    candidate = Candidate(lr=0.2 / top, batch_size=2, schedule="linear", warmup_steps=3)
    exact = exact_expected_loss(tangent, candidate.learning_rates(30), 2)
    curves = simulate(tangent, SquaredError(), [candidate], [30], num_paths=6_000, seed=3, target=None, method="sde")
    losses = curves.train_loss[0, :, -1]
    blur = losses.std() / np.sqrt(len(losses))
    assert losses.mean() == pytest.approx(exact, abs=4 * blur + 0.01 * exact)
    assert blur < 0.02 * exact


def test_small_learning_rates_give_the_discrete_curves() -> None:
    """Cross-entropy, frozen backbone: equation and discrete steps part only by η, and by what an epoch's order
    saves.
    """
    tangent = frozen_backbone().tangent
    candidates = [Candidate(lr=0.01, batch_size=8), Candidate(lr=0.001, momentum=0.9, batch_size=8)]
    options = {"num_paths": 8, "seed": 0, "target": None}
    discrete, continuous = (
        simulate(tangent, CrossEntropy(), candidates, [2000] * 2, method=method, **options) for method in ("sgd", "sde")
    )
    assert discrete.train_loss[0, 0, -1] < 0.6 * discrete.train_loss[0, 0, 0]
    for row in range(2):
        for name, tolerance in (("train_loss", 0.02), ("val_loss", 0.02)):
            a, b = (getattr(curves, name)[row].mean(axis=0) for curves in (discrete, continuous))
            np.testing.assert_allclose(a, b, rtol=tolerance)


def test_rates_beyond_the_stability_limit_are_divergence() -> None:
    tangent = squared_problem()
    top = float(spectrum_of(tangent).eigenvalues[0])
    candidates = [
        Candidate(lr=1.9 / top, batch_size=4),
        Candidate(lr=2.1 / top, batch_size=4, warmup_steps=10),
        Candidate(lr=2.1 / top, batch_size=4, momentum=0.9),
    ]
    options = {"num_paths": 1, "seed": 0, "target": None, "full_batch": True}
    curves = simulate(tangent, SquaredError(), candidates, [50] * 3, method="sde", **options)
    assert np.isfinite(curves.train_loss[0]).all()
    assert np.isfinite(curves.train_loss[2]).all()
    crosses = int(np.flatnonzero(2.1 * candidates[1].lr_factors(50) > 2.0)[0])
    np.testing.assert_array_equal(np.isfinite(curves.train_loss[1]), curves.steps[None] <= crosses)
    assert curves.steps_done.tolist() == [50, crosses + 1, 50]


def test_a_candidate_with_noise_out_of_scale_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error would ask for steps far shorter than any optimizer step, for all that share the grid."""
    tangent = frozen_backbone().tangent
    limit = statistics_of(tangent.train, CrossEntropy()).stability_limit(Sgd(momentum=0.99))
    quiet, wild = Candidate(lr=0.01, batch_size=4), Candidate(lr=0.9 * limit, momentum=0.99, batch_size=4)
    steps = []

    def counted(*arguments: Any, **options: Any) -> Any:
        steps.append(float(options["step"]))
        return heun_step(*arguments, **options)

    monkeypatch.setattr("raytt.dynamics.sde.heun_step", counted)
    options: dict[str, Any] = {"num_paths": 2, "seed": 0, "target": None, "method": "sde"}
    both = simulate(tangent, CrossEntropy(), [quiet, wild], [300, 2], **options)
    alone = simulate(tangent, CrossEntropy(), [quiet], [300], **options, record_at=both.steps.astype(int))
    # While the quiet one runs, to τ = 300 · 0.01, no step need be shorter than its learning rate.
    shared = np.cumsum(steps) < 3.0
    assert 2 < shared.sum() < 300
    assert min(np.asarray(steps)[shared]) >= 0.01
    np.testing.assert_allclose(both.train_loss[0].mean(axis=0), alone.train_loss[0].mean(axis=0), rtol=0.02)
