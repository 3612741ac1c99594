"""The discrete dynamics against torch.optim.SGD, really run on a network for which the tangent is exact."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from raytt.dynamics import network
from raytt.dynamics.draws import bootstrap_weights
from raytt.dynamics.recording import measured_records
from raytt.dynamics.simulate import simulate
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy, SquaredError
from raytt.task.schedules.step import Step
from raytt.task.target import Target
from tests.support.linear_problems import FrozenBackbone, draws, frozen_backbone, squared_problem

STEPS = 200
WARMUP = 15
SEED = 5

OPTIMIZERS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "decay": {"weight_decay": 0.05},
    "momentum and decay": {"momentum": 0.9, "weight_decay": 0.02},
    "all": {"momentum": 0.7, "nesterov": True, "weight_decay": 0.05},
}
SCHEDULES = {
    "constant": {},
    "cosine": {"schedule": "cosine"},
    "linear": {"schedule": "linear"},
    "step": {"schedule": "step", "step_size": 60, "gamma": 0.3},
}
CANDIDATES = [
    Candidate(lr=0.05, batch_size=16, warmup_steps=warmup, **optimizer, **schedule)
    for optimizer in OPTIMIZERS.values()
    for schedule in SCHEDULES.values()
    for warmup in (0, WARMUP)
]


@dataclass
class RealCurves:
    train_loss: np.ndarray
    resampled: np.ndarray
    accuracy: np.ndarray
    val_loss: np.ndarray
    val_accuracy: np.ndarray


@pytest.fixture(scope="module")
def problem() -> FrozenBackbone:
    return frozen_backbone()


@pytest.fixture(scope="module", params=["gram", "coordinates"])
def representation(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def _force_representation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "representation" in request.fixturenames:
        advantage = {"gram": 1e9, "coordinates": 0.0}[request.getfixturevalue("representation")]
        monkeypatch.setattr(network, "GRAM_ADVANTAGE", advantage)


def real_scheduler(optimizer: torch.optim.Optimizer, candidate: Candidate, steps: int) -> lr_scheduler.LRScheduler:
    """The candidate's schedule from torch's own schedulers."""
    after = steps - candidate.warmup_steps
    main: lr_scheduler.LRScheduler
    if candidate.schedule.name == "cosine":
        main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=after)
    elif candidate.schedule.name == "linear":
        main = lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=after)
    elif isinstance(candidate.schedule, Step):
        main = lr_scheduler.StepLR(optimizer, step_size=candidate.schedule.step_size, gamma=candidate.schedule.gamma)
    else:
        main = lr_scheduler.LambdaLR(optimizer, lambda t: 1.0)
    if not candidate.warmup_steps:
        return main
    warmup = lr_scheduler.LinearLR(
        optimizer, start_factor=1.0 / (candidate.warmup_steps + 1), total_iters=candidate.warmup_steps
    )
    return lr_scheduler.SequentialLR(optimizer, [warmup, main], milestones=[candidate.warmup_steps])


REAL: dict[tuple[Candidate, int, float], RealCurves] = {}


def train_once(problem: FrozenBackbone, candidate: Candidate, *, path: int, smoothing: float) -> RealCurves:
    """`train`, kept for the other representation."""
    key = (candidate, path, smoothing)
    if key not in REAL:
        REAL[key] = train(problem, candidate, path=path, smoothing=smoothing)
    return REAL[key]


def train(problem: FrozenBackbone, candidate: Candidate, *, path: int, smoothing: float = 0.0) -> RealCurves:
    head = copy.deepcopy(problem.head)
    optimizer = candidate.optimizer.torch(head.parameters(), candidate.lr)
    scheduler = real_scheduler(optimizer, candidate, STEPS)
    criterion = torch.nn.CrossEntropyLoss(reduction="none", label_smoothing=smoothing)
    weights = torch.as_tensor(bootstrap_weights(len(problem.labels), SEED, path + 1)[path])
    records = []
    batches = draws(len(problem.labels), candidate, STEPS, seed=SEED, path=path)
    for index in [*torch.as_tensor(batches), None]:
        with torch.no_grad():
            outputs, val_outputs = head(problem.features), head(problem.val_features)
            losses = criterion(outputs, problem.labels)
            records.append(
                [
                    float(losses.mean()),
                    float(losses @ weights),
                    float((outputs.argmax(1) == problem.labels).double().mean()),
                    float(criterion(val_outputs, problem.val_labels).mean()),
                    float((val_outputs.argmax(1) == problem.val_labels).double().mean()),
                ]
            )
        if index is not None:
            optimizer.zero_grad()
            criterion(head(problem.features[index]), problem.labels[index]).mean().backward()
            optimizer.step()
            scheduler.step()
    return RealCurves(*np.array(records).T)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_equal_real_training(problem: FrozenBackbone, representation: str, smoothing: float) -> None:
    """Over 200 steps, for every optimizer with every schedule and warm-up, all in one block of rows."""
    candidates = CANDIDATES if smoothing == 0.0 else CANDIDATES[::23]
    curves = simulate(
        problem.tangent,
        CrossEntropy(label_smoothing=smoothing),
        candidates,
        [STEPS] * len(candidates),
        num_paths=2,
        seed=SEED,
        target=None,
        record_at=range(STEPS + 1),
    )
    assert curves.steps.tolist() == list(range(STEPS + 1))
    for row, candidate in enumerate(candidates):
        for path in (0, 1) if row % 16 == 0 else (1,):
            real = train_once(problem, candidate, path=path, smoothing=smoothing)
            # Wanted is 1e-5; both sides are float64, so that much less than that is only rounding.
            for simulated, expected in [
                (curves.train_loss, real.train_loss),
                (curves.train_loss_resampled, real.resampled),
                (curves.val_loss, real.val_loss),
            ]:
                np.testing.assert_allclose(simulated[row, path], expected, rtol=1e-9, err_msg=str(candidate))
            np.testing.assert_array_equal(curves.train_accuracy[row, path], real.accuracy)
            np.testing.assert_array_equal(curves.val_accuracy[row, path], real.val_accuracy)
    assert np.ptp(curves.train_loss[:, 0, -1]) > 0.05  # the candidates do differ
    assert np.abs(curves.train_loss[:, 0] - curves.train_loss[:, 1]).max() > 1e-3  # and so do the paths


def test_single_precision_follows_double(problem: FrozenBackbone, representation: str) -> None:
    single = _cast(problem.tangent, torch.float32)
    options = {"num_paths": 1, "seed": SEED, "target": None}
    budgets = [STEPS] * len(CANDIDATES)
    exact = simulate(problem.tangent, CrossEntropy(), CANDIDATES, budgets, **options)
    rounded = simulate(single, CrossEntropy(), CANDIDATES, budgets, **options)
    # 200 steps, each with a rounding error of some 1e-7 of outputs of size about 1.
    np.testing.assert_allclose(rounded.train_loss, exact.train_loss, rtol=1e-4)


def test_both_representations_agree_on_squared_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    tangent = squared_problem(width=9)  # fewer coordinates than rows: the residual cannot vanish
    position = 0.3 * torch.randn(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tangent = replace(tangent, position=position)
    found = []
    for advantage in (0.0, 1e9):
        monkeypatch.setattr(network, "GRAM_ADVANTAGE", advantage)
        candidates = [replace(c, batch_size=5) for c in CANDIDATES[::5]]
        curves = simulate(tangent, SquaredError(), candidates, [80] * len(candidates), num_paths=3, seed=0, target=None)
        found.append(curves.train_loss)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10)


def test_full_batch_is_the_gradient_of_all_samples(problem: FrozenBackbone, representation: str) -> None:
    candidate = Candidate(lr=0.1, batch_size=16, momentum=0.9, weight_decay=0.01)
    curves = simulate(
        problem.tangent,
        CrossEntropy(),
        [candidate],
        [50],
        num_paths=4,
        seed=SEED,
        target=None,
        full_batch=True,
        record_at=range(51),
    )
    head = copy.deepcopy(problem.head)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    real = []
    for _ in range(51):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(problem.features), problem.labels)
        loss.backward()
        real.append(loss.item())
        optimizer.step()
    assert curves.train_loss.shape == (1, 1, 51)
    np.testing.assert_allclose(curves.train_loss[0, 0], real, rtol=1e-9)


def test_a_tangent_away_from_the_start_begins_at_the_pretrained_weights(problem: FrozenBackbone) -> None:
    """The plane through another point of a linear network is the same plane."""
    tangent = problem.tangent
    away = 0.1 * torch.randn(tangent.position.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = replace(
        tangent,
        train=replace(tangent.train, outputs=tangent.train.outputs + tangent.train.jacobian @ away),
        validation=replace(tangent.validation, outputs=tangent.validation.outputs + tangent.validation.jacobian @ away),
        position=away,
    )
    options = {"num_paths": 2, "seed": 0, "target": None}
    here, there = (simulate(t, CrossEntropy(), CANDIDATES[-3:], [60] * 3, **options) for t in (tangent, moved))
    np.testing.assert_allclose(here.train_loss, there.train_loss, rtol=1e-9)
    np.testing.assert_allclose(here.val_loss, there.val_loss, rtol=1e-9)


def test_other_candidates_in_the_block_change_only_rounding(problem: FrozenBackbone, representation: str) -> None:
    options = {"num_paths": 2, "seed": 1, "target": None}
    together = simulate(problem.tangent, CrossEntropy(), CANDIDATES, [STEPS] * len(CANDIDATES), **options)
    backwards = simulate(problem.tangent, CrossEntropy(), CANDIDATES[::-1], [STEPS] * len(CANDIDATES), **options)
    alone = simulate(problem.tangent, CrossEntropy(), CANDIDATES[5:6], [STEPS], **options)
    again = simulate(problem.tangent, CrossEntropy(), CANDIDATES, [STEPS] * len(CANDIDATES), **options)
    np.testing.assert_allclose(backwards.train_loss[::-1], together.train_loss, rtol=1e-11)
    np.testing.assert_allclose(alone.train_loss[0], together.train_loss[5], rtol=1e-11)
    np.testing.assert_array_equal(again.train_loss, together.train_loss)


def test_rows_that_stop_leave_the_others_alone(problem: FrozenBackbone, representation: str) -> None:
    """With a target, every row follows the curve it has without one, up to where it stops; budgets end rows too."""
    target = Target(kind="loss_ratio", value=0.5)
    budgets = [40 + 3 * row for row in range(len(CANDIDATES))]
    options = {"num_paths": 3, "seed": 2}
    free = simulate(problem.tangent, CrossEntropy(), CANDIDATES, budgets, target=None, **options)
    stopped = simulate(problem.tangent, CrossEntropy(), CANDIDATES, budgets, target=target, **options)
    np.testing.assert_array_equal(free.steps_done, budgets)
    measured = measured_records(free.steps.astype(np.int64), budgets)
    records = np.arange(len(measured))
    early = 0
    for row in range(len(CANDIDATES)):
        for path in range(3):
            arrivals, known = [], measured.copy()
            for curve in (free.train_loss[row, path], free.train_loss_resampled[row, path]):
                there = (curve <= 0.5 * curve[0]) & measured
                arrivals.append(int(there.argmax()) if there.any() else len(records) - 1)
                if there.any():
                    # Since the measured record before, all are measured.
                    known |= (records <= arrivals[-1]) & (records >= records[measured & (records < arrivals[-1])].max())
            stop, early = max(arrivals), early + (max(arrivals) < len(records) - 1)
            expected = free.train_loss[row, path, np.minimum(records, stop)]
            found = stopped.train_loss[row, path]
            np.testing.assert_allclose(found[known | (records > stop)], expected[known | (records > stop)], rtol=1e-10)
            np.testing.assert_allclose(found, expected, rtol=0.1)
    assert 10 < early < 3 * len(CANDIDATES)  # some arrive, some do not
    assert (stopped.steps_done <= budgets).all()
    assert (stopped.steps_done < budgets).any()


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_divergence_begins_at_the_stability_limit(momentum: float, nesterov: bool, representation: str) -> None:
    """Squared loss, all samples in each step: 2(1 + μ)/λ_max for the heavy ball, less for Nesterov."""
    tangent = squared_problem()
    rows = tangent.train.jacobian.reshape(-1, 30)
    top = float(torch.linalg.eigvalsh(rows @ rows.T)[-1]) / 12
    # Nesterov with torch's update: e ← (1 − ηκ)((1 + μ)e − μ e₋), whose root −1 is at ηκ = 2(1 + μ)/(1 + 2μ).
    limit = 2 * (1 + momentum) / top / ((1 + 2 * momentum) if nesterov else 1.0)
    candidates = [
        Candidate(lr=limit * share, momentum=momentum, nesterov=nesterov, batch_size=12) for share in (0.98, 1.02)
    ]
    curves = simulate(
        tangent, SquaredError(), candidates, [4000] * 2, num_paths=1, seed=0, target=None, full_batch=True
    )
    assert curves.train_loss[0, 0, -1] < 1e-3 * curves.train_loss[0, 0, 0]
    assert curves.train_loss[1, 0, -1] == np.inf
    assert curves.train_loss_resampled[1, 0, -1] == np.inf
    assert curves.steps_done[0] == 4000
    assert curves.steps_done[1] < 4000
    assert np.isfinite(curves.train_loss[1, 0, :5]).all()


def test_overflow_is_divergence_and_never_nan() -> None:
    tangent = _cast(squared_problem(), torch.float32)
    curves = simulate(
        tangent, SquaredError(), [Candidate(lr=1e30, batch_size=4)], [50], num_paths=2, seed=0, target=None
    )
    assert (curves.train_loss[:, :, -1] == np.inf).all()
    assert not np.isnan(curves.train_loss).any()


def _cast(tangent: network.Tangent, dtype: torch.dtype) -> network.Tangent:
    def samples(s: network.Samples) -> network.Samples:
        targets = s.targets.to(dtype) if s.targets.is_floating_point() else s.targets
        return network.Samples(
            outputs=s.outputs.to(dtype), jacobian=s.jacobian.to(dtype), radial=s.radial.to(dtype), targets=targets
        )

    validation = None if tangent.validation is None else samples(tangent.validation)
    return network.Tangent(train=samples(tangent.train), position=tangent.position.to(dtype), validation=validation)
