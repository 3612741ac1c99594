"""Ray Tune's own schedulers, driven on recorded curves through their own methods.

Trials are real `ray.tune` trials that never start; what the controller of a real run would do with a decision (pause,
stop, run again) is done here, one evaluation at a time on as many slots as a small cluster has.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from ..contest import Contest
from ..purse import Purse
from .simple import last_seen

METRIC = "metric"
SLOTS = 16
"""Trials that run at the same time under ASHA: with one, its first trial would always run to the end."""
REDUCTION = 3
"""Of both schedulers: the default of Hyperband; of ASHA it is 4."""


class _Controller:
    """What schedulers call of Tune's controller."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    def stop_trial(self, trial: Any) -> None:
        """Ends a paused trial and tells the scheduler so, in the order of Tune's controller."""
        self._scheduler.on_trial_remove(self, trial)
        trial.set_status("TERMINATED")


def _trials(count: int) -> list[Any]:
    from ray.tune.experiment import Trial

    return [Trial("arena", stub=True, trial_id=f"{run:05d}") for run in range(count)]


def asha(contest: Contest, purse: Purse, seed: int) -> None:
    """Asynchronous successive halving on `SLOTS` slots; a trial that is stopped is not taken up again.

    Source: Li et al. 2020, *A System for Massively Parallel Hyperparameter Tuning*.
    """
    from ray.tune.schedulers import ASHAScheduler

    purse.ranking = lambda: last_seen(purse)
    np.random.seed(seed)  # the scheduler draws its brackets from this one
    scheduler = ASHAScheduler(
        metric=METRIC, mode="max", max_t=contest.longest, grace_period=1, reduction_factor=REDUCTION
    )
    trials, controller = _trials(purse.count), _Controller(scheduler)
    waiting = [int(run) for run in np.random.default_rng(seed).permutation(purse.count)][::-1]
    running: list[tuple[float, int]] = []
    clock = 0.0
    while waiting or running:
        while waiting and len(running) < SLOTS:
            run = waiting.pop()
            scheduler.on_trial_add(controller, trials[run])
            heapq.heappush(running, (clock, run))
        # The slot that is free first buys next, so that money is spent in the order of a parallel run.
        clock, run = heapq.heappop(running)
        value = purse.train(run)
        result = {"training_iteration": len(purse.seen[run]), METRIC: value}
        if purse.ended[run]:
            scheduler.on_trial_complete(controller, trials[run], result)
        elif scheduler.on_trial_result(controller, trials[run], result) == "CONTINUE":
            heapq.heappush(running, (clock + purse.paid[run][-1], run))
    purse.finish()


def hyperband(contest: Contest, purse: Purse, seed: int) -> None:
    """Hyperband's brackets; which trial runs next is the scheduler's own choice.

    Source: Li et al. 2018, *Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization*.
    """
    from ray.tune.schedulers import HyperBandScheduler

    purse.ranking = lambda: last_seen(purse)
    scheduler = HyperBandScheduler(metric=METRIC, mode="max", max_t=contest.longest, reduction_factor=REDUCTION)
    trials, controller = _trials(purse.count), _Controller(scheduler)
    numbers = {trial.trial_id: run for run, trial in enumerate(trials)}
    for run in np.random.default_rng(seed).permutation(purse.count):
        trials[run].set_status("PENDING")
        scheduler.on_trial_add(controller, trials[run])
    while (trial := scheduler.choose_trial_to_run(controller)) is not None:
        run = numbers[trial.trial_id]
        trial.set_status("RUNNING")
        action = "CONTINUE"
        while action == "CONTINUE":
            value = purse.train(run)
            result = {"training_iteration": len(purse.seen[run]), METRIC: value}
            if purse.ended[run]:
                trial.set_status("TERMINATED")
                scheduler.on_trial_complete(controller, trial, result)
                break
            action = scheduler.on_trial_result(controller, trial, result)
            if action == "PAUSE":
                trial.set_status("PAUSED")
            elif action == "STOP":
                trial.set_status("TERMINATED")
    purse.finish()
