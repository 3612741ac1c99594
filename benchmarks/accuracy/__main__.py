"""Predictions against the record of real training: ``python -m benchmarks.accuracy [--tasks …] [--json FILE]``.

Predicts every configuration of the record with raytt (along the reference run, with and without its correction; and
training-free) and with the baselines, and prints for each task, optimizer and method the measures of `Measures` over
all runs and thresholds. Nothing is trained but the reference runs; what is computed is kept under ``runs/accuracy``.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import table, write
from raytt.forecast.forecast import Forecast, Status
from raytt.forecast.model_error import CALM
from raytt.forecast.trust import LOST
from raytt.task.candidate import Candidate
from raytt.task.optimizers import Sgd

from .baselines import fitted_reference, mean_eigenvalue, median_of_others, other_seeds, rescaled_reference
from .measures import Measures, Pair, measure, percent
from .predict import THRESHOLDS, Setting, configuration, forecasts, real_crossings, run_prediction, unique
from .record import load_rows
from .tasks import load

METHODS = (
    "path",
    "path uncorrected",
    "path, carried over to the whole set",
    "training-free",
    "rescaled reference",
    "fitted reference",
    "eigenvalue",
    "median",
    "other seeds",
)
HELD_OUT = ("fortunes",)
"""Tasks to which no constant was fitted. That there is a law of noise, and from where momentum is untrusted, was seen
on them, too. (fashion5 was one until it was looked at, among seven predictions, in choosing how a row's place on the
path is read.)"""

Key = tuple[str, str, str, float]
"""Task, optimizer, method, threshold."""


def predictions(name: str, setting: Setting, folder: Path) -> dict[str, Any]:
    """Pairs of all methods for one task: by (optimizer, method, threshold)."""
    record_task, rows = load(name), load_rows(name)
    candidates = unique(rows)
    prediction, seconds = run_prediction(record_task, candidates, setting, folder)
    found = {
        "path": forecasts(prediction, corrected=True),
        "path uncorrected": forecasts(prediction, corrected=False),
    }
    if prediction.num_samples < prediction.num_samples_full:
        lifted, _ = run_prediction(record_task, candidates, replace(setting, whole_set=True), folder)
        found["path, carried over to the whole set"] = forecasts(lifted, corrected=True)
    sgd = [c for c in candidates if c.optimizer.name == "sgd"]
    free = Setting(samples=setting.samples, proj_dim=setting.proj_dim, num_paths=setting.num_paths, reference_steps=0)
    found["training-free"] = forecasts(run_prediction(record_task, sgd, free, folder)[0], corrected=False)
    references = {r.optimizer: r for r in prediction.references}
    eigenvalue = prediction.spectrum.mean_eigenvalue
    groups: dict[tuple[str, str, float], list[tuple[Candidate, Pair]]] = {}
    crossings = [real_crossings(row) for row in rows]
    for column, ratio in enumerate(THRESHOLDS):
        real = [c[column] for c in crossings]
        for i, row in enumerate(rows):
            c = configuration(row)
            reference = references[c.optimizer.name]
            steps, losses = reference.steps.astype(np.float64), reference.losses
            answers: dict[str, Forecast | float | None] = {
                method: by_ratio[ratio][c] for method, by_ratio in found.items() if c in by_ratio[ratio]
            }
            answers["rescaled reference"] = rescaled_reference(c, reference.candidate, steps, losses, ratio)
            answers["fitted reference"] = fitted_reference(c, reference.candidate, steps, losses, ratio)
            if c.optimizer.name == "sgd":
                answers["eigenvalue"] = mean_eigenvalue(c, eigenvalue, ratio)
            answers["median"] = median_of_others(real, i)
            if sum(other["config"] == row["config"] for other in rows) > 1:
                answers["other seeds"] = other_seeds(real, [other["config"] for other in rows], i)
            for method, answer in answers.items():
                pair = _pair(row, c, real[i], answer, prediction.step_times[c.batch_size].seconds)
                groups.setdefault((c.optimizer.name, method, ratio), []).append((c, pair))
    steps_seconds = least_step_seconds(rows)
    trained = sum(
        (row["steps"][-1] if not row["diverged"] else 0) * steps_seconds[configuration(row).batch_size]
        for row in rows
        if row["seed"] == 0
    )
    return {
        "groups": groups,
        "seconds": dict(seconds),
        "trained_seconds": trained,
        "candidates": len(candidates),
        "references": [
            {
                "config": r.candidate.config(),
                "steps": int(r.steps[-1]),
                "wasted": r.wasted_steps,
                "last_ratio": float(r.losses.min() / r.losses[0]),
            }
            for r in prediction.references
        ],
        "samples": prediction.num_samples,
        "samples_full": prediction.num_samples_full,
        "spread": _spread(rows),
        "edges": {c: prediction.trust[c.optimizer.name].edge(c) for c in candidates},
    }


def least_step_seconds(rows: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Seconds per real training step by batch size: of the run that was least disturbed by other work, so that what a
    prediction saves is rather told too small.
    """
    found: dict[int, float] = {}
    for row in rows:
        size = configuration(row).batch_size
        found[size] = min(found.get(size, math.inf), float(row["seconds_per_step"]))
    return found


