"""Simulated learning curves of all candidates, and the forecasts that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from raytt.dynamics.curves import CandidateCurves
from raytt.dynamics.kernel.spectrum import Spectrum
from raytt.dynamics.kernel.statistics import Statistics
from raytt.forecast.control_variate import Correction
from raytt.forecast.curve_bands import Band, band_of
from raytt.forecast.final_quality import FinalQuality
from raytt.forecast.forecast import Forecast, Status, forecast, reaches, spread_of_paths
from raytt.forecast.reference_check import ReferenceCheck, ReferenceCurve
from raytt.forecast.screening import ON_ONE_PATH, WITHIN, shared_variances
from raytt.forecast.trust import PathTrust
from raytt.pricing.machine import Timing
from raytt.pricing.step_key import StepKey
from raytt.pricing.step_time import StepTime
from raytt.probe.worker import ProbeFacts
from raytt.task.candidate import Candidate
from raytt.task.early_stopping import EarlyStopping
from raytt.task.optimizers import Adaptive
from raytt.task.target import Target


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Simulated curves of all candidates, and everything else that a forecast needs."""

    budgets: Mapping[Candidate, int]
    """Steps each candidate may take."""
    rows: Mapping[Candidate, CandidateCurves]
    """Their curves."""
    quiet: Mapping[Candidate, CandidateCurves]
    """Full-batch curves of the candidates that may miss the target because of minibatch noise."""
    num_paths: int
    """P, of candidates that pass the screening (`raytt.forecast.screening`); others were simulated on one path."""
    num_samples: int
    """N."""
    num_samples_full: int
    """N_full."""
    facts: ProbeFacts
    """What the network is."""
    statistics: Statistics
    """Of gradient and curvature at the pre-trained weights."""
    spectrum: Spectrum
    """Of Θ/N there."""
    made_from: str
    """Fingerprint of the tangent at the pre-trained weights."""
    step_times: Mapping[StepKey, StepTime]
    """By batch size."""
    timing: Timing
    """Step times with the work of a step, from which times on other machines follow."""
    work_notes: tuple[str, ...]
    """Notes for the user on how the work of a step was counted."""
    reference_notes: tuple[str, ...]
    """Notes for the user on the reference runs' data."""
    references: tuple[ReferenceCurve, ...]
    """Reference runs."""
    trust: Mapping[str, PathTrust]
    """By optimizer family with a reference run."""
    corrections: Mapping[str, Correction]
    """By optimizer family with a reference run."""
    reference_rows: Mapping[str, CandidateCurves]
    """Simulations of the reference runs, by family."""

    @property
    def method(self) -> str | None:
        """``path`` where predictions follow reference runs; None: the solver's own name."""
        return "path" if self.references else None

    @property
    def num_outputs(self) -> int | None:
        """C."""
        return self.facts.num_outputs

    @property
    def num_trainable(self) -> int:
        """D."""
        return self.facts.num_trainable

    @property
    def initial_losses(self) -> Mapping[str, float]:
        """None: all start from the same outputs."""
        return {}

    @property
    def initial_val_loss(self) -> float | None:
        """None: it is not among what the reduction tells."""
        return None

    @property
    def initial_loss(self) -> float:
        """Mean training loss at the pre-trained weights."""
        return self.statistics.mean_loss

    @property
    def stability_limit(self) -> float:
        """Of plain SGD at the pre-trained weights."""
        return self.statistics.stability_limit()

    @property
    def checks(self) -> tuple[ReferenceCheck, ...]:
        """Each reference run beside its simulation."""
        return reference_checks(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know, one sentence each."""
        return (
            *self.facts.notes,
            *(check.note for check in self.checks),
            *self.reference_notes,
            *self.screening_notes,
        )

    def qualities(
        self, objective: str | None = None, stopping: EarlyStopping | None = None
    ) -> dict[Candidate, FinalQuality]:
        """None: simulations end at the target, not with the budget."""
        return {}

    def bands(self) -> dict[Candidate, Band]:
        """Median curves with bands over sample paths, at corrected steps."""
        found = {}
        for c, budget in self.budgets.items():
            band = band_of(self.rows[c].curves, self.rows[c].number, budget=budget)
            correction = self._correction(c)
            if correction is not None:
                band = replace(band, steps=correction.apply(band.steps, band.curves["train_loss"][1:2]))
            found[c] = band
        return found

    @property
    def screened_out(self) -> list[Candidate]:
        """Candidates that were simulated on one path because they cost much more than the cheapest."""
        return [c for c, row in self.rows.items() if row.curves.train_loss.shape[1] < self.num_paths]

    @property
    def screening_notes(self) -> tuple[str, ...]:
        """Notes for the user on the screening."""
        out = len(self.screened_out)
        if not out:
            return ()
        return (
            f"{out} of {len(self.rows)} candidates cost more than {WITHIN:g} times the cheapest: simulated on one "
            f"sample path instead of {self.num_paths}; the variance in their intervals is that of similar candidates.",
        )

    def forecasts(self, target: Target, *, corrected: bool = True) -> dict[Candidate, Forecast]:
        """The forecast of each candidate.

        Args:
            target: The event; simulations have gone on to the target they were made for.
            corrected: Whether steps are corrected for the bias measured on the reference run.
        """
        out = set(self.screened_out)
        corrections = {c: self._correction(c) for c in self.budgets} if corrected else {}
        variances: dict[Candidate, float] = {}
        if out:
            spreads = {
                c: spread_of_paths(
                    self.rows[c].curves,
                    self.rows[c].number,
                    target=target,
                    budget=budget,
                    steps_per_epoch=self.num_samples_full / c.samples_per_step,
                    correction=corrections.get(c),
                )
                for c, budget in self.budgets.items()
                if c not in out
            }
            variances = shared_variances(spreads, out)
        misled = self._misled()
        return {
            c: self._forecast(
                c,
                target,
                corrections.get(c),
                variances.get(c),
                on_one_path=c in out,
                misled=misled.get(c.optimizer.name),
            )
            for c in self.budgets
        }

    def _correction(self, candidate: Candidate) -> Correction | None:
        family = candidate.optimizer.name
        found = self.corrections.get(family)
        if found is None or not self.trust[family].features_move:
            return found
        return found.of(candidate, next(r.candidate for r in self.references if r.optimizer == family))

    def _forecast(
        self,
        candidate: Candidate,
        target: Target,
        correction: Correction | None,
        path_variance: float | None,
        *,
        on_one_path: bool,
        misled: str | None,
    ) -> Forecast:
        c, budget, statistics = candidate, self.budgets[candidate], self.statistics
        row, quiet = self.rows[c], self.quiet.get(c)
        # Whose curvature at the pre-trained weights, without a preconditioner, tells nothing.
        adaptive = isinstance(c.optimizer, Adaptive)
        found = forecast(
            row.curves,
            row.number,
            target=target,
            budget=budget,
            num_samples=self.num_samples,
            num_samples_full=self.num_samples_full,
            candidate=c,
            stability_share=0.0 if adaptive else statistics.stability_share(c.optimizer, c.lr),
            full_batch_reaches=None
            if quiet is None
            else reaches(
                quiet.curves,
                quiet.number,
                target=target,
                budget=budget,
                steps_per_epoch=self.num_samples_full / c.samples_per_step,
            ),
            correction=correction,
            trust=self.trust.get(c.optimizer.name),
            path_variance=path_variance,
        )
        if not found.reaches:
            return found
        doubts = (*found.doubts, *((ON_ONE_PATH,) if on_one_path else ()))
        if misled is None:
            return replace(found, doubts=doubts)
        return replace(found, status=Status.UNTRUSTED, doubts=(*doubts, misled))

    def _misled(self) -> dict[str, str]:
        """By family whose path is not to be trusted: why.

        Where only some samples are probed a reference run's simulation overfits them: that is what the correction is
        for, and no sign of a path that leads elsewhere.
        """
        if self.num_samples < self.num_samples_full:
            return {}
        return {
            check.candidate.optimizer.name: f"the reference run that it follows is badly predicted: {check.quality}"
            for check in self.checks
            if check.misleads
        }


def reference_checks(found: Prediction) -> tuple[ReferenceCheck, ...]:
    """Each reference run compared with its simulation."""
    checks = []
    for reference in found.references:
        row = found.reference_rows[reference.optimizer]
        simulated = row.curves.steps <= row.curves.steps_done[row.number]
        checks.append(
            ReferenceCheck.measure(
                reference.candidate,
                steps=reference.steps,
                losses=reference.losses,
                simulated_steps=row.curves.steps[simulated],
                simulated=row.curves.train_loss[row.number][:, simulated],
                wasted_steps=reference.wasted_steps,
                stopped=reference.stopped,
            )
        )
    return tuple(checks)
