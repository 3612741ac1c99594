"""Optimizers, each in a file of its own, registered here by its name.

A new optimizer is a subclass of `Optimizer` (of `Adaptive` where it divides by a root mean square of the gradient) in a
new file, one more entry below, a stepper of the same name in `raytt.dynamics.steppers` (without one it is for training
mode alone), and one more example in the contract tests.
"""

from __future__ import annotations

from raytt.task.optimizers._base import Adaptive, Optimizer, WeightTensor
from raytt.task.optimizers.adafactor import Adafactor
from raytt.task.optimizers.adam import Adam
from raytt.task.optimizers.adamw import AdamW
from raytt.task.optimizers.lion import Lion
from raytt.task.optimizers.rmsprop import RMSprop
from raytt.task.optimizers.sgd import Sgd
from raytt.task.registry import Registry

_ALL: tuple[type[Optimizer], ...] = (Sgd, AdamW, Adam, RMSprop, Lion, Adafactor)

OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer")
for _optimizer in _ALL:
    OPTIMIZERS.register(_optimizer.name, _optimizer)

__all__ = [
    "OPTIMIZERS",
    "Adafactor",
    "Adam",
    "AdamW",
    "Adaptive",
    "Lion",
    "Optimizer",
    "RMSprop",
    "Sgd",
    "WeightTensor",
]
