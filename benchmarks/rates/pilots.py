"""What pilots gain: predictions calibrated on recorded runs, against the other recorded runs.

``python -m benchmarks.rates.pilots``. Reads what `benchmarks.rates.record` trained and `benchmarks.rates.measure`
measured; trains nothing: a recorded run stands for a pilot of the same candidate.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtri

from benchmarks.report import table, write
from raytt.forecast.pilots.calibration import FamilyCalibration
from raytt.forecast.pilots.choice import Beliefs, choose_pilots
from raytt.forecast.pilots.gaussian_process import GaussianProcess
from raytt.forecast.pilots.pilot_run import PilotRun, depths_to, passings
from raytt.forecast.pilots.residual_prior import (
    DEPTH_LENGTH,
    LENGTHS,
    RATES,
    TIME_ALONE,
    Places,
    ResidualPrior,
    covariance,
    features,
)
from raytt.forecast.pilots.residual_process import ResidualProcess
from raytt.forecast.pilots.residuals import GRID, Residual, Walker, residuals
from raytt.rates.smoothing import smoothed
from raytt.rates.walk import ReferencePath, Walk, walk
from raytt.task.candidate import Candidate
from raytt.workflows.pilots import ROUND

from .__main__ import METHODS, load_rates, percent, percentile, rate_table
from .measure import initial_loss, reference
from .record import load_curve
from .tasks import TASKS

Floats = NDArray[np.float64]
MINIBATCHES = 16
RATIOS = (0.5, 0.25)
MOST = 4
SHARES = (1.0, 0.5)
"""How far pilots train: shares of the target's depth ln(1/ratio)."""
MEANS = ("rates", "time alone", "chosen")
SMALL = 4
"""Candidates of a small ranking."""
DOUBTS = (0.001, 0.01, 0.03)
"""Expected regrets by which small rankings are grouped."""
_Z = float(ndtri(0.95))

