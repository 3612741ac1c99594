from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np

from raytt.cluster.stages.pilot_logs import log_to_json, run_from_json
from raytt.cluster.stages.pilots import PilotPlan
from raytt.task.candidate import Candidate


def test_a_log_comes_back_as_it_was_infinite_losses_too() -> None:
    log: Any = SimpleNamespace(losses=np.array([2.0, 1.5, np.inf]), diverged=True)
    plan = PilotPlan(candidate=Candidate(lr=0.1), seed=0, budget=20, steps=5, ratio=0.5)
    stored = json.loads(json.dumps(log_to_json(log), allow_nan=False))
    found = run_from_json(plan, stored)
    assert (found.candidate, found.budget, found.diverged) == (plan.candidate, 20, True)
    np.testing.assert_array_equal(found.losses, log.losses)
    assert (found.target, found.met) == (None, None)
