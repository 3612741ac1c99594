"""Constants of the process over learning curves, with each data set left out: ``python -m benchmarks.arena.constants``.

For whole runs, by progress p (learning-rate time): the correlation of the metric at p with the final one, hence the
length ℓ with p^(1/ℓ); and the power b with which the share (y − c)/(t − c) of the final range closes in,
ln ln(1/share at p) as a line in ln p.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import table, write

from .contest import Contest, from_folder

Floats = NDArray[np.float64]
AT = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7])
"""p."""


def correlations(contest: Contest) -> Floats:
    """Of the metric at `AT` with the final one."""
    found = _at(contest)
    return np.array([np.corrcoef(column, contest.final)[0, 1] for column in found.T])


def length(rows: Sequence[Floats]) -> float:
    """ℓ from mean correlations: least squares of ln correlation on ln p, through 0."""
    logs, corr = np.log(AT), np.log(np.mean(rows, axis=0))
    return float((logs @ logs) / (logs @ corr))


def power(contests: Sequence[Contest]) -> float:
    """b: median over runs of the slope of −ln(ln share(p) / ln share(1)) on ln(1/p), of runs that end inside."""
    slopes = []
    for contest in contests:
        best, worst = float(contest.final.max()), min(float(m.min()) for m in contest.metric)
        early = np.clip((_at(contest) - worst) / (best - worst), 1e-3, 0.999)
        end = (contest.final - worst) / (best - worst)
        inside = (end > 0.05) & (end < 0.95)
        ratio = np.log(early[inside]) / np.log(end[inside])[:, None]
        slopes += list(np.log(ratio) @ -np.log(AT) / (np.log(AT) @ np.log(AT)))
    return float(np.median(slopes))


def _at(contest: Contest) -> Floats:
    rows = [
        np.interp(AT, np.concatenate([[0.0], p]), np.concatenate([[m[0]], m]))
        for p, m in zip(contest.progress, contest.metric, strict=True)
    ]
    return np.array(rows)


def main() -> None:
    """Report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="write the dated report")
    arguments = parser.parse_args()
    contests = from_folder(arguments.data, whole=True)
    rows = [correlations(c) for c in contests]
    every = [["none", f"{length(rows):.1f}", f"{power(contests):.2f}", *(f"{x:.2f}" for x in np.mean(rows, axis=0))]]
    for left, contest in enumerate(contests):
        others = [r for k, r in enumerate(rows) if k != left]
        kept = [c for k, c in enumerate(contests) if k != left]
        every.append(
            [
                contest.name,
                f"{length(others):.1f}",
                f"{power(kept):.2f}",
                *(f"{x:.2f}" for x in np.mean(others, axis=0)),
            ]
        )
    body = table(["left out", "ℓ", "b", *(f"p = {p:g}" for p in AT)], every)
    print(body)
    if arguments.write:
        write("arena-constants", "python -m benchmarks.arena.constants --data FOLDER", body)


if __name__ == "__main__":
    main()
