"""The reference run finds a learning rate that suits, also for adapters of low rank, whose loss begins to fall late."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from raytt.errors import InputError
from raytt.rates.reference_search import find_reference
from raytt.task.candidate import Candidate
from raytt.task.task import Task

X = torch.randn(128, 8, generator=torch.Generator().manual_seed(1))
Y = (X[:, :4] @ torch.randn(4, 3, generator=torch.Generator().manual_seed(2))).argmax(dim=1)


class Adapted(nn.Module):
    """W + B A with W frozen, B = 0 at the start."""

    def __init__(self, rank: int = 2) -> None:
        super().__init__()
        self.base = nn.Linear(8, 3).requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(rank, 8) / 8), nn.Parameter(torch.zeros(3, rank))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.base(x) + x @ self.a.T @ self.b.T
        return outputs


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Adapted()


TASK = Task(name="adapted", model=model, data=(X, Y), mode="train")


@pytest.mark.parametrize("lr", [1e-5, 1e-4, 1e-3, 3e-2, 1e2])
@pytest.mark.parametrize("most_steps", [15, 40, 400])
def test_a_learning_rate_is_found_from_any_beginning(lr: float, most_steps: int) -> None:
    candidate = Candidate(optimizer="adamw", lr=lr, batch_size=32)
    found = find_reference(TASK, candidate, seed=0, stop_ratio=0.7, num_points=3, most_steps=most_steps)
    assert found.log.last_ratio < 0.95
    assert len(found.log.points) >= 2
    assert found.wasted_steps + len(found.log.losses) <= 4 * max(most_steps, 20)
    assert (found.wasted_steps > 0) == (found.log.candidate.lr != lr)


def test_one_that_suits_is_kept_to_the_end() -> None:
    candidate = Candidate(optimizer="adamw", lr=1e-2, batch_size=32)
    found = find_reference(TASK, candidate, seed=0, stop_ratio=0.7, num_points=3, most_steps=400)
    assert (found.log.candidate, found.wasted_steps) == (candidate, 0)
    assert found.log.last_ratio <= 0.7
    assert found.stopped.startswith("at 0.")


def test_nothing_helps_where_nothing_can_be_learned() -> None:
    def flat(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return 1.0 + 0.0 * model(batch[0]).sum()

    task = Task(name="flat", model=model, data=(X, Y), mode="train", batch_loss=flat)
    with pytest.raises(InputError, match="did not lower the training loss"):
        find_reference(
            task,
            Candidate(optimizer="adamw", lr=1e-3, batch_size=32),
            seed=0,
            stop_ratio=0.5,
            num_points=2,
            most_steps=20,
        )
