"""Walks along a path that falls exponentially in learning-rate time, and pilots that are slower by a known factor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.pilots.calibration import FamilyPaths
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.rates.rate_table import RateTable
from raytt.rates.walk import ReferencePath, Walk, walk
from raytt.task.candidate import Candidate

Floats = NDArray[np.float64]
INITIAL = 2.0
SIZES = (8, 16, 32, 64)
PATH = ReferencePath(
    candidate=Candidate(lr=0.01),
    times=0.01 * np.arange(400),
    losses=INITIAL * np.exp(-0.01 * np.arange(400)),
)


def walker(
    candidates: Sequence[Candidate],
    budgets: Sequence[int],
    paces: Floats,
    *,
    rates: Mapping[int, float] | None = None,
) -> Walk:
    """Learning-rate time, times a rate for each batch size."""
    values = [1.0 if rates is None else rates[size] for size in SIZES]
    table = RateTable(
        times=np.zeros(1), batch_sizes=SIZES, reference_batch_size=32, rates=np.array([values]) / values[2]
    )
    return walk(PATH, table, candidates, budgets, paces=paces)


def pilot(candidate: Candidate, budget: int, slowness: float, *, rate: float = 1.0) -> PilotRun:
    """A run whose learning-rate time is exp(slowness) times that of the path, over its rate."""
    times = np.concatenate([[0.0], np.cumsum(candidate.effective_rates(budget))])[:-1]
    losses = INITIAL * np.exp(-times * rate * math.exp(-slowness))
    return PilotRun(candidate=candidate, budget=budget, losses=losses, diverged=False)


def family(budgets: Mapping[Candidate, int], depth: float, rates: Mapping[int, float]) -> FamilyPaths:
    """Rates that are given, beside learning-rate time alone."""
    return FamilyPaths(
        budgets=budgets,
        initial_losses=dict.fromkeys(budgets, INITIAL),
        depths=dict.fromkeys(budgets, depth),
        rates={c: partial(walker, rates=rates) for c in budgets},
        time_alone=dict.fromkeys(budgets, walker),
    )
