"""Hand-made curves, forecasts and rankings that several tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytt.dynamics.curves import Curves
from raytt.forecast.forecast import Forecast, Status
from raytt.results.entry import rank_candidates
from raytt.results.ranking import Provenance, Ranking
from raytt.task.candidate import Candidate
from raytt.task.target import Target


@dataclass(frozen=True)
class FakeStepTime:
    """A step time without a measurement."""

    seconds: float
    low: float
    high: float


STEP_TIMES = {8: FakeStepTime(0.1, 0.09, 0.12), 32: FakeStepTime(0.3, 0.28, 0.36), 64: FakeStepTime(0.55, 0.5, 0.6)}

EXAMPLES: tuple[tuple[Candidate, Forecast], ...] = (
    (Candidate(lr=0.03), Forecast(status=Status.REACHED, steps=100.0, low=90.0, high=120.0, shortfall=0.0)),
    (
        Candidate(lr=0.01, momentum=0.9, nesterov=True),
        Forecast(status=Status.REACHED, steps=80.5, low=60.0, high=None, shortfall=0.0, accuracy=0.97),
    ),
    (
        Candidate(lr=0.002, batch_size=8, schedule="cosine"),
        Forecast(status=Status.UNTRUSTED, steps=1200.0, low=1000.0, high=1500.0, shortfall=0.0, val_accuracy=0.9),
    ),
    (Candidate(lr=0.5, batch_size=64), Forecast(status=Status.UNSTABLE, steps=None)),
    (Candidate(lr=0.0001), Forecast(status=Status.NOT_REACHED, steps=None, shortfall=1.5)),
    (Candidate(lr=0.0002), Forecast(status=Status.NOT_REACHED, steps=None, shortfall=1.0)),
    (
        Candidate(lr=0.1, batch_size=8, schedule="step", step_size=100),
        Forecast(status=Status.NOISE_FLOOR, steps=None, shortfall=0.2),
    ),
)


def example_ranking(
    examples: Sequence[tuple[Candidate, Forecast]] = EXAMPLES, *, usd_per_hour: float | None = 1.2, **changes: Any
) -> Ranking:
    """A ranking of hand-made forecasts with a budget of 1,500 steps each."""
    candidates, forecasts = zip(*examples, strict=True) if examples else ((), ())
    entries = rank_candidates(
        candidates,
        forecasts,
        budgets=[1500] * len(candidates),
        step_times=STEP_TIMES,
        num_samples_full=1000,
        usd_per_hour=usd_per_hour,
    )
    settings: dict[str, Any] = {
        "task": "digits",
        "method": "sgd",
        "target": Target(kind="loss_ratio", value=0.1),
        "entries": entries,
        "phases": {"start": 6.0, "probe": 30.0, "solve": 14.0},
        "notes": ("49 batch-norm layers run with their stored statistics (eval mode).",),
        "provenance": Provenance(num_samples=500, num_samples_full=1000, step_seconds={8: 0.1, 32: 0.3, 64: 0.55}),
    }
    return Ranking(**{**settings, **changes})


Curve = Callable[[np.ndarray], np.ndarray]


def curves_of(
    paths: Sequence[Curve],
    *,
    steps: Sequence[float] | np.ndarray,
    steps_done: int | None = None,
    resampled: Sequence[Curve] | None = None,
    accuracy: Sequence[Curve] | None = None,
    val_loss: Sequence[Curve] | None = None,
    val_accuracy: Sequence[Curve] | None = None,
) -> Curves:
    """Curves of one candidate from functions of the step, one per path."""
    t = np.asarray(steps, dtype=np.float64)
    done = int(t[-1]) if steps_done is None else steps_done

    def evaluate(functions: Sequence[Curve] | None) -> np.ndarray | None:
        if functions is None:
            return None
        at = np.minimum(t, done)
        return np.stack([np.broadcast_to(f(at), at.shape) for f in functions])[None].astype(np.float64)

    loss = evaluate(paths)
    assert loss is not None
    other = evaluate(resampled)
    return Curves(
        steps=t,
        train_loss=loss,
        train_loss_resampled=loss if other is None else other,
        train_accuracy=evaluate(accuracy),
        val_loss=evaluate(val_loss),
        val_accuracy=evaluate(val_accuracy),
        steps_done=np.array([done]),
    )
