"""Predicted against real training and validation curves in training mode: ``python -m benchmarks.rates.quality``.

Real runs are those of `benchmarks.rates.record`. The reference run, its rates and its table of lags are measured here
as `raytt.rank` does and kept under ``runs/rates/quality``.
"""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmarks.report import table, write
from raytt.forecast.family_rates import FamilyRates
from raytt.forecast.interval import COVERAGE
from raytt.forecast.predicted_curves import MODEL_SPREAD, VALIDATION_EXTRA, predicted_curves
from raytt.forecast.second_run import SecondRun
from raytt.forecast.training_reference import TrainingReference
from raytt.forecast.training_trust import untrusted_anywhere
from raytt.rates.descent_rates import descent_rate
from raytt.rates.evaluation import EvaluationPlan
from raytt.rates.gradients import MinibatchGradients
from raytt.rates.lag import LagTable
from raytt.rates.lag_measurement import measure_lag
from raytt.rates.quality import QualityPath
from raytt.rates.rate_table import batch_of
from raytt.rates.reference import TrainingLog, train_as_given
from raytt.rates.signal import Signal
from raytt.rates.smoothing import as_smoothed, first_crossings, smoothed
from raytt.rates.walk import Walk
from raytt.task.candidate import Candidate
from raytt.workflows.lower_references import LITTLE, LOWER, MORE_STEPS

from .record import SEED as REAL_SEED
from .record import load_curve
from .tasks import TASKS, ModeTask

