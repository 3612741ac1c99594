"""Candidates ranked by their expected final metric, from the first parts of their own learning curves alone.

No simulation and no reference run: what is known of a candidate is its hyperparameters and the validation metric after
each of the evaluations it has had. The ranking is good at any time; `CurveRanking.next` says what to train on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from raytt.errors import InputError
from raytt.forecast.curves.curve_process import CurveProcess, Observations
from raytt.forecast.curves.first_evaluation import failure_chances, seconds_each
from raytt.forecast.curves.next_evaluation import BEST_WEIGHT, Buyable, best_chances, told_per_second
from raytt.forecast.curves.normal_scores import NormalScores
from raytt.forecast.curves.similarity import Hyperparameter, coordinates, similarity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FAILURE = 0.05
"""A run that ends by itself within this share of its evaluations has failed (at least: with its first)."""
_Z90 = float(ndtri(0.95))


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveRanking:
    """n candidates as far as their curves tell."""

    order: Ints
    """Numbers of the candidates, the best first, shape (n,)."""
    scores: Floats
    """Expected normal scores of the final metric by which they are ordered, the higher the better, shape (n,)."""
    final: Floats
    """Median of the final metric if the run does not fail, shape (n,)."""
    low: Floats
    """5 % quantile of the same."""
    high: Floats
    """95 % quantile of the same."""
    failing: Floats
    """Probability that the run fails with its first evaluations, shape (n,)."""
    seconds: Floats
    """Expected of one further evaluation of each, shape (n,); 1 where nothing is known."""
    next: Ints
    """Candidates whose next evaluation tells most about the ranking per second, the first first; without ended ones."""


class CurveRanker:
    """Ranks the same candidates again and again as their curves grow; `rank_curves` for once.

    Args:
        hyperparameters: Of each candidate: numbers, words, truth values, None.
        evaluations: How many a whole run has.
        progress: Learning-rate time after each evaluation as a share of a whole run's, shape (n, evaluations) or
            (evaluations,), rising to 1. Left out, all evaluations count the same. A warm-up belongs in here: what a
            run has shown before its learning rate rose says little.
        mode: Whether a higher or a lower metric is better.

    Raises:
        InputError: For no candidates, or progress of another shape or outside [0, 1].
    """

    def __init__(
        self,
        hyperparameters: Sequence[Mapping[str, Hyperparameter]],
        *,
        evaluations: int,
        progress: Floats | None = None,
        mode: Literal["max", "min"] = "max",
    ) -> None:
        n = len(hyperparameters)
        if not n:
            raise InputError("there are no candidates to rank", "give at least one")
        if evaluations < 1:
            raise InputError(
                f"a whole run has {evaluations} evaluations, less than 1", "give the number of evaluations"
            )
        if mode not in ("max", "min"):
            raise InputError(f"mode is {mode!r}", "use 'max' or 'min'")
        given = np.arange(1, evaluations + 1) / evaluations if progress is None else np.asarray(progress, np.float64)
        if given.shape not in ((evaluations,), (n, evaluations)):
            raise InputError(
                f"progress has shape {given.shape}, not ({evaluations},) or ({n}, {evaluations})",
                "give it after each evaluation of a whole run",
            )
        if not (np.isfinite(given).all() and given.min() >= 0.0 and given.max() <= 1.0 + 1e-9):
            raise InputError("progress has values outside [0, 1]", "give shares of a whole run's learning-rate time")
        self._progress = np.broadcast_to(given, (n, evaluations))
        self._sign = 1.0 if mode == "max" else -1.0
        self._similarity = similarity(coordinates(hyperparameters))

    def rank(
        self,
        curves: Sequence[Sequence[float]],
        seconds: Sequence[float | None] | None = None,
        ended: Sequence[bool] | None = None,
    ) -> CurveRanking:
        """The ranking by what has been seen so far.

        Args:
            curves: The metric after each evaluation that each candidate has had; empty where it has had none.
            seconds: Of an evaluation of each, where it is known. Left out, all cost the same.
            ended: Runs that are over before their last evaluation: what they have is final.

        Raises:
            InputError: For curves of another number, longer than a whole run, or with values that are not finite.
        """
        n, whole = self._progress.shape
        self._check(curves, seconds, ended)
        done = np.array([len(curve) for curve in curves], dtype=np.int64)
        over = (done >= whole) | (
            np.zeros(n, dtype=bool) if ended is None else np.asarray(ended, dtype=bool) & (done > 0)
        )
        failed = over & (done < whole) & (done <= max(1.0, FAILURE * whole))
        seen = np.flatnonzero(done > 0)
        last = np.array([self._sign * curves[i][-1] for i in seen.tolist()], dtype=np.float64)
        at = np.array([1.0 if over[i] else self._progress[i, done[i] - 1] for i in seen], dtype=np.float64)
        costs = self._seconds(seconds)
        log_cost = np.log(costs) - np.log(costs).mean()
        log_cost /= max(float(log_cost.std()), 1e-9)
        failing = failure_chances(self._similarity, seen, failed[seen])
        if not len(seen):
            process = CurveProcess(similarity=self._similarity, log_cost=log_cost, observed=_none())
            unknown, zeros = np.full(n, np.nan), np.zeros(n)
            ahead = self._next(process, zeros, over, done, costs, failing, 0.0)
            return CurveRanking(
                order=np.arange(n), scores=zeros, final=unknown, low=unknown, high=unknown,
                failing=failing, seconds=costs, next=ahead,
            )  # fmt: skip
        scale = NormalScores.of(last, at)
        process = CurveProcess(
            similarity=self._similarity,
            log_cost=log_cost,
            observed=self._observations(curves, seen[~failed[seen]], over, scale),
        )
        mean, variance = process.final()
        known = scale.score(last, at)
        fallen = float(known[failed[seen]].mean()) if failed.any() else 0.0
        spread = np.sqrt(variance)
        low, middle, high = (scale.final(mean + shift * spread) for shift in (-_Z90, 0.0, _Z90))
        scores = (1.0 - failing) * mean + failing * fallen
        ends = over[seen]
        scores[seen[ends]] = known[ends]
        for column in (low, middle, high):
            column[seen[ends]] = last[ends]
        ahead = self._next(process, scores, over, done, costs, failing, fallen)
        low, high = (low, high) if self._sign > 0 else (-high, -low)
        return CurveRanking(
            order=np.argsort(-scores, kind="stable"),
            scores=scores,
            final=self._sign * middle,
            low=low,
            high=high,
            failing=failing,
            seconds=costs,
            next=ahead,
        )

    def _observations(
        self, curves: Sequence[Sequence[float]], seen: Ints, over: NDArray[np.bool_], scale: NormalScores
    ) -> Observations:
        rows = []
        for i in seen.tolist():
            k = len(curves[i])
            # One at half the length steadies the last; a run that is over is at its end, wherever that was.
            kept = [k] if over[i] or k < 2 else [k // 2, k]
            rows += [(i, 1.0 if over[i] else self._progress[i, e - 1], self._sign * curves[i][e - 1]) for e in kept]
        progress = np.array([p for _, p, _ in rows], dtype=np.float64)
        return Observations(
            candidates=np.array([i for i, _, _ in rows], dtype=np.int64),
            progress=progress,
            scores=scale.score(np.array([y for _, _, y in rows], dtype=np.float64), progress),
        )

    def _next(
        self, process: CurveProcess, scores: Floats, over: NDArray[np.bool_], done: Ints, costs: Floats,
        failing: Floats, fallen: float,
    ) -> Ints:  # fmt: skip
        left = np.flatnonzero(~over)
        if not len(left):
            return left
        _, variance = process.final()
        chances = best_chances(scores, np.where(over, 0.0, variance))
        told = told_per_second(
            process,
            ~over,
            1.0 + BEST_WEIGHT * len(over) * chances,
            Buyable(
                candidates=left, done=done[left], progress=self._progress, seconds=costs[left],
                failing=failing[left], failed_score=fallen,
            ),
        )  # fmt: skip
        return left[np.argsort(-told, kind="stable")]

    def _seconds(self, seconds: Sequence[float | None] | None) -> Floats:
        given = [] if seconds is None else list(seconds)
        known = np.array([i for i, s in enumerate(given) if s is not None], dtype=np.int64)
        return seconds_each(self._similarity, known, np.array([given[i] for i in known], dtype=np.float64))

    def _check(
        self,
        curves: Sequence[Sequence[float]],
        seconds: Sequence[float | None] | None,
        ended: Sequence[bool] | None,
    ) -> None:
        n, whole = self._progress.shape
        for name, given in (("curves", curves), ("seconds", seconds), ("ended", ended)):
            if given is not None and len(given) != n:
                raise InputError(f"{name} has {len(given)} entries for {n} candidates", "give one for each")
        for i, curve in enumerate(curves):
            if not len(curve):
                continue
            if len(curve) > whole:
                raise InputError(f"candidate {i} has {len(curve)} evaluations, more than {whole}", "raise evaluations")
            if not np.isfinite(np.asarray(curve, dtype=np.float64)).all():
                raise InputError(
                    f"the curve of candidate {i} has a value that is not finite", "end it before, and say so in ended"
                )
        for i, one in enumerate([] if seconds is None else seconds):
            if one is not None and not (np.isfinite(one) and one > 0):
                raise InputError(f"candidate {i} takes {one} seconds an evaluation, not more than 0", "use None")


def rank_curves(
    hyperparameters: Sequence[Mapping[str, Hyperparameter]],
    curves: Sequence[Sequence[float]],
    *,
    evaluations: int,
    seconds: Sequence[float | None] | None = None,
    ended: Sequence[bool] | None = None,
    progress: Floats | None = None,
    mode: Literal["max", "min"] = "max",
) -> CurveRanking:
    """Candidates ranked by their expected final metric, from the first parts of their own learning curves.

    See `CurveRanker` and `CurveRanker.rank` for the arguments.
    """
    ranker = CurveRanker(hyperparameters, evaluations=evaluations, progress=progress, mode=mode)
    return ranker.rank(curves, seconds, ended)


def _none() -> Observations:
    return Observations(candidates=np.zeros(0, dtype=np.int64), progress=np.zeros(0), scores=np.zeros(0))
