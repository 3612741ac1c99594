"""Configurations that were probably meant otherwise are named."""

from __future__ import annotations

from raytt.task.candidate import Candidate
from raytt.workflows.cautions import cautions


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