Floats = NDArray[np.float64]
KEPT = Path("runs/rates/quality")
KEPT_LOWER = Path("runs/rates/lower")
STOP_RATIO = 0.22
NUM_POINTS = 4
MINIBATCHES = 16
BLOCKS = 8
EVALUATIONS = 14
RATIOS = (0.9, 0.8, 0.65, 0.5, 0.35)
"""Targets as shares of the initial validation loss."""
TRAINING_RATIOS = (0.8, 0.65, 0.5, 0.35, 0.25)
"""Targets as shares of the initial training loss."""
SEED = 0
AGAIN_SEED = 2
"""Of the second real runs, of a quarter of the configurations."""
BATCH_SIZES = (8, 16, 32, 64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a ranking measures of one optimizer family."""

    log: TrainingLog
    own: list[list[Signal]]
    lag: LagTable | None
    second: SecondRun | None = None
    """A run at another learning rate."""

    def family(self) -> FamilyRates:
        """As forecasts take it."""
        base = self.log.candidate
        reference = TrainingReference(
            candidate=base,
            losses=self.log.losses,
            times=self.log.times,
            point_steps=tuple(p.step for p in self.log.points),
            evaluated=self.log.evaluated,
            wasted_steps=0,
            stopped="",
        )
        column = BATCH_SIZES.index(base.batch_size)
        return FamilyRates(
            reference=reference,
            batch_sizes=BATCH_SIZES,
            batch_norms=self.lag is not None,
            second=self.second,
            own=self.own,
            base=[row[column] for row in self.own],
        )

    def as_second(self) -> SecondRun:
        """As what is not followed."""
        family = self.family()
        return SecondRun(reference=family.reference, gained=family.gained())

    def quality(self, *, lag: bool = True) -> QualityPath:
        """Along the reference run."""
        found = self.family().reference.quality(self.lag if lag else None)
        assert found is not None
        return found


def measured(
    name: str,
    mode_task: ModeTask,
    optimizer: str,
    kept: Path = KEPT,
    *,
    stop_ratio: float = STOP_RATIO,
    most_steps: int | None = None,
) -> Measured:
    """Measured, or from its file below ``kept``."""
    file = kept / f"{name}-{optimizer}.pt"
    if not file.exists():
        base = mode_task.references[optimizer]
        steps = base.max_steps if most_steps is None else most_steps
        assert steps is not None
        plan = EvaluationPlan(at=np.unique(np.round(np.geomspace(1, steps, EVALUATIONS)).astype(int)))
        log = train_as_given(
            mode_task.task,
            base,
            seed=SEED,
            steps=steps,
            stop_ratio=stop_ratio,
            num_points=NUM_POINTS,
            evaluations=plan,
        )
        source = MinibatchGradients(mode_task.task, seed=SEED)
        own: list[list[Signal]] = []
        size = MINIBATCHES // BLOCKS
        for number, point in enumerate(log.points):
            source.load(point.state)
            row = []
            for batch_size in BATCH_SIZES:
                blocks = [source.block(number, batch_size, range(i, i + size)) for i in range(0, MINIBATCHES, size)]
                row.append(descent_rate(base, blocks))
            own.append(row)
            print(name, optimizer, number, [f"{s.rate:.3g}" for s in row], flush=True)
        states, times = [p.state for p in log.points], [p.time for p in log.points]
        lag = measure_lag(mode_task.task, states, times, batch_size=base.batch_size, seed=SEED)
        kept.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        torch.save(Measured(log=log, own=own, lag=lag), partial)
        os.replace(partial, file)
    found: Measured = torch.load(file, weights_only=False)
    return found


def followed(name: str, mode_task: ModeTask, optimizer: str) -> Measured:
    """What a ranking follows: the usual run, or one at a lower learning rate where that one overshot."""
    first = measured(name, mode_task, optimizer)
    if first.family().gained() >= LITTLE:
        return first
    low = lower(name, mode_task, optimizer)
    if low.family().gained() <= first.family().gained():
        return replace(first, second=low.as_second())
    return replace(low, second=first.as_second())


def lower(name: str, mode_task: ModeTask, optimizer: str) -> Measured:
    """What is measured along a run at a lower learning rate."""
    base = mode_task.references[optimizer]
    assert base.max_steps is not None
    steps = round(MORE_STEPS * base.max_steps)
    own = replace(base, lr=LOWER * base.lr, max_steps=steps)
    references = {**mode_task.references, optimizer: own}
    return measured(name, replace(mode_task, references=references), optimizer, KEPT_LOWER)


def real_crossings(name: str, candidate: Candidate, levels: list[float]) -> Floats | None:
    """Steps at which the recorded validation loss meets the levels, linear between records."""
    curve = load_curve(name, candidate, REAL_SEED)
    if curve is None or not curve.get("evaluated"):
        return None
    steps = np.asarray([e["step"] for e in curve["evaluated"]], dtype=np.float64)
    losses = np.asarray([np.inf if e["val_loss"] is None else e["val_loss"] for e in curve["evaluated"]])
    return first_crossings(steps, losses, levels)


def walked(found: Measured, candidates: list[Candidate]) -> Walk:
    """All candidates along the path, four budgets long where the schedule is constant."""
    family = found.family()
    return family.walk(candidates, _lengths(candidates))


def _lengths(candidates: list[Candidate]) -> list[int]:
    budgets = [c.max_steps or 0 for c in candidates]
    return [4 * b if c.schedule.name == "constant" else b for c, b in zip(candidates, budgets, strict=True)]


def crossings(curves: Floats, levels: list[float]) -> Floats:
    """Steps to each level, shape ``(M, levels)``."""
    steps = np.arange(curves.shape[1], dtype=np.float64)
    return np.stack([first_crossings(steps, curve, levels) for curve in curves])


def training_rows(name: str, mode_task: ModeTask, optimizer: str, found: Measured, verbose: bool) -> list[list[Any]]:
    """Steps to shares of the initial training loss, by descent rates and by learning-rate time alone."""
    family, candidates = found.family(), mode_task.candidates[optimizer]
    levels = [ratio * family.reference.initial_loss for ratio in TRAINING_RATIOS]
    known = [(c, load_curve(name, c, REAL_SEED)) for c in candidates]
    recorded = [(c, curve["losses"]) for c, curve in known if curve is not None]
    if not recorded:
        return []
    real = np.stack([first_crossings(np.arange(len(x), dtype=np.float64), smoothed(x), levels) for _, x in recorded])
    rows = []
    for method, plain in (("descent rates", False), ("learning-rate time", True)):
        way = family.walk([c for c, _ in recorded], _lengths([c for c, _ in recorded]), plain=plain)
        predicted = crossings(as_smoothed(way.losses), levels)
        spread = None if plain else _spreads(family, [c for c, _ in recorded])
        rows.append(_row(name, optimizer, method, predicted, real, spread))
        if spread is not None:
            rows.append(
                _trusted_row(name, optimizer, method, family, [c for c, _ in recorded], predicted, real, spread)
            )
        if verbose:
            _show(method, [c for c, _ in recorded], predicted, real)
    again = [load_curve(name, c, AGAIN_SEED) for c, _ in recorded]
    if any(curve is not None for curve in again):
        kept = [row for row, curve in enumerate(again) if curve is not None]
        twice = [smoothed(curve["losses"]) for curve in again if curve is not None]
        other = np.stack([first_crossings(np.arange(len(x), dtype=np.float64), x, levels) for x in twice])
        rows.append(_row(name, optimizer, "the same run with another seed", other, real[kept]))
    return rows


def study(name: str, mode_task: ModeTask, optimizer: str, found: Measured, verbose: bool) -> list[list[Any]]:
    """Rows of the table of validation losses."""
    first = found.log.evaluated[0][1].val_loss
    assert first is not None
    levels = [ratio * first for ratio in RATIOS]
    known = [(c, real_crossings(name, c, levels)) for c in mode_task.candidates[optimizer]]
    candidates = [c for c, steps in known if steps is not None]
    if not candidates:
        return []
    real = np.stack([steps for _, steps in known if steps is not None])
    way = walked(found, candidates)
    path = found.family().reference.path()
    same_loss = path.places(way.learnt, way.places)
    methods = {
        "place": found.quality(lag=False).predicted(way.places)["val_loss"],
        "training loss": found.quality(lag=False).predicted(same_loss)["val_loss"],
        "place and lag": found.quality().predicted(way.places)["val_loss"],
        "training loss and lag": found.quality().predicted(same_loss)["val_loss"],
    }
    rows = []
    for method, curves in methods.items():
        predicted = crossings(curves, levels)
        own = method == "training loss and lag"
        spread = np.hypot(_spreads(found.family(), candidates), VALIDATION_EXTRA) if own else None
        rows.append(_row(name, optimizer, method, predicted, real, spread))
        if spread is not None:
            rows.append(_trusted_row(name, optimizer, method, found.family(), candidates, predicted, real, spread))
        if verbose:
            _show(method, candidates, predicted, real)
    return rows


def _trusted_row(
    name: str,
    optimizer: str,
    method: str,
    family: FamilyRates,
    candidates: list[Candidate],
    predicted: Floats,
    real: Floats,
    spread: Floats,
) -> list[Any]:
    """The row of those that are not called untrusted whatever the target."""
    kept = trusted(family, candidates)
    method = f"{method}, {kept.sum()} of {len(candidates)} runs trusted"
    return _row(name, optimizer, method, predicted[kept], real[kept], spread[kept])


def trusted(family: FamilyRates, candidates: list[Candidate]) -> NDArray[np.bool_]:
    """Which are not called untrusted whatever the target."""
    curves = predicted_curves(family, candidates, _lengths(candidates))
    return np.array([not untrusted_anywhere(c, family=family, predicted=curves[c]) for c in candidates])


def _spreads(family: FamilyRates, candidates: list[Candidate]) -> Floats:
    """Standard deviation of ln steps to a training loss, as forecasts have it; shape (M,)."""
    _, errors = family.table()
    own = np.array([errors[family.batch_sizes.index(batch_of(c))] for c in candidates])
    return np.asarray(np.hypot(MODEL_SPREAD, np.minimum(own, 1.0)))


def _row(
    name: str, optimizer: str, method: str, predicted: Floats, real: Floats, spread: Floats | None = None
) -> list[Any]:
    reached = np.isfinite(real) & (real > 0.0)
    with np.errstate(divide="ignore"):
        errors = np.log(np.maximum(predicted[reached], 1e-9) / real[reached])
    missed, false = int(np.isinf(errors).sum()), int((np.isfinite(predicted) & ~reached).sum())
    held = "–"
    if spread is not None and np.isfinite(errors).any():
        reach = ndtri(0.5 + COVERAGE / 2.0) * np.broadcast_to(spread[:, None], real.shape)[reached]
        held = f"{100 * float((np.abs(errors) <= reach)[np.isfinite(errors)].mean()):.0f}%"
    return [name, optimizer, method, len(errors), *_summary(errors[np.isfinite(errors)]), held, missed, false]


def _show(method: str, candidates: list[Candidate], predicted: Floats, real: Floats) -> None:
    print(method)
    for c, p, r in zip(candidates, predicted, real, strict=True):
        print("   ", c.config(), " ".join(f"{a:.0f}/{b:.0f}" for a, b in zip(p, r, strict=True)))


def _summary(errors: Floats) -> list[str]:
    """Median, 90th percentile and bias."""
    if len(errors) == 0:
        return ["–", "–", "–"]
    low, high = (f"{100 * math.expm1(float(np.quantile(np.abs(errors), q))):.0f}%" for q in (0.5, 0.9))
    return [low, high, f"{100 * math.expm1(float(errors.mean())):+.0f}%"]


INTRODUCTION = """Real runs in `module.train()` (`python -m benchmarks.rates.record`), one seed, another one than the
reference's; predictions from one reference run per optimizer and 16 minibatches a rate, as `raytt.rank` makes them.
Errors are |ln(predicted/real)| of steps as percentages of a factor, over all that was both really reached and predicted
to be; *held*: the share of them in the 90 % interval; *missed*: really reached, predicted as never; *false*: predicted,
not reached in the record, whose runs end at a fifth of the initial training loss.

"""
FACTS = """*gained*: how far the reference's loss fell over what its rates promise to first order; below 0.15 forecasts
are untrusted. *by the other run*: where a run gained less than 0.3, there is another at 0.3 times its
learning rate, and the one that gained more is followed.
*powers of slowing*: p of (η/η_ref)^−p on each stretch of the path, from both. *noise counted*: the share of the excess
loss ¼ η n that is taken into account.

"""
TRAINING = """Steps to 0.8, 0.65, 0.5, 0.35 and 0.25 of the initial training loss (smoothed loss of minibatches).
*learning-rate time*: the reference's sum of effective learning rates alone. *another seed*: what the steps of a real
run differ by from those of the same configuration with other minibatches and dropout, of a quarter of the runs
(`python -m benchmarks.rates.record --seed 2 --every 4`): no prediction can do better.

"""
VALIDATION = """Steps to 0.9, 0.8, 0.65, 0.5 and 0.35 of the initial validation loss in eval mode, of which real runs
have 14 evaluations evenly spaced in the logarithm of steps. *place*: the reference's validation loss at the same place
of its path; *training loss*: where it had the same training loss (what raytt does, with lag); *lag*: running statistics
of batch norms lag behind by another amount than the reference's.

"""


def main() -> None:
    """Measure, predict, score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--optimizers", default="adamw,sgd")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--write", action="store_true", help="write the dated report")
    parser.add_argument("--name", default="rates-quality", help="of the report")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    facts: list[list[Any]] = []
    training: list[list[Any]] = []
    validation: list[list[Any]] = []
    for name in arguments.tasks.split(","):
        mode_task = TASKS[name]()
        for optimizer in arguments.optimizers.split(","):
            if optimizer in mode_task.references:
                found = followed(name, mode_task, optimizer)
                family = found.family()
                first = "–" if found.second is None else f"{found.second.gained:.2f}"
                powers = "–" if found.second is None else " ".join(f"{p:.2f}" for p in family.slowing.powers)
                facts.append([name, optimizer, f"{family.gained():.2f}", first, powers, f"{family.noise_share():.2f}"])
                training += training_rows(name, mode_task, optimizer, found, arguments.verbose)
                validation += study(name, mode_task, optimizer, found, arguments.verbose)
    header = ["task", "optimizer", "predicted by", "run × ratio", "median", "90th", "bias", "held", "missed", "false"]
    body = (
        INTRODUCTION
        + FACTS
        + table(["task", "optimizer", "gained", "by the other run", "powers of slowing", "noise counted"], facts)
        + "\n\n"
        + TRAINING
        + table(header, training)
        + "\n\n"
        + VALIDATION
        + table(header, validation)
        + "\n"
    )
    print(body)
    if arguments.write:
        command = f"python -m benchmarks.rates.quality --tasks {arguments.tasks}"
        write(arguments.name, command, body, figures=[], json_file=None)


if __name__ == "__main__":
    main()
