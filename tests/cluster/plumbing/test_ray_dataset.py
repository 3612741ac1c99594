from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import ray
import ray.data
import torch
from torch import nn

from raytt.cluster.plumbing import ray_dataset
from raytt.cluster.plumbing.ray_dataset import (
    count,
    fetch_rows,
    is_ray_dataset,
    open_source,
    with_all_rows,
    with_rows,
)
from raytt.errors import InputError
from raytt.task.task import Task
from raytt.training.datasets import load_batch

pytestmark = pytest.mark.usefixtures("ray_session")

TASK = Task(mode="eval", name="t", model=lambda: nn.Linear(3, 1), data=None, target_column="y")


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
    plain = Task(mode="eval", name="t", model=nn.Identity, data=(torch.zeros(4, 2), torch.zeros(4)))
    assert with_rows(plain, open_source(plain.data, plain), None, positions, None) == (plain, plain)


def test_all_rows_come_in_order_and_collate_like_those_that_are_probed(
    dataset: ray.data.Dataset, table: dict[str, np.ndarray]
) -> None:
    task, num_samples, notes = with_all_rows(replace(TASK, data=lambda: dataset, validation=dataset))
    assert num_samples == len(task.data) == len(task.validation) == 600
    size = 600 * (3 * 4 + 8)
    assert notes == tuple(
        f"Real training keeps all 600 {what} rows of the ray.data.Dataset in memory: {size:,} bytes."
        for what in ("training", "validation")
    )
    positions = [599, 0, 255, 256]
    for found, probed in zip(
        load_batch(TASK, task.data, positions),
        load_batch(TASK, fetch_rows(dataset, positions, num_rows=600), positions),
        strict=True,
    ):
        assert found.dtype == probed.dtype
        torch.testing.assert_close(found, probed, rtol=0.0, atol=0.0)
    torch.testing.assert_close(load_batch(TASK, task.validation, [7])[0], torch.tensor(table["x"][[7]]))


def test_texts_of_any_length_come_along(ray_session: None) -> None:
    rows = [{"text": "ab" * i, "y": i} for i in range(3)]
    task, _, (note,) = with_all_rows(replace(TASK, data=ray.data.from_items(rows)))
    assert [str(task.data[i]["text"]) for i in range(3)] == ["", "ab", "abab"]
    assert "all 3 training rows" in note


def test_more_than_fits_into_memory_is_refused(dataset: ray.data.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_dataset, "MOST_BYTES", 600 * 20)
    assert with_all_rows(replace(TASK, data=dataset))[1] == 600
    monkeypatch.setattr(ray_dataset, "MOST_BYTES", 600 * 20 - 1)
    with pytest.raises(InputError, match=r"training data is a ray\.data\.Dataset of more than 0 MiB") as caught:
        with_all_rows(replace(TASK, data=dataset))
    assert "Parquet file" in caught.value.remedy


def test_a_data_set_without_rows_is_refused(dataset: ray.data.Dataset) -> None:
    with pytest.raises(InputError, match="without rows"):
        with_all_rows(replace(TASK, data=dataset.limit(0)))


def test_data_that_is_not_of_ray_stays_as_it_is() -> None:
    plain = Task(mode="eval", name="t", model=nn.Identity, data=lambda: (torch.zeros(4, 2), torch.zeros(4)))
    assert with_all_rows(plain) == (plain, 4, ())


def test_samples_for_norm_statistics_come_along(dataset: ray.data.Dataset) -> None:
    task = Task(mode="eval", name="t", model=nn.Identity, data=dataset, target_column="y", reestimate_norms=True)
    probed, _ = with_rows(task, dataset, None, np.array([1]), None)
    assert int(probed.data[599]["y"]) == 599
