"""Arguments of the model among the hyperparameters of a search space."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest
from ray import tune
from torch import nn

from raytt.adapters.search_space import draw
from raytt.errors import InputError
from raytt.task.candidate import Candidate, table
from raytt.task.model_arguments import check_model_arguments, model_names
from raytt.task.task import Task


def factory(lora_rank: int = 8, *, targets: Any = ("q", "v"), lr: float = 1.0) -> nn.Module:
    del lr
    return nn.Linear(lora_rank, len(targets))


TASK = Task(name="t", model=factory, data=lambda: None)
NAMES = ("lora_rank", "targets")


def test_names_are_those_of_arguments_with_defaults_that_are_no_hyperparameters() -> None:
    assert model_names(factory) == NAMES
    assert model_names(functools.partial(factory, lora_rank=3)) == NAMES
    assert model_names(lambda needed, **others: None) == ()
    assert model_names(nn.Linear) == ("bias", "device", "dtype")


def test_the_model_is_built_with_them() -> None:
    candidate = Candidate.from_config({"lr": 0.1, "lora_rank": 2, "targets": ["k"]}, NAMES)
    built = TASK.built_for(candidate).model()
    assert isinstance(built, nn.Linear)
    assert (built.in_features, built.out_features) == (2, 1)
    plain = Candidate(lr=0.1)
    assert TASK.built_for(plain) is TASK
    assert plain.model_arguments == ()


def test_they_are_part_of_a_candidate() -> None:
    two, eight = (Candidate(lr=0.1, model_arguments={"targets": ["q", "k"], "lora_rank": np.int64(r)}) for r in (2, 8))
    assert two != eight
    assert hash(two) == hash(Candidate(lr=0.1, model_arguments=dict(two.model_arguments)))
    assert two.model_arguments == (("lora_rank", 2), ("targets", ("q", "k")))
    assert (two.family, Candidate(lr=0.1).family) == ("sgd, lora_rank 2, targets q+k", "sgd")
    assert two.sort_key() < eight.sort_key()
    assert two.sort_key() != Candidate(lr=0.1).sort_key()
    assert two.flat()["lora_rank"] == 2
    assert [row["lora_rank"] for row in table([two, Candidate(lr=0.1)])] == [2, None]


def test_what_is_written_is_read() -> None:
    candidate = Candidate(lr=0.1, model_arguments={"targets": ("q", "k"), "scaled": True, "bias": None})
    assert Candidate.from_config(json.loads(json.dumps(candidate.config()))) == candidate
    assert "model_arguments" not in Candidate(lr=0.1).config()


@pytest.mark.parametrize("nested", [False, True])
def test_a_search_space_holds_them(nested: bool) -> None:
    ranks = {"lora_rank": tune.choice([2, 4, 8])}
    space = {"lr": tune.loguniform(1e-3, 1e-1), **({"model_arguments": ranks} if nested else ranks)}
    found = draw(space, num_candidates=12, seed=0, model_names=NAMES).candidates
    assert {dict(c.model_arguments)["lora_rank"] for c in found} == {2, 4, 8}
    check_model_arguments(TASK, found)


def test_a_search_space_of_optuna_holds_them() -> None:
    optuna = pytest.importorskip("optuna")
    space = {"lr": 0.1, "lora_rank": optuna.distributions.IntDistribution(2, 64, log=True)}
    found = draw(space, num_candidates=4, seed=0, model_names=NAMES).candidates
    assert all(2 <= dict(c.model_arguments)["lora_rank"] <= 64 for c in found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"lr": 2}, "'lr' is given as an argument of the model, but is the name of a hyperparameter"),
        ({"net": nn.ReLU()}, "The argument 'net' of the model is a ReLU"),
        ({"sizes": [1, [2, object()]]}, "The argument 'sizes' of the model is a object"),
    ],
)
def test_what_cannot_be_an_argument_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Candidate(lr=0.1, model_arguments=arguments)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"Unknown hyperparameter 'lora_rnak'.*Did you mean 'lora_rank'\?"):
        draw([{"lr": 0.1, "lora_rnak": 2}], num_candidates=1, seed=0, model_names=NAMES)
    with pytest.raises(InputError, match=r"takes no argument 'target'.*Did you mean 'targets'\?"):
        check_model_arguments(TASK, [Candidate(lr=0.1, model_arguments={"target": ["q"]})])
