"""Rankings by quality at the end of each configuration's own budget: ``python -m benchmarks.rates.objective``.

Real runs are the whole ones of ``python -m benchmarks.rates.record --whole``. The reference run goes as far as
`raytt.rank` lets it where an objective is asked for; it, its rates and lags are kept under ``runs/rates/objective``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import spearmanr

from benchmarks.report import table, write
from raytt.forecast.family_rates import FamilyRates, Scale, scale_of
from raytt.forecast.final_quality import LEAST_ERROR, Estimate, FinalQuality
from raytt.forecast.pilots.choice import choose_pilots
from raytt.forecast.pilots.ending import Ending
from raytt.forecast.pilots.pilot_run import PilotRun
from raytt.forecast.training_prediction import TrainingPrediction
from raytt.pricing.machine import Timing
from raytt.rates.smoothing import smoothed
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.rank_objective import OBJECTIVES, RankObjective
from raytt.workflows.objective_pilots import beliefs_of
from raytt.workflows.plan import COST_SHARE, LEAST_STEPS, LEAST_STOP_RATIO

from .quality import BATCH_SIZES, MINIBATCHES, Measured, measured
from .record import SEED, WHOLE, load_curve
from .tasks import TASKS, ModeTask

Floats = NDArray[np.float64]
KEPT = Path("runs/rates/objective")
SHARES = (0.05, 0.1, 0.2)
"""Of all steps, after which the real curve is the rival."""
FEW = 5
"""How many of the first are tried, for the regret of the best of them."""
PILOTS = (1, 2, 4)
"""Numbers of them."""
STOPPING = EarlyStopping(patience=3)
NUM_SAMPLES = {"small": 400, "slow_norms": 400, "layer_norm": 400, "digits": 400, "docstrings": 360}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A real run of a candidate to the end of its budget."""

    candidate: Candidate
    steps: Floats
    values: dict[str, Floats]
    losses: Floats

    def value(self, objective: RankObjective, share: float = 1.0) -> float:
        """The objective after a share of the steps."""
        end = share * self.steps[-1]
        if objective.curve == "train_loss":
            return float(smoothed(self.losses[: max(1, round(end))])[-1])
        return float(np.interp(end, self.steps, self.values[objective.curve]))


def real_run(name: str, candidate: Candidate, seed: int) -> Run | None:
    """From the record."""
    found = load_curve(name, candidate, seed, WHOLE)
    if found is None or found["diverged"]:
        return None
    rows = found["evaluated"]
    return Run(
        candidate=candidate,
        steps=np.asarray([row["step"] for row in rows], dtype=np.float64),
        values={name: np.asarray([row[name] for row in rows]) for name in ("val_loss", "val_accuracy")},
        losses=found["losses"],
    )


def reference(name: str, mode_task: ModeTask, optimizer: str) -> Measured:
    """A reference run of at most `COST_SHARE` of what all candidates of its family cost."""
    saved = sum(c.batch_size * (c.max_steps or 0) for c in mode_task.candidates[optimizer])
    most = max(LEAST_STEPS, round(COST_SHARE * saved / mode_task.references[optimizer].batch_size))
    return measured(name, mode_task, optimizer, KEPT, stop_ratio=LEAST_STOP_RATIO, most_steps=most)


def own_share(name: str, mode_task: ModeTask, optimizers: Sequence[str]) -> float:
    """What reference runs and rates cost, in samples, as a share of training all."""
    spent = saved = 0
    for optimizer in optimizers:
        log = reference(name, mode_task, optimizer).log
        spent += len(log.losses) * log.candidate.batch_size + len(log.points) * MINIBATCHES * sum(BATCH_SIZES)
        saved += sum(c.samples_per_step * (c.max_steps or 0) for c in mode_task.candidates[optimizer])
    return spent / saved


def prediction(name: str, mode_task: ModeTask, optimizers: Sequence[str]) -> TrainingPrediction:
    """As `raytt.rank` makes it, without pilots."""
    budgets: dict[Candidate, int] = {}
    rates: dict[tuple[str, Scale], FamilyRates] = {}
    for optimizer in optimizers:
        found = reference(name, mode_task, optimizer)
        own = mode_task.candidates[optimizer]
        budgets |= {c: c.max_steps or 0 for c in own}
        rates |= {(optimizer, scale_of(c.optimizer)): replace(found.family(), lag=found.lag) for c in own}
    return TrainingPrediction(
        budgets=budgets,
        rates=rates,
        num_samples_full=NUM_SAMPLES[name],
        num_trainable=1,
        timing=Timing(),
        work_notes=(),
        task_notes=(),
        made_from="benchmark",
    )


