from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import tune

from raytt.adapters.tune.search_space import draw
from raytt.errors import InputError
from raytt.task.candidate import Candidate

RANDOM = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "momentum": tune.uniform(0.0, 0.9),
    "weight_decay": tune.uniform(0.0, 0.1),
    "batch_size": tune.choice([16, 32]),
}


def sample(space: Any, num_candidates: int = 32, seed: int = 0) -> list[Candidate]:
    return list(draw(space, num_candidates=num_candidates, seed=seed).candidates)


def test_random_domains_give_as_many_as_asked() -> None:
    candidates = sample(RANDOM, 20)
    assert len(set(candidates)) == 20
    assert all(
        1e-4 <= c.lr <= 1e-1 and 0 <= c.optimizer.momentum <= 0.9 and c.batch_size in (16, 32) for c in candidates
    )


def test_the_seed_alone_decides() -> None:
    assert sample(RANDOM, 10, seed=3) == sample(RANDOM, 10, seed=3)
    assert set(sample(RANDOM, 10, seed=3)).isdisjoint(sample(RANDOM, 10, seed=4))
    assert sample(RANDOM, 20, seed=3)[:10] == sample(RANDOM, 10, seed=3)


def test_hyperparameters_are_drawn_independently() -> None:
    candidates = sample(RANDOM, 400)
    drawn = np.array([[np.log(c.lr), c.optimizer.momentum, c.optimizer.weight_decay] for c in candidates])
    correlation = np.corrcoef(drawn.T)
    # Independent samples correlate by 1/√400 = 0.05 in standard deviation; sharing a seed gives 1.
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < 0.2


def test_marginal_of_loguniform_is_uniform_in_the_logarithm() -> None:
    logs = np.sort([np.log10(c.lr) for c in sample(RANDOM, 400)])
    uniform = (logs + 4) / 3
    # Kolmogorov-Smirnov: beyond 1.95/√400 with probability 0.001.
    assert np.abs(uniform - (np.arange(400) + 0.5) / 400).max() < 1.95 / 20


def test_drawing_starts_no_ray_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    was_running = ray.is_initialized()
    sample(RANDOM, 5)
    assert ray.is_initialized() == was_running
    assert os.listdir(tmp_path) == []


def test_grid_is_run_through_once() -> None:
    space = {"lr": tune.grid_search([0.1, 0.2, 0.3]), "momentum": tune.grid_search([0.0, 0.9])}
    drawn = draw(space, num_candidates=32, seed=0)
    assert set(drawn.candidates) == {Candidate(lr=lr, momentum=m) for lr in (0.1, 0.2, 0.3) for m in (0.0, 0.9)}
    assert drawn.notes == ("The search space gave 6 distinct configurations; 32 were asked for.",)


def test_grid_of_just_the_size_asked_for_is_complete() -> None:
    drawn = draw({"lr": tune.grid_search([0.1, 0.2, 0.3])}, num_candidates=3, seed=0)
    assert [c.lr for c in drawn.candidates] == [0.1, 0.2, 0.3]
    assert drawn.notes == ()


def test_grid_too_large_is_drawn_from_at_random() -> None:
    space = {"lr": tune.grid_search(list(np.linspace(0.1, 1, 50)))}
    drawn = draw(space, num_candidates=10, seed=0)
    assert len(set(drawn.candidates)) == 10
    assert max(c.lr for c in drawn.candidates) > 0.5
    assert "The grid holds more than 10 configurations; 10 of them were drawn at random" in drawn.notes[0]
    assert draw(space, num_candidates=10, seed=1).candidates != drawn.candidates


def test_random_domains_beside_a_grid_are_redrawn_at_every_point() -> None:
    space = {"lr": tune.loguniform(1e-4, 1e-1), "batch_size": tune.grid_search([8, 16, 32])}
    candidates = sample(space, 9)
    assert len({c.lr for c in candidates}) == 9
    assert sorted(c.batch_size for c in candidates) == [8] * 3 + [16] * 3 + [32] * 3


def test_small_random_spaces_are_exhausted() -> None:
    space = {"lr": tune.choice([0.1, 0.2]), "batch_size": tune.randint(8, 11), "momentum": 0.9}
    drawn = draw(space, num_candidates=100, seed=0)
    assert set(drawn.candidates) == {
        Candidate(lr=a, batch_size=b, momentum=0.9) for a in (0.1, 0.2) for b in (8, 9, 10)
    }
    assert drawn.notes == ("The search space gave 6 distinct configurations; 100 were asked for.",)


def test_constants_alone_are_one_candidate() -> None:
    assert sample({"lr": 0.1}) == [Candidate(lr=0.1)]


