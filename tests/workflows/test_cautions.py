"""What a user may not have meant, or not have seen, is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raytt.pricing.machine import Timing
from raytt.pricing.step_time import Origin, StepTime
from raytt.task.candidate import Candidate
from raytt.workflows.cautions import cautions, little_to_save, scattered_times, single_steps


def test_a_schedule_meant_in_epochs_is_named() -> None:
    decayed = Candidate(lr=0.1, schedule="step", step_size=7, gamma=0.1)
    assert cautions({Candidate(lr=0.1, schedule="cosine"): 800, Candidate(lr=0.1): 800}) == ()
    assert cautions({decayed: 25}) == ()
    (note,) = cautions({decayed: 800, Candidate(lr=0.1): 800})
    assert note.startswith("The learning rate of 1 of 2 candidates falls below 0.001 of its peak")
    assert "step 7×0.1" in note
    assert "not epochs" in note


def test_a_warm_up_beyond_the_budget_is_named() -> None:
    (note,) = cautions({Candidate(lr=0.1, warmup_steps=50): 50, Candidate(lr=0.1, warmup_steps=49): 50})
    assert note == "The warm-up of 1 of 2 candidates does not end within the budget."


def step_time(batch_size: int, low: float, high: float, origin: Origin = Origin.TIMED) -> StepTime:
    return StepTime(batch_size=batch_size, seconds=low, low=low, high=high, source="", origin=origin)


def test_a_busy_machine_is_named() -> None:
    quiet = Timing(timed={8: step_time(8, 0.1, 0.15), 16: step_time(16, 0.2, 0.4)})
    assert scattered_times(quiet) == ()
    assert scattered_times(Timing()) == ()
    # What was not timed says nothing of the machine.
    assert scattered_times(Timing(timed={8: step_time(8, 0.1, 0.9, Origin.GIVEN)})) == ()
    (note,) = scattered_times(Timing(timed={8: step_time(8, 0.1, 0.15), 16: step_time(16, 0.2, 0.5)}))
    assert note.startswith("Timed steps with batch size 16 took 0.2 to 0.5 s")


def test_durations_from_a_single_step_are_named() -> None:
    several, one = step_time(8, 0.1, 0.1), replace(step_time(16, 4.0, 4.0), count=1)
    assert single_steps(Timing(timed={8: several, 16: replace(one, count=2)})) == ()
    # A single step has no spread: nothing else would say so.
    assert scattered_times(Timing(timed={16: one})) == ()
    (note,) = single_steps(Timing(timed={64: replace(one, batch_size=64), 8: several, 16: one}))
    assert note.startswith("Durations with batch sizes 16, 64 rest on a single timed step")
    assert "predicted steps do not depend on it" in note
    assert "--seconds-per-step" in note
    (note,) = single_steps(Timing(timed={16: one}))
    assert note.startswith("Durations with batch size 16 rest")
    assert single_steps(Timing(timed={16: replace(one, origin=Origin.GIVEN)})) == ()


@pytest.mark.parametrize(("training", "told"), [(77.0, True), (430.0, True), (433.0, False)])
def test_where_training_is_as_cheap_as_ranking_it_is_recommended(training: float, told: bool) -> None:
    notes = little_to_save(candidates=16, training=training, ranking=216.0)
    assert bool(notes) == told
    if told:
        assert f"takes {training:.0f} s, ranking them took 216 s" in notes[0]
        assert "--top 16" in notes[0]
