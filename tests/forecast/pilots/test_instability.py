"""Pilots whose loss climbed, and who else is taken to."""

from __future__ import annotations

import numpy as np

from raytt.forecast.pilots.instability import LEAST_STEPS, climbed, why_unstable
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.task.candidate import Candidate

FAILED = Candidate(lr=0.1, momentum=0.9, batch_size=16)


def run(candidate: Candidate, end: float, *, steps: int = 40, diverged: bool = False) -> PilotRun:
    return PilotRun(candidate=candidate, budget=100, losses=np.linspace(2.0, end, steps), diverged=diverged)


def test_a_loss_that_ends_above_its_start_has_climbed() -> None:
    assert climbed(run(FAILED, 3.0))
    assert not climbed(run(FAILED, 1.0))
    assert not climbed(run(FAILED, 3.0, steps=LEAST_STEPS - 1))
    assert climbed(run(FAILED, 1.0, steps=3, diverged=True))


def test_who_is_no_slower_than_a_failed_pilot_is_unstable_too() -> None:
    runs = [run(FAILED, 3.0), run(Candidate(lr=0.001), 0.1)]
    assert "as a pilot: after 40 steps" in (why_unstable(FAILED, runs) or "")
    for worse in (
        Candidate(lr=0.2, momentum=0.9, batch_size=16),
        Candidate(lr=0.1, momentum=0.9, batch_size=8, schedule="cosine"),
    ):
        assert "no faster (lr 0.1, batch 16)" in (why_unstable(worse, runs) or "")
    for other in (
        Candidate(lr=0.05, momentum=0.9, batch_size=16),
        Candidate(lr=0.2, momentum=0.9, batch_size=32),
        # Nearer to the limit, but with a lower effective learning rate.
        Candidate(lr=0.2, batch_size=16),
        Candidate(optimizer="adamw", lr=1.0, batch_size=8),
    ):
        assert why_unstable(other, runs) is None
    assert why_unstable(Candidate(lr=9.0), [run(FAILED, 0.5)]) is None
