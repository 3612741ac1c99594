"""Pilots whose loss climbed, and who else is taken to."""

from __future__ import annotations

import numpy as np

from raytt.forecast.pilots.instability import LEAST_STEPS, climbed, failed, why_suspect, why_unstable
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.task.candidate import Candidate

FAILED = Candidate(lr=0.1, momentum=0.9, batch_size=16)


def run(candidate: Candidate, end: float, *, steps: int = 40, budget: int = 100, diverged: bool = False) -> PilotRun:
    return PilotRun(candidate=candidate, budget=budget, losses=np.linspace(2.0, end, steps), diverged=diverged)


def test_a_loss_that_ends_above_its_start_has_climbed_and_failed_at_the_end_of_its_budget() -> None:
    early, whole = run(FAILED, 3.0), run(FAILED, 3.0, budget=40)
    assert (climbed(early), failed(early)) == (True, False)
    assert (climbed(whole), failed(whole)) == (True, True)
    for fine in (run(FAILED, 1.0), run(FAILED, 1.0, budget=40), run(FAILED, 3.0, steps=LEAST_STEPS - 1)):
        assert not climbed(fine)
    assert failed(run(FAILED, 1.0, steps=3, diverged=True))


WORSE = (
    Candidate(lr=0.2, momentum=0.9, batch_size=16),
    Candidate(lr=0.1, momentum=0.9, batch_size=8, schedule="cosine"),
)
OTHERS = (
    Candidate(lr=0.05, momentum=0.9, batch_size=16),
    Candidate(lr=0.2, momentum=0.9, batch_size=32),
    # Nearer to the limit, but with a lower effective learning rate.
    Candidate(lr=0.2, batch_size=16),
    Candidate(optimizer="adamw", lr=1.0, batch_size=8),
)


def test_who_is_no_slower_than_a_pilot_that_diverged_is_unstable_too() -> None:
    runs = [run(FAILED, 3.0, steps=25, diverged=True), run(Candidate(lr=0.001), 0.1)]
    assert "as a pilot: it diverged after 25 steps" in (why_unstable(FAILED, runs) or "")
    for worse in WORSE:
        assert "no faster (lr 0.1, batch 16) diverged" in (why_unstable(worse, runs) or "")
    for other in OTHERS:
        assert why_unstable(other, runs) is why_suspect(other, runs) is None


def test_who_is_no_slower_than_a_pilot_that_climbed_is_suspected() -> None:
    for climber, fails in ((run(FAILED, 3.0), False), (run(FAILED, 3.0, budget=40), True)):
        assert (why_unstable(FAILED, [climber]) is not None) == fails
        assert "after 40 of" in (why_suspect(FAILED, [climber]) or "")
        for worse in WORSE:
            assert why_unstable(worse, [climber]) is None
            assert "had a loss above its start after 40 steps" in (why_suspect(worse, [climber]) or "")
        for other in OTHERS:
            assert why_suspect(other, [climber]) is None
    assert why_suspect(Candidate(lr=9.0), [run(FAILED, 0.5)]) is None


def test_steps_of_adaptive_optimizers_do_not_grow_with_the_gradient() -> None:
    adamw = Candidate(optimizer="adamw", lr=0.1)
    runs = [run(adamw, 3.0, diverged=True)]
    assert why_unstable(adamw, runs) is not None
    faster = Candidate(optimizer="adamw", lr=0.3)
    assert why_unstable(faster, runs) is None
    assert why_suspect(faster, runs) is not None
