"""What raytt's unfitted constants are worth: ``python -m benchmarks.constants [--tasks …] [--parts …]``.

Each constant is varied (off, half, as it is, double), everything else fixed, and the figure that it was chosen for is
printed for every value, per task. Sections: *forecasts* (simulated once, forecast again with each value), *references*
(reference runs begun at right and wrong learning rates), *growth* and *whole-set* (simulated anew with each value),
*noise-floors*, *stopper*, *moving* (how far features move along the path). Lines already computed are kept under
``runs/constants`` and used again; the report is written after every section, so that a run that is cut short leaves
what it has.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.accuracy.predict import Setting, run_prediction, unique
from benchmarks.accuracy.record import load_rows
from benchmarks.accuracy.tasks import load
from benchmarks.report import table, write
from raytt.forecast.prediction import Prediction
from raytt.forecast.reference_choice import reference_candidate

from . import forecasts, references, simulations, stopping

Lines = list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table of the report."""

    name: str
    title: str
    """Said above the table."""
    header: tuple[str, ...]
    of_parts: bool = False
    """Whether its tasks are those of which a part of the samples is probed."""


ERRORS = ("constant", "task", "optimizer", "value", *forecasts.ERROR_HEADER)
SECTIONS = (
    Section(
        name="forecasts",
        title="Errors |ln(predicted/real)| of steps in per cent, over all runs and thresholds of the record that are "
        "reached; a prediction of “never” counts as ∞.",
        header=ERRORS,
    ),
    Section(
        name="far",
        title="Predictions that are called far below the loss at which the reference run stopped (`FAR_RATIO`), in per "
        "cent of all, their errors and those of the others.",
        header=("task", "FAR_RATIO", "called far", "their median |err|", "p90", "median |err| of the others", "p90 "),
    ),
    Section(
        name="moving",
        title="Largest relative change of the rows' mean square along the path, which `STILL` is compared with.",
        header=("task", "optimizer", "change"),
    ),
    Section(
        name="stopper",
        title="The recorded runs replayed as trials to 0.1 of the initial loss: those ended though they would have "
        "arrived, and steps saved in per cent of those to arrival or to the end of the budget.",
        header=("constant", "task", "value", "trials", "would arrive", "ended wrongly", "steps saved"),
    ),
    Section(
        name="shares",
        title="Reference runs of SGD begun where `SAFE_SHARE` says.",
        header=("constant", "task", "value", *references.RUN_HEADER),
    ),
    Section(
        name="references",
        title=f"Reference runs begun at {', '.join(f'{f:.2g}' for f in references.FACTORS)} times the learning rate "
        f"that raytt chooses, at most {references.MOST_STEPS} steps each.",
        header=("constant", "task", "value", *references.RUN_HEADER),
    ),
    Section(
        name="noise-floors",
        title="Simulations without minibatch noise that a value asks for (they cost N samples a step), and the "
        "candidates that they tell to be at a noise floor, of those predicted to miss the target.",
        header=("constant", "task", "value", "miss the target", "full-batch simulations", "noise floors"),
    ),
    Section(
        name="part",
        title="The same as the first table where a part of the samples was probed.",
        header=ERRORS,
        of_parts=True,
    ),
    Section(
        name="whole-set",
        title="Curves carried over from the probed samples to the whole set, beside real training on all of them.",
        header=ERRORS,
        of_parts=True,
    ),
    Section(name="growth", title="Growth of features past the end of the path.", header=ERRORS),
)


