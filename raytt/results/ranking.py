"""Candidates in the order of what they cost to reach the target, or of their quality when their budgets end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytt.errors import StoreError
from raytt.pricing.machine import Timing, machines
from raytt.pricing.step_key import step_key
from raytt.pricing.terms import Terms
from raytt.results.decisions import Decision, decide
from raytt.results.display import Shown
from raytt.results.entry import Entry, by_quality, entry_from_json, entry_to_json
from raytt.results.fit import too_large
from raytt.results.pricing_document import (
    decision_to_json,
    quality_choice_to_json,
    terms_from_json,
    terms_to_json,
    timing_from_json,
    timing_to_json,
)
from raytt.results.quality_choice import QualityChoice, choose_quality
from raytt.results.quality_document import quality_columns
from raytt.store.text_files import write_json
from raytt.task.candidate import table
from raytt.task.early_stopping import EarlyStopping
from raytt.task.rank_objective import OBJECTIVES, RankObjective, usual_objective
from raytt.task.target import Target

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The numbers behind a ranking; None where not known."""

    num_samples: int | None = None
    """N, training samples probed."""
    num_samples_full: int | None = None
    """N_full, samples of the whole training set."""
    num_outputs: int | None = None
    """C, outputs of the network."""
    num_trainable: int | None = None
    """D, trainable parameters."""
    proj_dim: int | None = None
    """R, sketch dimension."""
    seed: int | None = None
    """From which everything random is derived."""
    num_paths: int | None = None
    """P, simulated sample paths per candidate."""
    initial_loss: float | None = None
    """Mean training loss at the pre-trained weights."""
    initial_val_loss: float | None = None
    """Mean validation loss there."""
    stability_limit: float | None = None
    """Learning rate at which plain SGD on all samples becomes unstable at the pre-trained weights."""
    usd_per_hour: float | None = None
    """Price of the training machine, US dollars per hour."""
    machine: str | None = None
    """Name of that machine: the candidates are ranked by their times and costs on it."""
    step_seconds: Mapping[int, float] = field(default_factory=dict)
    """Seconds per training step by batch size, the median where candidates differ in the network."""
    initial_losses: Mapping[str, float] = field(default_factory=dict)
    """Mean training loss at the pre-trained weights by `Candidate.family`, where families differ in it."""
    step_source: str | None = None
    """How the step times were obtained."""

    def start_of(self, target: Target) -> float | None:
        """The initial value of the loss that a target is on; None where it is not known."""
        return self.initial_val_loss if target.needs_validation else self.initial_loss


