"""Candidates: the hyperparameter configurations that are compared."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytt.errors import InputError
from raytt.task.checks import whole, within
from raytt.task.optimizers import OPTIMIZERS, Optimizer
from raytt.task.schedules import SCHEDULES, Schedule

ModelArguments = tuple[tuple[str, Any], ...]
"""Names and values, sorted by name."""


@dataclass(frozen=True, kw_only=True, init=False)
class Candidate:
    """One configuration: optimizer, schedule, batch size and budget, validated when built.

    Step t = 0, 1, … takes the gradient g of the mean loss of its A minibatches of B samples, scaled down to
    ``max_grad_norm``, and makes the optimizer's update with learning rate η_t = lr · factor(t), as torch does.

    The optimizer and the schedule are objects with their own hyperparameters, or names, whose hyperparameters are then
    given flat: ``Candidate(lr=0.1, optimizer=Sgd(momentum=0.9))`` is ``Candidate(lr=0.1, momentum=0.9)``. Beside an
    object, flat hyperparameters replace its own, so that ``dataclasses.replace(candidate, momentum=0.5)`` works.

    Raises:
        InputError: If a hyperparameter is unknown, out of its bounds, or contradicts another.
    """

    optimizer: Optimizer
    """One of `raytt.task.optimizers.OPTIMIZERS`."""
    lr: float
    """Peak learning rate η > 0."""
    batch_size: int
    """B, samples per minibatch."""
    accumulation_steps: int
    """A, minibatches whose losses make one step (gradient accumulation): steps, warm-up and budgets count updates.
    """
    max_grad_norm: float | None
    """Norm over all trainable weights to which a longer gradient is scaled down (torch's clip_grad_norm_); None: no
    clipping."""
    schedule: Schedule
    """One of `raytt.task.schedules.SCHEDULES`; it begins after the warm-up and ends with the budget."""
    warmup_steps: int
    """W steps of linear warm-up, at (t + 1)/(W + 1) of lr (torch's LinearLR from 1/(W + 1) over W steps)."""
    warmup_ratio: float | None
    """W as a share of the budget, in (0, 1], rounded up to whole steps; at most one of warmup_steps and warmup_ratio.
    """
    max_epochs: float | None
    """Budget in epochs of the whole training set; the schedule ends there. None: the run's default budget."""
    max_steps: int | None
    """Budget in steps; at most one of max_epochs and max_steps."""
    model_arguments: ModelArguments
    """What the task's model factory is called with, such as the rank of adapters: names and values, sorted by name.
    Given as a mapping; none: the factory's own defaults."""

    def __init__(
        self,
        *,
        lr: float,
        optimizer: str | Optimizer = "sgd",
        batch_size: int = 32,
        accumulation_steps: int = 1,
        max_grad_norm: float | None = None,
        schedule: str | Schedule = "constant",
        warmup_steps: int = 0,
        warmup_ratio: float | None = None,
        max_epochs: float | None = None,
        max_steps: int | None = None,
        model_arguments: Mapping[str, Any] | ModelArguments = (),
        **own: Any,
    ) -> None:
        check_known(own)
        checked: dict[str, Any] = {
            "optimizer": _optimizer(optimizer, own),
            "lr": within("lr", lr, 0.0, math.inf, open_low=True),
            "batch_size": whole("batch_size", batch_size, 1),
            "accumulation_steps": whole("accumulation_steps", accumulation_steps, 1),
            "max_grad_norm": _positive("max_grad_norm", max_grad_norm),
            "schedule": _schedule(schedule, own),
            "warmup_steps": whole("warmup_steps", warmup_steps, 0),
            "warmup_ratio": None if warmup_ratio is None else within("warmup_ratio", warmup_ratio, 0.0, 1.0) or None,
            "max_epochs": _positive("max_epochs", max_epochs),
            "max_steps": None if max_steps is None else whole("max_steps", max_steps, 1),
            "model_arguments": checked_arguments(dict(model_arguments)),
        }
        for one, other in (("max_epochs", "max_steps"), ("warmup_steps", "warmup_ratio")):
            if checked[one] and checked[other]:
                raise InputError(f"Both {one} and {other} are given.", "Give one of the two.")
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        self.schedule.check(self.lr)
        if self.schedule.counts_epochs and self.max_epochs is None:
            raise InputError(
                f"The schedule {self.schedule.describe()!r} counts epochs, but the configuration has no max_epochs.",
                "Give max_epochs as its budget, or count in steps (step_size).",
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], model_names: Sequence[str] = ()) -> Candidate:
        """A candidate from a flat configuration, as a search space gives it; unknown keys are refused by name.

        Hyperparameters of other optimizers and schedules than the one it names are ignored, so that a search space over
        several can be flat.

        Args:
            config: By name; arguments of the model may also stand under 'model_arguments', as `config` writes them.
            model_names: Names that are arguments of the task's model factory.
        """
        own = {name: value for name, value in config.items() if name in model_names}
        config = {name: value for name, value in config.items() if name not in own}
        if own:
            config["model_arguments"] = {**dict(config.get("model_arguments", {})), **own}
        check_known(config, model_names=model_names)
        if "lr" not in config:
            raise InputError(
                f"The configuration {dict(config)!r} has no 'lr'.", "Add a learning rate to the search space."
            )
        return cls(**config)

    def config(self) -> dict[str, Any]:
        """As a flat dictionary: ``optimizer``, ``lr``, ``batch_size`` and whatever is not at its default."""
        defaults = {
            **_DEFAULTS,
            **{f.name: f.default for part in (self.optimizer, self.schedule) for f in fields(part)},
        }
        always = ("optimizer", "lr", "batch_size")
        found = {k: v for k, v in self._own_fields().items() if k in always or v != defaults[k]}
        written = {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}
        if self.model_arguments:
            arguments = {k: list(v) if isinstance(v, tuple) else v for k, v in self.model_arguments}
            written["model_arguments"] = arguments
        return written

    def flat(self) -> dict[str, Any]:
        """All its hyperparameters by name, in the order of `hyperparameters`; arguments of the model after them."""
        return self._own_fields() | dict(self.model_arguments)

    def _own_fields(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.name,
            "lr": self.lr,
            **_own(self.optimizer),
            "max_grad_norm": self.max_grad_norm,
            "batch_size": self.batch_size,
            "accumulation_steps": self.accumulation_steps,
            "schedule": self.schedule.name,
            "warmup_steps": self.warmup_steps,
            **_own(self.schedule),
            "max_epochs": self.max_epochs,
            "max_steps": self.max_steps,
            "warmup_ratio": self.warmup_ratio,
        }

    def sort_key(self) -> tuple[tuple[str, int, float, str], ...]:
        """A total order on candidates that does not depend on where they stand in the search space.

        Field by field in the order of `flat`: numbers by size, names by alphabet, None first; of a tuple the first
        number stands there, the others at the end. It holds the candidate's own fields only, and those of `_LATER` only
        where they are set, so that what is made from it stays the same when raytt gets another optimizer or schedule.
        """
        flat = {name: value for name, value in self.flat().items() if value != _LATER.get(name, ...)}
        further: dict[str, Any] = {}
        for name, value in flat.items():
            if isinstance(value, tuple):
                flat[name] = value[0] if value else None
                further |= {f"{name}_{place}": v for place, v in enumerate(value[1:], start=2)}
        return tuple((name, *_orderable(value)) for name, value in (flat | further).items())

    @property
    def family(self) -> str:
        """What shares a reference run: optimizer and arguments of the model, in words."""
        return ", ".join((self.optimizer.name, *(f"{name} {written(value)}" for name, value in self.model_arguments)))

    @property
    def samples_per_step(self) -> int:
        """B·A, the samples of one step."""
        return self.batch_size * self.accumulation_steps

    def budget(self, *, num_samples: int, default_epochs: float, last_batch: str = "straddle") -> int:
        """Steps this candidate may take on ``num_samples`` = N_full training samples (at least 1).

        Args:
            num_samples: N_full.
            default_epochs: Where it has no budget of its own.
            last_batch: How epochs end, see `raytt.task.minibatches.iterate_steps`: 'drop' leaves ⌊N/B⌋ minibatches in
                an epoch, 'keep' ⌈N/B⌉.
        """
        if self.max_steps is not None:
            return self.max_steps
        epochs = self.max_epochs if self.max_epochs is not None else default_epochs
        if last_batch != "straddle":
            whole, rest = divmod(num_samples, self.batch_size)
            minibatches = whole + (1 if rest and last_batch == "keep" else 0)
            return max(1, math.ceil(round(epochs * minibatches, 6) / self.accumulation_steps))
        # Rounded so that 0.1 epochs of 3,000 samples are 300 samples, not 300.00000000000006.
        return max(1, math.ceil(round(epochs * num_samples, 6) / self.samples_per_step))

    def warmup(self, steps: int) -> int:
        """W, steps of warm-up of a budget of ``steps``; may exceed the budget."""
        if self.warmup_ratio is None:
            return self.warmup_steps
        # Rounded so that 0.07 of 300 steps are 21, not 22 because of 21.000000000000004.
        return math.ceil(round(self.warmup_ratio * steps, 6))

    def lr_factors(self, steps: int) -> NDArray[np.float64]:
        """factor(t) for t = 0…steps−1, what ``lr`` is multiplied with; shape ``(steps,)``.

        ``steps`` is the candidate's whole budget T, W its warm-up: (t+1)/(W+1) for t < W, then what the schedule makes
        of t − W steps out of T − W.
        """
        warm = self.warmup(steps)
        t = np.arange(steps, dtype=np.float64)
        factors = (t + 1.0) / (warm + 1.0)
        if steps > warm:
            schedule = self.schedule.in_steps(steps / self.max_epochs) if self.max_epochs else self.schedule
            factors[warm:] = schedule.after_warmup(t[warm:] - warm, steps - warm, self.lr)
        return factors

    def learning_rates(self, steps: int) -> NDArray[np.float64]:
        """η_t = lr · factor(t) for t = 0…steps−1 of a budget of ``steps``; shape ``(steps,)``."""
        return self.lr * self.lr_factors(steps)

    def effective_rates(self, steps: int) -> NDArray[np.float64]:
        """Displacement per unit of a constant gradient in each step of a budget of ``steps``; shape ``(steps,)``.

        The sum of them is the candidate's learning-rate time: see `Optimizer.effective_rates`.
        """
        return self.optimizer.effective_rates(self.learning_rates(steps))

    @property
    def effective_lr(self) -> float:
        """What the optimizer makes of the peak learning rate: see `Optimizer.effective_lr`."""
        return self.optimizer.effective_lr(self.lr)

    def doubts(self) -> tuple[str, ...]:
        """What its simulation leaves out or simplifies, in plain words."""
        return self.optimizer.doubts(clips=self.max_grad_norm is not None)


def hyperparameters() -> tuple[str, ...]:
    """The names of all hyperparameters that some candidate has, in canonical order."""
    return (
        *("optimizer", "lr", *_names(OPTIMIZERS), "max_grad_norm", "batch_size", "accumulation_steps", "schedule"),
        *("warmup_steps", *_names(SCHEDULES), "max_epochs", "max_steps", "warmup_ratio"),
    )


def names_of(candidates: Iterable[Candidate]) -> tuple[str, ...]:
    """`hyperparameters`, and after them the arguments of the model that some candidates have, by alphabet."""
    return (*hyperparameters(), *sorted({name for c in candidates for name, _ in c.model_arguments}))


def table(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """`Candidate.flat` of each, all with the same names: None where a candidate does not have a hyperparameter."""
    rows = [candidate.flat() for candidate in candidates]
    names = [name for name in names_of(candidates) if any(name in row for row in rows)]
    return [{name: row.get(name) for name in names} for row in rows]


def takes_several(name: str) -> bool:
    """Whether the value of a hyperparameter is several numbers, as with ``betas``."""
    kinds = [f.type for kind in (*OPTIMIZERS, *SCHEDULES) for f in fields(kind) if f.name == name]
    return any(str(kind).startswith("tuple") for kind in kinds)


_DEFAULTS = {name: p.default for name, p in inspect.signature(Candidate.__init__).parameters.items()}
_LATER: dict[str, Any] = {"warmup_ratio": None, "accumulation_steps": 1, "step_epochs": None}
"""Fields that came after the first release, with the value that stands for what was before."""


ELSEWHERE = {
    "learning_rate": "lr",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation_steps",
    "num_train_epochs": "max_epochs",
    "epochs": "max_epochs",
    "lr_scheduler_type": "schedule",
    "scheduler": "schedule",
    "optim": "optimizer",
    "wd": "weight_decay",
    "clip_grad": "max_grad_norm",
    "gradient_clip_val": "max_grad_norm",
}
"""What hyperparameters are called in other libraries, and here."""


def _names(kinds: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f.name for kind in kinds for f in fields(kind)))


def _own(part: Optimizer | Schedule) -> dict[str, Any]:
    return {f.name: getattr(part, f.name) for f in fields(part)}


def checked_arguments(given: Mapping[str, Any]) -> ModelArguments:
    """Arguments of a model as a candidate keeps them: sorted by name, lists as tuples, numbers as Python's own.

    Raises:
        InputError: If a value is neither text, a number, None nor several of these, or an argument has the name of a
            hyperparameter.
    """
    found = []
    for name, value in sorted(given.items()):
        if name in hyperparameters():
            raise InputError(
                f"{name!r} is given as an argument of the model, but is the name of a hyperparameter.",
                "Call the argument of the model factory something else.",
            )
        found.append((name, _plain(name, value)))
    return tuple(found)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_plain(name, one) for one in value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise InputError(
        f"The argument {name!r} of the model is a {type(value).__name__}: {value!r}.",
        "Give text, a number, True or False, or a list of these, and let the model factory make of it what it needs.",
    )


def check_known(config: Mapping[str, Any], place: str | None = None, model_names: Sequence[str] = ()) -> None:
    """Raise `InputError` with the nearest known name if a key is no hyperparameter.

    Args:
        config: Flat.
        place: Where it stands, for the message; None shows the configuration.
        model_names: Further names that are known: arguments of the task's model factory.
    """
    known = (*hyperparameters(), *model_names)
    for key in config:
        if key not in known and key != "model_arguments":
            near = [ELSEWHERE[key]] if key in ELSEWHERE else difflib.get_close_matches(str(key), known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            shown = place or f"in {dict(config)!r}"
            raise InputError(f"Unknown hyperparameter {key!r} {shown}.", f"{hint}Known: {', '.join(known)}.")


def _optimizer(given: str | Optimizer, flat: Mapping[str, Any]) -> Optimizer:
    kind = OPTIMIZERS.get(given.name if isinstance(given, Optimizer) else given)
    names = _names([kind])
    kind.check_others({name: value for name, value in flat.items() if name not in names})
    own = {name: value for name, value in flat.items() if name in names}
    return replace(given, **own) if isinstance(given, Optimizer) else kind(**own)


def _schedule(given: str | Schedule, flat: Mapping[str, Any]) -> Schedule:
    kind = SCHEDULES.get(given.name if isinstance(given, Schedule) else given)
    own = {name: value for name, value in flat.items() if name in _names([kind])}
    return replace(given, **own) if isinstance(given, Schedule) else kind.from_settings(own)


def _positive(name: str, value: float | None) -> float | None:
    return None if value is None else within(name, value, 0.0, math.inf, open_low=True)


def written(value: Any) -> str:
    """An argument of the model in words."""
    if isinstance(value, tuple):
        return "+".join(map(written, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _orderable(value: Any) -> tuple[int, float, str]:
    if value is None:
        return (0, 0.0, "")
    return (2, 0.0, value) if isinstance(value, str) else (1, float(value), "")