def _pair(row: dict[str, Any], c: Candidate, real: float, answer: Forecast | float | None, seconds: float) -> Pair:
    common: dict[str, Any] = {
        "real": real,
        "diverged": bool(row["diverged"]),
        "seconds_per_step": seconds,
        "budget": c.max_steps or 0,
    }
    if isinstance(answer, Forecast):
        trusted = answer.status is not Status.UNTRUSTED
        return Pair(predicted=answer.steps, low=answer.low, high=answer.high, trusted=trusted, **common)
    # A number of steps beyond the budget says that the budget ends first.
    return Pair(predicted=None if answer is None or answer > (c.max_steps or math.inf) else answer, **common)


def _spread(rows: Sequence[dict[str, Any]]) -> float | None:
    """Median |ln(steps with one seed / steps with another)| of configurations trained more than once."""
    by_config: dict[str, list[list[float]]] = {}
    for row in rows:
        by_config.setdefault(row["config"], []).append(real_crossings(row))
    logs = [
        abs(math.log(a / b))
        for found in by_config.values()
        for one, another in combinations(found, 2)
        for a, b in zip(one, another, strict=True)
        if math.isfinite(a) and math.isfinite(b) and a > 0 and b > 0
    ]
    return float(np.median(logs)) if logs else None


def _by_configuration(found: Sequence[tuple[Candidate, Pair]]) -> list[Pair]:
    """One pair per configuration, with the median of its real steps over seeds: what is ranked is configurations."""
    together: dict[Candidate, list[Pair]] = {}
    for c, pair in found:
        together.setdefault(c, []).append(pair)
    return [
        replace(pairs[0], real=float(np.median([p.real for p in pairs])), diverged=all(p.diverged for p in pairs))
        for pairs in together.values()
    ]


EDGES = ((0.0, CALM), (CALM, Sgd.trusted_share), (Sgd.trusted_share, LOST), (LOST, math.inf))
"""Ranges of the peak learning rate over the stability limit along the reference run, told apart by raytt."""


def _by_edge(groups: Mapping[tuple[str, str, float], Any], edges: Mapping[Candidate, float]) -> list[list[str]]:
    """For each range: runs, those that get to 0.1 of the initial loss, and the median error over all thresholds."""
    lines = []
    for low, high in EDGES:
        pairs = {
            ratio: [
                p
                for (_, method, r), found in groups.items()
                if method == "path" and r == ratio
                for c, p in found
                if low <= edges[c] < high
            ]
            for ratio in THRESHOLDS
        }
        arrived = sum(math.isfinite(p.real) for p in pairs[0.1])
        cells = _cells(measure([p for found in pairs.values() for p in found]))
        lines.append([f"{low:g} to {high:g}", str(len(pairs[0.1])), str(arrived), *cells[1:4], cells[7]])
    return lines


def _cells(m: Measures) -> list[str]:
    tau = "–" if m.tau is None else f"{m.tau:.2f}"
    shown = [percent(v) for v in (m.median, m.p90, m.p95, m.bias, m.within_13, m.within_20, m.coverage)]
    believed = [percent(v) for v in (m.trusted, m.trusted_median, m.trusted_p90)]
    found = [str(m.never), percent(m.recall), percent(m.false_alarms)]
    return [str(m.reached), *shown, *found, *believed, tau, percent(m.regret)]


HEADER = ["task", "optimizer", "method", "runs × thresholds that reach", "median |err|", "p90", "p95", "bias"]
HEADER += ["≤ 13 %", "≤ 20 %", "90 % covers", "never", "named", "false alarms"]
HEADER += ["trusted", "their median", "their p90", "τ", "regret"]


