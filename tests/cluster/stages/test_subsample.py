"""What is probed, and what a reference run can train on."""

from __future__ import annotations

import numpy as np
import pytest
import ray.data
import torch
from torch import nn

from raytt.cluster.stages.subsample import open_data
from raytt.task.candidate import Candidate
from raytt.task.task import Task

CANDIDATES = [Candidate(lr=0.1, batch_size=8)]


def test_of_a_data_set_that_workers_can_open_the_reference_run_sees_all() -> None:
    task = Task(
        mode="eval", name="t", model=lambda: nn.Linear(3, 1), data=lambda: (torch.zeros(60, 3), torch.zeros(60, 1))
    )
    found = open_data(task, CANDIDATES, 20, 0, validation=False)
    assert (found.num, found.num_trained, found.num_full) == (20, 60, 60)
    assert found.notes == ()
    np.testing.assert_array_equal(found.timed_index, found.index["train"])


@pytest.mark.usefixtures("ray_session")
def test_of_a_ray_dataset_it_sees_the_probed_rows_and_says_so() -> None:
    rows = [{"x": np.zeros(3, np.float32), "y": i} for i in range(60)]
    task = Task(mode="eval", name="t", model=lambda: nn.Linear(3, 1), data=ray.data.from_items(rows), target_column="y")
    found = open_data(task, CANDIDATES, 20, 0, validation=False)
    assert (found.num, found.num_trained, found.num_full) == (20, 20, 60)
    assert found.notes == ("Reference runs train on the 20 probed rows of the ray.data.Dataset, not on all 60.",)
    np.testing.assert_array_equal(found.timed_index, np.arange(20))


@pytest.mark.usefixtures("ray_session")
def test_validation_data_travels_only_where_it_is_wanted_and_as_rows() -> None:
    rows = ray.data.from_items([{"x": np.zeros(3, np.float32), "y": i} for i in range(60)])
    task = Task(
        mode="eval", name="t", model=lambda: nn.Linear(3, 1), data=rows, validation=lambda: rows, target_column="y"
    )
    without = open_data(task, CANDIDATES, 20, 0, validation=False)
    assert (without.probed.validation, without.timed.validation) == (None, None)
    found = open_data(task, CANDIDATES, 20, 0, validation=True)
    last = int(found.index["validation"][-1])
    assert int(found.probed.validation[last]["y"]) == last
