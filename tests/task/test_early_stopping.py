"""Early stopping with patience."""

from __future__ import annotations

import numpy as np
import pytest

from raytt.errors import InputError
from raytt.task.early_stopping import EarlyStopping


def as_lightning(values: list[float], patience: int, min_delta: float) -> int:
    """Where Lightning's callback ends a run, written down from its documentation."""
    best, wait = float("inf"), 0
    for position, value in enumerate(values):
        if value < best - min_delta:
            best, wait = value, 0
        else:
            wait += 1
            if wait >= patience:
                return position
    return len(values) - 1


def test_it_ends_as_trainers_do_and_keeps_the_best() -> None:
    draws = np.random.default_rng(0)
    for patience in (1, 2, 5):
        for delta in (0.0, 0.1):
            for _ in range(20):
                values = draws.normal(size=12).tolist()
                last, best = EarlyStopping(patience=patience, min_delta=delta).ends(values)
                assert last == as_lightning(values, patience, delta)
                assert best <= last
                assert values[best] == min(values[: last + 1])


def test_a_curve_that_turns_ends_a_patience_after_its_lowest_point() -> None:
    values = [1.0, 0.8, 0.5, 0.6, 0.7, 0.8, 0.4]
    assert EarlyStopping(patience=3).ends(values) == (5, 2)
    assert EarlyStopping(patience=4).ends(values) == (6, 6)


def test_evaluations_once_an_epoch_and_at_the_end() -> None:
    assert EarlyStopping().evaluations(10, steps_per_epoch=2.5).tolist() == [3, 5, 8, 10]
    assert EarlyStopping(every=4).evaluations(10, steps_per_epoch=2.5).tolist() == [4, 8, 10]
    assert EarlyStopping(every=400).evaluations(10, steps_per_epoch=2.5).tolist() == [10]


@pytest.mark.parametrize("text", ["3", "3@epoch", "5@200", "3@epoch,0.001", "2@7,1e-3"])
def test_text_and_back(text: str) -> None:
    found = EarlyStopping.parse(text)
    assert EarlyStopping.parse(str(found)) == found
    assert EarlyStopping.parse(found) is found


@pytest.mark.parametrize("text", ["", "0", "3@", "three", "3@epoch,", "3@0", "3@epoch,-1", "3,1e"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        EarlyStopping.parse(text)


def test_bounds() -> None:
    for wrong in ({"patience": 0}, {"patience": 1.5}, {"every": 0}, {"every": "step"}, {"min_delta": -1.0}):
        with pytest.raises(InputError):
            EarlyStopping(**wrong)  # type: ignore[arg-type]
