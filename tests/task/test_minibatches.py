"""The minibatch convention: epochs are permutations, any stretch can be had, and seed and epoch alone decide."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytt.errors import InputError
from raytt.task.minibatches import iterate_minibatches, minibatches, permutation


@given(
    num_samples=st.integers(1, 40), batch_size=st.integers(1, 40), steps=st.integers(0, 30), start=st.integers(0, 30)
)
@settings(max_examples=60, deadline=None)
def test_any_stretch_of_the_stream_is_made_of_whole_epochs(
    num_samples: int, batch_size: int, steps: int, start: int
) -> None:
    batch_size = min(batch_size, num_samples)
    stretch = minibatches(num_samples, batch_size, steps, seed=3, start=start)
    assert stretch.shape == (steps, batch_size)
    assert stretch.dtype == np.int64
    # The naive stream: all epochs from the first one on, cut into batches.
    epochs = -(-(start + steps) * batch_size // num_samples)
    naive = [i for epoch in range(epochs) for i in permutation(num_samples, "raytt minibatches", 3, epoch).tolist()]
    assert stretch.ravel().tolist() == naive[start * batch_size : (start + steps) * batch_size]
    lazy = list(iterate_minibatches(num_samples, batch_size, 3, start=start, stop=start + steps))
    assert [batch.tolist() for batch in lazy] == stretch.tolist()


def test_each_epoch_is_a_fresh_permutation() -> None:
    epochs = minibatches(30, 10, 6, seed=0).reshape(2, 30)
    assert [sorted(epoch) for epoch in epochs.tolist()] == [list(range(30))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()


def test_batch_sizes_walk_through_one_stream() -> None:
    assert minibatches(20, 4, 15, seed=1).ravel().tolist() == minibatches(20, 6, 10, seed=1).ravel().tolist()


def test_seed_changes_the_order_and_nothing_else_does() -> None:
    before = np.random.get_state()[1].copy()
    one = minibatches(50, 5, 10, seed=7)
    np.random.default_rng().random()
    assert one.tolist() == minibatches(50, 5, 10, seed=7).tolist()
    assert one.tolist() != minibatches(50, 5, 10, seed=8).tolist()
    assert (np.random.get_state()[1] == before).all()


def test_order_is_the_same_on_every_machine() -> None:
    # Written down once: a change would silently invalidate stored runs.
    assert permutation(8, "raytt minibatches", 0, 0).tolist() == [2, 7, 6, 0, 5, 1, 4, 3]


def test_positions_are_uniform() -> None:
    # Each sample is first with probability 1/4: 4,000 draws have standard deviation √(4000·¼·¾) = 27; 5 σ = 137.
    firsts = np.bincount([permutation(4, "uniform", k)[0] for k in range(4000)], minlength=4)
    assert np.abs(firsts - 1000).max() < 137


def test_endless_iteration() -> None:
    batches = list(itertools.islice(iterate_minibatches(5, 3, 0), 7))
    assert np.array_equal(batches, minibatches(5, 3, 7, seed=0))


@pytest.mark.parametrize(
    "draw", [lambda n, b: minibatches(n, b, 3, 0), lambda n, b: next(iterate_minibatches(n, b, 0))]
)
def test_batch_larger_than_the_data_is_refused(draw) -> None:
    with pytest.raises(InputError, match=r"batch_size is 11, but there are only 10 .* at most 10"):
        draw(10, 11)
    with pytest.raises(InputError, match="batch_size is 0"):
        draw(10, 0)
