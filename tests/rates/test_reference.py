"""Training in the user's own mode, against a plain loop in torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from raytt.errors import InputError
from raytt.rates.randomness import seeded
from raytt.rates.reference import TrainingLog, train_as_given
from raytt.task.candidate import Candidate
from raytt.task.minibatches import minibatches

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
