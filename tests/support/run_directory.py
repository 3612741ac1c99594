"""A finished run's directory, made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from raytt.forecast.curve_bands import FILE, band_of, to_arrays
from raytt.pricing.machine import Timing
from raytt.pricing.step_time import StepTime
from raytt.pricing.terms import Terms
from raytt.pricing.work import StepWork
from raytt.results.ranking import Provenance, Ranking
from raytt.store.run import Run
from tests.support.fakes import EXAMPLES, STEP_TIMES, curves_of, example_ranking

TIMING = Timing(
    timed={
        b: StepTime(batch_size=b, seconds=t.seconds, low=t.low, high=t.high, source="timed in a test")
        for b, t in STEP_TIMES.items()
    },
    work={
        b: StepWork(
            batch_size=b,
            conv_flops=1e11 * b,
            other_flops=1e10 * b,
            num_bytes=1e9 * b,
            num_operations=9,
            dtype="float32",
        )
        for b in STEP_TIMES
    },
)
PRICES = ("aws:g6.xlarge", "gcp:a2-highgpu-1g", "azure:NC24ads_A100_v4:spot")
CHECKS: list[dict[str, Any]] = [
    {
        "config": {"lr": 0.03, "batch_size": 32},
        "seed": 3,
        "status": "reached",
        "predicted_steps": 100.0,
        "predicted_low": 90.0,
        "predicted_high": 120.0,
        "real_steps": 110.0,
        "predicted_seconds": 30.0,
        "real_seconds": 33.0,
        "predicted_accuracy": 0.9,
        "real_accuracy": 0.91,
    },
    {
        "config": {"lr": 0.5, "batch_size": 64},
        "seed": 4,
        "status": "reached",
        "predicted_steps": None,
        "real_steps": 50.0,
        "predicted_seconds": None,
        "real_seconds": 20.0,
        "predicted_accuracy": None,
        "real_accuracy": 0.8,
    },
]
REFERENCES: list[dict[str, Any]] = [
    {
        "config": {"lr": 0.003, "batch_size": 32},
        "steps": [0, 10, 20],
        "real_loss": [2.3, 1.2, 0.7],
        "predicted_loss": [2.3, 1.3, None],
        "step_error": -0.256,
        "wasted_steps": 5,
        "stopped": "early",
    },
    {
        "config": {"optimizer": "adamw", "lr": 0.0004, "batch_size": 16},
        "steps": [0, 10, 30],
        "real_loss": [2.3, 1.0, 0.5],
        "predicted_loss": [2.3, 0.9, 0.6],
        "step_error": 0.08,
        "wasted_steps": 0,
        "stopped": "at its limit",
    },
]


def validation_of(checks: list[dict[str, Any]], *, target: str = "loss_ratio=0.1") -> dict[str, Any]:
    """What ``validation.json`` holds."""
    return {"target": target, "median_error": None, "bias": None, "checks": checks}


VALIDATION = validation_of(CHECKS)


def priced_ranking(**changes: Any) -> Ranking:
    """The example with machines to choose from, a budget and a deadline."""
    settings: dict[str, Any] = {
        "timing": TIMING,
        "terms": Terms.of(prices=PRICES, budget_usd=0.02, deadline="1min"),
        "provenance": Provenance(
            num_samples=500,
            num_samples_full=1000,
            seed=7,
            num_paths=8,
            initial_loss=2.3,
            machine="aws:g6.xlarge",
            step_seconds={8: 0.1, 32: 0.3, 64: 0.55},
            step_source="timed in a test",
        ),
    }
    return example_ranking(**{**settings, **changes})


def write_run(
    folder: Path,
    *,
    ranking: Ranking | None = None,
    validation: Any = None,
    reference: Any = None,
    facts: dict[str, Any] | None = None,
    curves: bool = True,
) -> Path:
    """Write it, and give its path."""
    run = Run.open(folder, "made", task_name="digits")
    run.check_inputs("probe", facts or {"weights": "abc123", "torch": "2.13.0", "proj_seed": 7})
    run.write_json("ranking.json", (ranking or priced_ranking()).to_json(), made_from="k")
    rng = np.random.default_rng(0)
    values = np.geomspace(100, 0.01, 40)
    spectrum = {"eigenvalues": values, "projections": values / 10 * rng.random(40)}
    run.record(run.storage.write_arrays("tangent/spectrum.arrow", spectrum, made_from="k"))
    summary = {
        "remainder": 1.5,
        "num_samples": 500,
        "num_outputs": 10,
        "num_coordinates": 40,
        "statistics": {"mean_loss": 2.3, "mean_residual_norm": 1.0, "gradient_noise": 1.0, "top_curvature": 10.0},
    }
    run.write_json("tangent/summary.json", summary, made_from="k")
    if curves:
        bands = {}
        for number, (candidate, _) in enumerate(EXAMPLES):
            rate = 0.002 * (number + 1)
            paths = [lambda t, r=rate, p=p: 2.3 * np.exp(-r * (1 + 0.1 * p) * t) for p in range(4)]
            accuracy = [lambda t, r=rate, p=p: 1 - 0.9 * np.exp(-r * (1 + 0.1 * p) * t) for p in range(4)]
            bands[candidate] = band_of(curves_of(paths, steps=np.arange(0, 301, 10), accuracy=accuracy), 0, budget=300)
        run.record(run.storage.write_arrays(FILE, to_arrays(bands), made_from="k"))
    for name, value in (("validation.json", validation), ("reference.json", reference)):
        if value is not None:
            run.write_json(name, value, made_from="k")
    return folder / "made"
