from __future__ import annotations

import raytt
from raytt.adapters.axolotl.config import axolotl_config


def test_steps_and_schedule_settings_are_given_where_there_are_some() -> None:
    by_steps = axolotl_config(raytt.Candidate(lr=0.1, schedule="wsd", max_steps=50), steps=50)
    assert (by_steps["max_steps"], by_steps["lr_scheduler"]) == (50, "warmup_stable_decay")
    assert by_steps["lr_scheduler_kwargs"]["num_decay_steps"] == 5
    by_epochs = axolotl_config(raytt.Candidate(lr=0.1, max_epochs=2), steps=50)
    assert by_epochs["num_epochs"] == 2.0
    assert not {"max_steps", "lr_scheduler_kwargs"} & set(by_epochs)
