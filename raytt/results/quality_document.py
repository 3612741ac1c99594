"""Final qualities as JSON and back, and as columns of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytt.forecast.final_quality import Checkpoint, Estimate, FinalQuality, QualityStatus


def quality_to_json(quality: FinalQuality) -> dict[str, Any]:
    """Plain numbers, strings, lists and None; an estimate is ``[value, low, high]``."""
    return {
        "status": quality.status.value,
        "steps": quality.steps,
        "steps_low": quality.steps_low,
        "steps_high": quality.steps_high,
        "kept_step": quality.kept,
        "final": estimates_to_json(quality),
        "progress": [[point.step, *_numbers(point.estimate)] for point in quality.progress],
        "doubts": list(quality.doubts),
    }


def estimates_to_json(quality: FinalQuality) -> dict[str, list[float]]:
    """Objectives by name, each as ``[value, low, high]``."""
    return {name: _numbers(estimate) for name, estimate in quality.estimates.items()}


def quality_from_json(data: Mapping[str, Any]) -> FinalQuality:
    """What `quality_to_json` wrote."""
    return FinalQuality(
        status=QualityStatus(data["status"]),
        steps=data["steps"],
        steps_low=data["steps_low"],
        steps_high=data["steps_high"],
        kept=data["kept_step"],
        estimates={name: _estimate(numbers) for name, numbers in data["final"].items()},
        progress=tuple(Checkpoint(step=step, estimate=_estimate(numbers)) for step, *numbers in data["progress"]),
        doubts=tuple(data["doubts"]),
    )


def quality_columns(quality: FinalQuality) -> dict[str, Any]:
    """Columns of a data frame, without the progress."""
    found: dict[str, Any] = {
        "final_status": quality.status.value,
        "run_steps": quality.steps,
        "run_steps_low": quality.steps_low,
        "run_steps_high": quality.steps_high,
        "kept_step": quality.kept,
    }
    for name, estimate in quality.estimates.items():
        found |= {
            f"final_{name}": estimate.value,
            f"final_{name}_low": estimate.low,
            f"final_{name}_high": estimate.high,
        }
    return found


def _numbers(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]


def _estimate(numbers: list[float]) -> Estimate:
    value, low, high = numbers
    return Estimate(value=value, low=low, high=high)
