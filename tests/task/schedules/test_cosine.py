from __future__ import annotations

import numpy as np
import pytest
from torch.optim.lr_scheduler import CosineAnnealingLR

from raytt.task.schedules.cosine import Cosine
from tests.task.schedules.schedulers import assert_equal_to_torch, assert_equal_to_transformers


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("min_lr", [0.0, 0.01])
def test_equals_torch(min_lr: float, warmup: int) -> None:
    assert_equal_to_torch(
        Cosine(min_lr=min_lr), lambda o, span: CosineAnnealingLR(o, T_max=span, eta_min=min_lr), warmup=warmup
    )


@pytest.mark.parametrize("warmup", [0, 7])
def test_equals_transformers(warmup: int) -> None:
    optimization = pytest.importorskip("transformers.optimization")
    assert_equal_to_transformers(Cosine(), optimization.get_cosine_schedule_with_warmup, warmup=warmup)


def test_without_min_lr_it_is_the_plain_formula_to_the_last_bit() -> None:
    t = np.arange(997, dtype=np.float64)
    np.testing.assert_array_equal(Cosine().after_warmup(t, 997, 3e-4), 0.5 * (1.0 + np.cos(np.pi * t / 997)))


def test_words() -> None:
    assert Cosine().describe() == "cosine"
    assert Cosine(min_lr=1e-5).describe() == "cosine to 1e-05"
