"""Final qualities made by hand."""

from __future__ import annotations

from raytt.forecast.final_quality import Checkpoint, Estimate, FinalQuality, QualityStatus


def estimate(value: float, spread: float = 0.1) -> Estimate:
    return Estimate(value=value, low=value * (1.0 - spread), high=value * (1.0 + spread))


def quality(
    *values: float, steps: float = 100.0, status: QualityStatus = QualityStatus.PREDICTED, name: str = "val_loss"
) -> FinalQuality:
    """A run whose objective has these values at even distances, the last at its end."""
    if status is QualityStatus.UNSTABLE:
        return FinalQuality(status=status, steps=steps, kept=steps, estimates={})
    points = tuple(
        Checkpoint(step=steps * (i + 1) / len(values), estimate=estimate(value)) for i, value in enumerate(values)
    )
    return FinalQuality(status=status, steps=steps, kept=steps, estimates={name: estimate(values[-1])}, progress=points)
