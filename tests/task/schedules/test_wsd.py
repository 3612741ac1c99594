from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.task.schedules.wsd import WarmupStableDecay
from tests.task.schedules.schedulers import assert_equal_to_transformers


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("decay_type", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize(("decay_steps", "min_lr_ratio"), [(20, 0.0), (1, 0.0), (90, 0.1)])
def test_equals_transformers(decay_steps: int, min_lr_ratio: float, decay_type: str, warmup: int) -> None:
    optimization = pytest.importorskip("transformers.optimization")
    assert_equal_to_transformers(
        WarmupStableDecay(decay_steps=decay_steps, min_lr_ratio=min_lr_ratio, decay_type=decay_type),
        lambda o, warm, steps: optimization.get_wsd_schedule(
            o, warm, decay_steps, num_training_steps=steps, decay_type=decay_type, min_lr_ratio=min_lr_ratio
        ),
        warmup=warmup,
    )


@pytest.mark.parametrize(
    ("share", "span", "expected"), [(0.1, 100, 10), (0.1, 101, 11), (0.07, 300, 21), (1.0, 9, 9), (0.001, 5, 1)]
)
def test_a_share_is_that_of_the_steps_after_the_warm_up_rounded_up(share: float, span: int, expected: int) -> None:
    t = np.arange(span, dtype=np.float64)
    schedule = WarmupStableDecay(decay_share=share)
    assert schedule.steps_of_decay(span) == expected
    np.testing.assert_array_equal(
        schedule.after_warmup(t, span, 0.1), WarmupStableDecay(decay_steps=expected).after_warmup(t, span, 0.1)
    )


def test_a_tenth_decays_by_default() -> None:
    assert WarmupStableDecay() == WarmupStableDecay(decay_share=0.1)


def test_a_budget_shorter_than_the_decay_is_all_decay() -> None:
    factors = WarmupStableDecay(decay_steps=100, decay_type="linear").after_warmup(np.arange(4.0), 4, 0.1)
    np.testing.assert_array_equal(factors, [1.0, 0.75, 0.5, 0.25])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay_share": 0.1, "decay_steps": 5}, r"Both decay_share \(0\.1\) and decay_steps \(5\) are given"),
        ({"decay_share": 0.0}, r"decay_share is 0\.0, outside \(0, 1\]"),
        ({"decay_steps": 0}, "decay_steps is 0; it must be a whole number of at least 1"),
        ({"min_lr_ratio": 1.1}, r"min_lr_ratio is 1\.1, outside \[0, 1\]"),
        ({"decay_type": "sqrt"}, "Unknown decay_type 'sqrt'. Did you mean '1-sqrt'"),
    ],
)
def test_bad_hyperparameters_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WarmupStableDecay(**settings)


def test_words() -> None:
    assert WarmupStableDecay().describe() == "wsd 0.1 cosine"
    words = WarmupStableDecay(decay_steps=200, decay_type="1-sqrt", min_lr_ratio=0.1).describe()
    assert words == "wsd 200 steps 1-sqrt to ×0.1"
