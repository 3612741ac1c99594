"""What a reference run in training mode tells of losses and targets."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raytt.forecast.training_reference import TrainingReference
from raytt.rates.evaluation import Metrics
from raytt.task.candidate import Candidate
from raytt.task.target import Target

STEPS = 200


@pytest.fixture
def reference() -> TrainingReference:
    times = 0.01 * np.arange(STEPS + 1)
    evaluated = tuple(
        (
            step,
            Metrics(train_loss=None, train_accuracy=None, val_loss=3.0 - 0.01 * step, val_accuracy=0.004 * step),
        )
        for step in range(0, STEPS + 1, 20)
    )
    return TrainingReference(
        candidate=Candidate(lr=0.01, batch_size=32),
        losses=2.0 * np.exp(-times[:-1]),
        times=times,
        point_steps=(0, STEPS),
        evaluated=evaluated,
        wasted_steps=5,
        stopped="at the target",
    )


def test_targets_on_the_training_loss_are_as_deep_as_their_level(reference: TrainingReference) -> None:
    assert reference.depth(Target.parse(0.25)) == pytest.approx(math.log(4.0))
    level = reference.initial_loss / 3.0
    assert reference.depth(Target(kind="loss", value=level)) == pytest.approx(math.log(3.0))
    assert math.isnan(reference.depth(Target(kind="loss", value=-1.0)))


def test_targets_that_are_evaluated_are_as_deep_as_the_loss_where_they_were_met(reference: TrainingReference) -> None:
    # Met at step 100, where the training loss is 2/e.
    for target in ("val_loss=2", "val_accuracy=0.4"):
        assert reference.depth(Target.parse(target)) == pytest.approx(1.0, abs=0.02)
    # Not met: the end of the run.
    assert reference.depth(Target.parse("val_accuracy=0.99")) == pytest.approx(2.0, abs=0.03)


def test_its_path_and_quality_share_its_learning_rate_time(reference: TrainingReference) -> None:
    path, quality = reference.path(), reference.quality(None)
    assert quality is not None
    np.testing.assert_array_equal(path.times, quality.times[:-1])
    assert sorted(quality.curves) == ["val_accuracy", "val_loss"]
    assert "5 more in abandoned attempts" in reference.note
