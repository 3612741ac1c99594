"""What the accuracy of the path method depends on: ``python -m benchmarks.accuracy.sensitivity --task digits``.

Predicts every configuration of a task of the record again with one setting changed at a time (coordinates R, samples
probed, tangents, where the reference run stops), against the same real training.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import table, write

from .measures import Measures, Pair, measure, percent
from .predict import THRESHOLDS, Setting, configuration, forecasts, pair_of, real_crossings, run_prediction, unique
from .record import load_rows
from .tasks import load


def settings(base: Setting, wanted: Sequence[str]) -> dict[str, Setting]:
    """By label: the base, and each change wanted, as in ``proj_dim=1024``."""
    found = {"base": base}
    for change in wanted:
        name, _, value = change.partition("=")
        number: Any = float(value) if name == "stop_ratio" else int(value)
        found[change] = replace(base, **{name: number})
    return found


def score(name: str, setting: Setting, folder: Path) -> tuple[dict[str, Measures], float]:
    """The measures by optimizer, over all runs and thresholds; and the seconds that the prediction took."""
    rows = load_rows(name)
    prediction, seconds = run_prediction(load(name), unique(rows), setting, folder)
    by_ratio = forecasts(prediction, corrected=True)
    pairs: dict[str, list[Pair]] = {}
    for row in rows:
        c = configuration(row)
        for ratio, real in zip(THRESHOLDS, real_crossings(row), strict=True):
            pairs.setdefault(c.optimizer.name, []).append(pair_of(row, real, by_ratio[ratio][c]))
    return {optimizer: measure(found) for optimizer, found in pairs.items()}, sum(seconds.values())


def main() -> None:
    """Predict, score, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="digits")
    parser.add_argument(
        "--changes",
        default="proj_dim=512,proj_dim=1024,proj_dim=4096,samples=64,samples=128,num_waypoints=1,num_waypoints=2,"
        "num_waypoints=5,stop_ratio=0.5,stop_ratio=0.1,stop_ratio=0.05",
    )
    parser.add_argument("--proj-dim", type=int, default=2048)
    parser.add_argument("--paths", type=int, default=4)
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    base = Setting(proj_dim=arguments.proj_dim, num_paths=arguments.paths)
    lines: list[list[Any]] = []
    for label, setting in settings(base, arguments.changes.split(",")).items():
        by_optimizer, seconds = score(arguments.task, setting, arguments.runs)
        for optimizer, m in sorted(by_optimizer.items()):
            shown = [percent(v) for v in (m.median, m.p90, m.bias, m.coverage, m.recall, m.false_alarms)]
            lines.append([label, optimizer, *shown, f"{seconds:.0f}"])
        print(*lines[-len(by_optimizer) :], sep="\n", flush=True)
    header = ["setting", "optimizer", "median |err|", "p90", "bias", "90 % covers", "named", "false alarms", "seconds"]
    body = (
        f"Base: all samples, R = {base.proj_dim}, 3 tangents besides the first (up to 5 where the reference run goes "
        f"further), stop at {base.stop_ratio:g} of the initial loss, {base.num_paths} sample paths. Errors in per cent "
        "as in `python -m benchmarks.accuracy`, over all thresholds; seconds of the whole prediction on whatever else "
        f"the machine was doing.\n\n{table(header, lines)}\n"
    )
    write(
        f"accuracy-sensitivity-{arguments.task}",
        f"python -m benchmarks.accuracy.sensitivity --task {arguments.task} --changes {arguments.changes}",
        body,
        figures=[dict(zip(header, line, strict=True)) for line in lines],
        json_file=arguments.json_file,
    )


if __name__ == "__main__":
    main()
