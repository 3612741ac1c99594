"""The minibatch convention: epochs are permutations, any stretch can be had, and seed and epoch alone decide."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from raytt.errors import InputError
from raytt.task.minibatches import (
    iterate_minibatches,
    iterate_steps,
    minibatches,
    permutation,
    weighted_positions,
)


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


def _batches(last_batch: str, epochs_of: int, **settings: Any) -> list[list[int]]:
    """Minibatches of 4 of 11 samples."""
    found = iterate_steps(11, 4, 3, last_batch=last_batch, stop=epochs_of, **settings)
    return [rows.tolist() for step in found for rows in step]


def test_steps_of_a_stream_are_its_rows_in_parts() -> None:
    steps = list(iterate_steps(30, 4, 7, accumulation_steps=3, stop=5))
    assert [len(parts) for parts in steps] == [3] * 5
    np.testing.assert_array_equal([np.concatenate(parts) for parts in steps], minibatches(30, 12, 5, 7))


@pytest.mark.parametrize(("last_batch", "sizes"), [("drop", [4, 4]), ("keep", [4, 4, 3])])
def test_epochs_end_as_those_of_a_data_loader(last_batch: str, sizes: list[int]) -> None:
    loader = DataLoader(range(11), batch_size=4, drop_last=last_batch == "drop")  # type: ignore[arg-type]
    assert [len(batch) for batch in loader] == sizes
    found = _batches(last_batch, 3 * len(sizes))
    assert [len(batch) for batch in found] == 3 * sizes
    for epoch in range(3):
        own = list(itertools.chain(*found[epoch * len(sizes) : (epoch + 1) * len(sizes)]))
        assert len(set(own)) == len(own) == sum(sizes)
        # The same permutation as ever, cut otherwise.
        assert own == minibatches(11, 11, 1, 3, start=epoch)[0].tolist()[: sum(sizes)]


def test_accumulation_goes_on_over_the_end_of_an_epoch() -> None:
    steps = list(iterate_steps(11, 4, 3, accumulation_steps=2, last_batch="keep", stop=3))
    assert [[len(rows) for rows in parts] for parts in steps] == [[4, 4], [3, 4], [4, 3]]


def test_weights_draw_with_replacement_in_proportion() -> None:
    weights = np.array([0.0, 1.0, 2.0, 5.0])
    drawn = weighted_positions(weights, 80_000, "key")
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 80_000, weights / 8.0, atol=0.006)
    np.testing.assert_array_equal(drawn[:100], weighted_positions(weights, 100, "key"))
    assert not np.array_equal(drawn[:100], weighted_positions(weights, 100, "other"))


def test_weighted_epochs_are_as_long_as_the_data() -> None:
    weights = np.arange(11, dtype=np.float64)
    found = _batches("drop", 4, weights=weights)
    assert [len(batch) for batch in found] == [4] * 4
    assert found != _batches("drop", 4)
    epochs = [weighted_positions(weights, 11, "raytt minibatches", 3, epoch)[:8].tolist() for epoch in range(2)]
    assert [found[0] + found[1], found[2] + found[3]] == epochs


def test_more_samples_per_step_than_there_are_are_refused() -> None:
    with pytest.raises(InputError, match="batch_size is 12"):
        next(iterate_steps(11, 4, 3, accumulation_steps=3))
