"""Learning-rate schedules of transformers and of raytt, in both directions.

After the warm-up the two are the same function of the step. In the warm-up transformers takes t/W of the learning rate
in step t = 0 … W − 1, so that its first step does nothing, and raytt (t + 1)/(W + 1); they differ by less than 1/W.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from raytt.errors import InputError
from raytt.task.candidate import Candidate
from raytt.task.schedules import Schedule

Settings = dict[str, Any]


def schedule_settings(kind: str, given: Mapping[str, Any], *, lr: float, warmup_steps: int) -> Settings:
    """Hyperparameters of a candidate: ``schedule``, the schedule's own, and ``warmup_steps``.

    Args:
        kind: ``lr_scheduler_type``.
        given: ``lr_scheduler_kwargs``.
        lr: Peak learning rate.
        warmup_steps: W.

    Raises:
        InputError: If raytt does not have the schedule, or not with these settings.
    """
    readers = {
        "constant": _constant,
        "constant_with_warmup": _constant,
        "linear": _plain("linear"),
        "cosine": _cosine,
        "cosine_with_restarts": _cosine_with_restarts,
        "cosine_with_min_lr": _cosine_with_min_lr,
        "polynomial": _polynomial,
        "inverse_sqrt": _inverse_sqrt,
        "warmup_stable_decay": _wsd,
    }
    if kind not in readers:
        raise InputError(
            f"lr_scheduler_type is {kind!r}, which raytt does not have.", f"Use one of: {', '.join(readers)}."
        )
    rest = dict(given)
    found = readers[kind](rest, lr, warmup_steps)
    if rest:
        raise InputError(
            f"lr_scheduler_kwargs has {', '.join(f'{k}={v!r}' for k, v in rest.items())} with {kind!r}, which raytt "
            "does not have.",
            "Leave it at its default.",
        )
    # transformers' plain constant schedule leaves the warm-up out.
    return {**found, "warmup_steps": 0 if kind == "constant" else warmup_steps}


def scheduler_arguments(candidate: Candidate, *, steps: int) -> Settings:
    """``lr_scheduler_type``, ``lr_scheduler_kwargs`` and ``warmup_steps`` of a candidate.

    Args:
        candidate: Whose schedule.
        steps: Its whole budget T.

    Raises:
        InputError: If transformers has no such schedule by name.
    """
    warmup = candidate.warmup(steps)
    kind, own = _named(candidate.schedule, warmup=warmup, span=max(1, steps - warmup))
    return {"lr_scheduler_type": kind, "lr_scheduler_kwargs": own, "warmup_steps": warmup}


def _constant(rest: Settings, lr: float, warmup: int) -> Settings:
    return {"schedule": "constant"}


def _plain(name: str) -> Callable[[Settings, float, int], Settings]:
    return lambda rest, lr, warmup: {"schedule": name}


def _half_cosine(rest: Settings) -> None:
    """Take out ``num_cycles`` where it is the default, half a cosine."""
    if rest.get("num_cycles", 0.5) == 0.5:
        rest.pop("num_cycles", None)


def _cosine(rest: Settings, lr: float, warmup: int) -> Settings:
    _half_cosine(rest)
    return {"schedule": "cosine"}


def _cosine_with_restarts(rest: Settings, lr: float, warmup: int) -> Settings:
    return {"schedule": "cosine_with_restarts", "num_cycles": rest.pop("num_cycles", 1)}


def _cosine_with_min_lr(rest: Settings, lr: float, warmup: int) -> Settings:
    _half_cosine(rest)
    share, lowest = rest.pop("min_lr_rate", None), rest.pop("min_lr", None)
    return {"schedule": "cosine", "min_lr": lr * share if lowest is None and share is not None else lowest or 0.0}


def _polynomial(rest: Settings, lr: float, warmup: int) -> Settings:
    return {"schedule": "polynomial", "power": rest.pop("power", 1.0), "min_lr": rest.pop("lr_end", 1e-7)}


def _inverse_sqrt(rest: Settings, lr: float, warmup: int) -> Settings:
    timescale = rest.pop("timescale", None)
    return {"schedule": "inverse_sqrt", "timescale": timescale or warmup or 10_000}


def _wsd(rest: Settings, lr: float, warmup: int) -> Settings:
    if "num_decay_steps" not in rest:
        raise InputError(
            "lr_scheduler_kwargs has no num_decay_steps, which 'warmup_stable_decay' needs.", "Give num_decay_steps."
        )
    _half_cosine(rest)
    if rest.get("warmup_type", "linear") == "linear":
        rest.pop("warmup_type", None)
    return {
        "schedule": "wsd",
        "decay_steps": rest.pop("num_decay_steps"),
        "decay_type": rest.pop("decay_type", "cosine"),
        "min_lr_ratio": rest.pop("min_lr_ratio", 0.0),
    }


def _named(schedule: Schedule, *, warmup: int, span: int) -> tuple[str, Settings]:
    own: Any = schedule
    match schedule.name:
        case "constant":
            return ("constant_with_warmup" if warmup else "constant"), {}
        case "linear" if own.min_lr:
            return "polynomial", {"power": 1.0, "lr_end": own.min_lr}
        case "linear":
            return "linear", {}
        case "cosine" if own.min_lr:
            return "cosine_with_min_lr", {"min_lr": own.min_lr}
        case "cosine":
            return "cosine", {}
        case "cosine_with_restarts":
            return "cosine_with_restarts", {"num_cycles": own.num_cycles}
        case "polynomial":
            return "polynomial", {"power": own.power, "lr_end": own.min_lr}
        case "inverse_sqrt":
            return "inverse_sqrt", {"timescale": own.timescale}
        case "wsd":
            return "warmup_stable_decay", {
                "num_decay_steps": own.steps_of_decay(span),
                "decay_type": own.decay_type,
                "min_lr_ratio": own.min_lr_ratio,
            }
    raise InputError(
        f"transformers has no schedule {schedule.name!r} by name.",
        "Give Trainer the optimizer and its LambdaLR with candidate.lr_factors(steps) as `optimizers`.",
    )
