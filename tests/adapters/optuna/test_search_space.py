from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from ray import tune

import raytt
from raytt.adapters import search_space
from raytt.adapters.optuna.search_space import draw, is_optuna

SPACE = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "batch_size": IntDistribution(8, 32, step=8),
    "momentum": CategoricalDistribution([0.0, 0.9]),
    "schedule": "cosine",
    "betas": (0.9, 0.99),
}


def conditional(trial: optuna.Trial) -> dict[str, Any]:
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
    if optimizer == "sgd":
        return {"optimizer": optimizer, "lr": trial.suggest_float("sgd_lr", 1e-2, 1.0, log=True), "momentum": 0.9}
    return {"optimizer": optimizer, "lr": trial.suggest_float("adamw_lr", 1e-5, 1e-3, log=True), "momentum": None}


def test_values_are_those_of_optunas_own_random_sampler() -> None:
    drawn = draw(SPACE, num_candidates=20, seed=7)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))
    names = {name: value for name, value in SPACE.items() if isinstance(value, optuna.distributions.BaseDistribution)}
    expected = [study.ask(names).params for _ in range(20)]
    assert [{name: config[name] for name in names} for config in drawn.configs] == expected
    assert all(candidate.schedule.name == "cosine" for candidate in drawn.candidates)
    assert {candidate.batch_size for candidate in drawn.candidates} == {8, 16, 24, 32}
    assert drawn.notes == ()


@pytest.mark.parametrize("space", [SPACE, conditional])
def test_a_function_of_the_seed_alone(space: Any) -> None:
    first, again, other = (draw(space, num_candidates=12, seed=seed).candidates for seed in (3, 3, 4))
    assert first == again != other
    assert len(set(first)) == 12
    assert search_space.draw(space, num_candidates=12, seed=3).candidates == first


def test_logarithmic_draws_are_even_in_the_logarithm() -> None:
    found = [np.log10(c.lr) for c in draw({"lr": SPACE["lr"]}, num_candidates=400, seed=0).candidates]
    counts, _ = np.histogram(found, bins=3, range=(-4, -1))
    assert counts.sum() == 400
    # Five standard deviations of a count.
    assert np.abs(counts - 400 / 3).max() < 5 * np.sqrt(400 * 2 / 9)


def test_define_by_run_draws_what_depends_on_another_hyperparameter() -> None:
    drawn = draw(conditional, num_candidates=30, seed=0)
    for candidate in drawn.candidates:
        low, high = (1e-2, 1.0) if candidate.optimizer.name == "sgd" else (1e-5, 1e-3)
        assert low <= candidate.lr <= high
    assert {candidate.optimizer.name for candidate in drawn.candidates} == {"sgd", "adamw"}


def test_pruned_trials_are_left_out() -> None:
    def space(trial: optuna.Trial) -> dict[str, Any]:
        lr = trial.suggest_float("lr", 0.0, 1.0)
        if lr < 0.5:
            raise optuna.TrialPruned
        return {"lr": lr}

    assert min(c.lr for c in draw(space, num_candidates=50, seed=0).candidates) >= 0.5

    def nothing(trial: optuna.Trial) -> dict[str, Any]:
        raise optuna.TrialPruned

    with pytest.raises(raytt.InputError, match="all trials were pruned"):
        draw(nothing, num_candidates=5, seed=0)


def test_an_exhausted_space_says_so() -> None:
    drawn = draw({"lr": CategoricalDistribution([0.1, 0.2, 0.3])}, num_candidates=10, seed=0)
    assert sorted(c.lr for c in drawn.candidates) == [0.1, 0.2, 0.3]
    assert drawn.notes == ("The search space gave 3 distinct configurations; 10 were asked for.",)


def test_spaces_of_tune_and_lists_stay_what_they_are() -> None:
    assert not is_optuna({"lr": tune.loguniform(1e-4, 1e-1)})
    assert not is_optuna([{"lr": 0.1}])
    assert len(search_space.draw({"lr": tune.uniform(0.1, 0.2)}, num_candidates=3, seed=0).candidates) == 3
    assert len(search_space.draw([{"lr": 0.1}], num_candidates=3, seed=0).candidates) == 1


def test_optuna_is_not_imported_for_other_spaces() -> None:
    code = (
        "import sys; from raytt.adapters.search_space import draw\n"
        "draw([{'lr': 0.1}], num_candidates=1, seed=0); print('optuna' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("space", "named"),
    [
        ({"lr": SPACE["lr"], "momentum": tune.uniform(0, 1)}, "'momentum' is a domain of Ray Tune"),
        ({"lr": SPACE["lr"], "momentum": [0.0, 0.9]}, "'momentum' is a list"),
        ({"lr": SPACE["lr"], "optimizer": {"lr": 0.1}}, "'optimizer' is a dict"),
        ({"learning_rate": SPACE["lr"]}, "Unknown hyperparameter 'learning_rate'"),
        (lambda trial: 1 / 0, r"division by zero \(ZeroDivisionError\)"),
        (lambda trial: 0.1, "returned a float"),
        (lambda: {"lr": 0.1}, "TypeError"),
    ],
)
def test_refuses(space: Any, named: str) -> None:
    with pytest.raises(raytt.InputError, match=named):
        draw(space, num_candidates=3, seed=0)
    with pytest.raises(raytt.InputError, match="num_candidates is 0"):
        draw(SPACE, num_candidates=0, seed=0)
