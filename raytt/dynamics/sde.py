"""Stochastic differential equation of SGD on the linearized network, for many candidates and paths at once.

Predicting the steps of fine-tuning by such an equation on the network linearized at its pre-trained weights is due to
Zancato et al. 2020 (arXiv 2008.12478).

Notation: η_t learning rate of step t, μ momentum, λ weight decay, B batch size, N samples; effective learning rate
η_t/(1 − μ); rescaled time τ(t) = Σ_{s<t} η_s/(1 − μ), interpolated between steps; ḡ(w) full-batch gradient, Σ(w)
gradient-noise covariance.

    dw = −(ḡ + λ w) dτ + √(η_eff/B) Σ^{½} dW_τ        (Li, Tai, E 2017, arXiv 1511.06251, with time rescaled)

In τ all candidates follow the same drift, so that they share one grid of times and each step is two matrix products
over all candidates and paths. Σ is never formed: with ξ ~ N(0, I_N) per path, shared by its candidates, and ξ̄ its
mean, (1/√N) Σ_i (ξ_i − ξ̄) Z_iᵀ g_i has covariance Σ, so that drift and noise are one product with the coefficients
−h/N − (ξ_i − ξ̄) √(q/(B N)), where q = ∫ η_eff dτ over the step. Batches are taken as independent draws: that a real
epoch visits each sample once, which lowers the noise, is not in this equation, nor is the velocity's own memory.

One step of length h (Heun for the drift, Euler–Maruyama for the noise, with the noise in the predictor):

    w̃ = w + h a(w) + b(w) ΔW,    w⁺ = w̃ + (h/2) (a(w̃) − a(w))

Order claimed: with ε² = η_eff/B, the error of means of smooth functions is O(h² + ε² h): order 2 in the drift, weak
order 1 in the noise, where the error is small with the noise itself (Milstein, Tret'yakov, *Numerical methods in the
weak sense for stochastic differential equations with small noise*, SIAM J. Numer. Anal. 34, 1997). The next h follows
from how much the loss bends over a step, and is bounded for stability by the curvature at the start; no candidate asks
for a step shorter than its own η_eff, below which the equation means nothing (one whose noise is out of scale would
otherwise bring all others to a halt). No step is taken back, because rejecting would depend on the draws and bias
them. Weight decay of the part along w₀ is exact: 1 + α = e^{−λτ}.

The continuous flow does not know that finite steps can diverge: that verdict is taken from the stability limit at the
start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raytt.dynamics.draws import path_seed
from raytt.dynamics.kernel.statistics import statistics_of
from raytt.dynamics.network import Batch, LinearNetwork
from raytt.dynamics.recording import Measurements, Recorder
from raytt.dynamics.steppers import optimizers_of
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss
from raytt.task.optimizers import Sgd

TOLERANCE = 0.01
"""Second-order part of the loss's change over one step, ½ dfᵀ H df over the loss (mean over paths, worst candidate).
The scheme contains it; its error is of the next order. Curves without noise are then off by
at most 0.6 % on the problems of the tests, interpolation included."""
STABLE = 1.0
"""Longest step times the largest curvature at the start; the scheme's drift is stable up to 2."""
SAFETY, GROWTH, SHRINK = 0.8, 1.5, 0.2
"""Next step over this one: `SAFETY` × √(tolerance/error), between `SHRINK` and `GROWTH`."""

_TINY = 1e-30
"""Keeps a vanishing loss or error out of denominators."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Clock:
    """Rescaled time of one candidate."""

    tau: Floats
    """τ after 0, 1, …, T steps and far beyond at the last learning rate, shape (T + 2,), increasing (not strictly)."""
    variance: Floats
    """∫ η_eff dτ up to there, shape (T + 2,)."""

    @classmethod
    def of(cls, candidate: Candidate, budget: int) -> Clock:
        """That of a candidate with a budget of T steps."""
        rates = candidate.optimizer.effective_lr(candidate.learning_rates(budget))
        tau = np.concatenate([[0.0], np.cumsum(rates)])
        variance = np.concatenate([[0.0], np.cumsum(np.square(rates))])
        # The last step overshoots the end of some candidates; its noise must not stop there.
        beyond = 1e3 * tau[-1]
        return cls(
            tau=np.append(tau, tau[-1] + beyond),
            variance=np.append(variance, variance[-1] + beyond * rates[np.flatnonzero(rates)[-1]]),
        )

    @property
    def end(self) -> float:
        """τ after the whole budget."""
        return float(self.tau[-2])

    def rate(self, tau: float) -> float:
        """η_eff at τ: the length in τ of the optimizer step there."""
        step = min(int(np.searchsorted(self.tau, tau, side="right")), len(self.tau) - 2)
        return float(self.tau[step] - self.tau[step - 1]) if step > 0 else 0.0

    def noise(self, start: float, end: float) -> float:
        """∫ η_eff dτ from ``start`` to ``end``."""
        early, late = np.interp([start, end], self.tau, self.variance)
        return float(late - early)


class _Rows:
    """State of the rows (candidate, path) still running."""

    def __init__(self, network: LinearNetwork, candidates: Sequence[Candidate], paths: int) -> None:
        self.candidates, self.paths = (x.reshape(-1) for x in np.indices((len(candidates), paths)))
        self.state = network.zeros(len(self.candidates))
        decay = np.array([o.weight_decay for o in optimizers_of(candidates, Sgd)])[self.candidates]
        self.decay = self.tensor(decay) if decay.any() else None

    def alpha(self, tau: float) -> Tensor | None:
        """α = e^{−λτ} − 1 per row, shape (k,); None where no row decays."""
        return None if self.decay is None else torch.expm1(-self.decay * tau)

    def tensor(self, values: Floats) -> Tensor:
        """Numbers per row as a tensor like the state."""
        return torch.as_tensor(values, dtype=self.state.dtype, device=self.state.device)

    def draws(self, xi: Tensor) -> Tensor:
        """Draws of each row's path, ``(P, N) -> (k, N)``."""
        return xi.to(dtype=self.state.dtype, device=self.state.device)[torch.as_tensor(self.paths, device=xi.device)]

    def keep(self, rows: NDArray[np.bool_]) -> None:
        self.candidates, self.paths = self.candidates[rows], self.paths[rows]
        index = torch.as_tensor(np.flatnonzero(rows), device=self.state.device)
        self.state = self.state.index_select(0, index)
        self.decay = None if self.decay is None else self.decay.index_select(0, index)


