"""Training in the user's own mode, against a plain loop in torch."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from raytt.errors import InputError
from raytt.rates.evaluation import EvaluationPlan
from raytt.rates.randomness import seeded
from raytt.rates.reference import GOAL_RATIO, TrainingLog, train_as_given
from raytt.task.candidate import Candidate
from raytt.task.minibatches import iterate_steps, minibatches

from .problems import NUM_SAMPLES, Jittered, noisy_network, noisy_task

CANDIDATE = Candidate(lr=0.1, momentum=0.9, batch_size=16, schedule="cosine")


@pytest.fixture(scope="module")
def log() -> TrainingLog:
    return train_as_given(noisy_task(), CANDIDATE, seed=4, steps=120, stop_ratio=0.35, num_points=3)


def test_it_is_what_a_plain_loop_does(log: TrainingLog) -> None:
    network, data = noisy_network().train(), Jittered()
    optimizer = CANDIDATE.optimizer.torch(network.parameters(), CANDIDATE.lr)
    nominal = CANDIDATE.learning_rates(120)
    steps = len(log.losses)
    losses, states = [], [{k: v.clone() for k, v in network.state_dict().items()}]
    for step, rows in enumerate(minibatches(NUM_SAMPLES, 16, steps, 4)):
        optimizer.param_groups[0]["lr"] = float(nominal[step])
        with seeded("training", 4, step):
            items = [data[int(i)] for i in rows]
            outputs = network(torch.stack([x for x, _ in items]))
            loss = nn.functional.cross_entropy(outputs, torch.stack([y for _, y in items]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
        states.append({k: v.clone() for k, v in network.state_dict().items()})
    np.testing.assert_allclose(log.losses, losses, rtol=1e-5)
    assert any("running_mean" in name for name in log.points[0].state)
    for point in log.points:
        for name, tensor in point.state.items():
            torch.testing.assert_close(tensor, states[point.step][name])


def mixup(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """As timm's: mixed inputs and class probabilities."""
    share = float(torch.rand(()))
    targets = nn.functional.one_hot(labels, 3).to(inputs.dtype)
    return share * inputs + (1.0 - share) * inputs.flip(0), share * targets + (1.0 - share) * targets.flip(0)