INTRODUCTION = """Recorded runs in training mode stand for pilots. Of eight configurations per network and optimizer
some are pilots; errors are |ln(predicted/real)| of steps to 0.5 and to 0.25 of the initial loss over the others, as
percentages of a factor. Descent rates with noise, 16 minibatches a rate. *time alone*: the reference's learning-rate
time alone. *chosen*: the one of the two that predicts pilots left out in turn better. *holds*: share of real steps
within the 90 % interval. Amplitudes and lengths of the process were fitted to the same runs.

"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """A network and an optimizer with their recorded runs."""

    task: str
    optimizer: str
    runs: tuple[PilotRun, ...]
    """By candidate."""
    seconds: Floats
    """Per step, of each."""
    initial: float
    """Initial loss."""
    walkers: tuple[Walker, Walker]
    """Rates, learning-rate time alone."""


def families() -> list[Family]:
    """All that are recorded and measured."""
    found = []
    for name in ("small", "layer_norm"):
        mode_task = TASKS[name]()
        for optimizer in ("adamw", "sgd"):
            log = reference(name, mode_task, optimizer)
            rates = load_rates(name, optimizer, log, MINIBATCHES)
            assert rates is not None
            path = ReferencePath(
                candidate=log.candidate, times=log.times[: len(log.losses)], losses=smoothed(log.losses)
            )

            def walker(method: str, log: Any = log, rates: Any = rates, path: ReferencePath = path) -> Walker:
                made = rate_table(log, rates, next(m for m in METHODS if m.name == method))

                def go(candidates: Sequence[Candidate], budgets: Sequence[int], paces: Floats) -> Walk:
                    pairs = zip(candidates, budgets, strict=True)
                    longer = [4 * b if c.schedule.name == "constant" else b for c, b in pairs]
                    return walk(path, made, candidates, longer, paces=paces)

                return go

            runs, seconds = [], []
            for candidate in mode_task.candidates[optimizer]:
                curve = load_curve(name, candidate)
                if curve is not None:
                    budget = candidate.max_steps
                    assert budget is not None
                    runs.append(
                        PilotRun(candidate=candidate, budget=budget, losses=curve["losses"], diverged=curve["diverged"])
                    )
                    seconds.append(curve["seconds"] / len(curve["losses"]))
            found.append(
                Family(
                    task=name,
                    optimizer=optimizer,
                    runs=tuple(runs),
                    seconds=np.asarray(seconds),
                    initial=initial_loss(name, mode_task, log.candidate.batch_size),
                    walkers=(walker("rates and noise"), walker("learning-rate time")),
                )
            )
    return found


class Study:
    """One family and one target: everything that does not depend on which runs are pilots is computed once."""

    def __init__(self, family: Family, ratio: float, share: float) -> None:
        self.family, self.depth = family, math.log(1.0 / ratio)
        level = family.initial * ratio
        self.real = np.array([run.steps_to(level) for run in family.runs])
        self.seen: tuple[list[list[Residual]], list[list[Residual]]] = ([], [])
        self.crossings: tuple[list[Floats], list[Floats]] = ([], [])
        for run in family.runs:
            passed = [
                p for p in passings(run, family.initial, depths_to(self.depth)) if p.depth <= share * self.depth + 1e-9
            ]
            for number, walker in enumerate(family.walkers):
                self.seen[number].append(residuals(run, passed, family.initial, walker))
                walked = walker([run.candidate] * len(GRID), [run.budget] * len(GRID), np.exp(-GRID))
                self.crossings[number].append(walked.steps_to([level])[0][:, 0])
        self.budgets = {run.candidate: run.budget for run in family.runs}
        # Share of a whole run that a pilot takes.
        self.effort = np.array(
            [
                min(1.0, run.steps_to(family.initial * math.exp(-share * self.depth)) / run.steps_to(level))
                for run in family.runs
            ]
        )

    def calibration(self, pilots: Iterable[int]) -> FamilyCalibration:
        """With these runs as pilots."""
        chosen = sorted(pilots)
        rates, alone = (
            ResidualProcess(
                prior=prior,
                budgets=self.budgets,
                observed={self.family.runs[i].candidate: seen[i] for i in chosen},
            )
            for prior, seen in zip((RATES, TIME_ALONE), self.seen, strict=True)
        )
        return FamilyCalibration(name=self.family.optimizer, depth=self.depth, rates=rates, time_alone=alone)

    def predicted(self, found: FamilyCalibration, mean: str) -> tuple[Floats, Floats]:
        """Logarithms of steps and covariance of all candidates."""
        rates = found.uses_rates if mean == "chosen" else mean == "rates"
        process = found.rates if rates else found.time_alone
        y, spread = process.predict([run.candidate for run in self.family.runs], self.depth)
        logs = []
        for value, crossings in zip(y, self.crossings[0 if rates else 1], strict=True):
            known = np.isfinite(crossings) & (crossings > 0)
            logs.append(np.interp(value, GRID[known], np.log(crossings[known]), right=math.inf))
        return np.asarray(logs), spread

    def errors(self, pilots: Sequence[int], mean: str) -> tuple[Floats, Floats]:
        """ln(predicted/real) of those that are no pilots and really arrive, and the deviation expected of it."""
        logs, covariance = self.predicted(self.calibration(pilots), mean)
        others = [i for i in range(len(logs)) if i not in pilots and np.isfinite(self.real[i])]
        return logs[others] - np.log(self.real[others]), np.sqrt(np.diag(covariance))[others]

    def beliefs(self, pilots: Sequence[int]) -> Beliefs:
        """About the seconds of all candidates; those of pilots are known."""
        logs, covariance = self.predicted(self.calibration(pilots), "chosen")
        for i in pilots:
            logs[i] = math.log(self.real[i])
            covariance[i, :] = covariance[:, i] = 0.0
        return Beliefs(mean=logs + np.log(self.family.seconds), covariance=covariance)

    def acquired(self, most: int, among: Sequence[int], doubt: float = -1.0) -> list[int]:
        """Pilots as raytt chooses them, of these candidates, while the expected regret is above ``doubt``."""
        chosen: list[int] = []
        rows = np.array(among)
        while len(chosen) < most:
            whole = self.beliefs(chosen)
            beliefs = Beliefs(mean=whole.mean[rows], covariance=whole.covariance[np.ix_(rows, rows)])
            if beliefs.regret() <= doubt:
                break
            costs = np.exp(beliefs.mean) * self.effort[rows]
            done = [among.index(i) for i in chosen]
            more = choose_pilots(beliefs, costs, count=min(ROUND, most - len(chosen)), done=done)
            if not more:
                break
            chosen += [among[i] for i in more]
        return chosen

    def regret(self, pilots: Sequence[int], among: Sequence[int]) -> float:
        """The logarithm of the cost of the first choice over that of the truly cheapest."""
        rows = np.array(among)
        costs = np.log(self.real * self.family.seconds)[rows]
        return float(costs[int(np.argmin(self.beliefs(pilots).mean[rows]))] - costs.min())

    def share(self, pilots: Sequence[int], among: Sequence[int]) -> float:
        """Cost of the pilots as a share of training all to the target."""
        costs = self.real * self.family.seconds
        return float((costs * self.effort)[list(pilots)].sum() / costs[list(among)].sum())


def accuracy_rows(found: Sequence[Family], ratios: Sequence[float]) -> list[list[Any]]:
    """Errors over all choices of pilots."""
    rows = []
    for share in SHARES:
        for family in found:
            studies = [Study(family, ratio, share) for ratio in ratios]
            for mean in MEANS:
                row: list[Any] = [family.task, family.optimizer, f"{share:g}", mean]
                for count in range(MOST + 1):
                    parts = [
                        s.errors(pilots, mean)
                        for s in studies
                        for pilots in combinations(range(len(family.runs)), count)
                    ]
                    errors, spreads = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
                    held = float(np.mean(np.abs(errors) <= _Z * spreads))
                    row.append(
                        f"{percent(percentile(errors, 0.5))}, {percent(percentile(errors, 0.9))} ({100 * held:.0f} %)"
                    )
                rows.append(row)
    return rows


def choice_rows(found: Sequence[Family], ratios: Sequence[float]) -> list[list[Any]]:
    """Regret and errors with raytt's choice of pilots beside the mean over all choices."""
    rows = []
    for share in SHARES:
        for family in found:
            studies = [Study(family, ratio, share) for ratio in ratios]
            for count in range(MOST + 1):
                all_of_them = range(len(family.runs))
                own = [s.acquired(count, all_of_them) for s in studies]
                every = list(combinations(all_of_them, count))
                cost = np.mean([s.share(pilots, all_of_them) for s, pilots in zip(studies, own, strict=True)])
                errors = np.concatenate([s.errors(p, "chosen")[0] for s, p in zip(studies, own, strict=True)])
                rows.append(
                    [
                        family.task,
                        family.optimizer,
                        f"{share:g}",
                        count,
                        f"{100 * float(cost):.1f} %",
                        f"{percent(percentile(errors, 0.5))}, {percent(percentile(errors, 0.9))}",
                        percent(float(np.mean([s.regret(p, all_of_them) for s, p in zip(studies, own, strict=True)]))),
                        percent(float(np.mean([s.regret(p, all_of_them) for s in studies for p in every]))),
                    ]
                )
    return rows


