from __future__ import annotations

import dataclasses
import pickle
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR, StepLR

from raytt.errors import InputError
from raytt.task.candidate import Candidate, hyperparameters, table, takes_several
from raytt.task.optimizers import AdamW, RMSprop, Sgd
from raytt.task.schedules.cosine import Cosine

STEPS = 50


def torch_factors(make: Any, warmup: int) -> list[float]:
    """Learning rates that torch's scheduler uses in steps 0…STEPS−1 for a peak of 1, after torch's linear warm-up."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler: LRScheduler = make(optimizer, STEPS - warmup)
    if warmup:
        warm = LinearLR(optimizer, start_factor=1.0 / (warmup + 1), total_iters=warmup)
        with warnings.catch_warnings():
            # SequentialLR itself calls scheduler.step in a way that torch deprecates.
            warnings.simplefilter("ignore", UserWarning)
            scheduler = SequentialLR(optimizer, [warm, scheduler], milestones=[warmup])
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            scheduler.step()
    return rates


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({"schedule": "constant"}, lambda o, span: ConstantLR(o, factor=1.0)),
        ({"schedule": "cosine"}, lambda o, span: CosineAnnealingLR(o, T_max=span)),
        ({"schedule": "linear"}, lambda o, span: LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=span)),
        ({"schedule": "step", "step_size": 12, "gamma": 0.3}, lambda o, span: StepLR(o, step_size=12, gamma=0.3)),
    ],
    ids=["constant", "cosine", "linear", "step"],
)
def test_lr_factors_are_those_of_torch(settings: dict[str, Any], make: Any, warmup: int) -> None:
    ours = Candidate(lr=0.1, warmup_steps=warmup, **settings).lr_factors(STEPS)
    # torch multiplies up factors from step to step: rounding of order STEPS × 1e-16 relative, absolute near the end.
    np.testing.assert_allclose(ours, torch_factors(make, warmup), rtol=1e-12, atol=1e-14)


def test_warm_up_as_a_share_of_the_budget() -> None:
    """As transformers has it: W = ⌈ratio · T⌉."""
    share = Candidate(lr=0.1, warmup_ratio=0.13, schedule="cosine")
    assert [share.warmup(steps) for steps in (50, 100, 300)] == [7, 13, 39]
    steps = Candidate(lr=0.1, warmup_steps=7, schedule="cosine")
    np.testing.assert_array_equal(share.lr_factors(STEPS), steps.lr_factors(STEPS))
    # Rounding errors do not add a step.
    assert 0.07 * 300 > 21.0
    assert Candidate(lr=0.1, warmup_ratio=0.07).warmup(300) == 21
    assert Candidate(lr=0.1, warmup_ratio=1.0).lr_factors(3).tolist() == [0.25, 0.5, 0.75]
    assert Candidate(lr=0.1, warmup_ratio=0.0) == Candidate(lr=0.1)
    assert Candidate.from_config(share.config()) == share


def test_learning_rates_are_the_factors_of_the_schedule_times_the_peak() -> None:
    candidate = Candidate(lr=0.3, schedule=Cosine(min_lr=0.03), warmup_steps=3)
    rates = candidate.learning_rates(STEPS)
    np.testing.assert_array_equal(rates, 0.3 * candidate.lr_factors(STEPS))
    assert rates.max() == 0.3
    assert 0.03 <= rates[-1] < 0.031


def test_effective_lr_is_the_optimizers() -> None:
    assert Candidate(lr=0.1, momentum=0.9).effective_lr == pytest.approx(1.0)
    assert Candidate(lr=0.1, optimizer="adamw").effective_lr == 0.1


def test_warm_up_longer_than_the_budget_is_cut_off_not_squeezed() -> None:
    long = Candidate(lr=0.1, warmup_steps=9).lr_factors(4)
    np.testing.assert_allclose(long, [0.1, 0.2, 0.3, 0.4], rtol=1e-15)


def test_gamma_zero_with_warm_up_stays_finite() -> None:
    factors = Candidate(lr=0.1, schedule="step", step_size=2, gamma=0.0, warmup_steps=2).lr_factors(6)
    np.testing.assert_allclose(factors, [1 / 3, 2 / 3, 1.0, 1.0, 0.0, 0.0], rtol=1e-15)


def test_budget_in_epochs_is_of_the_whole_training_set() -> None:
    assert Candidate(lr=0.1, batch_size=32, max_epochs=2).budget(num_samples=100, default_epochs=9) == 7
    assert Candidate(lr=0.1, batch_size=32).budget(num_samples=100, default_epochs=1) == 4
    assert Candidate(lr=0.1, max_steps=5).budget(num_samples=100, default_epochs=1) == 5
    assert Candidate(lr=0.1, batch_size=64, max_epochs=0.01).budget(num_samples=100, default_epochs=1) == 1


def test_steps_of_several_minibatches_count_all_their_samples() -> None:
    candidate = Candidate(lr=0.1, batch_size=8, accumulation_steps=4, max_epochs=3)
    assert candidate.samples_per_step == 32
    assert candidate.budget(num_samples=100, default_epochs=1) == 10
    assert candidate.config() == {
        "optimizer": "sgd",
        "lr": 0.1,
        "batch_size": 8,
        "accumulation_steps": 4,
        "max_epochs": 3,
    }
    assert Candidate.from_config(candidate.config()) == candidate
    plain = replace(candidate, accumulation_steps=1)
    own, others = ({name for name, *_ in c.sort_key()} for c in (candidate, plain))
    assert own - others == {"accumulation_steps"}


@pytest.mark.parametrize(("last_batch", "steps"), [("straddle", 8), ("drop", 6), ("keep", 9)])
def test_budget_in_epochs_counts_the_minibatches_of_an_epoch(last_batch: str, steps: int) -> None:
    """3 epochs of 100 samples in minibatches of 40: 2 or 3 in an epoch."""
    candidate = Candidate(lr=0.1, batch_size=40, max_epochs=3)
    assert candidate.budget(num_samples=100, default_epochs=1, last_batch=last_batch) == steps
    accumulated = replace(candidate, accumulation_steps=2)
    assert accumulated.budget(num_samples=100, default_epochs=1, last_batch=last_batch) == -(-steps // 2)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("gradient_accumulation_steps", "accumulation_steps"),
        ("learning_rate", "lr"),
        ("wd", "weight_decay"),
        ("momentun", "momentum"),
    ],
)
def test_names_of_other_libraries_are_refused_with_ours(key: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"Unknown hyperparameter '{key}'.*Did you mean '{meant}'"):
        Candidate.from_config({"lr": 0.1, key: 2})


def test_budget_does_not_round_up_a_rounding_error() -> None:
    assert 0.07 * 300 > 21.0
    assert Candidate(lr=0.1, batch_size=1, max_epochs=0.07).budget(num_samples=300, default_epochs=1) == 21


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, r"lr is 0\.0, outside \(0, inf\)"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": "0.1"}, "lr is '0.1'"),
        ({"lr": True}, "lr is True"),
        ({"momentum": 1.0}, r"momentum is 1\.0, outside \[0, 1\)"),
        ({"weight_decay": -0.1}, r"weight_decay is -0\.1"),
        ({"gamma": 1.5, "schedule": "step", "step_size": 3}, r"gamma is 1\.5, outside \[0, 1\]"),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number of at least 1"),
        ({"batch_size": 12.5}, "batch_size is 12.5"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"schedule": "step"}, "has neither of step_size and step_epochs"),
        ({"nesterov": True}, "nesterov=True with momentum=0. Give a momentum above 0"),
        ({"nesterov": "yes"}, "nesterov is 'yes'"),
        ({"max_epochs": 1, "max_steps": 10}, "Both max_epochs and max_steps are given"),
        ({"warmup_steps": 3, "warmup_ratio": 0.1}, "Both warmup_steps and warmup_ratio are given"),
        ({"warmup_ratio": 1.5}, r"warmup_ratio is 1\.5, outside \[0, 1\]"),
        ({"schedule": "cosine", "min_lr": 0.2}, "min_lr is 0.2, above lr"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"optimizer": "SGDM"}, "Unknown optimizer 'SGDM'. Did you mean 'sgd'"),
        ({"optimizer": "muon"}, "Unknown optimizer 'muon'. Known: sgd"),
        ({"schedule": "cosin"}, "Unknown schedule 'cosin'. Did you mean 'cosine'"),
        ({"learning_rate": 1.0}, "Unknown hyperparameter 'learning_rate'"),
        ({"momentun": 0.9}, "Did you mean 'momentum'"),
    ],
)
def test_bad_configurations_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Candidate.from_config({"lr": 0.1, **settings})


def test_learning_rate_is_required() -> None:
    with pytest.raises(InputError, match="has no 'lr'"):
        Candidate.from_config({"momentum": 0.9})


def test_numbers_from_search_spaces_become_plain_python() -> None:
    drawn = Candidate.from_config(
        {"lr": np.float64(0.1), "batch_size": 64.0, "nesterov": np.bool_(True), "momentum": np.float32(0.5)}
    )
    assert drawn == Candidate(lr=0.1, batch_size=64, nesterov=True, momentum=0.5)
    assert type(drawn.batch_size) is int
    assert type(drawn.lr) is float


def test_candidates_that_train_alike_are_equal() -> None:
    assert Candidate(lr=1) == Candidate(lr=1.0, momentum=-0.0, step_size=10, gamma=0.5)
    assert hash(Candidate(lr=1)) == hash(Candidate(lr=1.0, step_size=10))
    assert Candidate(lr=1, schedule="step", step_size=10) != Candidate(lr=1, schedule="step", step_size=20)
    assert Candidate(lr=1).sort_key() == Candidate(lr=1.0, momentum=-0.0).sort_key()


def test_optimizers_and_schedules_as_objects_or_flat() -> None:
    flat = Candidate(optimizer="sgd", lr=0.1, momentum=0.9, schedule="cosine", min_lr=0.01)
    assert flat == Candidate(optimizer=Sgd(momentum=0.9), lr=0.1, schedule=Cosine(min_lr=0.01))
    assert (flat.optimizer.name, flat.schedule.name) == ("sgd", "cosine")
    # Flat hyperparameters beside an object replace its own.
    assert replace(flat, momentum=0.5, min_lr=0.0) == Candidate(lr=0.1, momentum=0.5, schedule="cosine")
    assert replace(flat, optimizer="adamw").optimizer == AdamW()
    assert replace(flat, optimizer=RMSprop(), lr=0.2).config() == {
        "optimizer": "rmsprop",
        "lr": 0.2,
        "batch_size": 32,
        "schedule": "cosine",
        "min_lr": 0.01,
    }
    with pytest.raises(InputError, match=r"Unknown hyperparameter 'momentun'.*Did you mean 'momentum'"):
        Candidate(lr=0.1, momentun=0.9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        flat.lr = 0.2  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(flat)) == flat


def test_sort_key_has_the_order_that_it_always_had() -> None:
    """Which candidates are simulated together follows from it, and with that the last bits of their curves."""
    candidates = [
        Candidate(optimizer="adamw", lr=0.1, weight_decay=0.0, betas=(0.9, 0.999)),
        Candidate(optimizer="adamw", lr=0.1, weight_decay=0.1, betas=(0.8, 0.9)),
        Candidate(optimizer="adamw", lr=0.1, weight_decay=0.1, betas=(0.9, 0.9), eps=1e-7, max_steps=5),
        Candidate(optimizer="adamw", lr=0.1, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-7, max_steps=5),
        Candidate(optimizer="adamw", lr=0.1, weight_decay=0.1, betas=(0.9, 0.9), eps=1e-7, max_steps=6),
        Candidate(lr=0.01),
        Candidate(lr=0.1, weight_decay=0.1),
        Candidate(lr=0.1, weight_decay=0.1, max_grad_norm=1.0, batch_size=8),
        Candidate(lr=0.1, weight_decay=0.1, max_grad_norm=2.0, batch_size=4),
        Candidate(lr=0.1, momentum=0.5),
        Candidate(lr=0.1, momentum=0.5, schedule="cosine", warmup_steps=9),
        Candidate(lr=0.1, momentum=0.5, schedule="step", step_size=7, warmup_steps=2, gamma=0.9),
        Candidate(lr=0.1, momentum=0.5, schedule="step", step_size=3, warmup_steps=3, gamma=0.2, max_epochs=2),
        Candidate(lr=0.1, momentum=0.5, schedule="step", step_size=3, warmup_steps=3, gamma=0.3, max_epochs=1),
        Candidate(lr=0.1, momentum=0.5, nesterov=True),
    ]
    # β₂ is compared last, after the budget.
    keys = [c.sort_key() for c in candidates]
    assert keys == sorted(keys)


def test_sort_key_holds_own_fields_only_and_later_ones_where_they_are_set() -> None:
    """What is kept of a candidate is found by it, also when raytt gets another optimizer, schedule or field."""
    assert Candidate(lr=0.1, momentum=0.9).sort_key() == (
        ("optimizer", 2, 0.0, "sgd"),
        ("lr", 1, 0.1, ""),
        ("momentum", 1, 0.9, ""),
        ("nesterov", 1, 0.0, ""),
        ("weight_decay", 1, 0.0, ""),
        ("max_grad_norm", 0, 0.0, ""),
        ("batch_size", 1, 32.0, ""),
        ("schedule", 2, 0.0, "constant"),
        ("warmup_steps", 1, 0.0, ""),
        ("max_epochs", 0, 0.0, ""),
        ("max_steps", 0, 0.0, ""),
    )
    names = [entry[0] for entry in Candidate(lr=0.1, optimizer="adamw", warmup_ratio=0.1).sort_key()]
    assert names[2:5] == ["weight_decay", "betas", "eps"]
    assert names[-2:] == ["warmup_ratio", "betas_2"]


def test_a_table_has_the_same_columns_for_all() -> None:
    rows = table([Candidate(lr=0.1, momentum=0.9), Candidate(lr=0.1, optimizer="adam", schedule="cosine")])
    assert [row["momentum"] for row in rows] == [0.9, None]
    assert [row["betas"] for row in rows] == [None, (0.9, 0.999)]
    assert list(rows[0]) == list(rows[1]) == [name for name in hyperparameters() if name in rows[0]]
    assert "alpha" not in rows[0]
    assert table([]) == []


def test_hyperparameters_of_several_numbers() -> None:
    assert [name for name in hyperparameters() if takes_several(name)] == ["betas", "eps"]


def test_sort_key_orders_numbers_by_size() -> None:
    sizes = [Candidate(lr=0.1, batch_size=b) for b in (128, 16, 2)]
    assert [c.batch_size for c in sorted(sizes, key=Candidate.sort_key)] == [2, 16, 128]
    budgets = [Candidate(lr=0.1, max_steps=10), Candidate(lr=0.1)]
    assert [c.max_steps for c in sorted(budgets, key=Candidate.sort_key)] == [None, 10]


def test_config_leaves_out_defaults_only() -> None:
    assert Candidate(lr=0.1).config() == {"optimizer": "sgd", "lr": 0.1, "batch_size": 32}
    full = Candidate(lr=0.1, momentum=0.9, nesterov=True, schedule="step", step_size=5, gamma=0.5, max_steps=9)
    assert Candidate.from_config(full.config()) == full


def test_adamw_is_written_and_read_back() -> None:
    candidate = Candidate.from_config(
        {"optimizer": "adamw", "lr": 1e-4, "betas": [0.8, 0.99], "weight_decay": 0.1, "max_grad_norm": 1}
    )
    assert candidate.optimizer == AdamW(weight_decay=0.1, betas=(0.8, 0.99))
    assert candidate.config()["betas"] == [0.8, 0.99]
    assert Candidate.from_config(candidate.config()) == candidate
    assert candidate.sort_key() != Candidate(optimizer="adamw", lr=1e-4, betas=(0.8, 0.9)).sort_key()


def test_what_sgd_does_not_use_does_not_tell_candidates_apart() -> None:
    assert Candidate(lr=0.1, betas=(0.5, 0.5), eps=1e-3) == Candidate(lr=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "adamw", "momentum": 0.9}, "AdamW's momentum is its first beta"),
        ({"optimizer": "adamw", "betas": (0.9, 1.0)}, "β₂ of betas is 1.0"),
        ({"optimizer": "adamw", "betas": 0.9}, "betas is 0.9"),
        ({"optimizer": "adamw", "eps": 0.0}, "eps is 0.0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm is 0.0"),
    ],
)
def test_bad_adamw_and_clipping(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Candidate(lr=0.1, **fields)