def increment(
    network: LinearNetwork, residual: Tensor, everything: Batch, *, step: float, variance: Tensor, xi: Tensor
) -> Tensor:
    """Drift and noise over one step, −h ḡ + √v Σ^{½} ζ with ζ standard normal, in one product.

    Args:
        network: The linearized network.
        residual: g of all samples, shape (k, N, C).
        everything: `LinearNetwork.full_batch`.
        step: h.
        variance: v = ∫ η_eff dτ / B of each row, shape (k,).
        xi: ξ, standard normal numbers per row and sample, shape (k, N).

    Returns:
        Change of the state, shape (k, width).
    """
    num_samples = residual.shape[1]
    centred = xi - xi.mean(dim=1, keepdim=True)
    coefficients = -step / num_samples - centred * (variance / num_samples).sqrt().unsqueeze(1)
    change = network.zeros(len(residual))
    network.accumulate(change, residual * coefficients.unsqueeze(2), everything, 1.0)
    return change


def heun_step(
    network: LinearNetwork,
    loss: Loss,
    state: Tensor,
    residual: Tensor,
    everything: Batch,
    *,
    step: float,
    variance: Tensor,
    xi: Tensor,
    decay: Tensor | None = None,
    alpha: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of the scheme in the module's docstring.

    Args:
        network: The linearized network.
        loss: Loss on outputs.
        state: w, shape (k, width).
        residual: g at w, shape (k, N, C).
        everything: `LinearNetwork.full_batch`.
        step: h.
        variance: See `increment`.
        xi: See `increment`.
        decay: λ per row, shape (k,), or None for 0.
        alpha: α at the end of the step, shape (k,), or None for 0.

    Returns:
        w⁺, and the outputs and the residual at the predictor w̃, shape (k, N, C) each.
    """
    change = increment(network, residual, everything, step=step, variance=variance, xi=xi)
    if decay is not None:
        change.addcmul_(state, (-step * decay).unsqueeze(1))
    state = state + change
    reached = network.outputs(state, alpha, everything)
    predicted = loss.residual(reached, everything.targets)
    correction = torch.zeros_like(state)
    network.accumulate(correction, predicted - residual, everything, -0.5 * step / residual.shape[1])
    if decay is not None:
        correction.addcmul_(change, (-0.5 * step * decay).unsqueeze(1))
    return state.add_(correction), reached, predicted


def simulate_sde(
    network: LinearNetwork,
    loss: Loss,
    candidates: Sequence[Candidate],
    budgets: Sequence[int],
    recorder: Recorder,
    *,
    paths: int,
    seed: int,
    full_batch: bool,
    tolerance: float = TOLERANCE,
    step: float | None = None,
    stops: Sequence[int] | None = None,
) -> None:
    """Integrate all rows and store what the recorder wants, interpolated between the integrator's own times.

    Args:
        network: The linearized network; its floating type and device are those of the simulation.
        loss: Loss on outputs.
        candidates: M candidates of optimizer sgd and equal batch size.
        budgets: Steps of each; schedules end there.
        recorder: Receives the curves.
        paths: P.
        seed: Of the noise.
        full_batch: Without noise.
        tolerance: See `TOLERANCE`.
        step: Fixed length of steps in τ instead of adaptive ones.
        stops: Optimizer step at which each candidate is given up, at most its budget; None for none.

    The grid of times follows the worst row, so that other candidates in the block change results within the tolerance.
    """
    clocks = [Clock.of(c, budget) for c, budget in zip(candidates, budgets, strict=True)]
    ends = np.array([clock.tau[stop] for clock, stop in zip(clocks, stops or budgets, strict=True)])
    due = np.stack([np.interp(recorder.steps, np.arange(len(c.tau) - 1), c.tau[:-1]) for c in clocks])
    due[recorder.steps[None, :] > np.asarray(budgets)[:, None]] = np.inf
    everything = network.full_batch()
    num_samples = everything.outputs.shape[0]
    generator = torch.Generator().manual_seed(path_seed(seed, 0, "sde"))
    rows = _Rows(network, candidates, paths)
    tau = 0.0
    outputs, residual, now = _look(network, loss, recorder, rows, everything, tau)
    going = ~recorder.store(0, rows.candidates, rows.paths, now) & (ends[rows.candidates] > 0)
    curvature = statistics_of(network.train, loss).top_curvature
    longest = STABLE / curvature if curvature > 0 else max(float(ends.max()), _TINY)
    h = step if step is not None else min(longest, _first_step(network, everything, rows, residual, now, tolerance))
    while going.any():
        if not going.all():
            rows.keep(going)
            outputs, residual, now = _look(network, loss, recorder, rows, everything, tau)
        h = min(h, float(ends[rows.candidates].max()) - tau)
        variance = np.zeros(len(candidates))
        if not full_batch:
            for c in np.unique(rows.candidates):
                variance[c] = clocks[c].noise(tau, tau + h) / candidates[c].samples_per_step
        xi = torch.randn(paths, num_samples, generator=generator, dtype=torch.float64)
        rows.state, reached, predicted = heun_step(
            network,
            loss,
            rows.state,
            residual,
            everything,
            step=h,
            variance=rows.tensor(variance[rows.candidates]),
            xi=rows.draws(xi),
            decay=rows.decay,
            alpha=rows.alpha(tau + h),
        )
        bend = 0.5 * ((predicted - residual) * (reached - outputs)).sum(dim=2).mean(dim=1)
        errors = _errors(bend.to(torch.float64).cpu().numpy(), now, rows)
        before = now
        outputs, residual, now = _look(network, loss, recorder, rows, everything, tau + h)
        going = _store_between(recorder, rows, before, now, due, tau, tau + h) & (ends[rows.candidates] > tau + h)
        tau += h
        if step is None:
            wanted = h * np.clip(SAFETY * np.sqrt(tolerance / np.maximum(errors, _TINY)), SHRINK, GROWTH)
            running = np.unique(rows.candidates[going]) if going.any() else np.arange(0)
            rates = np.array([clocks[c].rate(tau) for c in running])
            h = min(longest, float(np.min(np.maximum(wanted[running], rates), initial=np.inf)))


def _look(
    network: LinearNetwork, loss: Loss, recorder: Recorder, rows: _Rows, everything: Batch, tau: float
) -> tuple[Tensor, Tensor, Measurements]:
    """Outputs, residuals and measurements of the rows as they are."""
    alpha = rows.alpha(tau)
    outputs = network.outputs(rows.state, alpha, everything)
    paths = torch.as_tensor(rows.paths, device=outputs.device)
    measured = recorder.measure(outputs, network.validation_outputs(rows.state, alpha), paths)
    return outputs, loss.residual(outputs, everything.targets), measured


def _first_step(
    network: LinearNetwork,
    everything: Batch,
    rows: _Rows,
    residual: Tensor,
    now: Measurements,
    tolerance: float,
) -> float:
    """The step on which the loss would fall by the share √tolerance at its initial rate ‖ḡ‖²; all rows start alike."""
    gradient = network.zeros(1)
    network.accumulate(gradient, residual[:1], everything, 1.0 / residual.shape[1])
    falls = float((network.moved(gradient, everything) * residual[:1]).sum()) / residual.shape[1]
    share = float(np.sqrt(tolerance)) * abs(float(now.train_loss[0]))
    return share / falls if falls > 0 else np.inf


def _errors(bend: Floats, now: Measurements, rows: _Rows) -> Floats:
    """Mean over the finite paths of |bend| / loss by number of the candidate, 0 where there is none."""
    finite = np.isfinite(bend) & np.isfinite(now.train_loss)
    share = np.abs(bend[finite]) / np.maximum(np.abs(now.train_loss[finite]), _TINY)
    count = int(rows.candidates.max()) + 1
    counts = np.maximum(1, np.bincount(rows.candidates[finite], minlength=count))
    return np.asarray(np.bincount(rows.candidates[finite], weights=share, minlength=count) / counts)


def _store_between(
    recorder: Recorder, rows: _Rows, before: Measurements, now: Measurements, due: Floats, start: float, end: float
) -> NDArray[np.bool_]:
    """Store what falls due in (start, end]; returns which rows go on. One that diverged goes on to its next record."""
    times = due[rows.candidates]
    row, record = np.nonzero((times > start) & (times <= end))
    going = np.ones(len(times), dtype=bool)
    if len(row) == 0:
        return going
    blended = before.blend(now, row, (times[row, record] - start) / (end - start))
    finished = recorder.store(record, rows.candidates[row], rows.paths[row], blended)
    going[row[finished]] = False
    return going
