"""The till: rivals pay for every second of training and of their own computing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .contest import Contest

Floats = NDArray[np.float64]


class Spent(Exception):  # noqa: N818  it ends a game, nothing is wrong
    """The last of the money is gone."""


class Purse:
    """Sells evaluations of a contest's runs in order, and writes down a rival's ranking at given shares of the cost.

    A rival sees only what it has bought: `seen`, `paid` and `ended`. Between two purchases its own processor time is
    counted at the same price as training; only the rankings that the arena itself asks for at the shares are free.
    Money that runs out within an evaluation is lost, as in life.
    """

    def __init__(self, contest: Contest, shares: Sequence[float]) -> None:
        self._contest = contest
        self._marks = [share * contest.total for share in shares]
        self.spent = 0.0
        """Seconds."""
        self.computing = 0.0
        """Of them, the rival's own."""
        self.seen: list[list[float]] = [[] for _ in contest.metric]
        self.paid: list[list[float]] = [[] for _ in contest.metric]
        self.ended = np.zeros(len(contest.metric), dtype=bool)
        """Runs that are over: all evaluations bought, or stopped by themselves right after the last one."""
        self.rankings: list[Floats] = []
        """Scores at each share passed; NaN for runs a rival says nothing of."""
        self.ranking: Callable[[], Floats] = lambda: np.full(len(contest.metric), np.nan)
        """What a rival thinks now; rivals set it."""
        self._since = time.process_time()

    @property
    def count(self) -> int:
        """Runs on sale."""
        return len(self.seen)

    def train(self, run: int, limit: float = np.inf) -> float | None:
        """Buy a run's next evaluation.

        Args:
            run: Its number; must not have ended.
            limit: Seconds after which the rival would rather stop this run. They are paid; no result comes, and the
                run would start again from its last evaluation.

        Returns:
            The metric, or None if the limit came first.

        Raises:
            Spent: At the last share.
        """
        self._pay_computing()
        number = len(self.seen[run])
        if self.ended[run]:
            raise ValueError(f"run {run} has ended after {number} evaluations; ask `ended` first")
        seconds = float(self._contest.seconds[run][number])
        self._pay(min(seconds, limit))
        if seconds > limit:
            self._since = time.process_time()
            return None
        value = float(self._contest.metric[run][number])
        self.seen[run].append(value)
        self.paid[run].append(seconds)
        self.ended[run] = number + 1 == len(self._contest.metric[run])
        self._since = time.process_time()
        return value

    def finish(self) -> None:
        """A rival wants nothing more: it stays with its last ranking."""
        self._pay_computing(stop=False)
        self._pay(np.inf, stop=False)

    def _pay_computing(self, *, stop: bool = True) -> None:
        elapsed = time.process_time() - self._since
        self.computing += elapsed
        self._pay(elapsed, stop=stop)

    def _pay(self, seconds: float, *, stop: bool = True) -> None:
        self.spent += seconds
        while len(self.rankings) < len(self._marks) and self.spent >= self._marks[len(self.rankings)]:
            self.rankings.append(np.asarray(self.ranking(), dtype=np.float64).copy())
        if stop and len(self.rankings) == len(self._marks):
            raise Spent