@dataclass(frozen=True, kw_only=True)
class Ranking(Shown):
    """Candidates by predicted cost, and what finding that out took."""

    task: str
    """Name of the task."""
    method: str
    """Solver of the dynamics: 'sgd' or 'sde'."""
    target: Target
    """The event whose step is predicted."""
    entries: tuple[Entry, ...]
    """All candidates, cheapest first; where there is an ``objective``, the best first."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each phase of the run took, in order."""
    notes: tuple[str, ...] = ()
    """What the user must know: sentences."""
    provenance: Provenance = field(default_factory=Provenance)
    """The numbers behind it."""
    timing: Timing = field(default_factory=Timing)
    """What is known of a training step, from which other machines are priced."""
    terms: Terms = field(default_factory=Terms)
    """Machines, budget and deadline that were asked for; costs are those of the first machine."""
    objective: str | None = None
    """What it is ranked by at the end of each candidate's own budget; None: by cost to the target."""
    early_stopping: EarlyStopping | None = None
    """How runs are ended before their budgets are, in their final qualities; None: they are not."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the arguments of the model that candidates have."""
        return tuple(sorted({name for entry in self.entries for name, _ in entry.candidate.model_arguments}))

    @property
    def best(self) -> Entry | None:
        """The first candidate: the cheapest that reaches the target, or the best at the end of its budget. None if none
        reaches the target, or all diverge.
        """
        if not self.entries:
            return None
        first = self.entries[0]
        if self.objective is not None:
            return first if first.quality is not None and first.quality.of(self.objective) is not None else None
        return first if first.forecast.reaches else None

    @property
    def quality_of_interest(self) -> RankObjective | None:
        """The objective of the view by quality: that of the ranking, else the first of `OBJECTIVES` that is known; None
        where no final quality is.
        """
        if self.objective is not None:
            return OBJECTIVES.get(self.objective)
        known = [set(e.quality.estimates) for e in self.entries if e.quality is not None and e.quality.estimates]
        name = usual_objective(set.intersection(*known)) if known else None
        return None if name is None else OBJECTIVES.get(name)

    def by_objective(self, objective: str | None = None) -> tuple[Entry, ...]:
        """All candidates, the best at the end of their own budgets first; they keep the rank of this ranking.

        Args:
            objective: A name in `OBJECTIVES`; None: `quality_of_interest`.

        Raises:
            InputError: If there is no such objective.
        """
        chosen = self.quality_of_interest if objective is None else OBJECTIVES.get(objective)
        return () if chosen is None else tuple(by_quality(self.entries, chosen))

    @property
    def total_seconds(self) -> float:
        """What the run of raytt took, seconds."""
        return sum(self.phases.values())

    @property
    def replaced_seconds(self) -> float:
        """Training time that trying all candidates would have taken (see `Entry.replaced_seconds`), seconds; with an
        objective to the ends of their runs.
        """
        if self.objective is not None:
            return sum(entry.run_seconds or 0.0 for entry in self.entries if entry.quality and entry.quality.estimates)
        return sum(entry.replaced_seconds for entry in self.entries)

    @property
    def saving(self) -> float | None:
        """Training time of all candidates over raytt's own time; None where that is not known."""
        saving = self.replaced_seconds / self.total_seconds if self.total_seconds > 0.0 else math.inf
        return saving if math.isfinite(saving) else None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings and None under the names that `save` documents; nothing is NaN or infinite."""
        provenance = asdict(self.provenance)
        provenance["step_seconds"] = {str(b): s for b, s in self.provenance.step_seconds.items()}
        return {
            "task": self.task,
            "method": self.method,
            "target": str(self.target),
            "objective": self.objective,
            "early_stopping": None if self.early_stopping is None else str(self.early_stopping),
            "phases": dict(self.phases),
            "raytt_seconds": self.total_seconds,
            "replaced_seconds": self.replaced_seconds,
            "saving": self.saving,
            "candidates": [entry_to_json(entry) for entry in self.entries],
            "notes": list(self.notes),
            "provenance": provenance,
            "timing": timing_to_json(self.timing),
            "terms": terms_to_json(self.terms),
            "decision": self._decision_to_json(),
            "quality_choice": self._quality_to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ranking:
        """The ranking that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: If it is something else.
        """
        known = {f.name for f in fields(Provenance)}
        provenance = {k: v for k, v in data["provenance"].items() if k in known}
        step_seconds = {int(b): s for b, s in provenance.pop("step_seconds").items()}
        return cls(
            task=data["task"],
            method=data["method"],
            target=Target.parse(data["target"]),
            phases=dict(data["phases"]),
            entries=tuple(entry_from_json(entry) for entry in data["candidates"]),
            notes=tuple(data["notes"]),
            provenance=Provenance(**provenance, step_seconds=step_seconds),
            timing=timing_from_json(data.get("timing", {})),
            terms=terms_from_json(data.get("terms", {})),
            objective=data.get("objective"),
            early_stopping=EarlyStopping.parse(stopping) if (stopping := data.get("early_stopping")) else None,
        )

    def save(self, path: str | Path) -> None:
        """Write JSON, replacing the file as a whole.

        Raises:
            StoreError: If the file cannot be written.
        """
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Ranking:
        """Read what `save` wrote.

        Raises:
            StoreError: If the file cannot be read or is not a ranking.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise StoreError(f"Cannot read {path}: {error.strerror or error}.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(f"{path} is not a ranking that raytt wrote ({type(error).__name__}: {error}).") from error

    def to_pandas(self) -> pd.DataFrame:
        """One row per candidate: rank, every hyperparameter, and the numbers of `to_json`."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "rank": entry.rank,
                    **settings,
                    **{k: v for k, v in numbers.items() if k not in ("config", "quality")},
                    **({} if entry.quality is None else quality_columns(entry.quality)),
                }
                for entry, settings, numbers in zip(
                    self.entries,
                    table([entry.candidate for entry in self.entries]),
                    self.to_json()["candidates"],
                    strict=True,
                )
            ]
        )

    def decide(self, terms: Terms | None = None) -> Decision:
        """What to train and where, by the terms of the run or by others; nothing is computed again."""
        asked = terms or self.terms
        keys = [step_key(entry.candidate) for entry in self.entries]
        pool, notes = machines(asked, self.timing, keys, usd_per_hour=self.provenance.usd_per_hour)
        decision = decide(self.entries, pool, asked, self.timing.memory)
        return replace(decision, notes=(*notes, *too_large(self.entries, pool, self.timing.memory)))

    def choose_quality(self, terms: Terms | None = None) -> QualityChoice | None:
        """The best quality within a budget of time or money, and the front of time against quality, by the terms of the
        run or by others; None where no final quality is known. Nothing is computed again.
        """
        objective = self.quality_of_interest
        if objective is None:
            return None
        asked = terms or self.terms
        keys = [step_key(entry.candidate) for entry in self.entries]
        pool, _ = machines(asked, self.timing, keys, usd_per_hour=self.provenance.usd_per_hour)
        return choose_quality(self.entries, pool, asked, objective)

    def _quality_to_json(self) -> dict[str, Any] | None:
        choice = self.choose_quality()
        return None if choice is None else quality_choice_to_json(choice)

    def _decision_to_json(self) -> dict[str, Any] | None:
        """What follows from the terms, without the plans that were not chosen; None where nothing was asked."""
        if not self.terms.asks:
            return None
        return {name: v for name, v in decision_to_json(self.decide()).items() if name not in ("terms", "plans")}
