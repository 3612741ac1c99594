"""Scores and pooled rates of the benchmark of descent rates."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.rates.__main__ import METHODS, Method, Rates, percentile, rate_table, scores
from benchmarks.rates.example_tasks import EXAMPLES, SAMPLES
from benchmarks.rates.measure import BATCH_SIZES
from benchmarks.rates.record import file_of
from benchmarks.rates.tasks import TASKS
from raytt.rates.batch_factor import PLAIN
from raytt.rates.reference import Point, TrainingLog
from raytt.task.candidate import Candidate
from raytt.training.datasets import open_dataset


def test_misses_are_counted_and_what_was_not_reached_is_left_out() -> None:
    real = np.array([[10.0, 20.0, np.inf]])
    errors, missed = scores(np.array([[11.0, np.inf, 5.0]]), real)
    assert missed == 1
    assert errors[0] == pytest.approx(np.log(1.1))
    assert np.isinf(percentile(errors, 1.0))
    assert percentile(errors, 0.0) == pytest.approx(np.log(1.1))


@pytest.mark.parametrize("method", METHODS, ids=[m.name for m in METHODS])
def test_tables_are_positive_whatever_noise_did(method: Method) -> None:
    rates = np.array([[0.3, 0.6, 1.0, 1.4], [-0.1, 0.5, 1.0, 1.5], [0.4, 0.7, 0.9, 1.3]])
    found = Rates(
        rates=rates, errors=np.full((3, 4), 0.1), noises=10 * np.ones((3, 4)), curvatures=np.ones(3), prior=PLAIN
    )
    log = TrainingLog(
        candidate=Candidate(lr=0.1),
        seed=0,
        losses=np.ones(3),
        times=np.arange(4.0),
        points=tuple(Point(step=s, time=float(s), state={}) for s in range(3)),
        evaluated=(),
        met=False,
        diverged=False,
        slow=False,
        last_ratio=1.0,
        seconds=0.0,
    )
    table = rate_table(log, found, method)
    assert bool((table.rates > 0).all())
    assert (table.noises is not None) == method.noise
    assert (table.curvatures is not None) == method.curvature


@pytest.mark.slow
def test_examples_have_as_many_samples_as_is_told() -> None:
    for name, example in EXAMPLES.items():
        assert len(open_dataset(example.task.data, example.task)) == SAMPLES[name]


def test_recorded_runs_have_names_of_their_own() -> None:
    for name, make in TASKS.items():
        candidates = [c for group in make().candidates.values() for c in group]
        assert len({file_of(name, c, 1) for c in candidates}) == len(candidates)
        assert {c.batch_size for c in candidates} <= set(BATCH_SIZES)
