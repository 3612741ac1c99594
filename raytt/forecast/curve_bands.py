"""Simulated learning curves for plots: the median over sample paths with a 5–95 % band, at a few steps.

The run directory holds them as ``forecast_curves.arrow``, one row per candidate, looked up by `candidate_key`.
`band_of` makes them from `Curves`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytt.dynamics.curves import Curves
from raytt.store.fingerprint import fingerprint
from raytt.task.candidate import Candidate

POINTS = 48
"""Steps kept of a curve."""
FILE = "forecast_curves.arrow"
"""Where the run directory keeps them."""
QUANTITIES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
"""Curves that may be present; the first always is."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """The curves of one candidate."""

    steps: Floats
    """Optimizer steps, shape (G,), G ≤ `POINTS`, increasing from 0."""
    curves: Mapping[str, Floats]
    """By name in `QUANTITIES`: 5 % quantile, median and 95 % quantile over sample paths, shape (3, G); +inf where
    training diverged."""


def band_of(curves: Curves, row: int, *, budget: int) -> Band:
    """Median and band of row ``row``, up to the last step that was simulated or the end of its budget.

    Steps are spread evenly over the records, which are dense at first. Quantiles are not interpolated: the next
    value outwards is taken.
    """
    end = min(budget, int(curves.steps_done[row]))
    count = int(np.searchsorted(curves.steps, end, side="right"))
    chosen = np.unique(np.round(np.linspace(0, count - 1, min(POINTS, count))).astype(np.int64))
    found = {}
    for name in QUANTITIES:
        paths = getattr(curves, name)
        if paths is not None:
            ordered = np.sort(paths[row][:, chosen], axis=0)
            last = len(ordered) - 1
            low, high = ordered[int(np.floor(0.05 * last))], ordered[int(np.ceil(0.95 * last))]
            found[name] = np.stack([low, np.median(ordered, axis=0), high])
    return Band(steps=curves.steps[chosen].astype(np.float64), curves=found)


def candidate_key(candidate: Candidate) -> int:
    """A 60-bit hash of the configuration."""
    return int(fingerprint(candidate.config())[:15], 16)


def to_arrays(bands: Mapping[Candidate, Band]) -> dict[str, NDArray[Any]]:
    """Columns of equal length: key, number of steps, steps (G) and each quantity (3, G), the rest filled with zeros.

    A quantity is kept if all candidates have it.
    """
    if not bands:
        return {"key": np.zeros(0, dtype=np.int64)}
    names = [name for name in QUANTITIES if all(name in band.curves for band in bands.values())]
    arrays: dict[str, NDArray[Any]] = {
        "key": np.array([candidate_key(candidate) for candidate in bands], dtype=np.int64),
        "count": np.array([len(band.steps) for band in bands.values()], dtype=np.int64),
        "steps": np.zeros((len(bands), POINTS)),
    }
    arrays |= {name: np.zeros((len(bands), 3, POINTS), dtype=np.float32) for name in names}
    for row, band in enumerate(bands.values()):
        arrays["steps"][row, : len(band.steps)] = band.steps
        for name in names:
            arrays[name][row, :, : len(band.steps)] = band.curves[name]
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[int, Band]:
    """Bands by candidate key, from the columns that `to_arrays` made."""
    found = {}
    for row, key in enumerate(arrays["key"]):
        count = int(arrays["count"][row])
        curves = {name: arrays[name][row, :, :count].astype(np.float64) for name in QUANTITIES if name in arrays}
        found[int(key)] = Band(steps=arrays["steps"][row, :count], curves=curves)
    return found
