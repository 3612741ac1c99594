"""Rivals without a model: random choice, every run for a while (i-Epoch), a learning-rate-time rescaling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..contest import Contest
from ..purse import Purse

Floats = NDArray[np.float64]


def last_seen(purse: Purse) -> Floats:
    """The last metric bought of each run, NaN where none."""
    return np.array([seen[-1] if seen else np.nan for seen in purse.seen])


def random(contest: Contest, purse: Purse, seed: int) -> None:
    """Whole runs in random order."""
    purse.ranking = lambda: last_seen(purse)
    for run in np.random.default_rng(seed).permutation(purse.count):
        while not purse.ended[run]:
            purse.train(int(run))
    purse.finish()


def i_epoch(contest: Contest, purse: Purse, seed: int) -> None:
    """Every run for one evaluation, then all for a second, and so on; ranked by the last metric.

    With less money than one evaluation of each costs, as many as can be paid, in random order.

    Source: Egele, Mohr, Viering, Balaprakash 2024, *The Unreasonable Effectiveness of Early Discarding After One Epoch
    in Neural Network Hyperparameter Optimization* (arXiv 2404.04111).
    """
    purse.ranking = lambda: last_seen(purse)
    order = np.random.default_rng(seed).permutation(purse.count)
    while not purse.ended.all():
        for run in order:
            if not purse.ended[run]:
                purse.train(int(run))
    purse.finish()


def rescaled_time(contest: Contest, purse: Purse, seed: int) -> None:
    """One run per optimizer as a whole is the yardstick of all others: i-Epoch's curves, continued along it.

    Runs are bought as i-Epoch does, after one whole run, in random order. A run with metric a at learning-rate time τ
    (a share of its own whole) is given a + (whole run's last metric − its metric at τ): all curves are taken to rise by
    as much as the yardstick does over the same learning-rate time.
    """
    order = np.random.default_rng(seed).permutation(purse.count)
    first = int(order[0])

    def ranking() -> Floats:
        scores = last_seen(purse)
        yardstick = purse.seen[first]
        if not yardstick:
            return scores
        own_times = contest.progress[first][: len(yardstick)]
        for run, seen in enumerate(purse.seen):
            if seen and not purse.ended[run]:
                reached = contest.progress[run][len(seen) - 1]
                scores[run] += yardstick[-1] - float(np.interp(reached, own_times, yardstick))
        return scores

    purse.ranking = ranking
    while not purse.ended[first]:
        purse.train(first)
    while not purse.ended.all():
        for run in order:
            if not purse.ended[run]:
                purse.train(int(run))
    purse.finish()
