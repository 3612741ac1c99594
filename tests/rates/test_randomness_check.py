"""What is random is found out, and data that differs each time it is opened is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, random_split

from raytt.errors import InputError
from raytt.rates.randomness_check import check_reopening, training_facts
from raytt.task.task import Task
from tests.support.training_task import NUM_SAMPLES, TASK


def _tensors() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(40, 6, generator=generator), torch.arange(40) % 3)


def _plain() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(6, 3)


PLAIN = Task(name="plain", model=_plain, data=_tensors, mode="train")


def test_batch_norm_dropout_and_augmentation_are_found() -> None:
    found = training_facts(TASK)
    assert (found.random_items, found.random_network, found.batch_norms) == (True, True, 2)
    assert (found.num_samples, found.num_trainable) == (NUM_SAMPLES, sum(p.numel() for p in TASK.model().parameters()))
    assert len(found.notes) == 3


def test_nothing_is_said_of_a_plain_task() -> None:
    found = training_facts(PLAIN)
    assert (found.random_items, found.random_network, found.batch_norms, found.notes) == (False, False, 0, ())
    # The same again: the hashes are those of what is there, not of a draw.
    assert training_facts(PLAIN) == found


@pytest.mark.parametrize("what", ["data", "validation"])
def test_a_split_without_a_seed_is_refused(what: str) -> None:
    def part(number: int) -> Tensor | object:
        return random_split(_tensors(), [30, 10])[number]

    task = replace(PLAIN, **{what: lambda: part(0)})
    with pytest.raises(InputError, match=rf"Task.{what} of 'plain' gives other samples each time") as raised:
        check_reopening(task)
    assert raised.value.remedy.startswith("Seed the split")
    seeded = replace(
        PLAIN,
        data=lambda: random_split(_tensors(), [30, 10], generator=torch.Generator().manual_seed(0))[0],
    )
    check_reopening(seeded)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0] * 39, r"shape \(39,\), but there are 40"),
        ([-1.0] + [1.0] * 39, "negative or not finite"),
        ([float("nan")] * 40, "negative or not finite"),
        ([0.0] * 40, "zeros alone"),
    ],
)
def test_sample_weights_that_do_not_fit_are_refused_at_the_start(weights: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        training_facts(replace(PLAIN, sample_weights=weights))
