"""What holds for every registered schedule; a new one needs an entry in EXAMPLES and passes without another line."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.task.schedules import SCHEDULES, Schedule

LR = 0.3
SPANS = (1, 2, 3, 10, 97, 1000)

EXAMPLES: dict[str, tuple[dict[str, Any], ...]] = {
    "constant": ({},),
    "cosine": ({}, {"min_lr": 0.01}, {"min_lr": LR}),
    "linear": ({}, {"min_lr": 0.01}, {"min_lr": LR}),
    "step": ({"step_size": 7}, {"step_size": 1, "gamma": 0.0}, {"step_size": 500, "gamma": 1.0}),
    "polynomial": ({}, {"power": 2.0, "min_lr": 0.01}, {"power": 0.5}),
    "inverse_sqrt": ({"timescale": 20}, {"timescale": 0.5}, {"timescale": 1e6}),
    "one_cycle": (
        {},
        {"anneal_strategy": "linear", "pct_start": 0.0},
        {"three_phase": True, "pct_start": 0.45},
        {"three_phase": True, "pct_start": 0.8, "div_factor": 1.0},
        {"pct_start": 0.1, "final_div_factor": 0.04},
        {"pct_start": 1.0},
    ),
    "wsd": (
        {},
        {"decay_share": 1.0, "decay_type": "1-sqrt"},
        {"decay_steps": 50, "decay_type": "linear", "min_lr_ratio": 0.1},
    ),
    "cosine_with_restarts": ({}, {"num_cycles": 3}, {"num_cycles": 50}),
    "exponential": ({"gamma": 0.99}, {"gamma": 0.0}, {"gamma": 1.0}),
}
CASES = [(name, settings) for name, all_settings in EXAMPLES.items() for settings in all_settings]


def built(name: str, settings: dict[str, Any]) -> Schedule:
    return SCHEDULES.get(name).from_settings(settings)


def steps(span: int) -> Any:
    return np.arange(span, dtype=np.float64)


def test_every_registered_schedule_is_under_contract() -> None:
    assert set(EXAMPLES) == set(SCHEDULES.names())
    assert all(SCHEDULES.get(name).name == name for name in SCHEDULES.names())


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_factors_are_finite_and_from_zero_to_one(name: str, settings: dict[str, Any], span: int) -> None:
    schedule = built(name, settings)
    schedule.check(LR)
    factors = schedule.after_warmup(steps(span), span, LR)
    assert factors.dtype == np.float64
    assert factors.shape == (span,)
    assert np.isfinite(factors).all()
    assert factors.min() >= 0.0
    assert factors.max() <= 1.0 + 1e-15


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_factor_depends_on_its_own_step_alone(name: str, settings: dict[str, Any]) -> None:
    schedule = built(name, settings)
    t = steps(97)
    whole = schedule.after_warmup(t, 97, LR)
    np.testing.assert_array_equal(t, steps(97), "the steps given were changed")
    np.testing.assert_array_equal(schedule.after_warmup(t[10:20], 97, LR), whole[10:20])
    # numpy's power takes another path through memory that is not contiguous, with another last bit.
    np.testing.assert_allclose(schedule.after_warmup(t[::-3], 97, LR), whole[::-3], rtol=1e-15)
    np.testing.assert_array_equal(schedule.after_warmup(t[:96].reshape(8, 12), 97, LR), whole[:96].reshape(8, 12))
    assert schedule.after_warmup(t[:0], 97, LR).shape == (0,)
    whole[:] = -1.0
    assert schedule.after_warmup(t, 97, LR).min() >= 0.0, "the array returned is not the caller's own"


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_equal_hyperparameters_make_equal_schedules(name: str, settings: dict[str, Any]) -> None:
    schedule = built(name, settings)
    drawn = {key: np.float64(v) if isinstance(v, float) else v for key, v in settings.items()}
    whole_as_float = {key: float(v) if type(v) is int else v for key, v in settings.items()}
    for other in (built(name, drawn), built(name, whole_as_float), pickle.loads(pickle.dumps(schedule))):
        assert other == schedule
        assert hash(other) == hash(schedule)
        assert repr(other) == repr(schedule)
    # Building again from all its fields, defaults included, gives it again.
    assert built(name, {k: v for k, v in dataclasses.asdict(schedule).items() if v is not None}) == schedule
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.min_lr = 0.5  # type: ignore[attr-defined]


def test_different_schedules_differ_and_are_described_differently() -> None:
    schedules = [built(name, settings) for name, settings in CASES]
    assert len(set(schedules)) == len(CASES)
    words = [schedule.describe() for schedule in schedules]
    assert len(set(words)) == len(CASES)
    assert all(word.startswith(s.name) and "," not in word for word, s in zip(words, schedules, strict=True))


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_hyperparameters_are_plain(name: str, settings: dict[str, Any]) -> None:
    drawn = {key: np.float64(v) if isinstance(v, float) else v for key, v in settings.items()}
    values = dataclasses.asdict(built(name, drawn)).values()
    assert {type(value) for value in values} <= {float, int, bool, str, type(None)}
    assert not any(isinstance(v, float) and v == 0.0 and math.copysign(1.0, v) < 0.0 for v in values)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_unknown_hyperparameter_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=f"Unknown hyperparameter 'warp' of schedule '{name}'"):
        built(name, {**EXAMPLES[name][0], "warp": 1})


@pytest.mark.parametrize("name", EXAMPLES)
def test_hyperparameters_that_are_no_values_are_refused(name: str) -> None:
    for field in dataclasses.fields(SCHEDULES.get(name)):
        for bad in (-1.0, float("nan"), [1], b"cos"):
            with pytest.raises(InputError, match=field.name):
                built(name, {**EXAMPLES[name][0], field.name: bad})
