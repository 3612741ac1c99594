"""Predicted and real steps with Adafactor on a small network in training mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.forecast.family_rates import FamilyRates
from raytt.forecast.training_reference import TrainingReference
from raytt.rates.descent_rates import descent_rate
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.reference import train_as_given
from raytt.rates.smoothing import first_crossing, smoothed
from raytt.task.candidate import Candidate
from raytt.task.task import Task

SIZES = (8, 16, 64)
REFERENCE = Candidate(optimizer="adafactor", lr=0.02, batch_size=16)
CANDIDATES = [
    Candidate(optimizer="adafactor", lr=0.02, batch_size=8),
    Candidate(optimizer="adafactor", lr=0.02, batch_size=64),
    Candidate(optimizer="adafactor", lr=0.007, batch_size=64),
    Candidate(optimizer="adafactor", lr=0.06, batch_size=64),
    Candidate(optimizer="adafactor", lr=0.02, batch_size=16, schedule="cosine", warmup_steps=20),
    Candidate(optimizer="adafactor", lr=0.02, batch_size=16, weight_decay=0.1),
]
RATIOS = (0.6, 0.45)
BUDGET = 300


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 5
    centres = torch.randn(5, 12, generator=generator)
    return centres[labels] + 1.2 * torch.randn(600, 12, generator=generator), labels


def _network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(12, 32), nn.LayerNorm(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 5))


TASK = Task(name="small", model=_network, data=_data, mode="train")


@pytest.fixture(scope="module")
def family() -> FamilyRates:
    log = train_as_given(TASK, REFERENCE, seed=9, steps=200, stop_ratio=0.4, num_points=4)
    source, signals = MinibatchGradients(TASK, seed=0), []
    for number, point in enumerate(log.points):
        source.load(point.state)
        weights = source.lr_scales(), source.decayed_weights(), source.weight_tensors()
        blocks = {size: [source.block(number, size, range(b, b + 2)) for b in range(0, 16, 2)] for size in SIZES}
        signals.append([descent_rate(REFERENCE, blocks[size], *weights) for size in SIZES])
    reference = TrainingReference(
        candidate=REFERENCE,
        losses=log.losses,
        times=log.times,
        point_steps=tuple(point.step for point in log.points),
        evaluated=log.evaluated,
        wasted_steps=0,
        stopped="",
    )
    return FamilyRates(
        reference=reference, batch_sizes=SIZES, own=signals, base=[row[SIZES.index(16)] for row in signals]
    )


def test_the_loss_falls_by_what_the_rates_promise(family: FamilyRates) -> None:
    """Measured 0.95: the sizes of the weights and the second moments are in the rates. Without either it is far off."""
    assert family.gained() == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize(
    "candidate",
    CANDIDATES,
    ids=lambda c: f"lr {c.lr} B {c.batch_size} {c.schedule.name} decay {c.optimizer.weight_decay}",
)
def test_predicted_steps_are_the_real_ones(family: FamilyRates, candidate: Candidate) -> None:
    levels = [family.reference.initial_loss * ratio for ratio in RATIOS]
    predicted = family.walk([candidate], [BUDGET]).steps_to(levels)[0][0]
    real = []
    for seed in (1, 2):
        log = train_as_given(TASK, candidate, seed=seed, steps=BUDGET, stop_ratio=0.36)
        curve = smoothed(log.losses)
        real.append([first_crossing(np.arange(len(curve), dtype=np.float64), curve, level) for level in levels])
    # Measured: 5 % at the median, at most 18 % (the highest learning rate, which is three times the reference's).
    found = np.log(predicted / np.mean(real, axis=0))
    assert np.abs(found).max() < 0.2
