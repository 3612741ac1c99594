"""The entry to the solvers: what it refuses, and how it chooses a representation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raytt.dynamics.draws import choose_subsets
from raytt.dynamics.network import CoordinateNetwork, GramNetwork, linear_network
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy, CustomLoss, SquaredError
from raytt.task.target import Target
from tests.support.linear_problems import frozen_backbone, squared_problem

OPTIONS = {"num_paths": 2, "seed": 0, "target": None}


def test_a_batch_larger_than_the_subsample_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size is 13, but there are only 12"):
        simulate(squared_problem(), SquaredError(), [Candidate(lr=0.1, batch_size=13)], [5], **OPTIONS)


def test_a_target_without_its_curve_is_refused() -> None:
    options = {**OPTIONS, "target": Target(kind="val_loss", value=0.5)}
    with pytest.raises(InputError, match="no validation data"):
        simulate(squared_problem(), SquaredError(), [Candidate(lr=0.1, batch_size=4)], [5], **options)


@pytest.mark.parametrize(
    ("candidates", "budgets"),
    [
        ([], []),
        ([Candidate(lr=0.1, batch_size=4)], [5, 5]),
        ([Candidate(lr=0.1, batch_size=4)], [0]),
        ([Candidate(lr=0.1, batch_size=4), Candidate(lr=0.1, batch_size=8)], [5, 5]),
    ],
)
def test_wrong_blocks_are_refused(candidates: list[Candidate], budgets: list[int]) -> None:
    with pytest.raises(ValueError, match="candidates"):
        simulate(squared_problem(), SquaredError(), candidates, budgets, **OPTIONS)


def test_the_representation_follows_from_the_shapes() -> None:
    few_samples = squared_problem(num_samples=12, num_outputs=2, width=30)
    many_samples = squared_problem(num_samples=60, num_outputs=2, width=30)
    assert isinstance(linear_network(few_samples), GramNetwork)
    assert isinstance(linear_network(many_samples), CoordinateNetwork)
    seen_along = replace(few_samples, validation=many_samples.train)
    assert isinstance(linear_network(seen_along), CoordinateNetwork)


@pytest.mark.parametrize("method", ["sgd", "sde"])
def test_a_custom_loss_gives_the_curves_of_the_built_in_one(method: str) -> None:
    def squared(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return 0.5 * (outputs - targets).square().sum(dim=1)

    candidates = [Candidate(lr=0.1, batch_size=4), Candidate(lr=0.05, batch_size=4, momentum=0.5)]
    built_in, custom = (
        simulate(squared_problem(), loss, candidates, [40, 40], method=method, **OPTIONS)
        for loss in (SquaredError(), CustomLoss(function=squared))
    )
    np.testing.assert_allclose(custom.train_loss, built_in.train_loss, rtol=1e-9)


@pytest.mark.parametrize("method", ["sgd", "sde"])
def test_same_bits_for_the_same_seed_and_other_curves_for_another(method: str) -> None:
    tangent = frozen_backbone().tangent
    candidates = [Candidate(lr=0.1, batch_size=8), Candidate(lr=0.02, batch_size=8, momentum=0.9)]
    options = {"num_paths": 3, "target": Target(kind="accuracy", value=0.6), "method": method}
    torch.manual_seed(0)
    first = simulate(tangent, CrossEntropy(), candidates, [60, 60], seed=1, **options)
    torch.manual_seed(1)
    second = simulate(tangent, CrossEntropy(), candidates, [60, 60], seed=1, **options)
    other = simulate(tangent, CrossEntropy(), candidates, [60, 60], seed=2, **options)
    for name in ("train_loss", "train_loss_resampled", "train_accuracy", "val_loss", "val_accuracy", "steps_done"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.train_loss != other.train_loss).any()
    # More paths leave those that there are as they are.
    if method == "sgd":
        more = simulate(tangent, CrossEntropy(), candidates, [60, 60], seed=1, **{**options, "num_paths": 5})
        np.testing.assert_array_equal(more.train_loss[:, :3], first.train_loss)


def test_a_plateau_target_stops_nothing() -> None:
    target = Target(kind="plateau", value=0.5)
    candidates = [Candidate(lr=0.1, batch_size=4)]
    free = simulate(squared_problem(), SquaredError(), candidates, [40], **OPTIONS)
    found = simulate(squared_problem(), SquaredError(), candidates, [40], **{**OPTIONS, "target": target})
    np.testing.assert_array_equal(found.train_loss, free.train_loss)


def test_a_subset_is_trained_on_as_if_there_were_no_more() -> None:
    problem = frozen_backbone()
    candidates, budgets = [Candidate(lr=0.1, batch_size=8), Candidate(lr=0.02, momentum=0.9, batch_size=8)], [30, 30]
    found = simulate(problem.tangent, CrossEntropy(), candidates, budgets, subset=24, **OPTIONS)
    chosen = choose_subsets(60, 24, 0, 1)[0]

    def take(positions: np.ndarray) -> Samples:
        index = torch.as_tensor(positions)
        parts = {n: getattr(problem.tangent.train, n)[index] for n in ("outputs", "jacobian", "radial", "targets")}
        return Samples(**parts)

    others = np.setdiff1d(np.arange(60), chosen)
    alone = Tangent(train=take(chosen), position=problem.tangent.position, validation=take(others))
    options = {**OPTIONS, "num_paths": 1}
    expected = simulate(alone, CrossEntropy(), candidates, budgets, **options)
    for kind, twin in (("train", "train"), ("held", "val")):
        for measure in ("loss", "accuracy"):
            curve = getattr(found, f"{kind}_{measure}")[:, :1]
            np.testing.assert_allclose(curve, getattr(expected, f"{twin}_{measure}"), rtol=1e-9)
    # Each path has samples of its own.
    assert not np.allclose(found.train_loss[:, 0, 0], found.train_loss[:, 1, 0])


@pytest.mark.parametrize("options", [{"subset": 12}, {"subset": 6, "full_batch": True}, {"subset": 6, "method": "sde"}])
def test_subsets_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a subset of"):
        simulate(squared_problem(), SquaredError(), [Candidate(lr=0.1, batch_size=4)], [5], **OPTIONS, **options)