def test_quantized_floats_become_whole_numbers() -> None:
    candidates = sample({"lr": 0.1, "batch_size": tune.quniform(16, 64, 16)})
    assert {c.batch_size for c in candidates} == {16, 32, 48, 64}


def test_functions_of_other_hyperparameters() -> None:
    space = {
        "lr": tune.loguniform(1e-3, 1e-1),
        "momentum": tune.choice([0.0, 0.9]),
        "nesterov": tune.sample_from(lambda spec: spec.config.momentum > 0),
        "weight_decay": tune.sample_from(lambda spec: spec.config.lr / 10 if spec.config.momentum else None),
    }
    candidates = sample(space)
    assert {c.optimizer.nesterov for c in candidates} == {True, False}
    assert all(c.optimizer.nesterov == (c.optimizer.momentum > 0) for c in candidates)
    assert all(c.optimizer.weight_decay == (c.lr / 10 if c.optimizer.momentum else 0.0) for c in candidates)


def test_conditional_spaces_are_nested_dictionaries() -> None:
    space = {
        "lr": tune.grid_search([0.1, 0.2]),
        "optimizer": {"optimizer": "sgd", "momentum": 0.9},
        "schedule": tune.choice([{"schedule": "constant"}, {"schedule": "step", "step_size": tune.randint(50, 60)}]),
    }
    candidates = sample(space)
    assert {c.schedule.name for c in candidates} == {"constant", "step"}
    assert all(50 <= c.schedule.step_size < 60 for c in candidates if c.schedule.name == "step")
    assert all(c.optimizer.momentum == 0.9 for c in candidates)
    assert len(candidates) == 22


def test_irrelevant_hyperparameters_make_no_duplicates() -> None:
    space = {"lr": 0.1, "schedule": "cosine", "step_size": tune.grid_search([10, 20]), "gamma": tune.choice([0.1, 0.5])}
    assert sample(space) == [Candidate(lr=0.1, schedule="cosine")]


def test_lists_are_used_whole() -> None:
    listed = [{"lr": 0.1}, Candidate(lr=0.2), {"lr": 0.3, "schedule": {"schedule": "cosine"}}]
    drawn = draw(listed, num_candidates=1, seed=0)
    assert drawn.candidates == (Candidate(lr=0.1), Candidate(lr=0.2), Candidate(lr=0.3, schedule="cosine"))
    assert drawn.notes == ()


def test_repeated_configurations_are_left_out_with_a_note() -> None:
    drawn = draw([{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.1, "momentum": 0}], num_candidates=5, seed=0)
    assert drawn.candidates == (Candidate(lr=0.1), Candidate(lr=0.2))
    assert drawn.notes == ("1 of the 3 listed configurations repeat others and were left out.",)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "The search space is empty"),
        ([], "The search space is an empty list"),
        (None, "The search space is a NoneType"),
        ("lr", "The search space is a str"),
        ({"momentum": 0.9}, "has no 'lr'"),
        ({"lr": tune.uniform(-1, -0.5)}, r"lr is -0\.\d+, outside \(0, inf\)"),
        ({"lr": [0.1, 0.2]}, "'lr' is a plain list in the search space"),
        ({"lr": tune.choice([])}, "'lr' has nothing to choose from"),
        ({"lr": tune.grid_search([])}, "'lr' has nothing to choose from"),
        ({"lr": 0.1, "schedule": {"shedule": "step"}}, "'shedule' under 'schedule'.*Did you mean 'schedule'"),
        ({"lr": 0.1, "momentun": None}, "Unknown hyperparameter 'momentun'.*Did you mean 'momentum'"),
        ([{"lr": 0.1, "wd": 0.1}], "Unknown hyperparameter 'wd'.*Did you mean 'weight_decay'"),
        ({"lr": 0.1, "more": {"lr": 0.2}}, "gives 'lr' twice"),
        ({"learning_rate": 0.1}, "Unknown hyperparameter 'learning_rate'"),
        ({"lr": tune.sample_from(lambda spec: 1 / 0)}, "ZeroDivisionError: division by zero"),
        ({"lr": tune.sample_from(lambda spec: spec.config.mom)}, "cannot be drawn from"),
        ([{"lr": tune.uniform(0, 1)}], "Configuration 0 of the search space holds a Ray Tune domain"),
        ([{"lr": 0.1}, 3], "Item 1 of the search space is a int: 3"),
    ],
)
def test_spaces_that_cannot_be_used(space: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample(space)


def test_at_least_one_candidate_must_be_asked_for() -> None:
    with pytest.raises(InputError, match="num_candidates is 0"):
        sample(RANDOM, 0)
