from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

import raytt
from raytt.adapters.transformers.arguments import training_arguments


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "betas": (0.8, 0.95), "eps": 1e-6},
        {"optimizer": "adam"},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
        {"optimizer": "rmsprop", "alpha": 0.9, "momentum": 0.5},
    ],
)
def test_transformers_builds_the_optimizer_of_the_candidate(settings: dict[str, Any], tmp_path: Path) -> None:
    candidate = raytt.Candidate(lr=3e-4, max_steps=10, **settings)
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **training_arguments(candidate, steps=10))
    kind, given = Trainer.get_optimizer_cls_and_kwargs(args)
    module = nn.Linear(2, 2)
    theirs = kind(module.parameters(), **given)
    ours = candidate.optimizer.torch(module.parameters(), candidate.lr)
    own = ("lr", "betas", "eps", "momentum", "nesterov", "alpha")
    found = [{key: o.param_groups[0].get(key) for key in own} for o in (ours, theirs)]
    assert found[0] == found[1]
    assert isinstance(theirs, torch.optim.AdamW) or type(theirs) is type(ours)


def test_budget_batch_and_clipping() -> None:
    by_epochs = training_arguments(raytt.Candidate(lr=0.1, max_epochs=3, batch_size=8), steps=40)
    assert (by_epochs["num_train_epochs"], by_epochs["max_steps"]) == (3.0, -1)
    assert (by_epochs["per_device_train_batch_size"], by_epochs["max_grad_norm"]) == (8, 0.0)
    by_default = training_arguments(raytt.Candidate(lr=0.1, max_grad_norm=0.5), steps=40)
    assert (by_default["max_steps"], by_default["max_grad_norm"]) == (40, 0.5)
    assert "num_train_epochs" not in by_default


def test_refuses_adam_with_coupled_weight_decay() -> None:
    with pytest.raises(raytt.InputError, match="'adam'"):
        training_arguments(raytt.Candidate(lr=0.1, optimizer="adam", weight_decay=0.1), steps=10)


@pytest.mark.parametrize(("name", "why"), [("adafactor", "is not torch's"), ("lion", "no `optim` for 'lion'")])
def test_refuses_optimizers_that_trainer_does_not_have(name: str, why: str) -> None:
    with pytest.raises(raytt.InputError, match=why):
        training_arguments(raytt.Candidate(lr=0.1, optimizer=name), steps=10)
