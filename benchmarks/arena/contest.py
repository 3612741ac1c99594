"""Recorded learning curves of one data set: what the rivals buy piece by piece."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

OWN_CURVES = Path(__file__).parent.parent / "rates" / "curves"
WARMUP = "warmup_epochs"


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """n recorded runs of one data set."""

    name: str
    """Of the data set."""
    columns: tuple[str, ...]
    """Names of the d hyperparameters, categories one-hot."""
    features: Floats
    """Hyperparameters, shape (n, d)."""
    metric: tuple[Floats, ...]
    """Of each run, after each evaluation; the higher the better, in per cent."""
    seconds: tuple[Floats, ...]
    """Of each run, up to each evaluation since the one before."""
    progress: tuple[Floats, ...]
    """Learning-rate time after each evaluation, as a share of a whole run's, from 0 to 1."""

    @property
    def final(self) -> Floats:
        """The truth: last metric of each run, shape (n,)."""
        return np.array([m[-1] for m in self.metric])

    @property
    def total(self) -> float:
        """Seconds of training all."""
        return float(sum(s.sum() for s in self.seconds))

    @property
    def longest(self) -> int:
        """Evaluations of a whole run."""
        return max(len(m) for m in self.metric)


def learning_rate_time(row: Mapping[str, float], epochs: int) -> Floats:
    """Σ of schedule factors after each epoch as a share of the whole run's: warm-up, then constant, cosine or steps."""
    t = np.arange(epochs, dtype=np.float64)
    warm = float(row.get(WARMUP, 0.0))
    factor = np.ones(epochs)
    if row.get("cat:sched:cosine"):
        factor = 0.5 * (1.0 + np.cos(math.pi * t / epochs))
    elif row.get("cat:sched:step"):
        factor = float(row.get("decay_rate", 1.0)) ** np.floor(t / max(1.0, float(row.get("decay_epochs", epochs))))
    factor = np.where(t < warm, t / max(warm, 1.0), factor)
    total = np.cumsum(factor)
    return np.asarray(total / total[-1])


def from_folder(folder: Path, *, whole: bool = False, least: int = 20) -> list[Contest]:
    """A contest for each data set of a folder with ``curves.parquet`` and ``configs.parquet``.

    Args:
        folder: Where the two files are.
        whole: Leave out runs that ended before the last epoch.
        least: Data sets with fewer runs are left out.
    """
    import pandas as pd

    curves, configs = pd.read_parquet(folder / "curves.parquet"), pd.read_parquet(folder / "configs.parquet")
    columns = tuple(str(c) for c in configs.columns)
    longest = int(curves["accuracy"].map(len).max())
    found = []
    for name, rows in curves.groupby("dataset", sort=True):
        kept = rows[rows["accuracy"].map(len) == longest] if whole else rows
        kept = kept.sort_values("run")
        if len(kept) < least:
            continue
        own = configs.loc[kept["run"]]
        found.append(
            Contest(
                name=str(name),
                columns=columns,
                features=own.to_numpy(np.float64),
                metric=tuple(np.asarray(a, np.float64) for a in kept["accuracy"]),
                seconds=tuple(np.asarray(s, np.float64) for s in kept["seconds"]),
                progress=tuple(learning_rate_time(dict(zip(columns, r, strict=True)), longest) for r in own.to_numpy()),
            )
        )
    return found


def from_own_record(folder: Path = OWN_CURVES) -> list[Contest]:
    """The runs that raytt recorded in training mode: validation accuracy at about 14 evaluations, even in log steps."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(folder.glob("*.json")):
        runs[file.name.split("-")[0]].append(json.loads(file.read_text()))
    return [_own(name, documents) for name, documents in runs.items()]


def _own(name: str, documents: list[dict[str, Any]]) -> Contest:
    names = ("optimizer", "schedule")
    kinds = sorted({f"cat:{k}:{d['config'].get(k, 'constant')}" for d in documents for k in names})
    numbers = ("lr", "batch_size", "momentum", "warmup_steps", "max_steps")
    rows, metrics, seconds, progress = [], [], [], []
    longest = max(len(d["evaluated"]) for d in documents) - 1
    for document in documents:
        config, steps = document["config"], len(document["losses"])
        own = {f"cat:{k}:{config.get(k, 'constant')}" for k in names}
        rows.append([float(config.get(k, 0.0)) for k in numbers] + [float(k in own) for k in kinds])
        at = np.array([e["step"] for e in document["evaluated"] if e["step"] > 0], dtype=np.float64)
        metrics.append(np.array([100.0 * (e["val_accuracy"] or 0.0) for e in document["evaluated"] if e["step"] > 0]))
        seconds.append(np.diff(at, prepend=0.0) * document["seconds"] / steps)
        # A share of the budget: where the run really ended is not known before.
        share = at / float(config.get("max_steps", at[-1]))
        missing = longest - len(at)
        progress.append(np.concatenate([share, np.linspace(share[-1], 1.0, missing + 1)[1:]]))
    return Contest(
        name=name,
        columns=(*numbers, *kinds),
        features=np.array(rows),
        metric=tuple(metrics),
        seconds=tuple(seconds),
        progress=tuple(progress),
    )
