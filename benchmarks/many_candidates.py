"""What simulating the costly ones of many candidates on one path saves, and what it changes
(`raytt.forecast.screening`).

``python -m benchmarks.many_candidates``: ranks the digits example's space twice in the same run directory, with and
without it, the curves of the first ranking thrown away in between.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import raytt
from benchmarks.report import table, write
from raytt.examples import digits
from raytt.forecast.screening import ON_ONE_PATH
from raytt.results.entry import Entry

NAME = "many"
BEST = 20
"""Places of which is told whether the same candidates hold them."""


def rank(folder: Path, count: int, *, screen: bool, fresh: bool) -> tuple[raytt.Ranking, float]:
    """A ranking, and the seconds that simulating took."""
    before = 0.0
    if not fresh:
        before = raytt.Ranking.load(folder / NAME / "ranking.json").phases["solve"]
        shutil.rmtree(folder / NAME / "curves")
    ranking = raytt.rank(
        digits.task,
        digits.search_space,
        num_candidates=count,
        estimator=raytt.EstimatorSettings(screen=screen),
        run=raytt.RunSettings(storage_path=folder, name=NAME),
    )
    return ranking, ranking.phases["solve"] - before


def compare(some: raytt.Ranking, full: raytt.Ranking) -> dict[str, Any]:
    """What screening changes: of candidates that reach the target either way."""
    by_candidate = {entry.candidate: entry for entry in full.entries}
    out = [e for e in some.entries if ON_ONE_PATH in e.forecast.doubts]
    both = [(e, by_candidate[e.candidate]) for e in some.entries if e.forecast.reaches]
    both = [(a, b) for a, b in both if b.forecast.reaches]
    on_one = [(a, b) for a, b in both if ON_ONE_PATH in a.forecast.doubts]
    errors = np.abs([np.log(_steps(a) / _steps(b)) for a, b in on_one])
    held = [low <= _steps(b) <= (a.forecast.high or np.inf) for a, b in on_one if (low := a.forecast.low) is not None]
    widths = [_width(a) / _width(b) for a, b in on_one if a.forecast.high and b.forecast.high]
    leader, best = by_candidate[some.entries[0].candidate], full.entries[0]
    assert leader.seconds is not None
    assert best.seconds is not None
    first = [e.candidate for e in some.entries[:BEST]]
    return {
        "on one path that reach the target": len(out),
        f"of the first {BEST} among the first {BEST} of all": sum(e.candidate in first for e in full.entries[:BEST]),
        "extra cost of the first, as all paths have it": leader.seconds / best.seconds - 1.0,
        "steps on one path from those on four, median |ln|": float(np.median(errors)),
        "the same, 95th percentile": float(np.quantile(errors, 0.95)),
        "their 90 % intervals hold the steps on four": float(np.mean(held)),
        "width of their intervals over that with four paths, median": float(np.median(widths)),
        "other status": sum(e.forecast.status is not by_candidate[e.candidate].forecast.status for e in some.entries),
    }


def _steps(entry: Entry) -> float:
    assert entry.forecast.steps is not None
    return max(entry.forecast.steps, 1.0)


def _width(entry: Entry) -> float:
    found = entry.forecast
    assert found.low is not None
    assert found.high is not None
    return float(np.log((1.0 + found.high) / (1.0 + found.low)))


def main() -> None:
    """Rank twice, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        some, seconds = rank(folder, arguments.candidates, screen=True, fresh=True)
        full, full_seconds = rank(folder, arguments.candidates, screen=False, fresh=False)
    figures: dict[str, Any] = {
        "candidates": arguments.candidates,
        "simulating, seconds": seconds,
        "simulating all on all paths, seconds": full_seconds,
        "times faster": full_seconds / seconds,
        "the whole ranking, seconds": some.total_seconds,
        "training all, times as long": some.saving,
        **compare(some, full),
    }
    rows = [[name, f"{value:.3g}" if isinstance(value, float) else value] for name, value in figures.items()]
    write(
        "many-candidates",
        f"python -m benchmarks.many_candidates --candidates {arguments.candidates}",
        f"{table(['', ''], rows)}\n",
        figures=[figures],
        json_file=arguments.json_file,
    )


if __name__ == "__main__":
    main()
