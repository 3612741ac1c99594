from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from raytt.forecast.reference_check import ReferenceCheck
from raytt.task.candidate import Candidate
from tests.support.run_directory import REFERENCES

CANDIDATE = Candidate(lr=0.003, momentum=0.9, batch_size=32)
STEPS = np.arange(0, 101, 5)


def check_of(rate: float, *, simulated: float, upto: int = 200, diverges: bool = False) -> ReferenceCheck:
    """Exponential losses: real ones of one rate, three simulated paths around another."""
    losses = 2.0 * np.exp(-rate * STEPS)
    steps = np.arange(0.0, upto + 1)
    paths = np.stack([2.0 * np.exp(-simulated * factor * steps) for factor in (0.9, 1.0, 1.3)])
    if diverges:
        paths[:, 20:] = np.inf
    return ReferenceCheck.measure(
        CANDIDATE,
        steps=STEPS,
        losses=losses,
        simulated_steps=steps,
        simulated=paths,
        wasted_steps=7,
        stopped="at 0.1 of the initial loss",
    )


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.5])
def test_the_error_is_that_of_the_steps(ratio: float) -> None:
    """Losses exp(-rate t) reach each level after ln(1/level)/rate steps, so steps are off by the ratio of rates."""
    levels = np.geomspace(0.8, math.exp(-0.02 * 100), 5)
    real, simulated = np.log(1 / levels) / 0.02, np.log(1 / levels) / (0.02 / ratio)
    expected = math.exp(np.mean(np.log((simulated + 1) / (real + 1)))) - 1
    found = check_of(0.02, simulated=0.02 / ratio, upto=400)
    assert found.step_error == pytest.approx(expected, rel=1e-6)


def test_losses_are_set_side_by_side_at_the_real_steps() -> None:
    found = check_of(0.02, simulated=0.03, upto=50)
    assert found.steps == tuple(STEPS)
    assert found.real_loss == pytest.approx(list(2.0 * np.exp(-0.02 * STEPS)))
    # Beyond what was simulated nothing is claimed.
    known = [loss for loss in found.predicted_loss if loss is not None]
    assert known == pytest.approx(list(2.0 * np.exp(-0.03 * STEPS[:11])))
    assert found.predicted_loss[11:] == (None,) * 10


def test_divergence_is_no_number() -> None:
    found = check_of(0.02, simulated=0.0001, diverges=True)
    assert found.step_error is None
    assert found.predicted_loss[4:] == (None,) * 17
    assert "does not reach its losses" in found.note


def test_what_it_says() -> None:
    assert check_of(0.02, simulated=0.02).note == (
        "Reference run: sgd, lr 0.003, momentum 0.9, batch 32, 100 steps (7 more in abandoned attempts), stopped at "
        "0.1 of the initial loss; its own simulation is off by +0% in steps. The steps of every candidate of that "
        "optimizer are corrected for this bias."
    )


def test_as_json_and_back() -> None:
    found = check_of(0.02, simulated=0.03, upto=50)
    assert ReferenceCheck.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"real_loss": [1.0]}, "3 steps, 1 and 3 losses"),
        ({"steps": [0, 10, 10]}, "not increasing"),
        ({"steps": [0, 10, None]}, "not increasing"),
        ({"steps": [], "real_loss": [], "predicted_loss": []}, "not increasing"),
        ({"real_loss": [2.3, "1.2", 0.7]}, "'1.2' is no number"),
        ({"predicted_loss": [2.3, True, 0.7]}, "True is no number"),
        ({"predicted_loss": [2.3, math.inf, 0.7]}, "loss inf"),
        ({"step_error": -1.0}, "step_error is -1.0"),
        ({"config": {"lr": 0.1, "bogus": 1}}, "bogus"),
        ({"config": {}}, "has no 'lr'"),
    ],
)
def test_what_is_no_check(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        ReferenceCheck.from_json({**REFERENCES[0], **changes})


@pytest.mark.parametrize(
    ("error", "expected"), [(0.3, False), (-0.25, False), (0.45, True), (-0.5, True), (None, True)]
)
def test_far_off_it_misleads(error: float | None, expected: bool) -> None:
    known = ReferenceCheck.from_json({**REFERENCES[0], "step_error": error})
    assert known.misleads == expected