def with_pilots(
    name: str, predicted: TrainingPrediction, objective: RankObjective, count: int
) -> tuple[TrainingPrediction, list[Candidate]]:
    """With pilots chosen as `raytt.rank` chooses them; they are the runs of another seed than those compared with."""
    pilots: list[Candidate] = []
    while len(pilots) < count:
        candidates, beliefs = beliefs_of(predicted.final(), objective)
        costs = np.array([float(c.samples_per_step * (c.max_steps or 0)) for c in candidates])
        done = [n for n, c in enumerate(candidates) if c in pilots or real_run(name, c, SEED + 1) is None]
        chosen = choose_pilots(beliefs, costs, count=1, done=done)
        if not chosen:
            break
        candidate = candidates[chosen[0]]
        run = real_run(name, candidate, SEED + 1)
        assert run is not None
        budget = candidate.max_steps or 0
        log = PilotRun(candidate=candidate, budget=budget, losses=run.losses, diverged=False)
        predicted = replace(
            predicted, endings=(*predicted.endings, Ending(run=log, steps=run.steps, curves=run.values))
        )
        pilots.append(candidate)
    return predicted, pilots


def learning_rate_time(candidate: Candidate) -> float:
    """Σ η^eff over the budget."""
    return float(candidate.effective_rates(candidate.max_steps or 0).sum())


def scores(costs: Sequence[float], real: Floats, objective: RankObjective) -> list[str]:
    """Spearman, regret of the first, of the best of five; costs and reals: less is better for the first."""
    order = np.argsort(np.asarray(costs), kind="stable")
    ordered = objective.sign * real
    rho = float(spearmanr(costs, ordered).statistic)
    best = float(ordered.min())
    regrets = [float(ordered[order[:few]].min()) for few in (1, FEW)]
    if objective.more_is_better:
        shown = [f"{100 * (regret - best):.1f} pt" for regret in regrets]
    else:
        shown = [f"{100 * (regret / best - 1):.0f}%" for regret in regrets]
    return [f"{rho:.2f}", *shown]


def rivals(
    runs: Sequence[Run], again: Sequence[Run] | None, found: Sequence[Estimate], objective: RankObjective, own: float
) -> list[tuple[str, list[float]]]:
    """What each way of ranking makes of the runs, less is better."""
    sign = objective.sign
    ways = [
        (f"raytt ({own:.0%})", [sign * estimate.value for estimate in found]),
        ("Σ lr", [-learning_rate_time(run.candidate) for run in runs]),
    ]
    ways += [(f"{share:.0%} of the real curve", [sign * r.value(objective, share) for r in runs]) for share in SHARES]
    if again is not None:
        ways.append(("another seed, to the end", [sign * run.value(objective) for run in again]))
    return ways


def _unit(objective: RankObjective, values: Any) -> Floats:
    if objective.more_is_better:
        return np.asarray(logit(np.clip(values, LEAST_ERROR, 1.0 - LEAST_ERROR)))
    return np.asarray(np.log(np.asarray(values, dtype=np.float64)))


def stopping_row(
    name: str, optimizer: str, objective: RankObjective, runs: Sequence[Run], stopped: dict[Candidate, FinalQuality]
) -> list[Any]:
    """Early stopping on the record's 20 evenly spaced evaluations against what is predicted for the same."""
    logs, gaps = [], []
    inside = 0
    for run in runs:
        end = run.steps[-1]
        regular = np.unique(np.round(np.linspace(0, end, 21)[1:]))
        values = objective.sign * np.interp(regular, run.steps, run.values[objective.curve])
        last, best = STOPPING.ends(values)
        quality = stopped[run.candidate]
        estimate = quality.of(objective.name)
        if estimate is None or quality.steps_low is None or quality.steps_high is None:
            continue
        logs.append(math.log(quality.steps / regular[last]))
        gaps.append(abs(estimate.value - objective.sign * values[best]))
        inside += quality.steps_low <= regular[last] <= quality.steps_high
    median = math.expm1(float(np.median(np.abs(logs))))
    bias = math.expm1(float(np.mean(logs)))
    gap = float(np.median(gaps))
    shown = f"{100 * gap:.1f} pt" if objective.more_is_better else f"{gap:.3f}"
    return [name, optimizer, objective.name, len(logs), f"{median:.0%}", f"{bias:+.0%}", f"{inside}/{len(logs)}", shown]


