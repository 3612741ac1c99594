"""Running statistics: read, written, settled, compared; against torch's own updates and closed forms."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from raytt.rates.fresh_batches import drawn_positions
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.norm_statistics import (
    momentum_of,
    read_statistics,
    statistics_gram,
    tracking_norms,
    write_statistics,
)
from raytt.rates.randomness import seeded

from .problems import noisy_task


def test_what_is_written_is_read_again() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(2, momentum=None)).train()
    norms = tracking_norms(network)
    wanted = torch.arange(1.0, 13.0, dtype=torch.float64)
    write_statistics(norms, wanted)
    assert torch.equal(read_statistics(norms), wanted)
    assert norms[1].running_mean is not None
    assert norms[1].running_mean.tolist() == [5.0, 6.0]
    assert momentum_of(norms) == 0.05
    assert tracking_norms(network.eval()) == []


def test_settled_statistics_are_what_running_ones_come_to_at_standing_weights() -> None:
    source = MinibatchGradients(noisy_task(), seed=3)
    norms = tracking_norms(source.model.module)
    before = read_statistics(norms)
    settled = source.settled_statistics(1, 16, range(40))
    assert torch.equal(read_statistics(norms), before)
    assert [norm.momentum for norm in norms] == [0.1]
    by_hand = torch.stack([_statistics_of(source, number) for number in range(40)]).mean(dim=0)
    torch.testing.assert_close(settled, by_hand, rtol=1e-5, atol=1e-6)


def _statistics_of(source: MinibatchGradients, number: int) -> torch.Tensor:
    """Mean and unbiased variance of the norm's inputs in one minibatch, by hand."""
    seen: list[torch.Tensor] = []
    norm = tracking_norms(source.model.module)[0]
    hook = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    positions = drawn_positions(len(source._data), 16, 3, 1, 16, number)
    with seeded("gradients", 3, 1, 16, number), torch.no_grad():
        source.objective.value(source.model, source._data.read(positions))
    hook.remove()
    return torch.cat([seen[0].mean(dim=0), seen[0].var(dim=0)]).double()


def test_the_gram_matrix_weighs_channels_alike() -> None:
    base = torch.tensor([0.0, 10.0, 1.0, 100.0], dtype=torch.float64)
    # One standard deviation off in both means, and twice and half the variance.
    other = torch.tensor([1.0, 20.0, 2.0, 50.0], dtype=torch.float64)
    gram = statistics_gram([base, other], base)
    np.testing.assert_allclose(gram, [[0.0, 0.0], [0.0, 1.0 + np.log(2.0) ** 2]], rtol=1e-4, atol=1e-12)
