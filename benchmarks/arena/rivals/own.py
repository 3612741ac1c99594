"""raytt's own entry: pilots alone, chosen and ranked by `raytt.forecast.curves`."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from raytt.forecast.curves.rank_curves import CurveRanker, CurveRanking
from raytt.forecast.curves.similarity import Hyperparameter

from ..contest import Contest
from ..purse import Purse

Floats = NDArray[np.float64]

FIRST = 4
"""Candidates that are bought at random before anything is known."""
FRESH = 0.12
"""New money, as a share of what had been spent, after which the ranking is made again."""


def hyperparameters(contest: Contest) -> list[dict[str, Hyperparameter]]:
    """Of each run, with one-hot columns put together again."""
    groups: dict[str, list[int]] = defaultdict(list)
    for column, name in enumerate(contest.columns):
        groups[name.rsplit(":", 1)[0] if name.startswith("cat:") else name].append(column)
    found: list[dict[str, Hyperparameter]] = []
    for row in contest.features:
        found.append(
            {
                name: float(row[c[0]]) if len(c) == 1 else contest.columns[c[int(np.argmax(row[c]))]]
                for name, c in groups.items()
            }
        )
    return found


def pilots_alone(contest: Contest, purse: Purse, seed: int) -> None:
    """Buys what tells most per second, makes the ranking again when the money spent has grown by `FRESH`."""
    progress = np.stack(contest.progress)
    ranker = CurveRanker(hyperparameters(contest), evaluations=contest.longest, progress=progress)

    def look() -> CurveRanking:
        seconds = [paid[-1] if paid else None for paid in purse.paid]
        return ranker.rank(purse.seen, seconds, purse.ended.tolist())

    purse.ranking = lambda: look().scores if any(purse.seen) else np.full(purse.count, np.nan)
    for run in np.random.default_rng(seed).permutation(purse.count)[:FIRST]:
        purse.train(int(run))
    while not purse.ended.all():
        until = purse.spent * (1.0 + FRESH)
        for run in look().next[: max(1, purse.count // 10)]:
            purse.train(int(run))
            if purse.spent >= until:
                break
    purse.finish()
