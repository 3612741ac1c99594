"""Evaluation in eval mode while a network trains: right, and without a trace in the training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.rates.evaluation import EvaluationPlan, Evaluator, Metrics, meets, spaced
from raytt.rates.lag import SHARES
from raytt.rates.lag_measurement import measure_lag
from raytt.rates.reference import train_as_given
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from raytt.task.task import Task
from raytt.training.datasets import choose_subsample
from raytt.training.model import prepare_for_training
from raytt.training.objective import Objective

from .problems import CLASSES, noisy_network, noisy_task, regression_task

CANDIDATE = Candidate(lr=0.1, batch_size=16)


def held_out() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    return torch.randn(100, 8, generator=generator), torch.arange(100) % CLASSES


TASK = replace(noisy_task(), validation=held_out)


def by_hand(network: nn.Module) -> tuple[float, float]:
    inputs, targets = held_out()
    network.eval()
    with torch.no_grad():
        outputs = network(inputs)
    loss = float(nn.functional.cross_entropy(outputs, targets))
    return loss, float((outputs.argmax(dim=1) == targets).double().mean())


def test_it_is_the_mean_over_the_validation_data_in_eval_mode() -> None:
    model = prepare_for_training(TASK)
    frozen = next(m for m in model.module.modules() if isinstance(m, nn.Dropout))
    frozen.eval()
    found = Evaluator(TASK, Objective(TASK)).measure(model)
    loss, accuracy = by_hand(noisy_network())
    assert found.val_loss == pytest.approx(loss, rel=1e-5)
    assert found.val_accuracy == pytest.approx(accuracy)
    assert (found.train_loss, found.train_accuracy) == (None, None)
    assert model.module.training
    assert not frozen.training


def test_evaluations_change_nothing_of_the_training() -> None:
    plan = EvaluationPlan(at=spaced(30), train=True)
    plain = train_as_given(TASK, CANDIDATE, seed=4, steps=30)
    watched = train_as_given(TASK, CANDIDATE, seed=4, steps=30, evaluations=plan)
    np.testing.assert_array_equal(plain.losses, watched.losses)
    assert plain.evaluated == ()
    assert [step for step, _ in watched.evaluated] == sorted({0, *spaced(30).tolist()})
    assert watched.evaluated[-1][1].train_accuracy is not None


def test_a_run_ends_where_its_target_is_met() -> None:
    target = Target.parse("val_loss_ratio=0.9")
    task = replace(TASK, validation=TASK.data)
    plan = EvaluationPlan(at=range(1, 200), target=target)
    log = train_as_given(task, CANDIDATE, seed=4, steps=200, num_points=2, stop_ratio=0.01, evaluations=plan)
    values = [metrics.val_loss or 0.0 for _, metrics in log.evaluated]
    assert log.met
    assert len(log.losses) < 200
    assert values[-1] <= 0.9 * values[0] < min(values[:-1])
    assert log.points[-1].step == len(log.losses)


def test_a_run_goes_on_beyond_its_target_by_a_share_of_its_steps() -> None:
    target = Target.parse("val_loss_ratio=0.9")
    task = replace(TASK, validation=TASK.data)
    met, beyond = (
        train_as_given(
            task,
            CANDIDATE,
            seed=4,
            steps=200,
            num_points=2,
            stop_ratio=0.01,
            evaluations=EvaluationPlan(at=range(1, 200), target=target, past=past),
        )
        for past in (0.0, 0.5)
    )
    steps = len(met.losses)
    assert len(beyond.losses) == -(-3 * steps // 2) > steps
    assert beyond.met
    np.testing.assert_array_equal(beyond.losses[:steps], met.losses)
    assert beyond.points[-1].step == beyond.evaluated[-1][0] == len(beyond.losses)


def test_targets_are_met_from_below_and_from_above() -> None:
    start = Metrics(train_loss=None, train_accuracy=0.2, val_loss=4.0, val_accuracy=0.1)
    now = Metrics(train_loss=None, train_accuracy=0.8, val_loss=2.0, val_accuracy=0.5)
    assert meets(Target.parse("val_loss=2"), start, now)
    assert meets(Target.parse("val_loss_ratio=0.5"), start, now)
    assert not meets(Target.parse("val_loss_ratio=0.4"), start, now)
    assert meets(Target.parse("accuracy=0.8"), start, now)
    assert not meets(Target.parse("val_accuracy=0.6"), start, now)


def test_evaluations_are_spread_evenly_over_the_logarithm_of_steps() -> None:
    steps = spaced(100)
    assert (steps[0], steps[-1]) == (1, 100)
    late = steps[steps > 10]
    assert bool((late[1:] / late[:-1] < 1.6).all())
    assert spaced(1).tolist() == [1]


def test_the_lag_table_holds_what_mixed_statistics_give() -> None:
    task: Task = TASK
    log = train_as_given(task, CANDIDATE, seed=4, steps=25, num_points=1, stop_ratio=0.01)
    states = [point.state for point in log.points]
    found = measure_lag(task, states, [point.time for point in log.points], batch_size=16, seed=3)
    assert found is not None
    assert found.quality["val_loss"].shape == (len(states), len(SHARES))
    # All of the pre-trained statistics at trained weights, by hand.
    network = noisy_network()
    state = dict(states[-1])
    for name, tensor in network.state_dict().items():
        if "running" in name:
            state[name] = tensor
    network.load_state_dict(state)
    assert found.quality["val_loss"][-1, -1] == pytest.approx(by_hand(network)[0], rel=1e-5)
    assert found.momentum == 0.1


def test_a_network_without_running_statistics_has_no_lag() -> None:
    task = replace(regression_task(), validation=regression_task().data)
    log = train_as_given(task, CANDIDATE, seed=4, steps=5, num_points=1, stop_ratio=0.01)
    assert measure_lag(task, [p.state for p in log.points], [0.0, 1.0], batch_size=16, seed=3) is None


@pytest.fixture
def few_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 samples of 100 are always evaluated, 60 stand for the whole."""
    monkeypatch.setattr("raytt.rates.evaluation.EVALUATED", 20)
    monkeypatch.setattr("raytt.rates.evaluation.WHOLE", 60)
    # What so few samples are off by.
    monkeypatch.setattr("raytt.rates.evaluation.NEAR", 3.0)
    monkeypatch.setattr("raytt.rates.evaluation.NEAR_ACCURACY", 0.3)