def doubt_rows(found: Sequence[Family], ratios: Sequence[float]) -> list[list[Any]]:
    """What pilots gain where the choice is hard: rankings of every four of the eight, grouped by expected regret."""
    studies = [Study(family, ratio, 1.0) for family in found for ratio in ratios]
    rankings = [(s, among) for s in studies for among in combinations(range(len(s.real)), SMALL)]
    before = [s.beliefs([]) for s in studies for _ in combinations(range(len(s.real)), SMALL)]
    expected = np.array(
        [
            Beliefs(mean=b.mean[list(among)], covariance=b.covariance[np.ix_(among, among)]).regret()
            for b, (_, among) in zip(before, rankings, strict=True)
        ]
    )
    rows = []
    for low, high in pairwise((0.0, *DOUBTS, 1.0)):
        group = [pair for pair, value in zip(rankings, expected, strict=True) if low <= value < high]
        row: list[Any] = [f"{100 * low:g}–{100 * high:g} %", len(group)]
        for count in range(3):
            chosen = [s.acquired(count, among) for s, among in group]
            regrets = [math.expm1(s.regret(p, among)) for p, (s, among) in zip(chosen, group, strict=True)]
            cost = np.mean([s.share(p, among) for p, (s, among) in zip(chosen, group, strict=True)])
            row.append(f"{100 * np.mean(regrets):.1f} %, {100 * np.quantile(regrets, 0.9):.1f} % ({100 * cost:.0f} %)")
        rows.append(row)
    return rows


