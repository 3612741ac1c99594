"""The rotation onto the span of the anchors keeps every inner product that matters, and every curve."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raytt.dynamics.kernel.gram import gram_tile
from raytt.dynamics.kernel.reduction import basis_from_second_moment, coordinates_from_gram
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy
from tests.support.reduction import reduce_rows


def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a.reshape(-1, a.shape[-1]) @ b.reshape(-1, b.shape[-1]).T


def problem(anchors: int, width: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of falling size; the anchors span ``rank`` dimensions, the others more."""
    rng = np.random.default_rng(0)
    span = rng.standard_normal((rank, width)) * np.arange(1, rank + 1)[:, None] ** -1.0
    return rng.standard_normal((anchors, 3, rank)) @ span, rng.standard_normal((5, 3, width))


@pytest.mark.parametrize(
    ("anchors", "width", "rank"),
    [(6, 40, 18), (6, 40, 7), (20, 12, 12), (20, 12, 5)],
    ids=["few rows", "few dependent rows", "many rows", "many dependent rows"],
)
def test_inner_products_are_kept_in_as_few_coordinates_as_the_rank(anchors: int, width: int, rank: int) -> None:
    rows, others = problem(anchors, width, rank)
    found, (found_others,) = reduce_rows(rows, [others])
    assert found.shape == (anchors, 3, rank)
    assert found_others.shape == (5, 3, rank)
    scale = np.abs(products(rows, rows)).max()
    np.testing.assert_allclose(products(found, found), products(rows, rows), atol=1e-12 * scale)
    np.testing.assert_allclose(products(found_others, found), products(others, rows), atol=1e-9 * scale)


def test_both_routes_give_the_same_products() -> None:
    rows, others = problem(10, 30, 12)
    flat = rows.reshape(30, 30)
    by_gram, (others_by_gram,) = coordinates_from_gram(gram_tile(flat, flat), [gram_tile(others, flat)])
    basis = basis_from_second_moment(flat.T @ flat)
    assert basis.shape == (30, 12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(by_gram @ by_gram.T, (flat @ basis) @ (flat @ basis).T, atol=1e-11)
    # Inside the span even products of others among each other agree, being those of their projections.
    projected = others.reshape(15, 30) @ basis
    np.testing.assert_allclose(others_by_gram @ others_by_gram.T, projected @ projected.T, rtol=1e-7, atol=1e-7)


def test_nothing_to_learn_has_one_coordinate_of_zero() -> None:
    found, (others,) = coordinates_from_gram(np.zeros((4, 4)), [np.zeros((2, 4))])
    np.testing.assert_array_equal(found, np.zeros((4, 1)))
    np.testing.assert_array_equal(others, np.zeros((2, 1)))


def test_same_bits_for_the_same_rows() -> None:
    rows, others = problem(10, 40, 30)
    first, second = (reduce_rows(rows.copy(), [others.copy()]) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1][0], second[1][0])


@pytest.mark.parametrize("width", [400, 20], ids=["fewer rows than dimensions", "more rows than dimensions"])
def test_curves_are_the_same_before_and_after(width: int) -> None:
    rng = np.random.default_rng(1)
    rows, others = rng.standard_normal((16, 3, width)) / width**0.5, rng.standard_normal((6, 3, width)) / width**0.5
    found, (found_others,) = reduce_rows(rows, [others])
    assert found.shape[2] == min(width, 48)

    def samples(jacobian: np.ndarray, seed: int) -> Samples:
        draw = np.random.default_rng(seed)
        n = len(jacobian)
        return Samples(
            outputs=torch.as_tensor(draw.standard_normal((n, 3))),
            jacobian=torch.as_tensor(jacobian),
            radial=torch.as_tensor(draw.standard_normal((n, 3))),
            targets=torch.as_tensor(draw.integers(0, 3, n)),
        )

    candidates = [
        Candidate(lr=0.5, batch_size=4),
        Candidate(lr=0.1, batch_size=4, momentum=0.9, nesterov=True, weight_decay=0.01),
    ]
    curves = [
        simulate(
            Tangent(
                train=samples(a, 0), validation=samples(b, 1), position=torch.zeros(a.shape[2], dtype=torch.float64)
            ),
            CrossEntropy(),
            candidates,
            [100, 100],
            num_paths=2,
            seed=0,
            target=None,
        )
        for a, b in ((rows, others), (found, found_others))
    ]
    np.testing.assert_allclose(curves[0].train_loss, curves[1].train_loss, rtol=1e-9)
    np.testing.assert_allclose(curves[0].val_loss, curves[1].val_loss, rtol=1e-9)
