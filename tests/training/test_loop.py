"""Real training against a loop written by hand and against closed forms, and how runs end."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy, as_loss
from raytt.task.minibatches import minibatches
from raytt.task.optimizers import Sgd
from raytt.task.task import Task
from raytt.training.datasets import Split, open_dataset
from raytt.training.loop import TrainingCurve, evaluate, record_points, train
from raytt.training.model import PreparedModel, prepare_model

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(24, 5, generator=GENERATOR, dtype=torch.float64)
Y = torch.randint(0, 3, (24,), generator=GENERATOR)
X_VAL = torch.randn(9, 5, generator=GENERATOR, dtype=torch.float64)
Y_VAL = torch.randint(0, 3, (9,), generator=GENERATOR)


class Net(nn.Module):
    """Two layers with a batch norm between, the same weights on every call, in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
            self.norm.running_mean.fill_(0.3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.norm(self.one(x))))


TASK = Task(mode="eval", name="t", model=Net, data=(X, Y), validation=(X_VAL, Y_VAL))


def by_hand(candidate: Candidate, *, seed: int, steps: int, trainable: Any = None) -> list[tuple[float, ...]]:
    """Losses and accuracies after each step, with the update as `Sgd` documents it."""
    net = Net().eval()
    weights = [p for n, p in net.named_parameters() if trainable is None or n in trainable]
    velocity: list[Tensor | None] = [None] * len(weights)
    rates, sgd = candidate.learning_rates(steps), candidate.optimizer
    assert isinstance(sgd, Sgd)

    def records() -> tuple[float, ...]:
        with torch.no_grad():
            found = []
            for x, y in ((X, Y), (X_VAL, Y_VAL)):
                logits = net(x)
                found += [float(nn.functional.cross_entropy(logits, y)), float((logits.argmax(1) == y).double().mean())]
        return tuple(found)

    curve = [records()]
    for t, rows in enumerate(minibatches(24, candidate.batch_size, steps, seed)):
        loss = nn.functional.cross_entropy(net(X[rows]), Y[rows])
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for k, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
                u = gradient + sgd.weight_decay * weight
                v = u if velocity[k] is None else sgd.momentum * velocity[k] + u
                velocity[k] = v
                weight -= rates[t] * (u + sgd.momentum * v if sgd.nesterov else v)
        curve.append(records())
    return curve


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"weight_decay": 0.1},
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
        {"schedule": "cosine"},
        {"schedule": "linear", "warmup_steps": 5},
        {"schedule": "step", "step_size": 7, "gamma": 0.5, "momentum": 0.5},
        {"warmup_steps": 12},
    ],
    ids=str,
)
def test_training_equals_a_loop_written_by_hand(options: dict[str, Any]) -> None:
    candidate = Candidate(lr=0.05, batch_size=7, **options)
    curve = train(TASK, candidate, seed=5, steps=30, record_at=range(31))
    expected = np.array(by_hand(candidate, seed=5, steps=30)).T
    assert curve.steps.tolist() == list(range(31))
    # The same double-precision arithmetic in another order: rounding grown over 30 steps.
    for found, wanted in zip(
        (curve.train_loss, curve.train_accuracy, curve.val_loss, curve.val_accuracy), expected, strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-11)
    assert not curve.diverged
    assert curve.seconds_per_step > 0


def test_linear_regression_follows_its_closed_form() -> None:
    # Full-batch descent on ½‖Xw − y‖²/N: residual r_t = (I − η X Xᵀ/N)^t r_0.
    x = X[:, :3]
    y = X_VAL[:1, :3] @ torch.ones(3, 1, dtype=torch.float64) + x.sum(dim=1, keepdim=True)

    def factory() -> nn.Module:
        net = nn.Linear(3, 1, bias=False).double()
        nn.init.constant_(net.weight, 0.25)
        return net

    task = Task(mode="eval", name="t", model=factory, data=(x, y), loss="squared_error")
    curve = train(task, Candidate(lr=0.3, batch_size=24), seed=0, steps=20, record_at=range(21))
    residual = x @ torch.full((3, 1), 0.25, dtype=torch.float64) - y
    step = torch.eye(24, dtype=torch.float64) - 0.3 / 24 * x @ x.T
    expected = [float(0.5 * (torch.linalg.matrix_power(step, t) @ residual).square().mean()) for t in range(21)]
    np.testing.assert_allclose(curve.train_loss, expected, rtol=1e-11)
    assert curve.train_accuracy is None
    assert curve.val_loss is None


