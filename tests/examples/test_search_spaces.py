"""The examples' search spaces give usable candidates of every kind."""

from __future__ import annotations

from types import ModuleType

import pytest

from raytt.adapters.tune.search_space import draw
from raytt.examples import digits, docstrings
from raytt.training.datasets import open_dataset


@pytest.mark.parametrize("example", [digits, docstrings], ids=lambda m: m.__name__.rpartition(".")[2])
def test_candidates_are_varied_and_fit_the_data(example: ModuleType) -> None:
    candidates = draw(example.search_space, num_candidates=64, seed=0).candidates
    assert candidates == draw(example.search_space, num_candidates=64, seed=0).candidates
    assert len(set(candidates)) == 64
    assert all(c.optimizer.nesterov == (c.optimizer.momentum > 0.9) for c in candidates)
    assert {c.schedule.name for c in candidates} == {"constant", "cosine", "linear"}
    assert {c.warmup_steps for c in candidates} == {0, 10}
    sizes = {c.batch_size for c in candidates}
    assert sizes == {8, 16, 32, 64}
    assert max(sizes) <= len(open_dataset(example.task.data, example.task))
    # Learning rates span two orders of magnitude and do not follow from momentum: both ends occur with and without it.
    for momentum in (True, False):
        rates = [c.lr for c in candidates if (c.optimizer.momentum > 0) == momentum]
        assert max(rates) > 30 * min(rates)
