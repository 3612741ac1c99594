"""What an optimizer is to raytt, and what is common to those that divide by a root mean square of the gradient."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.checks import within

if TYPE_CHECKING:
    from torch import Tensor, optim
    from torch.optim.optimizer import ParamsT

Rate = TypeVar("Rate", float, NDArray[np.float64])
"""A learning rate, or one per step."""


@dataclass(frozen=True, kw_only=True)
class WeightTensor:
    """A trainable tensor of the network, for optimizers that treat tensors as wholes."""

    shape: tuple[int, ...]
    """Of the tensor."""
    rms: float
    """RMS(W), the root mean square of its weights."""
    resolution: float
    """Distance from 1 to the next number of its dtype."""

    @property
    def size(self) -> int:
        """Number of its weights."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """An optimizer with its own hyperparameters, which are the fields of the subclass.

    Fields are checked and put in plain form (float, bool, tuple) when the optimizer is built, so that two that train
    alike are equal and have equal hashes. The learning rate is not among them: it belongs to the `Candidate`. The order
    of the fields is part of the canonical order of candidates (`Candidate.sort_key`): a field that is added later goes
    last.
    """

    name: ClassVar[str]
    """Name in the registry, and the ``optimizer`` of a configuration."""
    trusted_share: ClassVar[float]
    """With a reference run: peak learning rate over the stability limit at the sharpest tangent, beyond which a run is
    at the edge of stability: it may train, but the step at which it reaches a loss is not predictable."""
    scale_free: ClassVar[bool] = False
    """Whether a step stays the same when all gradients are multiplied by one number."""
    plain_decay: ClassVar[bool] = True
    """Whether weight decay moves weights by −λ w per `effective_rates`, not divided by a preconditioner."""
    factored: ClassVar[bool] = False
    """Whether of tensors with two dimensions or more means over each of the last two are kept, not `state_numbers`."""

    @abstractmethod
    def torch(self, parameters: ParamsT, lr: float) -> optim.Optimizer:
        """The optimizer of ``torch.optim`` with these hyperparameters.

        Args:
            parameters: What it trains, or parameter groups of torch, whose own settings go before these.
            lr: Learning rate.
        """

    @property
    @abstractmethod
    def state_numbers(self) -> int:
        """Numbers that torch's optimizer keeps per trainable parameter, in its dtype; single ones do not count."""

    @abstractmethod
    def scratch_numbers(self, *, together: bool) -> int:
        """Numbers per parameter that an update needs besides gradient and state, and frees again.

        Args:
            together: Of all parameters at once, as torch's implementations for many tensors (``foreach``), which it
                takes on GPUs; else of one parameter after the other.
        """

    @abstractmethod
    def effective_lr(self, lr: Rate) -> Rate:
        """Multiplier of the step under a constant gradient, once moving averages have settled.

        The weights then move by −effective_lr · g per step, for an `Adaptive` optimizer by −effective_lr · D⁻¹ g.
        """

    def effective_rates(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiplier of each step t = 0, 1, … under a constant gradient while moving averages settle, shape ``(T,)``.

        Args:
            rates: η_t, shape ``(T,)``. torch multiplies the whole velocity by the learning rate of the step, as here.
        """
        return self.effective_lr(rates)

    def descent_scale(
        self, squared_mean: Tensor, variance: Tensor, tensors: Sequence[WeightTensor] = ()
    ) -> Tensor | None:
        """What each coordinate of the gradient is multiplied with; None where that is 1.

        Args:
            squared_mean: ḡ² of a minibatch's gradient, shape ``(D,)``.
            variance: s² of it at the candidate's batch size, shape ``(D,)``.
            tensors: Those that the coordinates are of, one after the other; some optimizers do not need them.
        """
        return None

    @abstractmethod
    def stability_limit(self, sharpness: float) -> float:
        """Largest learning rate at which full-batch steps on a quadratic do not diverge; +inf where it is flat.

        Args:
            sharpness: Largest curvature λ, for an `Adaptive` optimizer that of D^−½ H D^−½.
        """

    @abstractmethod
    def stability_share(self, lr: float, sharpness: float) -> float:
        """``lr`` over `stability_limit`; 1 is the edge of stability."""

    @classmethod
    @abstractmethod
    def reference(cls, candidates: Sequence[tuple[Self, float]], *, stability_limit: float) -> tuple[Self, float]:
        """Optimizer and learning rate of the short real training that stands for some candidates.

        Args:
            candidates: Optimizer and learning rate of each, at least one.
            stability_limit: Of plain SGD at the pre-trained weights, +inf where unknown.
        """

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """Hyperparameters that are not at their default in a few words each, by field, for tables."""

    def doubts(self, *, clips: bool) -> tuple[str, ...]:
        """What the simulation of this optimizer leaves out or simplifies, in plain words.

        Args:
            clips: Whether gradients are clipped.
        """
        return ()

    @classmethod  # noqa: B027 -- SGD ignores them all
    def check_others(cls, others: Mapping[str, Any]) -> None:
        """Check hyperparameters of other optimizers that a configuration gives beside this one's.

        They are ignored, so that a search space over several optimizers can be flat, unless that would mislead.

        Raises:
            InputError: If one asks for something that this optimizer has under another name, or not at all.
        """

    def _set(self, **values: Any) -> None:
        """Replace hyperparameters by their plain form while the optimizer is built."""
        for key, value in values.items():
            object.__setattr__(self, key, value)


@dataclass(frozen=True, kw_only=True)
class Adaptive(Optimizer):
    """An optimizer that divides each weight's step by D = √v + ε, v a moving average of its squared gradients.

    D is not known before any step is taken, so that candidates of such an optimizer need a reference run.
    """

    trusted_share: ClassVar[float] = 0.4
    """Lower than SGD's, because the first steps are wilder than the settled preconditioner tells: every weight moves by
    the whole learning rate, and features may change several-fold before the first tangent. Measured with AdamW: of the
    accuracy record, digits at 0.9 took 3.4 times the predicted steps to 0.1 of the initial loss, ten classes of
    Fashion-MNIST at 0.42 nine times those to 0.2; digits at 0.6 took what was predicted."""
    scale_free: ClassVar[bool] = True
    moment: ClassVar[str]
    """Key of v in torch's state of a parameter."""

    @property
    @abstractmethod
    def eps(self) -> float:
        """ε > 0."""

    @abstractmethod
    def moment_correction(self, steps: int) -> float:
        """What v is divided by before the root is taken, after so many steps."""

    def descent_scale(self, squared_mean: Tensor, variance: Tensor, tensors: Sequence[WeightTensor] = ()) -> Tensor:
        """1 / (√(ḡ² + s²) + ε): v is a moving average of g², and E g² = ḡ² + s²."""
        return 1.0 / ((squared_mean + variance).sqrt() + self.eps)

    def doubts(self, *, clips: bool) -> tuple[str, ...]:
        """Clipping: the simulated gradient is preconditioned, and the norm of the plain one is not known."""
        if not clips:
            return ()
        return (f"its max_grad_norm is left out of the simulation, as always with {self.name}",)


COUPLED_DECAY = "its weight decay is simulated with one average preconditioner for all weights"
"""Doubt about an `Adaptive` optimizer whose weight decay is part of the gradient: see `raytt.dynamics.steppers`."""


def check_betas(betas: Any) -> tuple[float, float]:
    """(β₁, β₂) of moving averages in plain form.

    Raises:
        InputError: If they are not two numbers in [0, 1).
    """
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise InputError(f"betas is {betas!r}.", "Give two numbers (β₁, β₂), each in [0, 1).")
    return (
        within("β₁ of betas", betas[0], 0.0, 1.0, open_high=True),
        within("β₂ of betas", betas[1], 0.0, 1.0, open_high=True),
    )


def refuse_momentum(name: str, others: Mapping[str, Any], *, known: Sequence[str], remedy: str) -> None:
    """Refuse momentum settings that an optimizer would ignore.

    Args:
        name: Of the optimizer.
        others: Hyperparameters it does not have.
        known: Those of momentum and nesterov that it does not have.
        remedy: What to do instead.
    """
    defaults = {"momentum": 0.0, "nesterov": False}
    given = {key: others.get(key, defaults[key]) for key in known}
    if any(value != defaults[key] for key, value in given.items()):
        shown = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise InputError(f"optimizer={name!r} with {shown}.", remedy)


def log_median(values: Sequence[float]) -> float:
    """The exponential of the median of the logarithms."""
    return math.exp(float(np.median([math.log(value) for value in values])))