def test_only_trainable_parameters_move() -> None:
    task = Task(mode="eval", name="t", model=Net, data=(X, Y), validation=(X_VAL, Y_VAL), trainable=["two.*"])
    candidate = Candidate(lr=0.1, batch_size=6, weight_decay=0.1)
    curve = train(task, candidate, seed=0, steps=10, record_at=[10])
    expected = by_hand(candidate, seed=0, steps=10, trainable=["two.weight", "two.bias"])
    np.testing.assert_allclose(curve.train_loss, [expected[0][0], expected[10][0]], rtol=1e-11)


def test_same_seed_same_bits_and_other_seed_other_batches() -> None:
    candidate = Candidate(lr=0.05, batch_size=7)
    runs = [train(TASK, candidate, seed=seed, steps=8) for seed in (1, 1, 2)]
    assert runs[0].train_loss.tobytes() == runs[1].train_loss.tobytes()
    assert not np.array_equal(runs[0].train_loss, runs[2].train_loss)


def test_training_on_a_part_equals_training_on_that_part_alone() -> None:
    part = [3, 20, 7, 11, 0, 15]
    candidate = Candidate(lr=0.05, batch_size=4)
    whole = train(TASK, candidate, seed=3, steps=9, train_index=part, val_index=[2, 5])
    alone = Task(mode="eval", name="t", model=Net, data=(X[part], Y[part]), validation=(X_VAL[[2, 5]], Y_VAL[[2, 5]]))
    expected = train(alone, candidate, seed=3, steps=9)
    assert whole.train_loss.tobytes() == expected.train_loss.tobytes()
    assert whole.val_loss is not None
    assert whole.val_loss.tobytes() == expected.val_loss.tobytes()
    elsewhere = train(TASK, candidate, seed=3, steps=9, train_index=part, eval_index=range(24))
    full = evaluate(prepare_model(TASK), CrossEntropy(), Split(TASK, open_dataset(TASK.data, TASK)))
    assert elsewhere.train_loss[0] == full[0] != whole.train_loss[0]


def test_a_run_cut_short_is_the_beginning_of_the_whole_one() -> None:
    candidate = Candidate(lr=0.05, batch_size=7, schedule="cosine")
    whole = train(TASK, candidate, seed=0, steps=20, record_at=[4, 8])
    cut = train(TASK, candidate, seed=0, steps=8, record_at=[4, 8], schedule_steps=20)
    assert cut.train_loss.tobytes() == whole.train_loss.tobytes()


def test_stops_at_its_target() -> None:
    candidate = Candidate(lr=0.5, batch_size=8)
    free = train(TASK, candidate, seed=0, steps=60, record_at=range(0, 61, 3))
    ratio = 0.6
    first = int(np.argmax(free.train_loss <= ratio * free.train_loss[0]))
    assert 0 < first < 20
    stopped = train(TASK, candidate, seed=0, steps=60, record_at=range(0, 61, 3), stop_at_loss_ratio=ratio)
    assert stopped.steps.tolist() == free.steps.tolist()[: first + 1]
    assert stopped.train_loss.tobytes() == free.train_loss[: first + 1].tobytes()


@pytest.mark.parametrize("lr", [1e3, 1e200], ids=["grows", "overflows"])
def test_divergence_is_recorded_without_nan(lr: float) -> None:
    task = Task(
        mode="eval",
        name="t",
        model=lambda: nn.Linear(5, 1).double(),
        data=(X, X[:, :1]),
        validation=(X_VAL, X_VAL[:, :1]),
        loss="squared_error",
    )
    curve = train(task, Candidate(lr=lr, batch_size=6), seed=0, steps=12, record_at=[2, 4, 12])
    assert curve.diverged
    assert curve.steps.tolist() == [0, 2, 4, 12]
    assert np.isfinite(curve.train_loss[0])
    assert curve.train_loss[1:].tolist() == [np.inf] * 3
    assert curve.val_loss is not None
    assert curve.val_loss[1:].tolist() == [np.inf] * 3


