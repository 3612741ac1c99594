from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch.optim.lr_scheduler import OneCycleLR

from raytt.errors import InputError
from raytt.task.schedules.one_cycle import OneCycle
from tests.task.schedules.schedulers import LR, our_rates, rates_with


@pytest.mark.parametrize("steps", [1, 3, 7, 97, 100])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"anneal_strategy": "linear"},
        {"pct_start": 0.05, "div_factor": 10.0, "final_div_factor": 100.0},
        {"pct_start": 0.0},
        {"three_phase": True},
        {"three_phase": True, "anneal_strategy": "linear", "pct_start": 0.45},
        {"three_phase": True, "pct_start": 0.5},
        {"three_phase": True, "pct_start": 0.8},
        {"div_factor": 1.0, "final_div_factor": 1.0},
        {"final_div_factor": 0.1},
    ],
    ids=str,
)
def test_equals_torch(settings: dict[str, Any], steps: int) -> None:
    theirs = rates_with(
        lambda o: OneCycleLR(o, max_lr=LR, total_steps=steps, cycle_momentum=False, **settings),
        steps,
    )
    ours = our_rates(OneCycle(**settings), steps=steps, warmup=0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15 * LR)


@pytest.mark.parametrize("three_phase", [False, True])
def test_a_rise_without_length_begins_at_the_peak(three_phase: bool) -> None:
    factors = OneCycle(pct_start=0.1, three_phase=three_phase).after_warmup(np.arange(10.0), 10, LR)
    assert factors[0] == 1.0
    assert np.isfinite(factors).all()
    with pytest.raises(ZeroDivisionError):
        rates_with(
            lambda o: OneCycleLR(
                o, max_lr=LR, total_steps=10, pct_start=0.1, cycle_momentum=False, three_phase=three_phase
            ),
            1,
        )


def test_the_first_peak_and_last_learning_rates() -> None:
    factors = OneCycle(div_factor=4.0, final_div_factor=8.0, pct_start=0.5).after_warmup(np.arange(10.0), 10, LR)
    np.testing.assert_allclose(factors[[0, 4, 9]], [1 / 4, 1.0, 1 / 32], rtol=1e-14)
    assert factors.argmax() == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pct_start": 1.2}, r"pct_start is 1\.2, outside \[0, 1\]"),
        ({"div_factor": 0.5}, r"div_factor is 0\.5, outside \[1, inf\)"),
        ({"final_div_factor": 0}, r"final_div_factor is 0, outside \(0, inf\)"),
        ({"div_factor": 2, "final_div_factor": 0.4}, r"is 0\.8, below 1: .* Give a final_div_factor of at least 0\.5"),
        ({"anneal_strategy": "cosine"}, "Unknown anneal_strategy 'cosine'. Did you mean 'cos'"),
        ({"three_phase": 1}, "three_phase is 1; it must be True or False"),
    ],
)
def test_bad_hyperparameters_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OneCycle(**settings)


def test_words() -> None:
    assert OneCycle().describe() == "one_cycle 0.3 /25 /1e+04"
    assert (
        OneCycle(anneal_strategy="linear", three_phase=True).describe() == "one_cycle 0.3 /25 /1e+04 linear three-phase"
    )
