"""Learning-rate schedules, each a pure function of the step in a file of its own, registered here by its name.

A new schedule is a subclass of `Schedule` in a new file, one more entry below, and one more example in the contract
tests.
"""

from __future__ import annotations

from raytt.task.registry import Registry
from raytt.task.schedules._base import Schedule
from raytt.task.schedules.constant import Constant
from raytt.task.schedules.cosine import Cosine
from raytt.task.schedules.cosine_with_restarts import CosineWithRestarts
from raytt.task.schedules.exponential import Exponential
from raytt.task.schedules.inverse_sqrt import InverseSqrt
from raytt.task.schedules.linear import Linear
from raytt.task.schedules.one_cycle import OneCycle
from raytt.task.schedules.polynomial import Polynomial
from raytt.task.schedules.step import Step
from raytt.task.schedules.wsd import WarmupStableDecay

_ALL: tuple[type[Schedule], ...] = (
    Constant,
    Cosine,
    Linear,
    Step,
    Polynomial,
    InverseSqrt,
    OneCycle,
    WarmupStableDecay,
    CosineWithRestarts,
    Exponential,
)

SCHEDULES: Registry[type[Schedule]] = Registry("schedule")
for _schedule in _ALL:
    SCHEDULES.register(_schedule.name, _schedule)

__all__ = ["SCHEDULES", "Schedule"]