def on(rows: np.ndarray) -> float:
    network = noisy_network()
    network.eval()
    inputs, targets = held_out()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(network(inputs[rows]), targets[rows]))


def test_all_samples_are_the_part_and_further_ones(few_evaluated: None) -> None:
    some, whole = Evaluator(TASK, Objective(TASK)).measure_both(prepare_for_training(TASK))
    assert some.val_loss == pytest.approx(on(choose_subsample(100, 20, 0)), rel=1e-5)
    assert whole.val_loss == pytest.approx(on(choose_subsample(100, 60, 0)), rel=1e-5)
    assert some.val_accuracy is not None
    assert whole.val_accuracy is not None
    assert some.val_loss != whole.val_loss


def test_a_followed_part_tells_what_all_samples_would(few_evaluated: None) -> None:
    at = [1, 3, 6, 12, 24, 40]
    followed = train_as_given(
        TASK, CANDIDATE, seed=4, steps=40, num_points=3, stop_ratio=0.2, evaluations=EvaluationPlan(at=at)
    )
    steps = len(followed.losses)
    plan = EvaluationPlan(at=[step for step, _ in followed.evaluated], whole=True)
    truth = dict(train_as_given(TASK, CANDIDATE, seed=4, steps=steps, evaluations=plan).evaluated)
    part = dict(train_as_given(TASK, CANDIDATE, seed=4, steps=steps, evaluations=replace(plan, whole=False)).evaluated)
    found = dict(followed.evaluated)
    exact = {0, *(point.step for point in followed.points)}
    for step in exact:
        assert found[step] == truth[step]
    off, before = (
        [abs(np.log((c[k].val_loss or 0.0) / (truth[k].val_loss or 1.0))) for k in truth if k not in exact]
        for c in (found, part)
    )
    assert before
    assert max(off) < 0.5 * max(before)


@pytest.mark.parametrize("text", ["val_loss_ratio=0.6", "val_loss=0.7", "val_accuracy=0.8"])
def test_a_target_is_met_on_all_samples(few_evaluated: None, text: str) -> None:
    task = replace(TASK, validation=TASK.data)
    plan = EvaluationPlan(at=range(1, 200), target=Target.parse(text))
    runs = [
        train_as_given(task, CANDIDATE, seed=4, steps=200, evaluations=replace(plan, whole=whole))
        for whole in (False, True)
    ]
    assert runs[0].met
    assert 5 < len(runs[0].losses) == len(runs[1].losses) < 200
    assert runs[0].evaluated[-1] == runs[1].evaluated[-1]
    assert runs[0].evaluated[0] == runs[1].evaluated[0]