def study(name: str, verbose: bool) -> tuple[list[list[Any]], list[list[Any]], list[list[Any]]]:
    """Rows of rankings, of errors, of early stopping."""
    mode_task = TASKS[name]()
    optimizers = [o for o in mode_task.references if real_run(name, mode_task.candidates[o][0], SEED) is not None]
    predicted = prediction(name, mode_task, optimizers)
    own = own_share(name, mode_task, optimizers)
    ranked, errors, stops = [], [], []
    for objective in OBJECTIVES:
        final = predicted.qualities(objective.name)
        known = [
            (run, final[run.candidate].of(objective.name))
            for c in predicted.budgets
            if (run := real_run(name, c, SEED)) is not None
        ]
        runs, found = [run for run, e in known if e is not None], [e for _, e in known if e is not None]
        second = [run for r in runs if (run := real_run(name, r.candidate, SEED + 1)) is not None]
        real = np.array([run.value(objective) for run in runs])
        spread = np.ptp(real)
        for way, costs in rivals(runs, second if len(second) == len(runs) else None, found, objective, own):
            ranked.append([name, objective.name, len(runs), way, *scores(costs, real, objective)])
        for count in PILOTS if len(second) == len(runs) else ():
            learned, pilots = with_pilots(name, predicted, objective, count)
            told = learned.qualities(objective.name)
            costs = [objective.sign * told[r.candidate].estimates[objective.name].value for r in runs]
            share = sum(c.samples_per_step * (c.max_steps or 0) for c in pilots) / sum(
                c.samples_per_step * b for c, b in predicted.budgets.items()
            )
            way = f"raytt, {count} pilots ({own + share:.0%})"
            ranked.append([name, objective.name, len(runs), way, *scores(costs, real, objective)])
            if verbose:
                print("   pilots", [c.config() for c in pilots])
        values = np.array([e.value for e in found])
        gaps = _unit(objective, values) - _unit(objective, real)
        within = sum(e.low <= r <= e.high for e, r in zip(found, real, strict=True))
        beyond = np.array([final[r.candidate].status.value == "extrapolated" for r in runs])
        shown = [f"{np.median(np.abs(gaps)):.2f}", f"{np.quantile(np.abs(gaps), 0.9):.2f}", f"{gaps.mean():+.2f}"]
        errors.append(
            [
                name,
                objective.name,
                f"{real.min():.3g}–{real.max():.3g}",
                *shown,
                f"{within}/{len(runs)}",
                int(beyond.sum()),
            ]
        )
        if verbose:
            print(name, objective.name, f"spread {spread:.3g}")
            for run, e in zip(runs, found, strict=True):
                q = final[run.candidate]
                print(
                    "  ",
                    f"{run.value(objective):.4f} {e.value:.4f} [{e.low:.4f}, {e.high:.4f}]",
                    q.status.value,
                    run.candidate.config(),
                )
        if objective.needs_validation:
            each = {
                c: replace(predicted, budgets={c: b}, num_samples_full=c.samples_per_step * b // 20).qualities(
                    objective.name, STOPPING
                )[c]
                for c, b in predicted.budgets.items()
            }
            for optimizer in optimizers:
                those = [run for run in runs if run.candidate.optimizer.name == optimizer]
                stops.append(stopping_row(name, optimizer, objective, those, each))
    return ranked, errors, stops


INTRODUCTION = """Real runs in `module.train()` to the ends of their budgets
(`python -m benchmarks.rates.record --whole`), seed 1; predictions from one reference run per optimizer, seed 0, which
takes at most a tenth of the samples of all runs and stops at 0.05 of its first loss, with 16 minibatches a rate, as
`raytt.rank` makes them. Both optimizers are ranked together: 16 runs a task.

Ranked by: *raytt* without pilots, in brackets what reference runs and rates cost as a share of the samples of all runs;
*n pilots* chosen and trained to their ends as raytt does, with their cost, whose results are the runs of seed 2;
*Σ lr* nominal learning-rate time, more first; *x of the real curve*: the real value after so many of its own steps, for
that share of the cost; *another seed*: the real runs of seed 2 to their ends, which is what noise leaves to be had.
Spearman's correlation with the real final values of seed 1. *first*, *best of five*: by how much the first, or the best
of the first five, is worse than the best of all. Constants of intervals were chosen on these runs, and so was the
smoothing of accuracies. *slow_norms* trains as *small* does and differs only in what eval mode sees, so that its
training losses are the same.

"""
ERRORS = """Predicted against real final values, without pilots. Errors are of u: ln of losses, logit of accuracies (0.3
at 96 % is about 1.1 points). *bias*: predicted less real. *in 90 %*: real values in their interval.

"""
STOPPED = """Early stopping with a patience of three, on 20 evenly spaced evaluations of a run. Errors of the step at
which it ends as percentages of a factor; *in 90 %*: real ends in the interval; *quality off by*: median difference of
the quality of the kept checkpoint.

"""


def main() -> None:
    """Measure, predict, score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="small,layer_norm,slow_norms")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--write", action="store_true", help="write the dated report")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ranked: list[list[Any]] = []
    errors: list[list[Any]] = []
    stops: list[list[Any]] = []
    for name in arguments.tasks.split(","):
        for rows, more in zip((ranked, errors, stops), study(name, arguments.verbose), strict=True):
            rows += more
    body = "\n\n".join(
        [
            INTRODUCTION
            + table(["task", "objective", "runs", "ranked by", "Spearman", "first", "best of five"], ranked),
            ERRORS + table(["task", "objective", "real", "median", "90th", "bias", "in 90 %", "extrapolated"], errors),
            STOPPED
            + table(["task", "optimizer", "objective", "runs", "median", "bias", "in 90 %", "quality off by"], stops),
        ]
    )
    print(body)
    if arguments.write:
        write("objective", f"python -m benchmarks.rates.objective --tasks {arguments.tasks}", body)


if __name__ == "__main__":
    main()
