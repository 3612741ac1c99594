"""Steps to target predicted from descent rates against real training in training mode: ``python -m benchmarks.rates``.

Reads what `benchmarks.rates.record` trained and `benchmarks.rates.measure` measured; trains nothing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.rates.trial_steps import fit_curvature
from benchmarks.report import table, write
from raytt.rates.batch_factor import ADAPTIVE, PLAIN, Prior, batch_factors
from raytt.rates.descent_rates import descent_rate
from raytt.rates.gradients import GradientBlock
from raytt.rates.rate_table import RateTable
from raytt.rates.reference import TrainingLog
from raytt.rates.smoothing import as_smoothed, first_crossings, sharpened, smoothed
from raytt.rates.walk import ReferencePath, walk
from raytt.task.candidate import Candidate
from raytt.task.optimizers import Adaptive

from .measure import BATCH_SIZES, BLOCK, RUNS, initial_loss, reference, reference_file
from .record import load_curve
from .tasks import TASKS, ModeTask

Floats = NDArray[np.float64]
MINIBATCHES = (8, 16, 32, 64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rates:
    """What was measured at P points for all batch sizes."""

    rates: Floats
    """v_B, shape (P, batch sizes)."""
    errors: Floats
    """Standard errors."""
    noises: Floats
    """n_B, shape (P, batch sizes)."""
    curvatures: Floats
    """h at the reference's batch size, shape (P,)."""
    prior: Prior
    """Of how rates depend on the batch size."""


