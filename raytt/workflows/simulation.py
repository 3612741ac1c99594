"""Simulated learning curves: of the reference runs, whose error is known, of all candidates, and without noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.stages.full_dataset import solve_whole
from raytt.cluster.stages.solve import Simulation, Solvers
from raytt.cluster.stages.subsample import Opened
from raytt.dynamics.curves import CandidateCurves
from raytt.forecast.control_variate import PAST_END, WIDEST, Correction, exponent_of
from raytt.forecast.forecast import needs_full_batch
from raytt.forecast.prediction import Prediction
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from raytt.workflows.reference_paths import ReferencePaths


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulator:
    """Simulates candidates on the tasks of `Solvers`."""

    solvers: Solvers
    """The linearized network and who works on it."""
    simulation: Simulation
    """How; the same for all."""
    data: Opened
    """How many samples there are, and how many were probed."""
    lifts: bool
    """Whether curves are carried over from the probed samples to the whole set (`raytt.forecast.full_dataset`)."""
    phase: Phase
    """Shows progress."""

    def candidates(
        self,
        budgets: Mapping[Candidate, int],
        *,
        num_paths: int | None = None,
        known: Mapping[Candidate, CandidateCurves] | None = None,
    ) -> dict[Candidate, CandidateCurves]:
        """Curves of candidates.

        Args:
            budgets: Steps each may take.
            num_paths: Sample paths; None: all that are wanted.
            known: Curves on fewer paths, which are taken over.
        """
        simulation = self.simulation if num_paths is None else replace(self.simulation, num_paths=num_paths)
        return self._solve(budgets, simulation, self.data.num_full, known=known)

    def references(self, paths: ReferencePaths) -> tuple[dict[str, CandidateCurves], dict[str, Correction]]:
        """Each reference run simulated on its own path, and how far off that is."""
        rows: dict[str, CandidateCurves] = {}
        corrections: dict[str, Correction] = {}
        num_samples, num_trained = self.data.num, self.data.num_trained
        for family, path in paths.tangents.items():
            reference = path.reference
            ratio = float(reference.losses.min() / reference.losses[0])
            goal = Target(kind="loss_ratio", value=min(0.99, PAST_END * ratio))
            steps = {reference.candidate: max(10, int(WIDEST * int(reference.steps[-1])))}
            found = self._solve(steps, replace(self.simulation, target=goal), num_trained)
            rows[family] = row = found[reference.candidate]
            exponent = exponent_of(
                features_move=paths.trust[family].features_move,
                all_samples=num_samples == num_trained,
                lifts=self.lifts,
            )
            corrections[family] = Correction.measure(
                reference.steps.astype(np.float64),
                reference.losses,
                row.curves.steps,
                row.curves.train_loss[row.number],
                exponent=exponent,
            )
        return rows, corrections

    def without_noise(self, found: Prediction) -> dict[Candidate, CandidateCurves]:
        """Full-batch curves of those candidates for which it is in doubt whether noise is to blame."""
        doubtful = {
            c: budget
            for c, budget in found.budgets.items()
            if needs_full_batch(
                found.rows[c].curves,
                found.rows[c].number,
                target=self.simulation.target,
                budget=budget,
                candidate=c,
                num_samples=found.num_samples,
                num_samples_full=found.num_samples_full,
            )
        }
        return self.solvers.solve(doubtful, replace(self.simulation, full_batch=True), self.phase)

    def _solve(
        self,
        budgets: Mapping[Candidate, int],
        simulation: Simulation,
        num_samples_full: int,
        *,
        known: Mapping[Candidate, CandidateCurves] | None = None,
    ) -> dict[Candidate, CandidateCurves]:
        return solve_whole(
            self.solvers,
            budgets,
            simulation,
            self.phase,
            num_samples=self.data.num,
            num_samples_full=num_samples_full if self.lifts else self.data.num,
            known=known,
        )