class Lab:
    """Predictions, made once."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting, self.folder = setting, folder
        self._known: dict[str, Prediction] = {}

    def of(self, task: str) -> tuple[Setting, str]:
        """Setting and name of a task, which may be given as ``digits:128``."""
        name, _, samples = task.partition(":")
        return replace(self.setting, samples=int(samples) if samples else None), name

    def prediction(self, task: str) -> Prediction:
        """As raytt makes it."""
        if task not in self._known:
            setting, name = self.of(task)
            self._known[task] = run_prediction(load(name), unique(load_rows(name)), setting, self.folder)[0]
        return self._known[task]


def moving(task: str, lab: Lab) -> Lines:
    """From what the run directory keeps of each tangent."""
    setting, name = lab.of(task)
    lab.prediction(task)
    squares: dict[str, list[float]] = {}
    for file in sorted((lab.folder / f"{name}-{setting.label()}" / "probe").glob("*-changes-*.json")):
        squares.setdefault(file.name.partition("-")[0], []).append(json.loads(file.read_text())[1])
    changes = {family: max(abs(s - found[0]) / found[0] for s in found) for family, found in squares.items()}
    return [[task, family, f"{change:.2g}"] for family, change in changes.items()]


def compute(section: str, task: str, lab: Lab, seeds: Sequence[int]) -> Iterable[list[str]]:
    """The lines of a section for a task."""
    setting, name = lab.of(task)
    rows = load_rows(name)
    if section == "references":
        return _references(task, lab, seeds)
    if section == "shares":
        found = lab.prediction(task)
        limit = found.statistics.stability_limit()
        return references.shares(task, load(name), list(found.budgets), limit, seeds, found.num_samples)
    if section == "noise-floors":
        return forecasts.noise_floors(task, simulations.doubtful(name, setting, lab.folder), setting.target())
    makers: dict[str, Callable[[], Iterable[list[str]]]] = {
        "forecasts": lambda: forecasts.errors(task, lab.prediction(task), rows),
        "part": lambda: forecasts.errors(task, lab.prediction(task), rows),
        "far": lambda: forecasts.far(task, lab.prediction(task), rows),
        "moving": lambda: moving(task, lab),
        "stopper": lambda: stopping.replayed(task, lab.prediction(task), rows),
        "whole-set": lambda: simulations.lifted(name, setting, lab.folder),
        "growth": lambda: simulations.growth(name, setting, lab.folder),
    }
    return makers[section]()


def _references(task: str, lab: Lab, seeds: Sequence[int]) -> Iterable[list[str]]:
    found = lab.prediction(task)
    limit = found.statistics.stability_limit()
    families = sorted({c.optimizer.name for c in found.budgets})
    starts = [
        reference_candidate([c for c in found.budgets if c.optimizer.name == family], stability_limit=limit)
        for family in families
    ]
    return references.rules(task, load(lab.of(task)[1]), starts, seeds, found.num_samples)


def main() -> None:
    """Vary, score, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="diabetes,docstrings")
    parser.add_argument("--parts", default="diabetes:100", help="tasks of which so many samples are probed")
    parser.add_argument("--sections", default=",".join(section.name for section in SECTIONS))
    parser.add_argument("--seeds", type=int, default=2, help="of each reference run")
    parser.add_argument("--proj-dim", type=int, default=2048)
    parser.add_argument("--paths", type=int, default=4)
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--kept", type=Path, default=Path("runs/constants"))
    parser.add_argument("--json", dest="json_file")
    arguments = parser.parse_args()
    lab = Lab(Setting(proj_dim=arguments.proj_dim, num_paths=arguments.paths), arguments.runs)
    arguments.kept.mkdir(parents=True, exist_ok=True)
    wanted = arguments.sections.split(",")
    told: dict[str, Lines] = {}
    for section in SECTIONS:
        for task in (arguments.parts if section.of_parts else arguments.tasks).split(","):
            kept = arguments.kept / f"{section.name}-{task.replace(':', '-')}.json"
            if not kept.exists():
                if section.name not in wanted or not task:
                    continue
                lines: Lines = []
                for line in compute(section.name, task, lab, range(arguments.seeds)):
                    lines.append(line)
                    print(f"{section.name}:", *line, file=sys.stderr, flush=True)
                kept.write_text(json.dumps(lines))
            told.setdefault(section.name, []).extend(json.loads(kept.read_text()))
            _report(told, arguments)


def _report(told: dict[str, Lines], arguments: argparse.Namespace) -> None:
    setting = f"R = {arguments.proj_dim}, {arguments.paths} sample paths, reference runs to 0.2 of the initial loss."
    body = f"Each constant varied, all else fixed; {setting}\n"
    for section in SECTIONS:
        if section.name in told:
            body += f"\n## {section.name}\n\n{section.title}\n\n{table(section.header, told[section.name])}\n"
    write(
        "constants",
        f"python -m benchmarks.constants --tasks {arguments.tasks} --parts '{arguments.parts}'",
        body,
        figures=told,
        json_file=arguments.json_file,
    )


if __name__ == "__main__":
    main()
