"""Which parameters train, in which mode the network runs, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.model import NORM_SAMPLES, prepare_model, weights_fingerprint

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = torch.zeros(40, dtype=torch.int64)


class Net(nn.Module):
    """Linear layers with batch norm and dropout between them; ``head`` may be tied to ``first``."""

    def __init__(self, *, norm: bool = True, dropout: float = 0.1, tied: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3) if norm else nn.LayerNorm(3)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(3, 3)
        if tied:
            self.head.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.first(x))))


def make_task(model: Any = Net, **options: Any) -> Task:
    return Task(**{"mode": "eval", "name": "t", "model": model, "data": (X, Y), **options})


def build(change: Callable[[Net], Any]) -> Callable[[], Net]:
    def factory() -> Net:
        net = Net()
        with torch.no_grad():
            change(net)
        return net

    return factory


ALL = ["first.weight", "first.bias", "norm.weight", "norm.bias", "head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["*"], ALL),
        (["head.*"], ["head.weight", "head.bias"]),
        (["head.*", "*.bias"], ["first.bias", "norm.bias", "head.weight", "head.bias"]),
        (["*", "!*.bias"], ["first.weight", "norm.weight", "head.weight"]),
        (["!norm.*", "!first.*"], ["head.weight", "head.bias"]),
    ],
)
def test_patterns_choose_what_trains(patterns: list[str], names: list[str]) -> None:
    model = prepare_model(make_task(trainable=patterns))
    assert list(model.trainable) == names
    assert [n for n, p in model.module.named_parameters() if p.requires_grad] == names
    assert all(model.trainable[n] is dict(model.module.named_parameters())[n] for n in names)
    assert model.num_trainable == sum(9 if n in ("first.weight", "head.weight") else 3 for n in names)
    assert model.num_params == 30


@pytest.mark.parametrize(("patterns", "trains"), [(["head.weight"], True), (["*", "!head.weight"], False)])
def test_tied_weights_count_once_under_either_name(patterns: list[str], trains: bool) -> None:
    model = prepare_model(make_task(lambda: Net(tied=True), trainable=patterns))
    assert ("first.weight" in model.trainable) == trains
    assert "head.weight" not in model.trainable


def test_what_the_factory_froze_stays_frozen() -> None:
    model = prepare_model(make_task(build(lambda net: net.first.requires_grad_(False))))
    assert list(model.trainable) == ALL[2:]
    assert "2 parameters that the model factory froze stay frozen." in model.notes


def test_eval_mode_and_its_notes() -> None:
    model = prepare_model(make_task())
    assert not any(part.training for part in model.module.modules())
    assert model.notes == (
        "1 batch-norm layer runs with its stored statistics (eval mode).",
        "1 dropout layer is inactive (eval mode).",
    )
    assert prepare_model(make_task(lambda: Net(norm=False, dropout=0.0))).notes == ()


def test_train_mode_where_it_changes_nothing() -> None:
    assert prepare_model(make_task(lambda: Net(norm=False, dropout=0.0), mode="train")).module.training


def test_forward_is_the_tasks_own() -> None:
    model = prepare_model(make_task(forward=lambda net, x: net(x)[:, :2]))
    assert model.forward(model.module, X).shape == (40, 2)
    assert prepare_model(make_task()).forward(Net().eval(), X).shape == (40, 3)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(4, 2, dropout=0.1)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (make_task(Net()), r"has a network \(Net\) as `model`.*function without arguments"),
        (make_task(lambda: 3), "returned int, not a torch.nn.Module"),
        (make_task(nn.Identity), r"network of task 't' has no parameters"),
        (make_task(trainable=["haed.*"]), r"'haed.\*' in Task.trainable matches no parameter.*look like: .*head"),
        (make_task(trainable=["*", "!dropout.*"]), r"'!dropout.\*' in Task.trainable matches no parameter"),
        (make_task(trainable=["*", "!*"]), r"No parameter trains.*none matches.*first.weight"),
        (make_task(trainable=[]), r"No parameter trains.*first.weight"),
        (make_task(build(lambda n: n.requires_grad_(False))), "No parameter trains.*factory froze"),
        (make_task(build(lambda n: n.head.bias.fill_(torch.nan))), "Parameter head.bias holds NaN"),
        (make_task(build(lambda n: n.head.bias.fill_(torch.inf))), "Parameter head.bias holds NaN or infinite"),
        (make_task(build(lambda n: n.norm.running_var.fill_(torch.nan))), "statistics of batch norm norm hold NaN"),
        (
            make_task(lambda: nn.Linear(3, 3, dtype=torch.complex64)),
            "weight would train and is complex.*pairs",
        ),
        (make_task(lambda: nn.LazyLinear(3)), "Parameter weight has no values yet.*forward pass"),
        (make_task(lambda: nn.BatchNorm1d(3, track_running_stats=False)), "keeps no running statistics.*group norm"),
        (make_task(mode="train"), r"mode='train', but batch norm norm .*mode='eval'.*reestimate_norms"),
        (make_task(lambda: Net(norm=False), mode="train"), r"mode='train', but dropout drop .*rate to 0"),
        (make_task(Attention, mode="train"), r"mode='train', but dropout mix "),
        (make_task(mode="test"), "Task.mode is 'test'"),
        (Task(mode="eval", name="t", model=Net, data=(X[:1], Y[:1]), reestimate_norms=True), "fewer than two samples"),
    ],
)
def test_what_is_refused(task: Task, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare_model(task)


def test_factory_errors_reach_the_caller() -> None:
    def factory() -> nn.Module:
        raise FileNotFoundError("weights.pt")

    with pytest.raises(FileNotFoundError, match=r"weights\.pt"):
        prepare_model(make_task(factory))


def test_norm_statistics_are_the_average_over_the_batches() -> None:
    torch.manual_seed(0)
    state = Net().state_dict()

    def factory() -> Net:
        net = Net()
        net.load_state_dict(state)
        return net

    batches = [X[:16], X[16:40]]
    model = prepare_model(make_task(factory, reestimate_norms=True), norm_batches=batches)
    hidden = [factory().first(b) for b in batches]
    mean = torch.stack([h.mean(dim=0) for h in hidden]).mean(dim=0)
    variance = torch.stack([h.var(dim=0, unbiased=True) for h in hidden]).mean(dim=0)
    # Rounding of float32 sums of 16–24 terms of order one.
    torch.testing.assert_close(model.module.norm.running_mean, mean.detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.module.norm.running_var, variance.detach(), atol=1e-6, rtol=1e-5)
    assert not any(part.training for part in model.module.modules())
    assert model.module.norm.momentum == 0.1
    assert "re-estimated" in model.notes[-1]


def test_norms_are_reestimated_on_the_tasks_own_data() -> None:
    size = NORM_SAMPLES + 100
    data = torch.randn(size, 3, generator=torch.Generator().manual_seed(1)) * 5 + 2
    task = Task(
        mode="eval",
        name="t",
        model=lambda: nn.BatchNorm1d(3),
        data=(data, torch.zeros(size).long()),
        reestimate_norms=True,
    )
    one, two = prepare_model(task), prepare_model(task)
    assert torch.equal(one.module.running_mean, two.module.running_mean)
    # A mean of 1,024 samples of standard deviation 5 is off by 0.16; 4 σ.
    assert (one.module.running_mean - 2).abs().max() < 0.63
    assert (one.module.running_var - 25).abs().max() < 25 * 4 * (2 / NORM_SAMPLES) ** 0.5


def test_fingerprint_sees_values_names_and_dtypes() -> None:
    torch.manual_seed(0)
    net = Net()
    base = weights_fingerprint(net)
    assert len(base) == 32
    copy = Net()
    assert weights_fingerprint(copy) != base
    copy.load_state_dict(net.state_dict())
    assert weights_fingerprint(copy) == base
    copy.norm.running_mean[0] += 1
    assert weights_fingerprint(copy) != base
    assert weights_fingerprint(net.double()) != base
    assert weights_fingerprint(net.bfloat16()) != base
    assert weights_fingerprint(nn.Sequential(net)) != weights_fingerprint(net)
    assert weights_fingerprint(net.to(memory_format=torch.channels_last)) == weights_fingerprint(net)