def fit_rows(found: Sequence[Family]) -> list[list[Any]]:
    """The most likely deviations and lengths, of all and with each network and optimizer left out.

    Under weak priors, ln of each normal around its start with deviation 1.
    """
    start = np.log([0.1, 0.2, 0.05, 1.5, 1.2, 2.0, 0.5, 1.0])
    rows = []
    for number, name in enumerate(("rates", "time alone")):
        data = [_observations(family, number) for family in found]

        def loss(logs: Floats, chosen: Sequence[Any]) -> float:
            common, smooth, own, *lengths = np.exp(logs)
            prior = ResidualPrior(common=common, smooth=smooth, own=own)
            total = 0.5 * float(np.square(logs - start).sum())
            for places, values, noise in chosen:
                # Lengths are constants of the module: other ones by other units.
                scaled = Places(
                    features=places.features * np.asarray(LENGTHS) / np.asarray(lengths[:4]),
                    depths=places.depths * DEPTH_LENGTH / lengths[4],
                    candidates=places.candidates,
                    models=places.models,
                )
                known = covariance(prior, scaled, scaled)
                total -= GaussianProcess(covariance=known, noise=noise, values=values).log_likelihood()
            return total

        for left_out in (None, *range(len(found))):
            chosen = [one for place, one in enumerate(data) if place != left_out]
            best = np.exp(minimize(loss, start, args=(chosen,), method="L-BFGS-B").x)
            without = "none" if left_out is None else f"{found[left_out].task} {found[left_out].optimizer}"
            rows.append([name, without, *(f"{value:.3g}" for value in best)])
    return rows


def _observations(family: Family, number: int) -> tuple[Places, Floats, Floats]:
    """All residuals of one prediction to 0.25 of the initial loss: places, values, noise."""
    rows, values, noise = [], [], []
    for place, run in enumerate(family.runs):
        passed = passings(run, family.initial, depths_to(math.log(4.0)))
        for one in residuals(run, passed, family.initial, family.walkers[number]):
            rows.append((place, features(run.candidate, run.budget), one.depth))
            values.append(one.value)
            noise.append(one.noise)
    return Places.of(rows), np.asarray(values), np.asarray(noise)


def main() -> None:
    """Compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the dated report")
    arguments = parser.parse_args()
    found = families()
    counts = [f"{n} pilots" for n in range(MOST + 1)]
    body = INTRODUCTION
    body += (
        "All choices of pilots; median, 90th percentile (*holds*); *share*: how far pilots train, as a share of "
        "ln(1/ratio).\n\n"
    )
    body += table(["network", "optimizer", "share", "mean", *counts], accuracy_rows(found, RATIOS)) + "\n\n"
    body += (
        "Pilots as raytt chooses them (rounds of two), by measured seconds; *cost*: of the pilots, as a share of "
        "training all eight to the target; *regret* of the first choice, beside the mean over all choices of as many "
        "pilots.\n\n"
    )
    header = ["network", "optimizer", "share", "pilots", "cost", "errors of the others", "regret", "any pilots"]
    body += table(header, choice_rows(found, RATIOS)) + "\n"
    body += (
        "\nRankings of every four of the eight, by the expected regret of the first choice before any pilot: real "
        "regret (mean, 90th percentile) with 0, 1, 2 pilots, and their cost as a share of training all four.\n\n"
    )
    body += table(["expected regret", "rankings", "0 pilots", "1 pilot", "2 pilots"], doubt_rows(found, RATIOS)) + "\n"
    body += "\nThe process that fits all these residuals best, and with each network and optimizer left out.\n\n"
    header = ["mean", "left out", "common", "smooth", "own", "ln lr", "ln B", "ln(1 − μ)", "warm-up", "depth"]
    body += table(header, fit_rows(found)) + "\n"
    print(body)
    if arguments.write:
        write("pilots", "python -m benchmarks.rates.pilots --write", body, figures=[], json_file=None)


if __name__ == "__main__":
    main()
