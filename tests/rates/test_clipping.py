"""Clipping in descent rates: against pairs of minibatches, and against real training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raytt.rates.clipping import clips, kept_by_clipping
from raytt.rates.rate_table import RateTable
from raytt.task.candidate import Candidate
from tests.support.training_task import TASK

from .predictions import Predictor

SGD = Candidate(lr=0.05, batch_size=32)


def _table(norms: list[list[float]]) -> RateTable:
    return RateTable(
        times=np.arange(len(norms), dtype=np.float64),
        batch_sizes=(32,),
        reference_batch_size=32,
        rates=np.ones((len(norms), 1)),
        norms=np.asarray(norms)[:, None, :],
    )


def test_shares_are_means_of_clipped_norms() -> None:
    clipped = replace(SGD, max_grad_norm=2.0)
    rate, noise = kept_by_clipping(_table([[1.0, 3.0], [4.0, 4.0], [1.0, 1.0]]), [SGD, clipped])
    np.testing.assert_allclose(rate, [[1.0, 3.0 / 4.0], [1.0, 0.5], [1.0, 1.0]])
    np.testing.assert_allclose(noise, [[1.0, 5.0 / 10.0], [1.0, 0.25], [1.0, 1.0]])


def test_an_adaptive_optimizer_divides_clipping_out() -> None:
    assert clips(replace(SGD, max_grad_norm=1.0))
    assert not clips(SGD)
    adaptive = Candidate(optimizer="adamw", lr=0.1, batch_size=32, max_grad_norm=1.0)
    assert not clips(adaptive)
    np.testing.assert_array_equal(kept_by_clipping(_table([[1.0, 3.0]]), [adaptive]), 1.0)


def test_shares_are_those_of_pairs_of_clipped_gradients() -> None:
    """Gradients whose size varies by itself: the mean of κ_b ⟨g_a, g_b⟩ over that of ⟨g_a, g_b⟩."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.exp(0.5 * torch.randn(3000, 1, generator=generator))
    gradients = sizes * (0.4 + torch.randn(3000, 40, generator=generator))
    norms = gradients.norm(dim=1)
    candidate = replace(SGD, max_grad_norm=6.0)
    kept = (6.0 / norms).clamp(max=1.0)
    gram = (gradients @ gradients.T).fill_diagonal_(0.0)
    rate, noise = kept_by_clipping(_table([norms.tolist()]), [candidate])
    assert rate[0, 0] == pytest.approx(float((gram @ kept).sum() / gram.sum()), rel=0.03)
    plain, clipped = gradients.var(dim=0).sum(), (kept[:, None] * gradients).var(dim=0).sum()
    assert float(clipped / plain) == pytest.approx(noise[0, 0], rel=0.15)


def test_predicted_steps_with_clipping_are_those_of_real_training() -> None:
    predictor = Predictor(TASK, SGD, steps=200, stop_ratio=0.25)
    norm = float(np.median(predictor.table.norms)) if predictor.table.norms is not None else 0.0
    clipped = replace(SGD, max_grad_norm=0.5 * norm)
    plain, slow = predictor.predicted([SGD, clipped], 0.4, budget=400)
    real = predictor.real(clipped, 0.4, budget=400) / predictor.real(SGD, 0.4, budget=400)
    assert real > 1.5
    assert slow / plain == pytest.approx(real, rel=0.15)