def load_rates(name: str, optimizer: str, log: TrainingLog, minibatches: int) -> Rates | None:
    """From so many minibatches a rate, or as many as were taken; None where there are fewer than half of them."""
    shape = (len(log.points), len(BATCH_SIZES))
    rates, errors, noises = np.empty((3, *shape))
    curvatures = np.empty(shape[0])
    for point in range(shape[0]):
        for column, size in enumerate(BATCH_SIZES):
            blocks = _blocks(name, optimizer, point, size, minibatches // BLOCK)
            if 2 * BLOCK * len(blocks) < minibatches:
                return None
            signal = descent_rate(log.candidate, blocks)
            rates[point, column], errors[point, column] = signal.rate, signal.rate_error
            noises[point, column] = signal.noise
            if size == log.candidate.batch_size:
                file = RUNS / f"{name}-{optimizer}" / f"point{point}-trials.pt"
                curvatures[point] = fit_curvature(torch.load(file, weights_only=False)).mean_curvature(signal)
    prior = ADAPTIVE if isinstance(log.candidate.optimizer, Adaptive) else PLAIN
    return Rates(rates=rates, errors=errors, noises=noises, curvatures=curvatures, prior=prior)


def _blocks(name: str, optimizer: str, point: int, size: int, count: int) -> list[GradientBlock]:
    files = [RUNS / f"{name}-{optimizer}" / f"point{point}-B{size}-{number}.pt" for number in range(count)]
    return [torch.load(file, weights_only=False) for file in files if file.exists()]


def equal(found: Rates, column: int) -> Floats:
    """Every batch size is as fast."""
    return np.ones_like(found.rates)


def raw(found: Rates, column: int) -> Floats:
    """As measured; what came out negative is replaced by its standard error."""
    return np.where(found.rates > 0.0, found.rates, found.errors)


def pooled(found: Rates, column: int) -> Floats:
    """1/v on a straight line in 1/B whose slope changes slowly from point to point, from a prior."""
    sizes = np.asarray(BATCH_SIZES, dtype=np.float64)
    return np.exp(batch_factors(sizes, column, found.rates, found.errors, found.prior).logs)


@dataclass(frozen=True, kw_only=True)
class Method:
    """How steps are predicted."""

    name: str
    law: Callable[[Rates, int], Floats]
    """From what was measured to v_B/v_{B_ref}."""
    noise: bool = False
    """Whether the excess loss of noise is taken into account."""
    curvature: bool = False
    """Whether to second order."""


INTRODUCTION = """What is read was made by `python -m benchmarks.rates.record` and `python -m benchmarks.rates.measure`.

Real runs in `module.train()`, one seed each (`benchmarks.rates.tasks`). The loss is that of the minibatches as
a trainer logs it, smoothed by a centred local linear fit; targets are shares of the mean minibatch loss at the
start (0.65, 0.5, 0.35, 0.25). Errors are |ln(predicted/real)| of steps, as percentages of a factor, over all
runs and targets that were really reached; *missed*: of those, predicted as never. One reference run per
optimizer (B = 32, another seed); rates at four points of it for B = 8, 16, 32, 64.

* *learning-rate time*: the reference's sum of effective learning rates, nothing else.
* *rates, each alone*: times v(B_ref)/v(B) as measured; *pooled*: 1/v on a line in 1/B whose slope drifts.
* *noise*: with the excess loss ¼ η n of minibatch noise, n from the same minibatches; *curvature*: ¼ η n/(1 − ½ η h), h
  from trial steps at the reference's batch size.

"""

METHODS = (
    Method(name="learning-rate time", law=equal),
    Method(name="rates, each alone", law=raw),
    Method(name="rates, pooled", law=pooled),
    Method(name="rates and noise", law=pooled, noise=True),
    Method(name="rates, noise, curvature", law=pooled, noise=True, curvature=True),
)


def rate_table(log: TrainingLog, found: Rates, method: Method) -> RateTable:
    """What the method uses of what was measured."""
    column = BATCH_SIZES.index(log.candidate.batch_size)
    rates = method.law(found, column)
    # An Adam-type optimizer's preconditioner scales rates and curvatures alike; SGD has none.
    scaled = (
        rates / rates[:, column : column + 1] if isinstance(log.candidate.optimizer, Adaptive) else np.ones_like(rates)
    )
    return RateTable(
        times=np.asarray([p.time for p in log.points]),
        batch_sizes=BATCH_SIZES,
        reference_batch_size=log.candidate.batch_size,
        rates=rates,
        noises=found.noises if method.noise else None,
        curvatures=scaled * found.curvatures[:, None] if method.curvature else None,
    )


def real_steps(name: str, candidate: Candidate, levels: Sequence[float]) -> Floats | None:
    """Steps of the recorded run to each level of its smoothed minibatch loss; None if it is not recorded."""
    curve = load_curve(name, candidate)
    if curve is None:
        return None
    losses = curve["losses"]
    return first_crossings(np.arange(len(losses), dtype=np.float64), smoothed(losses), levels)


def predicted_steps(
    log: TrainingLog, table: RateTable, candidates: Sequence[Candidate], levels: Sequence[float]
) -> Floats:
    """Steps of each candidate to each level, shape ``(M, levels)``."""
    times = log.times[: len(log.losses)]
    path = ReferencePath(candidate=log.candidate, times=times, losses=sharpened(smoothed(log.losses)))
    # Constant schedules go on past the budget, so that a prediction that is somewhat late is not a miss.
    budgets = [c.max_steps or 0 for c in candidates]
    longer = [4 * b if c.schedule.name == "constant" else b for c, b in zip(candidates, budgets, strict=True)]
    curves = as_smoothed(walk(path, table, candidates, longer).losses)
    steps = np.arange(curves.shape[1], dtype=np.float64)
    return np.stack([first_crossings(steps, curve, levels) for curve in curves])


def percentile(errors: Floats, share: float) -> float:
    """Of |ln| errors, +inf where a crossing was missed."""
    return float(np.quantile(np.abs(errors), share, method="higher")) if len(errors) else math.nan


def percent(value: float) -> str:
    """A logarithm as a percentage of a factor."""
    return "–" if math.isnan(value) else ("∞" if math.isinf(value) else f"{100 * math.expm1(value):.1f}%")


def scores(predicted: Floats, real: Floats) -> tuple[Floats, int]:
    """ln(predicted/real) of all that was really reached, and how many of them were missed."""
    reached = np.isfinite(real) & (real > 0)
    with np.errstate(divide="ignore"):
        errors = np.log(predicted[reached] / real[reached])
    return errors, int(np.isinf(errors).sum())


def study(name: str, mode_task: ModeTask, optimizer: str, verbose: bool) -> tuple[list[list[Any]], list[list[Any]]]:
    """Rows of the accuracy table and of the table of rates."""
    log = reference(name, mode_task, optimizer)
    first = initial_loss(name, mode_task, log.candidate.batch_size)
    levels = [ratio * first for ratio in mode_task.ratios[optimizer]]
    recorded = [(c, real_steps(name, c, levels)) for c in mode_task.candidates[optimizer]]
    known = [(c, steps) for c, steps in recorded if steps is not None]
    candidates, real = [c for c, _ in known], np.stack([steps for _, steps in known])
    column = BATCH_SIZES.index(log.candidate.batch_size)
    rows, shown = [], []
    for minibatches in MINIBATCHES:
        found = load_rates(name, optimizer, log, minibatches)
        if found is None:
            continue
        for method in METHODS:
            once = method.law is equal
            if once and minibatches != MINIBATCHES[0]:
                continue
            predicted = predicted_steps(log, rate_table(log, found, method), candidates, levels)
            errors, missed = scores(predicted, real)
            finite = errors[np.isfinite(errors)]
            rows.append(
                [
                    name,
                    optimizer,
                    method.name,
                    "–" if once else minibatches,
                    len(errors),
                    percent(percentile(errors, 0.5)),
                    percent(percentile(errors, 0.9)),
                    f"{100 * math.expm1(float(finite.mean())):+.1f}%" if len(finite) else "–",
                    missed,
                ]
            )
            if verbose and (once or minibatches == MINIBATCHES[-1]):
                print(method.name, minibatches)
                for c, p, r in zip(candidates, predicted, real, strict=True):
                    print("   ", c.config(), " ".join(f"{a:.0f}/{b:.0f}" for a, b in zip(p, r, strict=True)))
        for point, (r, e) in enumerate(zip(found.rates, found.errors, strict=True)):
            ratios = [f"{a / r[column]:.2f} ± {b / abs(r[column]):.2f}" for a, b in zip(r, e, strict=True)]
            shown.append([name, optimizer, minibatches, log.points[point].step, f"{r[column]:.3g}", *ratios])
    return rows, shown


def main() -> None:
    """Predict, score, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--optimizers", default="adamw,sgd")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--write", action="store_true", help="write the dated report")
    arguments = parser.parse_args()
    rows: list[list[Any]] = []
    rates: list[list[Any]] = []
    for name in arguments.tasks.split(","):
        mode_task = TASKS[name]()
        for optimizer in arguments.optimizers.split(","):
            if optimizer in mode_task.references and reference_file(name, optimizer).exists():
                scored, shown = study(name, mode_task, optimizer, arguments.verbose)
                rows += scored
                rates += shown
    header = ["task", "optimizer", "method", "minibatches a rate", "run × ratio", "median", "90th", "bias", "missed"]
    body = INTRODUCTION + table(header, rows) + "\n\n"
    sizes = [f"v({b}) / v(ref)" for b in BATCH_SIZES]
    body += table(["task", "optimizer", "minibatches", "step", "v(ref)", *sizes], rates) + "\n"
    print(body)
    if arguments.write:
        write("rates", f"python -m benchmarks.rates --tasks {arguments.tasks}", body, figures=[], json_file=None)


if __name__ == "__main__":
    main()
