from __future__ import annotations

import raytt
from raytt.adapters.llama_factory.config import llama_factory_config


def test_schedule_settings_are_given_where_there_are_some() -> None:
    decayed = llama_factory_config(raytt.Candidate(lr=0.1, schedule="cosine", min_lr=0.01, max_steps=50), steps=50)
    assert (decayed["lr_scheduler_type"], decayed["lr_scheduler_kwargs"]) == ("cosine_with_min_lr", {"min_lr": 0.01})
    assert "lr_scheduler_kwargs" not in llama_factory_config(raytt.Candidate(lr=0.1, max_epochs=2), steps=50)
