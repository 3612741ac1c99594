"""A finished run, read back from its directory: nothing in it is computed again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from raytt.dynamics.kernel.spectrum import Spectrum
from raytt.dynamics.kernel.statistics import Statistics
from raytt.errors import StoreError
from raytt.forecast.curve_bands import FILE as CURVES_FILE
from raytt.forecast.curve_bands import Band, candidate_key, from_arrays
from raytt.forecast.reference_check import FILE as REFERENCE_FILE
from raytt.forecast.reference_check import ReferenceCheck
from raytt.results.ranking import Ranking
from raytt.store.run import Run
from raytt.task.candidate import Candidate


@dataclass(frozen=True, kw_only=True)
class Validated:
    """One configuration that was really trained, one of the checks in ``validation.json``."""

    config: Mapping[str, Any]
    """The configuration."""
    seed: int
    """Of its minibatches."""
    status: str
    """What really happened: "reached", "not reached", "diverged"."""
    predicted_steps: float | None = None
    """Median; None where the target was not predicted to be reached."""
    predicted_low: float | None = None
    """Lower end of the 90 % interval."""
    predicted_high: float | None = None
    """Upper end; None with a lower one: beyond the end of the budget."""
    real_steps: float | None = None
    """None where it was not reached."""
    predicted_seconds: float | None = None
    """Training time."""
    real_seconds: float | None = None
    """Training time."""
    predicted_accuracy: float | None = None
    """In [0, 1]."""
    real_accuracy: float | None = None
    """In [0, 1]."""
    predicted_final: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Quality at the end of its run by objective: median and 90 % interval."""
    real_final: Mapping[str, float] = field(default_factory=dict)
    """The same as it was; empty where the run was ended at the target."""

    @property
    def within(self) -> bool | None:
        """Whether the real steps lie in the predicted interval; None where either is not known."""
        if self.predicted_low is None or self.real_steps is None:
            return None
        return (
            self.predicted_low <= self.real_steps <= (math.inf if self.predicted_high is None else self.predicted_high)
        )


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What a run directory tells."""

    name: str
    """Of the run."""
    place: str
    """Path or URI of its directory."""
    ranking: Ranking
    """The result."""
    bands: Mapping[int, Band] = field(default_factory=dict)
    """Predicted curves by `candidate_key`."""
    statistics: Statistics | None = None
    """At the pre-trained weights."""
    spectrum: Spectrum | None = None
    """At the pre-trained weights."""
    references: tuple[ReferenceCheck, ...] = ()
    """The short real training of each optimizer family; none of a training-free ranking."""
    validation: tuple[Validated, ...] = ()
    """Where candidates were really trained to the target of the ranking."""
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What results depend on, by section: fingerprints, versions, seeds."""

    def band(self, candidate: Candidate) -> Band | None:
        """The predicted curves of a candidate; None where they were not kept."""
        return self.bands.get(candidate_key(candidate))


def load_ranking(place: str | Path) -> Ranking:
    """The ranking in a run directory, or in a JSON file that `Ranking.save` wrote.

    Raises:
        StoreError: If there is none.
    """
    if str(place).endswith(".json") and "://" not in str(place):
        return Ranking.load(place)
    return _ranking(Run.find(place))


def load_run(place: str | Path) -> FinishedRun:
    """Everything a report shows.

    Raises:
        StoreError: If there is no finished run, or one of its files is damaged.
    """
    run = Run.find(place)
    summary = _json(run, "tangent/summary.json")
    ranking = _ranking(run)
    references, validation = _json(run, REFERENCE_FILE), _json(run, "validation.json")
    return FinishedRun(
        name=run.name,
        place=run.storage.root,
        ranking=ranking,
        bands=from_arrays(run.storage.read_arrays(run.files[CURVES_FILE])) if CURVES_FILE in run.files else {},
        statistics=None if summary is None else Statistics(**summary["statistics"]),
        spectrum=None if summary is None else _spectrum(run, summary),
        references=() if references is None else _references(references),
        validation=() if validation is None else _validation(validation, ranking),
        facts=run.inputs,
    )


def _ranking(run: Run) -> Ranking:
    data = _json(run, "ranking.json")
    if data is None:
        raise StoreError(f"{run.storage.root} has no ranking.json: its run has not ended. Run the same command again.")
    try:
        return Ranking.from_json(data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"ranking.json in {run.storage.root} cannot be read ({type(error).__name__}: {error})."
        ) from error


def _json(run: Run, file: str) -> Any | None:
    record = run.files.get(file)
    if record is None or not run.storage.exists(file):
        return None
    if not run.storage.is_intact(record):
        raise StoreError(f"{file} in {run.storage.shown} is damaged: its checksum is not the recorded one.")
    try:
        return json.loads(run.storage.read_bytes(file))
    except ValueError as error:
        raise StoreError(f"{file} in {run.storage.root} is not JSON: {error}.") from error


def _spectrum(run: Run, summary: Mapping[str, Any]) -> Spectrum | None:
    record = run.files.get("tangent/spectrum.arrow")
    if record is None:
        return None
    arrays = run.storage.read_arrays(record)
    return Spectrum(
        eigenvalues=arrays["eigenvalues"],
        projections=arrays["projections"],
        **{name: summary[name] for name in ("remainder", "num_samples", "num_outputs")},
    )


def _references(data: Any) -> tuple[ReferenceCheck, ...]:
    try:
        return tuple(ReferenceCheck.from_json(item) for item in data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{REFERENCE_FILE} cannot be read ({type(error).__name__}: {error}).") from error


def _validation(data: Any, ranking: Ranking) -> tuple[Validated, ...]:
    """What was really trained to this target and by this objective: others are other questions, and their steps are no
    steps to this one.
    """
    known = {f.name for f in fields(Validated)}
    try:
        found = tuple(Validated(**{k: v for k, v in item.items() if k in known}) for item in data["checks"])
        same = data["target"] == str(ranking.target) and data.get("objective") == ranking.objective
        return found if same else ()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"validation.json cannot be read ({type(error).__name__}: {error}).") from error
