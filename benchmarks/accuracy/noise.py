"""How steps depend on the noise of minibatches beside the reference run's: ``python -m benchmarks.accuracy.noise``.

Fits `raytt.forecast.control_variate.NOISE` and `NOISE_BEYOND` to all pairs of a real and a predicted number of steps of
the tasks given, with the least mean |error|, all tasks and optimizers counting alike; and, for each task, to those of
the others: what they do to the task that is left out. Tasks that are only tested are fitted to by none.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.report import table, write
from raytt.forecast.control_variate import NOISE, NOISE_BEYOND

from .measures import percent
from .predict import Setting
from .spread import Miss, misses

Floats = NDArray[np.float64]

Law = Sequence[float] | Floats

STARTS = ((0.05, 0.05), (0.0, 0.1), (0.1, 0.0))


def errors(found: Sequence[Miss], law: Law) -> Floats:
    """Of ln(predicted / real), with another law of noise than raytt's own."""
    noise = np.array([m.noise for m in found])
    depth = np.array([m.regime.depth for m in found])
    plain = -np.array([m.error for m in found]) - (NOISE + NOISE_BEYOND * depth) * noise
    return np.asarray(plain + (law[0] + law[1] * depth) * noise)


def groups_of(found: Sequence[Miss]) -> list[list[Miss]]:
    """Those of one task and optimizer each."""
    kinds = sorted({(m.task, m.optimizer) for m in found})
    return [[m for m in found if (m.task, m.optimizer) == kind] for kind in kinds]


def fit(found: Sequence[Miss]) -> Floats:
    """NOISE and NOISE_BEYOND."""
    groups = groups_of(found)

    def cost(law: Floats) -> float:
        return sum(float(np.abs(errors(group, law)).mean()) for group in groups)

    return np.asarray(min((minimize(cost, s, method="Nelder-Mead") for s in STARTS), key=lambda r: float(r.fun)).x)


def line(what: str, group: Sequence[Miss], law: Law) -> list[str]:
    """Errors of a group without and with a law."""
    before, after = np.abs(errors(group, (0.0, 0.0))), np.abs(errors(group, law))
    shown = [what, group[0].task, group[0].optimizer, *(f"{value:.3f}" for value in law)]
    for share in (0.5, 0.9):
        shown += [percent(float(np.quantile(e, share, method="higher"))) for e in (before, after)]
    return shown


def main() -> None:
    """Fit, check, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="diabetes,digits,docstrings,fashion5")
    parser.add_argument("--tested", default="fortunes,fashion10")
    parser.add_argument("--proj-dim", type=int, default=2048)
    parser.add_argument("--paths", type=int, default=4)
    parser.add_argument("--stop", type=float, default=0.2)
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    setting = Setting(proj_dim=arguments.proj_dim, num_paths=arguments.paths, stop_ratio=arguments.stop)
    fitted = {name: misses(name, setting, arguments.runs) for name in arguments.tasks.split(",")}
    tested = {name: misses(name, setting, arguments.runs) for name in arguments.tested.split(",") if name}
    law = fit([m for found in fitted.values() for m in found])
    lines = [line("all", group, law) for found in fitted.values() for group in groups_of(found)]
    for name, own in fitted.items():
        others = [m for other, found in fitted.items() if other != name for m in found]
        lines += [line(f"all but {name}", group, fit(others)) for group in groups_of(own)]
    lines += [line("all, none of this", group, law) for found in tested.values() for group in groups_of(found)]
    header = ["fitted to", "task", "optimizer", "NOISE", "NOISE_BEYOND", "median |err| without", "with"]
    header += ["p90 without", "with "]
    body = f"Errors are |ln(predicted/real)| in per cent, of pairs that have both.\n\n{table(header, lines)}\n"
    write(
        "accuracy-noise",
        f"python -m benchmarks.accuracy.noise --tasks {arguments.tasks} --tested {arguments.tested}",
        body,
        figures=[dict(zip(header, cells, strict=True)) for cells in lines],
        json_file=arguments.json_file,
    )


if __name__ == "__main__":
    main()
