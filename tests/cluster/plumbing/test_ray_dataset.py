from __future__ import annotations

import numpy as np
import pytest
import ray
import ray.data
import torch
from torch import nn

from raytt.cluster.plumbing.ray_dataset import count, fetch_rows, is_ray_dataset, open_source, with_rows
from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import load_batch

pytestmark = pytest.mark.usefixtures("ray_session")

TASK = Task(name="t", model=lambda: nn.Linear(3, 1), data=None, target_column="y")


@pytest.fixture(scope="module")
def table() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(600, 3)).astype(np.float32), "y": np.arange(600)}


@pytest.fixture(scope="module")
def dataset(ray_session: None, table: dict[str, np.ndarray]) -> ray.data.Dataset:
    rows = [{"x": x, "y": int(y)} for x, y in zip(table["x"], table["y"], strict=True)]
    return ray.data.from_items(rows, override_num_blocks=5)


def test_rows_are_those_at_the_positions(dataset: ray.data.Dataset, table: dict[str, np.ndarray]) -> None:
    positions = [599, 0, 255, 256, 257, 13]
    rows = fetch_rows(dataset, positions, num_rows=600)
    assert len(rows) == 600
    for position in positions:
        np.testing.assert_array_equal(rows[position]["x"], table["x"][position])
        assert rows[position]["y"] == position
    assert [int(row["y"]) for row in rows.compact()] == sorted(positions)
    with pytest.raises(KeyError):
        rows[1]


def test_they_collate_like_any_mapping(dataset: ray.data.Dataset, table: dict[str, np.ndarray]) -> None:
    inputs, targets = load_batch(TASK, fetch_rows(dataset, [3, 500], num_rows=600), [500, 3])
    torch.testing.assert_close(inputs, torch.tensor(table["x"][[500, 3]]))
    assert targets.tolist() == [500, 3]


def test_progress_and_order_settings_are_put_back(dataset: ray.data.Dataset) -> None:
    context = ray.data.DataContext.get_current()
    before = context.execution_options.preserve_order, context.enable_progress_bars
    fetch_rows(dataset, [1], num_rows=600)
    assert (context.execution_options.preserve_order, context.enable_progress_bars) == before


def test_a_data_set_that_shrinks_is_refused(dataset: ray.data.Dataset) -> None:
    with pytest.raises(InputError, match="counted 700 rows but gave 600"):
        fetch_rows(dataset, [0, 650], num_rows=700)


def test_opening(dataset: ray.data.Dataset) -> None:
    assert is_ray_dataset(open_source(dataset, TASK))
    assert is_ray_dataset(open_source(lambda: dataset, TASK))
    assert count(open_source(dataset, TASK)) == 600
    plain = open_source((torch.zeros(4, 2), torch.zeros(4)), TASK)
    assert not is_ray_dataset(plain)
    assert count(plain) == 4


def test_only_ray_data_is_replaced(dataset: ray.data.Dataset) -> None:
    positions = np.array([1, 5])
    probed, timed = with_rows(TASK, dataset, dataset, positions, np.array([7]))
    assert len(probed.data) == 600
    assert len(probed.validation) == 600
    assert int(probed.validation[7]["y"]) == 7
    assert [int(row["y"]) for row in timed.data] == [1, 5]
    plain = Task(name="t", model=nn.Identity, data=(torch.zeros(4, 2), torch.zeros(4)))
    assert with_rows(plain, open_source(plain.data, plain), None, positions, None) == (plain, plain)


def test_samples_for_norm_statistics_come_along(dataset: ray.data.Dataset) -> None:
    task = Task(name="t", model=nn.Identity, data=dataset, target_column="y", reestimate_norms=True)
    probed, _ = with_rows(task, dataset, None, np.array([1]), None)
    assert int(probed.data[599]["y"]) == 599
