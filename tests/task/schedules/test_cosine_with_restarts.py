from __future__ import annotations

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.task.schedules.cosine import Cosine
from raytt.task.schedules.cosine_with_restarts import CosineWithRestarts
from tests.task.schedules.schedulers import assert_equal_to_transformers


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("num_cycles", [1, 2, 3, 5, 12])
def test_equals_transformers(num_cycles: int, warmup: int) -> None:
    optimization = pytest.importorskip("transformers.optimization")
    assert_equal_to_transformers(
        CosineWithRestarts(num_cycles=num_cycles),
        lambda o, warm, steps: optimization.get_cosine_with_hard_restarts_schedule_with_warmup(
            o, warm, steps, num_cycles=num_cycles
        ),
        warmup=warmup,
    )


def test_each_cycle_begins_at_the_peak() -> None:
    t = np.arange(60, dtype=np.float64)
    factors = CosineWithRestarts(num_cycles=3).after_warmup(t, 60, 0.1)
    np.testing.assert_array_equal(np.flatnonzero(factors == 1.0), [0, 20, 40])


def test_one_cycle_is_cosine() -> None:
    t = np.arange(60, dtype=np.float64)
    np.testing.assert_allclose(
        CosineWithRestarts().after_warmup(t, 60, 0.1), Cosine().after_warmup(t, 60, 0.1), rtol=1e-12
    )


def test_no_cycle_is_refused() -> None:
    with pytest.raises(InputError, match="num_cycles is 0; it must be a whole number of at least 1"):
        CosineWithRestarts(num_cycles=0)


def test_words() -> None:
    assert CosineWithRestarts(num_cycles=3).describe() == "cosine_with_restarts ×3"