def test_mixed_minibatches_are_those_of_a_plain_loop() -> None:
    task = replace(noisy_task(), mix=mixup)
    found = train_as_given(task, CANDIDATE, seed=4, steps=20)
    network, data = noisy_network().train(), Jittered()
    optimizer = CANDIDATE.optimizer.torch(network.parameters(), CANDIDATE.lr)
    nominal, losses = CANDIDATE.learning_rates(20), []
    for step, rows in enumerate(minibatches(NUM_SAMPLES, 16, 20, 4)):
        optimizer.param_groups[0]["lr"] = float(nominal[step])
        with seeded("training", 4, step):
            items = [data[int(i)] for i in rows]
            inputs, targets = mixup(torch.stack([x for x, _ in items]), torch.stack([y for _, y in items]))
            loss = nn.functional.cross_entropy(network(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    plain = train_as_given(noisy_task(), CANDIDATE, seed=4, steps=20)
    assert not np.allclose(found.losses, plain.losses, rtol=1e-2)


def test_points_are_spread_over_the_fall_of_the_loss(log: TrainingLog) -> None:
    assert len(log.losses) < 120
    steps = [point.step for point in log.points]
    assert steps[0] == 0
    assert steps[-1] == len(log.losses)
    assert steps == sorted(set(steps))
    assert 3 <= len(steps) <= 4
    assert [point.time for point in log.points] == [float(log.times[step]) for step in steps]
    assert len(log.times) == len(log.losses) + 1


def test_a_run_that_does_not_get_there_keeps_its_last_state() -> None:
    short = train_as_given(noisy_task(), CANDIDATE, seed=4, steps=3, stop_ratio=0.01, num_points=3)
    assert [point.step for point in short.points] == [0, 3]
    assert train_as_given(noisy_task(), CANDIDATE, seed=4, steps=3).points == ()


def test_a_diverging_run_ends() -> None:
    wild = train_as_given(noisy_task(), replace(CANDIDATE, lr=1e6), seed=4, steps=50)
    assert wild.diverged
    assert len(wild.losses) < 50


def test_points_need_a_stop_ratio() -> None:
    with pytest.raises(InputError, match="stop_ratio"):
        train_as_given(noisy_task(), CANDIDATE, seed=0, steps=2, num_points=2)


def test_where_losses_become_negative_ratios_are_distances_to_a_loss_below_the_goal() -> None:
    lowered = replace(noisy_task(), loss=lambda f, y: nn.functional.cross_entropy(f, y, reduction="none") - 1.1)
    log = train_as_given(lowered, CANDIDATE, seed=4, steps=120, stop_ratio=GOAL_RATIO, num_points=2, goal=-0.5)
    assert not log.diverged
    assert len(log.losses) < 120
    # The recent mean has come down to the goal, and not much further.
    assert -0.65 < float(np.mean(log.losses[-max(4, len(log.losses) // 4) :])) <= -0.5
    assert len(log.points) == 3
    plain = train_as_given(noisy_task(), CANDIDATE, seed=4, steps=len(log.losses), schedule_steps=120)
    np.testing.assert_allclose(log.losses, plain.losses - 1.1, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"last_batch": "keep"},
        {"last_batch": "drop"},
        {"sample_weights": [float(i % 3) for i in range(NUM_SAMPLES)]},
    ],
    ids=["keep", "drop", "weights"],
)
def test_accumulated_steps_on_such_epochs_are_what_a_plain_loop_does(settings: dict[str, Any]) -> None:
    task = replace(noisy_task(), mode="train", ema_decay=0.5, **settings)
    candidate = Candidate(lr=0.1, momentum=0.9, batch_size=16, accumulation_steps=2, max_grad_norm=0.5)
    plan = EvaluationPlan(at=[], train=True)
    log = train_as_given(task, candidate, seed=4, steps=9, stop_ratio=0.01, num_points=1, evaluations=plan)
    network, data = noisy_network().train(), Jittered()
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)  # type: ignore[no-untyped-call]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    weights = settings.get("sample_weights")
    loader = itertools.chain.from_iterable(
        iterate_steps(
            NUM_SAMPLES,
            16,
            4,
            last_batch=settings.get("last_batch", "straddle"),
            weights=None if weights is None else np.asarray(weights),
        )
    )
    losses, sizes = [], []
    for step in range(9):
        optimizer.zero_grad()
        total = 0.0
        with seeded("training", 4, step):
            for _ in range(2):
                items = [data[int(i)] for i in next(loader)]
                outputs = network(torch.stack([x for x, _ in items]))
                loss = nn.functional.cross_entropy(outputs, torch.stack([y for _, y in items])) / 2
                loss.backward()
                total += float(loss.detach())
                sizes.append(len(items))
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        averaged.update_parameters(network)
        losses.append(total)
    np.testing.assert_allclose(log.losses, losses, rtol=1e-5)
    assert (12 in sizes) == (settings.get("last_batch") == "keep")
    for name, tensor in log.points[-1].state.items():
        torch.testing.assert_close(tensor, network.state_dict()[name], rtol=1e-4, atol=1e-6)
    # Quality is that of the averaged weights.
    found = dict(log.evaluated)[9].train_loss
    averaged.module.eval()
    with torch.no_grad(), seeded("evaluation", 0):
        items = [data[i] for i in range(NUM_SAMPLES)]
        outputs = averaged.module(torch.stack([x for x, _ in items]))
        expected = float(nn.functional.cross_entropy(outputs, torch.stack([y for _, y in items])))
    assert found == pytest.approx(expected, rel=1e-4)