def test_divergence_seen_only_in_a_record() -> None:
    # One step: its minibatch loss is the initial one, so only the record after it can tell.
    task = Task(mode="eval", name="t", model=Net, data=(X, Y))
    curve = train(task, Candidate(lr=1e6, batch_size=6), seed=0, steps=1, record_at=[1])
    assert curve.diverged
    assert curve.train_loss[1] == np.inf
    assert curve.train_accuracy is not None
    assert curve.train_accuracy[1] == 0.0


def test_dtype_converts_weights_and_inputs() -> None:
    task = Task(mode="eval", name="t", model=lambda: Net().float(), data=(X.float(), Y))
    single = train(task, Candidate(lr=0.05, batch_size=6), seed=0, steps=5)
    double = train(task, Candidate(lr=0.05, batch_size=6), seed=0, steps=5, dtype=torch.float64)
    assert single.train_loss[-1] != double.train_loss[-1]
    # float32 rounding, 6e-8, over 5 steps.
    np.testing.assert_allclose(single.train_loss, double.train_loss, rtol=2e-6)


def test_on_step_sees_each_step_and_the_weights_after_it() -> None:
    seen: list[tuple[int, float, float]] = []

    def note(step: int, loss: float, model: PreparedModel) -> None:
        split = Split(TASK, open_dataset(TASK.data, TASK))
        seen.append((step, loss, evaluate(model, as_loss(TASK.loss), split)[0]))

    candidate = Candidate(lr=0.05, batch_size=24)
    curve = train(TASK, candidate, seed=0, steps=4, record_at=range(5), on_step=note)
    assert [step for step, _, _ in seen] == [0, 1, 2, 3, 4]
    assert [after for _, _, after in seen] == curve.train_loss.tolist()
    # With full batches the loss of update t is the whole loss after t − 1 updates, summed in another order.
    np.testing.assert_allclose([loss for _, loss, _ in seen[1:]], curve.train_loss[:-1], rtol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidate": Candidate(lr=0.1, batch_size=25)}, "batch_size is 25, but there are only 24"),
        ({"train_index": [1, 2]}, "batch_size is 6, but there are only 2"),
        ({"record_at": [0, 11]}, r"record_at runs from 0 to 11, but the run takes 10 steps.*0…10"),
        ({"record_at": [-1]}, "record_at runs from -1"),
        ({"schedule_steps": 9}, "schedule_steps is 9, fewer than the 10 steps"),
        ({"steps": -1}, "steps is -1"),
    ],
)
def test_unusable_arguments(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"candidate": Candidate(lr=0.1, batch_size=6), "seed": 0, "steps": 10} | options
    with pytest.raises(InputError, match=message):
        train(TASK, **arguments)


def test_infinite_initial_loss_is_refused() -> None:
    task = Task(mode="eval", name="t", model=Net, data=(X, Y), loss=lambda outputs, targets: outputs.sum(dim=1) / 0.0)
    with pytest.raises(InputError, match="not finite at the pre-trained weights"):
        train(task, Candidate(lr=0.1, batch_size=6), seed=0, steps=1)


@pytest.mark.parametrize(("steps", "count"), list(itertools.product([0, 1, 7, 1000], [3, 40])))
def test_record_points_span_the_run(steps: int, count: int) -> None:
    points = record_points(steps, count=count)
    assert (points[0], points[-1]) == (0, steps)
    assert (np.diff(points) > 0).all()
    assert len(points) <= count


def test_curves_refuse_nan() -> None:
    with pytest.raises(ValueError, match="holds NaN"):
        TrainingCurve(
            steps=np.array([0]),
            train_loss=np.array([np.nan]),
            train_accuracy=None,
            val_loss=None,
            val_accuracy=None,
            seconds_per_step=0.0,
            diverged=False,
        )
