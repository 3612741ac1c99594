"""Ways to do with few of many outputs, tried where all were probed: ``python -m benchmarks.many_outputs_variants``.

Takes the tangents that ``python -m benchmarks.many_outputs`` left for both paths with all outputs, keeps a few of each
sample's rows in several ways, simulates SGD, momentum and AdamW on them, and prints how far the steps to each loss
ratio are from those with all rows. Nothing is corrected by the reference run here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.predict import THRESHOLDS, Setting
from benchmarks.modules_task import NUM_CLASSES, NUM_TRAIN, TASK
from benchmarks.report import table, write
from raytt.dynamics.path import PathNetwork
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.forecast.control_variate import first_crossings
from raytt.probe.outputs import FewOutputs
from raytt.store.arrow import Arrays, from_arrow
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy, Loss, SampledCrossEntropy
from raytt.task.target import Target

CANDIDATES = {
    "sgd": [
        Candidate(lr=0.1, batch_size=32, max_steps=300),
        Candidate(lr=0.03, batch_size=32, max_steps=500),
        Candidate(lr=0.2, batch_size=32, max_steps=300),
        Candidate(lr=0.01, momentum=0.9, batch_size=32, max_steps=300),
    ],
    "adamw": [Candidate(optimizer="adamw", lr=lr, batch_size=32, max_steps=300) for lr in (1e-4, 3e-4, 5e-4)],
}
Way = Literal["drawn", "likely and drawn", "apart", "apart but for itself"]
"""Own class and others drawn; the likeliest besides; those drawn pulled apart from those measured; the same, but each
measured one pulled for itself, too (raytt's)."""


@dataclass(frozen=True, kw_only=True)
class Drawn(FewOutputs):
    """Another number of outputs drawn."""

    half: int

    @property
    def drawn(self) -> int:
        return self.half


def stack(files: Sequence[Path]) -> Arrays:
    """The arrays of all blocks."""
    parts = [from_arrow(file.read_bytes()) for file in sorted(files)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def kept(points: Sequence[Arrays], few: FewOutputs, way: Way) -> list[Samples]:
    """What few outputs would have left of each tangent's samples.

    Args:
        points: All rows at each tangent.
        few: How many.
        way: In which.
    """
    labels = torch.tensor(points[0]["targets"])
    on_path = way != "drawn"
    likely = few.likely(torch.tensor(points[-1]["outputs"]), labels) if on_path else None
    classes, weights = few.choose(labels, points[0]["index"], "train", likely)
    measured = classes[:, few.measured(on_path=on_path)]
    known = 1 + few.chosen
    if way == "likely and drawn":
        # The same number of backward passes: what would have been pulled is measured instead.
        measured, weights = classes, np.ones(classes.shape, np.float32)
        weights[:, known:] = (few.num_classes - known) / (few.count - known)
    found = []
    for point in points:
        pulling = point.get("updates", point["rows"])
        updates = _take(pulling, measured)
        if way == "apart":
            updates = _take(pulling, np.delete(classes, slice(known, known + few.drawn), axis=1))
        elif way == "apart but for itself":
            updates = torch.tensor(few.pulled(np.take_along_axis(pulling, classes[..., None], 1)))
        found.append(
            Samples(
                outputs=_take(point["outputs"], measured),
                jacobian=_take(point["rows"], measured),
                radial=_take(point["radial"], measured),
                targets=torch.tensor(weights),
                updates=updates,
            )
        )
    return found


def _take(array: NDArray[Any], columns: NDArray[np.int64]) -> torch.Tensor:
    return torch.tensor(np.take_along_axis(array, columns if array.ndim == 2 else columns[..., None], 1))


def steps_to(
    samples: Sequence[Samples], positions: Sequence[NDArray[np.float64]], loss: Loss, candidates: Sequence[Candidate]
) -> NDArray[np.float64]:
    """Median over paths of the first step at each threshold, per candidate."""
    tangents = [Tangent(train=s, position=torch.tensor(w).float()) for s, w in zip(samples, positions, strict=True)]
    curves = simulate(
        tangents[0],
        loss,
        candidates,
        [c.max_steps or 1 for c in candidates],
        num_paths=4,
        seed=1,
        target=Target(kind="loss_ratio", value=THRESHOLDS[-1]),
        network=PathNetwork(tangents),
    )
    ratios = np.asarray(THRESHOLDS)
    return np.array([np.median(first_crossings(curves.steps, c, ratios), axis=0) for c in curves.train_loss])


def tried(folder: Path, family: str, draws: int) -> Iterator[list[str]]:
    """A line of the table for each way, on one optimizer's path."""
    candidates = CANDIDATES[family]
    names = sorted(p.name for p in folder.glob(f"{family}-*") if p.is_dir())
    positions = [np.asarray(json.loads((folder / name / "position.json").read_text())) for name in names]
    places = [folder / name for name in names]
    if family == "sgd":
        places.insert(0, folder)
        positions.insert(0, np.zeros_like(positions[0]))
    points = [stack(list(place.glob("train-*.arrow"))) for place in places]
    whole = [
        Samples(
            outputs=torch.tensor(p["outputs"]),
            jacobian=torch.tensor(p["rows"]),
            radial=torch.tensor(p["radial"]),
            targets=torch.tensor(p["targets"]),
            updates=torch.tensor(p["updates"]) if "updates" in p else None,
        )
        for p in points
    ]
    exact = steps_to(whole, positions, CrossEntropy(), candidates)
    del whole
    for few, way in variants():
        errors = []
        for seed in range(draws):
            samples = kept(points, replace(few, seed=seed), way)
            found = steps_to(samples, positions, SampledCrossEntropy(), candidates)
            both = np.isfinite(found) & np.isfinite(exact)
            ratio = np.where(both, found, 1.0) / np.where(both, exact, 1.0)
            errors.append(np.where(both, 100.0 * np.log(ratio), np.nan))
        every = np.array(errors)
        known = np.abs(every[np.isfinite(every)])
        by_ratio = [e[np.isfinite(e)] for e in np.moveaxis(every, -1, 0)]
        means = [f"{e.mean():+.0f}" if len(e) else "–" for e in by_ratio]
        likely = 0 if way == "drawn" else few.chosen
        drawn = few.drawn if way.startswith("apart") else few.count - 1 - likely
        lost = int((np.isfinite(exact) & ~np.isfinite(every)).sum())
        spread = [f"{np.median(known):.1f}", f"{np.percentile(known, 90):.1f}", str(lost)]
        line = [family, way, str(few.count), str(likely), str(drawn), *spread, *means]
        print(line, flush=True)
        yield line


def main() -> None:
    """Try, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/many-outputs"))
    parser.add_argument("--draws", type=int, default=2, help="of the outputs drawn")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    setting = Setting(proj_dim=2048, num_paths=4, max_outputs=NUM_CLASSES)
    folder = arguments.runs / f"{TASK.task.name}-{setting.label()}" / "probe"
    lines = [line for family in CANDIDATES for line in tried(folder, family, arguments.draws)]
    body = (
        f"{NUM_CLASSES} classes, {NUM_CLASSES * NUM_TRAIN} samples, "
        f"{' and '.join(f'{len(c)} candidates of {family}' for family, c in CANDIDATES.items())}, "
        f"{arguments.draws} draw(s). "
        "Differences of simulated steps from those with all rows, |ln| in per cent, then the mean difference at each "
        "threshold; *lost*: steps that all rows reach and these do not.\n\n"
        + table(
            [
                "optimizer",
                "way",
                "outputs per sample",
                "likeliest",
                "drawn",
                "median",
                "p90",
                "lost",
                *map(str, THRESHOLDS),
            ],
            lines,
        )
        + "\n"
    )
    command = f"python -m benchmarks.many_outputs_variants --draws {arguments.draws}"
    write("many-outputs-variants", command, body, figures=[], json_file=None)


def variants() -> list[tuple[FewOutputs, Way]]:
    """How many outputs, and in which way."""

    def few(count: int, half: int | None = None) -> FewOutputs:
        plain = FewOutputs(num_classes=NUM_CLASSES, count=count, seed=0)
        return plain if half is None else Drawn(num_classes=NUM_CLASSES, count=count, seed=0, half=half)

    found: list[tuple[FewOutputs, Way]] = [(few(24), way) for way in get_args(Way)]
    found += [(few(count), "drawn") for count in (8, 16)]
    found += [(few(16), "apart but for itself")]
    return found + [(few(24, half), "apart but for itself") for half in (4, 10)]


if __name__ == "__main__":
    main()
