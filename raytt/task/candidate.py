"""Candidates: the hyperparameter configurations that are compared, and their learning-rate schedules."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "cosine", "linear", "step")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One configuration: optimizer, schedule, batch size and budget, validated when built.

    With η_t = lr · schedule(t), and g the gradient of the batch's mean loss after clipping to ``max_grad_norm``, the
    updates are torch's:

    * ``sgd``: u ← g + λw; v ← μv + u (v ← u at the first step); w ← w − η_t (u + μv if nesterov else v).
    * ``adamw`` (Loshchilov and Hutter 2019, arXiv 1711.05101): m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²;
      w ← (1 − η_t λ) w − η_t m̂ / (√v̂ + ε), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).
    """

    optimizer: str = "sgd"
    """One of `OPTIMIZERS`."""
    lr: float
    """Peak learning rate η > 0."""
    momentum: float = 0.0
    """μ in [0, 1)."""
    nesterov: bool = False
    """Nesterov momentum; needs momentum > 0."""
    weight_decay: float = 0.0
    """λ ≥ 0, per step and weight: coupled to the gradient for sgd, decoupled for adamw. (torch's AdamW has 0.01 by
    default; here the default is none.)"""
    betas: tuple[float, float] = (0.9, 0.999)
    """(β₁, β₂) of adamw, each in [0, 1)."""
    eps: float = 1e-8
    """ε > 0 of adamw."""
    max_grad_norm: float | None = None
    """Norm over all trainable weights to which a longer gradient is scaled down (torch's clip_grad_norm_); None: no
    clipping."""
    batch_size: int = 32
    """B, samples per step."""
    schedule: str = "constant"
    """One of `SCHEDULES`; each may follow a warm-up."""
    warmup_steps: int = 0
    """W steps of linear warm-up, at (t + 1)/(W + 1) of lr (torch's LinearLR from 1/(W + 1) over W steps)."""
    step_size: int = 0
    """Steps between decays of schedule 'step'."""
    gamma: float = 0.1
    """Factor of each decay of schedule 'step'."""
    max_epochs: float | None = None
    """Budget in epochs of the whole training set; the schedules end there. None: the run's default budget."""
    max_steps: int | None = None
    """Budget in steps; at most one of max_epochs and max_steps."""

    def __post_init__(self) -> None:
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        if not isinstance(self.nesterov, bool):
            raise InputError(f"nesterov is {self.nesterov!r}; it must be True or False.", "Give True or False.")
        _within("lr", self.lr, 0.0, math.inf, open_low=True)
        _within("momentum", self.momentum, 0.0, 1.0, open_high=True)
        _within("weight_decay", self.weight_decay, 0.0, math.inf)
        _within("gamma", self.gamma, 0.0, 1.0)
        if self.max_grad_norm is not None:
            _within("max_grad_norm", self.max_grad_norm, 0.0, math.inf, open_low=True)
        self._check_adam()
        _whole("batch_size", self.batch_size, 1)
        _whole("warmup_steps", self.warmup_steps, 0)
        _whole("step_size", self.step_size, 1 if self.schedule == "step" else 0)
        if self.nesterov and self.momentum == 0.0:
            raise InputError("nesterov=True with momentum=0.", "Give a momentum above 0, or leave nesterov out.")
        if self.max_epochs is not None and self.max_steps is not None:
            raise InputError("Both max_epochs and max_steps are given.", "Give one of the two.")
        if self.max_epochs is not None:
            _within("max_epochs", self.max_epochs, 0.0, math.inf, open_low=True)
        if self.max_steps is not None:
            _whole("max_steps", self.max_steps, 1)
        self._normalise()

    def _check_adam(self) -> None:
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise InputError(f"betas is {self.betas!r}.", "Give two numbers (β₁, β₂), each in [0, 1).")
        for name, beta in zip(("β₁ of betas", "β₂ of betas"), self.betas, strict=True):
            _within(name, beta, 0.0, 1.0, open_high=True)
        _within("eps", self.eps, 0.0, math.inf, open_low=True)
        if self.optimizer == "adamw" and (self.momentum != 0.0 or self.nesterov):
            raise InputError(
                f"optimizer='adamw' with momentum={self.momentum!r}, nesterov={self.nesterov!r}.",
                "AdamW's momentum is its first beta: leave momentum and nesterov out (in a search space, make them "
                "depend on the optimizer).",
            )

    def _normalise(self) -> None:
        """Make candidates that train alike equal: 1 and 1.0 are one number, unused hyperparameters are reset."""
        object.__setattr__(self, "betas", (float(self.betas[0]), float(self.betas[1])))
        if self.optimizer == "sgd":
            object.__setattr__(self, "betas", (0.9, 0.999))
            object.__setattr__(self, "eps", 1e-8)
        for name in ("lr", "momentum", "weight_decay", "gamma", "max_epochs", "eps", "max_grad_norm"):
            value = getattr(self, name)
            # Adding 0.0 turns -0.0 into 0.0.
            object.__setattr__(self, name, None if value is None else float(value) + 0.0)
        if self.schedule != "step":
            object.__setattr__(self, "step_size", 0)
            object.__setattr__(self, "gamma", 0.1)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Candidate:
        """A candidate from a flat configuration, as a search space gives it; unknown keys are refused by name."""
        known = [f.name for f in fields(cls)]
        for key in config:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                raise InputError(
                    f"Unknown hyperparameter {key!r} in {dict(config)!r}.", f"{hint}Known: {', '.join(known)}."
                )
        if "lr" not in config:
            raise InputError(
                f"The configuration {dict(config)!r} has no 'lr'.", "Add a learning rate to the search space."
            )
        return cls(**{str(k): _plain(str(k), v) for k, v in config.items()})

    def config(self) -> dict[str, Any]:
        """As a flat dictionary: ``optimizer``, ``lr``, ``batch_size`` and whatever is not at its default."""
        defaults = {f.name: f.default for f in fields(self)}
        always = ("optimizer", "lr", "batch_size")
        found = {k: v for k, v in asdict(self).items() if k in always or v != defaults[k]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}

    def sort_key(self) -> tuple[tuple[str, int, float, str], ...]:
        """A total order on candidates that does not depend on where they stand in the search space.

        Field by field in the order in which they are declared: numbers by size, names by alphabet, None first.
        """
        flat = {**asdict(self), "betas": self.betas[0], "beta_2": self.betas[1]}
        return tuple((name, *_orderable(value)) for name, value in flat.items())

    def budget(self, *, num_samples: int, default_epochs: float) -> int:
        """Steps this candidate may take on ``num_samples`` = N_full training samples (at least 1)."""
        if self.max_steps is not None:
            return self.max_steps
        epochs = self.max_epochs if self.max_epochs is not None else default_epochs
        # Rounded so that 0.1 epochs of 3,000 samples are 300 samples, not 300.00000000000006.
        return max(1, math.ceil(round(epochs * num_samples, 6) / self.batch_size))

    def lr_factors(self, steps: int) -> NDArray[np.float64]:
        """schedule(t) for t = 0…steps−1, to be multiplied with ``lr``; shape ``(steps,)``.

        ``steps`` is the candidate's whole budget T, W its warm-up:
        warm-up (t+1)/(W+1) for t < W; then, with u = (t − W)/(T − W): constant 1; cosine ½(1 + cos πu); linear 1 − u;
        step gamma^⌊(t − W)/step_size⌋.
        """
        t = np.arange(steps, dtype=np.float64)
        warm = self.warmup_steps
        after = np.maximum(t - warm, 0.0)
        span = max(1, steps - warm)
        if self.schedule == "cosine":
            factors = 0.5 * (1.0 + np.cos(np.pi * after / span))
        elif self.schedule == "linear":
            factors = 1.0 - after / span
        elif self.schedule == "step":
            factors = self.gamma ** (after // self.step_size)
        else:
            factors = np.ones(steps)
        factors[:warm] = (t[:warm] + 1.0) / (warm + 1.0)
        return factors


_WHOLE_FIELDS = ("batch_size", "warmup_steps", "step_size", "max_steps")


def _plain(name: str, value: Any) -> Any:
    """A Python scalar in place of a numpy one, and 32 in place of 32.0: search spaces give both (``quniform``)."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, list):
        return tuple(value)
    return int(value) if name in _WHOLE_FIELDS and isinstance(value, float) and value.is_integer() else value


def _orderable(value: Any) -> tuple[int, float, str]:
    if value is None:
        return (0, 0.0, "")
    return (2, 0.0, value) if isinstance(value, str) else (1, float(value), "")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value).lower(), known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(f"Unknown {name} {value!r}.", f"{hint}Known: {', '.join(known)}.")


def _within(
    name: str, value: float, low: float, high: float, *, open_low: bool = False, open_high: bool = False
) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    inside = number and (value > low if open_low else value >= low) and (value < high if open_high else value <= high)
    if not inside:
        bounds = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high or math.isinf(high) else ']'}"
        raise InputError(f"{name} is {value!r}, outside {bounds}.", f"Give a number in {bounds}.")


def _whole(name: str, value: int, low: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise InputError(
            f"{name} is {value!r}; it must be a whole number of at least {low}.", f"Give an integer ≥ {low}."
        )