def main() -> None:
    """Predict, score, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="diabetes,digits,docstrings,fashion10,fashion5,fortunes")
    parser.add_argument("--samples", type=int, default=None)
    parser.add_argument("--proj-dim", type=int, default=2048)
    parser.add_argument("--paths", type=int, default=4)
    parser.add_argument("--stop", type=float, default=0.2, help="loss ratio at which reference runs stop")
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    setting = Setting(
        samples=arguments.samples,
        proj_dim=arguments.proj_dim,
        num_paths=arguments.paths,
        stop_ratio=arguments.stop,
    )
    body = (
        "Errors are |ln(predicted/real)| in per cent, over all runs and all thresholds "
        f"({', '.join(map(str, THRESHOLDS))} of the initial loss) that the real run reaches; a prediction of “never” "
        "counts as ∞. *never*: (run, threshold) pairs that are not reached for real, *named*: share of them predicted "
        "so. *trusted*: share of those reached of which the prediction itself does not say that it is not to be "
        "trusted, and their errors. τ and regret are of the cost to 0.1 of the initial loss, the median over the seeds "
        "of a configuration; regret is that of the one that is ranked first, as raytt ranks: what is untrusted comes "
        "after what is not. *other seeds*: the geometric mean of the runs that differ from a run in their seed alone, "
        "of runs that were repeated: how near one could come without knowing the seed. Reference runs stop at "
        f"{arguments.stop:g} of the initial loss; R = {arguments.proj_dim}, {arguments.paths} sample paths.\n"
    )
    figures: list[dict[str, Any]] = []
    lines: list[list[Any]] = []
    facts: list[list[Any]] = []
    by_ratio: list[list[Any]] = []
    edges: list[list[Any]] = []
    for name in arguments.tasks.split(","):
        if not load_rows(name):
            print(f"{name}: nothing recorded", file=sys.stderr)
            continue
        result = predictions(name, setting, arguments.runs)
        groups = result["groups"]
        for optimizer in sorted({key[0] for key in groups}):
            for method in METHODS:
                pairs = [p for r in THRESHOLDS for _, p in groups.get((optimizer, method, r), [])]
                if not pairs:
                    continue
                ranking = measure(_by_configuration(groups[optimizer, method, 0.1]))
                m = measure(pairs)
                cells = _cells(m)
                cells[-2:] = _cells(ranking)[-2:]
                lines.append([f"{name}{' (held out)' if name in HELD_OUT else ''}", optimizer, method, *cells])
                figures.append({"task": name, "optimizer": optimizer, "method": method, **asdict(m)})
            each = {r: measure([p for _, p in groups[optimizer, "path", r]]) for r in THRESHOLDS}
            by_ratio += [[name, optimizer, f"{r:g}", *_cells(m)[:5]] for r, m in each.items()]
        edges += [[name, *cells] for cells in _by_edge(groups, result["edges"])]
        spent = sum(result["seconds"].values())
        per_candidate = result["trained_seconds"] / result["candidates"]
        told = "; ".join(
            f"{r['config']['optimizer']} lr {r['config']['lr']:.2g} B {r['config']['batch_size']}: {r['steps']} steps "
            f"(+{r['wasted']} given up) to {r['last_ratio']:.2f}"
            for r in result["references"]
        )
        spread = "–" if result["spread"] is None else f"{100 * result['spread']:.0f} %"
        ratio = 64 * per_candidate / spent
        facts.append([name, f"{result['samples']} of {result['samples_full']}", told, spread, f"{ratio:.1f}"])
    body += "\n" + table(HEADER, lines) + "\n\nThe path method by threshold:\n\n"
    body += table(["task", "optimizer", "threshold", "reach", *HEADER[4:8]], by_ratio) + "\n\n"
    body += "By peak learning rate over the stability limit at the sharpest tangent, path method:\n\n"
    header = ["task", "over the limit", "runs", "get to 0.1", "median |err|", "p90", "p95", "90 % covers"]
    body += table(header, edges) + "\n\n"
    header = ["task", "samples probed", "reference runs", "seed-to-seed spread (median)", "64 candidates: saved ×"]
    body += table(header, facts) + "\n"
    command = f"python -m benchmarks.accuracy --tasks {arguments.tasks}"
    name = f"accuracy-{arguments.tasks.replace(',', '-')}"
    if arguments.samples is not None:
        command += f" --samples {arguments.samples}"
        name += f"-n{arguments.samples}"
    command += f" --stop {arguments.stop:g}"
    write(
        f"{name}-stop-{arguments.stop:g}",
        command,
        body,
        figures=_plain(figures),
        json_file=arguments.json_file,
    )


def _plain(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: None if isinstance(v, float) and math.isinf(v) else v for k, v in f.items()} for f in figures]


if __name__ == "__main__":
    main()
